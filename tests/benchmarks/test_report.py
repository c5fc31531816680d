"""Scores know the frames they belong to, and a report needs nothing but the run's folder."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from transformers import CLIPConfig, CLIPModel

from benchmarks.previews import side_by_side
from benchmarks.records import Result, Run, Score, append, read_lines, read_run
from benchmarks.report import show, write_report
from benchmarks.scoring import examine, score
from benchmarks.tables import COLUMNS, cells, estimates
from benchmarks.validate import faults
from data.types import Task, UserError
from data.video import open_clip
from eval.judge import Judge
from eval.models import Models
from eval.suite import suite as metric_suite

SCRIPT = "<script>alert(1)</script>"
METRICS = metric_suite("pocket,background_psnr")
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY = {**TOWER, "vocab_size": 99, "eos_token_id": 2}
VISION = {**TOWER, "image_size": 32, "patch_size": 16}


@pytest.fixture
def scored(finished: Path, tmp_path: Path) -> Run:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished, tmp_path / "run")
    return read_run(tmp_path / "run")


@pytest.fixture(scope="module")
def page(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that was moved from where it was made; one of its instructions is a script."""
    moved = tmp_path_factory.mktemp("elsewhere") / "run"
    shutil.copytree(finished, moved, ignore=shutil.ignore_patterns("cache"))
    record = moved / "run.json"
    record.write_text(record.read_text().replace("Change number 0", SCRIPT))
    return write_report(moved)


def means(run: Run, title: str) -> dict[str, float | None]:
    column = next(column for column in COLUMNS if column.title == title)
    found = estimates(cells(run), column)
    return {name: estimate.interval.mean if estimate.interval else None for name, estimate in found.items()}


def test_scores_of_known_edits_are_those_worked_out_by_hand(scored: Run) -> None:
    assert means(scored, "answer error") | {"copy": 0} == {
        "full": 0,
        "frame_by_frame": 0,
        "c": None,
        "copy": 0,
    }
    assert means(scored, "answer switches") == {"full": 0, "frame_by_frame": 1, "c": None, "copy": None}
    assert means(scored, "minority share") == {"full": 0, "frame_by_frame": 0.5, "c": None, "copy": None}
    assert means(scored, "edited share") == {"full": 1, "frame_by_frame": 1, "c": None, "copy": 0}
    one = means(scored, "one-answer error")
    assert one["full"] == 0
    assert one["frame_by_frame"] is not None
    assert one["frame_by_frame"] > 0.1
    assert means(scored, "background error") == {"full": 0, "frame_by_frame": 0, "c": None, "copy": 0}


def test_scoring_again_computes_nothing(scored: Run, tasks: list[Task]) -> None:
    before = (scored.folder / "scores.jsonl").read_bytes()
    score(scored.folder, tasks, METRICS)
    assert (scored.folder / "scores.jsonl").read_bytes() == before


def test_what_was_skipped_is_tried_again_when_its_network_is_there(
    scored: Run, tasks: list[Task], tmp_path: Path
) -> None:
    alignment = metric_suite("clip_image_similarity")
    nowhere = score(scored.folder, tasks, alignment, models=Models(clip=str(tmp_path / "nowhere")))
    skipped = [one for (_, name), one in nowhere.scores.items() if name == alignment[0].name]
    assert {one.status for one in skipped} == {"skipped"}
    assert "nowhere" in str(skipped[0].reason)
    tiny = CLIPModel(CLIPConfig(text_config=TINY, vision_config=VISION, projection_dim=8))
    tiny.save_pretrained(tmp_path / "clip")
    there = score(scored.folder, tasks, alignment, models=Models(clip=str(tmp_path / "clip")))
    found = [one for (_, name), one in there.scores.items() if name == alignment[0].name]
    assert {one.status for one in found} == {"ok"}


def test_controls_of_a_judge_are_made_of_the_run_and_kept_apart_from_its_scores(
    scored: Run, tasks: list[Task]
) -> None:
    before = (scored.folder / "scores.jsonl").read_bytes()
    found = examine(scored.folder, tasks, Judge("tiny", scored.folder / "judge", replay=True))
    assert json.loads((scored.folder / "judge-controls.json").read_text()) == found
    assert found["failed"] == len(found["items"]) >= 1  # nothing is on record, so nothing is passed
    assert not found["trusted"]
    assert (scored.folder / "scores.jsonl").read_bytes() == before


def test_scores_of_a_judge_that_fails_its_controls_are_struck_out_once(
    scored: Run, tasks: list[Task]
) -> None:
    cell = next(key for key, result in scored.cells() if result is not None and result.status == "ok")
    result = scored.results[cell]
    assert result.frames_sha256 is not None
    line = Score(
        **cell.model_dump(),
        metric="judge_instruction@1",
        value=4.0,
        status="ok",
        details={"model": "tiny", "scores": [4, 4, 4]},
        seconds=0.0,
        frames_sha256=result.frames_sha256,
    )
    append(scored.folder / "scores.jsonl", line)
    judge = Judge("tiny", scored.folder / "judge", replay=True)  # nothing on record: every control fails
    examine(scored.folder, tasks, judge)
    struck = read_run(scored.folder).score(cell, "judge_instruction@1")
    assert struck is not None
    assert (struck.value, struck.status) == (None, "error")
    assert str(struck.reason).startswith("untrusted: tiny failed ")
    assert struck.details["scores"] == [4, 4, 4]
    before = (scored.folder / "scores.jsonl").read_bytes()
    examine(scored.folder, tasks, judge)
    assert (scored.folder / "scores.jsonl").read_bytes() == before
    assert faults(scored.folder) == []


