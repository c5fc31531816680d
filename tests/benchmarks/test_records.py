"""What a run folder promises: whole lines only, one writer, keys that tell cells apart, no path outside."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.records import (
    Key,
    MethodRecord,
    Result,
    Run,
    RunRecord,
    Score,
    SuiteRecord,
    TaskRecord,
    append,
    config_hash,
    inside,
    read_lines,
    read_run,
    schemas,
    video_name,
    write_record,
    writing,
)
from data.types import UserError

A, B = "a" * 64, "b" * 64
KEY = {"suite": A, "task": "dog.tiger", "method": "full", "config_hash": B, "seed": 0}


def result(**changes: object) -> Result:
    values = {**KEY, "status": "ok", "device": "cpu", "ended": "2026-01-01T00:00:00Z", "fps": Fraction(25, 2)}
    return Result.model_validate({**values, "frames_sha256": A, **changes})


def score(**changes: object) -> Score:
    values = {
        **KEY,
        "metric": "answer_error@1",
        "value": 0.5,
        "status": "ok",
        "seconds": 0.1,
        "frames_sha256": A,
    }
    return Score.model_validate({**values, **changes})


def record() -> RunRecord:
    method = MethodRecord(name="full", editor="via", version="1", config={}, config_hash=B)
    tasks = tuple(
        TaskRecord(id=f"dog.{animal}", source="dog", instruction=f"Change into a {animal}", region="the dog")
        for animal in ("tiger", "lion")
    )
    suite = SuiteRecord(name="tiny", sha256=A, tasks=tasks)
    return RunRecord(
        created="2026-01-01T00:00:00Z", command="via ablate", suite=suite, methods=(method,), seeds=(0, 1),
        versions={}, hardware={},
    )  # fmt: skip


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    lines = [result(seed=seed, seconds={"decode": 0.1 + seed}) for seed in range(3)]
    for line in lines:
        append(tmp_path / "results.jsonl", line)
    assert read_lines(tmp_path / "results.jsonl", Result) == lines


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(min_value=1, max_value=200))
def test_a_torn_last_line_is_dropped_and_the_next_append_heals_the_file(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "results.jsonl"
    for seed in range(3):
        append(path, result(seed=seed))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [line.seed for line in read_lines(path, Result)] == [0, 1]
    append(path, result(seed=9))
    assert [line.seed for line in read_lines(path, Result)] == [0, 1, 9]


def test_a_torn_line_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.jsonl").write_text('{"suite": "')
    assert read_lines(tmp_path / "results.jsonl", Result) == []
    assert "torn" in capsys.readouterr().err


def test_a_broken_line_in_the_middle_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, result())
    path.write_text(path.read_text() + "{}\n" + path.read_text())
    with pytest.raises(UserError, match=r"results\.jsonl:2: suite"):
        read_lines(path, Result)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_is_never_nan_or_infinite(value: float) -> None:
    with pytest.raises(ValidationError):
        score(value=value)


def test_a_later_line_replaces_an_earlier_one_of_the_same_key(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    append(tmp_path / "results.jsonl", result(status="error", reason="out of memory", frames_sha256=None))
    append(tmp_path / "results.jsonl", result())
    run = read_run(tmp_path)
    assert [found.status for found in run.results.values()] == ["ok"]
    assert [(key.task, key.seed, found is not None) for key, found in run.cells()] == [
        ("dog.tiger", 0, True),
        ("dog.tiger", 1, False),
        ("dog.lion", 0, False),
        ("dog.lion", 1, False),
    ]


def test_a_score_of_other_frames_is_stale() -> None:
    key = Key.model_validate(KEY)
    fresh = Run(Path(), record(), {key: result()}, {(key, "answer_error@1"): score()})
    stale = Run(Path(), record(), {key: result()}, {(key, "answer_error@1"): score(frames_sha256=B)})
    assert fresh.score(key, "answer_error@1") is not None
    assert stale.score(key, "answer_error@1") is None


@pytest.mark.parametrize("path", ["../x.mkv", "/etc/passwd", "videos/../../x", ""])
def test_a_record_cannot_name_a_file_outside_its_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        inside(tmp_path, path)


@given(method=st.text(min_size=1), task=st.text(min_size=1))
def test_any_method_and_task_give_a_video_path_inside_the_folder(method: str, task: str) -> None:
    assert inside(Path("/run"), video_name(method, A, task, 3)).parts[:3] == ("/", "run", "videos")


def test_a_second_writer_is_refused_and_the_first_may_come_back(tmp_path: Path) -> None:
    with (
        writing(tmp_path),
        pytest.raises(UserError, match="another process is writing"),
        writing(tmp_path),
    ):
        pass
    with writing(tmp_path):
        pass


def test_config_hash_changes_with_config_weights_and_version_only() -> None:
    base = config_hash("via", "1", {"steps": 10, "blend": "off"}, {"unet": A})
    assert config_hash("via", "1", {"blend": "off", "steps": 10}, {"unet": A}) == base
    assert config_hash("via", "1", {"steps": 11, "blend": "off"}, {"unet": A}) != base
    assert config_hash("via", "2", {"steps": 10, "blend": "off"}, {"unet": A}) != base
    assert config_hash("via", "1", {"steps": 10, "blend": "off"}, {"unet": B}) != base


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run \(it has no run\.json\)"):
        read_run(tmp_path)


def test_every_file_of_a_run_has_a_schema() -> None:
    assert set(schemas()) == {"run.json", "results.jsonl", "scores.jsonl"}
    assert "frames_sha256" in schemas()["results.jsonl"]["properties"]