def test_a_score_of_other_frames_is_stale_and_computed_anew(scored: Run, tasks: list[Task]) -> None:
    lines = read_lines(scored.folder / "scores.jsonl", Score)
    victim = next(line for line in lines if line.metric == "edited_share@1" and line.method == "full")
    append(
        scored.folder / "scores.jsonl", victim.model_copy(update={"frames_sha256": "0" * 64, "value": 0.123})
    )
    stale = read_run(scored.folder)
    assert stale.score(victim.key, victim.metric) is None
    assert any("stale" in fault for fault in faults(scored.folder))
    fresh = score(scored.folder, tasks, METRICS).score(victim.key, victim.metric)
    assert fresh is not None
    assert fresh.value == victim.value


def test_a_video_that_is_not_the_one_named_is_neither_scored_nor_valid(
    scored: Run, tasks: list[Task]
) -> None:
    a, b = [result for result in scored.results.values() if result.method in ("full", "copy")][:2]
    shutil.copy(scored.video(b), scored.video(a))
    (scored.folder / "scores.jsonl").unlink()
    with pytest.raises(UserError, match=r"is not the video that results\.jsonl names"):
        score(scored.folder, tasks, METRICS)
    assert any("is not the file that its line names" in fault for fault in faults(scored.folder))


def test_a_run_as_written_is_valid(scored: Run) -> None:
    assert faults(scored.folder) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"frames_sha256": "1" * 64}, "does not decode to the frames"),
        ({"frames": 7}, "another length, size or rate"),
        ({"video": "../elsewhere.mkv"}, "leads out of the run's folder"),
        ({"video": "videos/nothing.mkv"}, "is missing"),
        ({"video": None}, "ok without video"),
        ({"status": "error", "reason": None}, "error without a reason"),
    ],
)
def test_planted_faults_are_found(scored: Run, change: dict[str, Any], expected: str) -> None:
    result = next(result for result in scored.results.values() if result.status == "ok")
    append(scored.folder / "results.jsonl", Result.model_validate({**result.model_dump(), **change}))
    assert any(expected in fault for fault in faults(scored.folder))


def test_a_report_needs_only_the_folder(page: Path) -> None:
    text = page.with_suffix(".md").read_text()
    assert "| full | 0.0000 [0.0000, 0.0000]" in text
    assert "c, task0, seed 0: error: ZeroDivisionError: no such luck" in text
    assert "<script" not in page.read_text()
    for name in ("fig10.png", "fig10.pdf", "cells.csv", "tables.csv"):
        assert (page.parent / name).stat().st_size > 0
    for number in range(8):
        assert f"../previews/task{number}.0." in page.read_text()


def test_tables_as_csv_hold_what_the_page_shows(page: Path) -> None:
    with (page.parent / "tables.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        r
        for r in rows
        if (r["table"], r["row"], r["column"]) == ("All edits", "frame_by_frame", "answer switches ↓")
    ]
    assert [r["value"][:6] for r in wanted] == ["100.0%"]
    assert wanted[0]["value"].replace("%", "&#37;") in page.read_text().replace("%", "&#37;")


def test_text_of_a_run_is_escaped_on_its_page(page: Path) -> None:
    assert SCRIPT not in page.read_text()
    assert "&lt;script&gt;alert" in page.read_text()


def test_fig10_shows_the_source_at_its_upper_left(page: Path) -> None:
    with Image.open(page.with_name("fig10.png")) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    run = read_run(page.parents[1])
    source = open_clip(run.video(next(r for r in run.results.values() if r.method == "copy")))[0]
    corner = source[0, 0].astype(int)
    near = np.abs(pixels - corner).max(axis=2) <= 2
    height, width = near.shape
    assert near[: height // 2, : width // 4].sum() > 100  # the source is the upper left panel
    assert pixels.shape[1] > pixels.shape[0]


def test_previews_are_made_once_and_again_when_a_row_changes(page: Path, tmp_path: Path) -> None:
    shutil.copytree(page.parents[1], tmp_path / "run")
    run = read_run(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "previews").iterdir()}
    made = side_by_side(run)
    assert set(made.values()) == set(before)
    assert {path: path.stat().st_mtime_ns for path in made.values()} == before
    assert len(open_clip(made["task0"])) == 6
    result = next(r for r in run.results.values() if r.task == "task0" and r.status == "ok")
    append(run.folder / "results.jsonl", result.model_copy(update={"frames_sha256": "0" * 64}))
    changed = side_by_side(read_run(run.folder))
    assert changed["task0"] != made["task0"]
    assert changed["task1"] == made["task1"]


def test_an_unknown_reference_is_answered_with_the_rows(scored: Run) -> None:
    with pytest.raises(UserError, match="has no row 'fulll': its rows are full, frame_by_frame, c, copy"):
        write_report(scored.folder, reference="fulll")


def test_the_terminal_shows_every_interval_whatever_its_text(finished: Path) -> None:
    run = read_run(finished)
    one = run.record.suite.tasks[:1]
    record = run.record.model_copy(update={"suite": run.record.suite.model_copy(update={"tasks": one})})
    out = io.StringIO()
    show(replace(run, record=record), Console(file=out, width=170))
    assert out.getvalue().count("[one clip]") > 5
    assert "failed" in out.getvalue()
