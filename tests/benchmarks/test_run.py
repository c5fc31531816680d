"""A run keeps every finished cell through kills, failures and changes, and says what it does."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import via
from benchmarks.methods import Method, named
from benchmarks.records import Result, frames_sha256, read_lines, read_run
from data.types import UserError
from data.video import open_clip

HOME = Path(via.__file__).parents[1]


def edits(folder: Path) -> list[str]:
    """Every edit that was begun, in order."""
    return (folder / "edits.log").read_text().splitlines()


def test_a_run_keeps_the_frames_that_the_editor_gave(runner: Any) -> None:
    run, _ = runner("Steady", "copy")
    for task in runner.suite.tasks:
        for method in ("steady", "copy"):
            (result,) = [r for r in run.results.values() if (r.task, r.method) == (task.id, method)]
            kept = open_clip(run.video(result))[:]
            expected = task.clip[:].copy()
            if method == "steady":
                half = 16 if task.edit.region else 32
                expected[:, :, :half] = 255 - expected[:, :, :half]
            assert np.array_equal(kept, expected)
            assert result.frames_sha256 == frames_sha256(expected)
            assert (result.frames, result.size, result.fps) == (6, (32, 32), 6)


def test_the_same_command_again_does_nothing(runner: Any, editors: Path) -> None:
    runner("Steady")
    before = (runner.folder / "results.jsonl").read_bytes()
    _, told = runner("Steady")
    assert (told.kept, told.results) == (8, [])
    assert (runner.folder / "results.jsonl").read_bytes() == before
    assert len(edits(editors)) == 8


def test_another_seed_or_row_adds_cells_and_keeps_the_rows(runner: Any, editors: Path) -> None:
    runner("Steady")
    runner("Drifting", seeds=(0, 1))
    run, _ = runner("Steady", seeds=(0, 1))
    assert len(edits(editors)) == 8 + 16 + 8
    assert [method.name for method in run.record.methods] == ["steady", "drifting"]
    assert run.record.seeds == (0, 1)
    assert all(result is not None for _, result in run.cells())


def test_another_configuration_starts_new_cells_and_says_so(runner: Any, editors: Path) -> None:
    runner("Steady")
    run, told = runner(Method("steady", "theirs:Steady", {"strength": "0.5"}))
    assert told.lines == ["steady has another configuration than before: its cells are new cells"]
    assert len(edits(editors)) == 16
    assert len(run.results) == 16
    assert {key.config_hash for key, _ in run.cells()} == {run.record.methods[0].config_hash}


def test_another_version_of_the_suite_starts_new_cells_and_says_so(runner: Any, editors: Path) -> None:
    runner("Steady")
    runner.suite = replace(runner.suite, sha256="6" * 64)
    _, told = runner("Steady")
    assert told.lines == ["tiny has changed since this run began: all its cells are new cells"]
    assert len(edits(editors)) == 16


def test_another_suite_is_refused(runner: Any) -> None:
    runner("Steady")
    runner.suite = replace(runner.suite, name="other")
    with pytest.raises(UserError, match="holds a run of tiny, not of other: name another --out"):
        runner("Steady")


def test_a_lost_video_is_made_again(runner: Any, editors: Path) -> None:
    run, _ = runner("Steady")
    lost = run.video(next(iter(run.results.values())))
    lost.unlink()
    _, told = runner("Steady")
    assert len(told.results) == 1
    assert lost.is_file()


@pytest.mark.parametrize(
    ("editor", "status", "reason"),
    [
        ("Broken", "error", "ZeroDivisionError: no such luck"),
        ("Short", "error", "ValueError: the editor gave 5 frames for a clip of 6"),
        ("Wide", "error", "ValueError: frame 0 is uint8 (32, 64, 3), the clip's are uint8 (32, 32, 3)"),
        ("Captioned", "skipped", "captioned needs a target caption: add target_caption to the task"),
    ],
)
def test_a_failure_is_a_line_with_its_reason_and_no_video(
    runner: Any, editor: str, status: str, reason: str
) -> None:
    run, told = runner(editor, "copy")
    failed = [result for result in told.results if result.method == editor.lower()]
    assert {(result.status, result.reason, result.frames_sha256) for result in failed} == {
        (status, reason, None)
    }
    assert {result.status for result in told.results if result.method == "copy"} == {"ok"}
    assert {path.parent.name.split("-")[0] for path in run.folder.glob("videos/*/*")} == {"copy"}
    assert len(list((run.folder / "logs").rglob("*.txt"))) == (8 if status == "error" else 0)


def test_an_error_is_tried_again_only_when_asked(runner: Any) -> None:
    runner("Broken")
    assert runner("Broken")[1].results == []
    assert len(runner("Broken", retry=True)[1].results) == 8


def test_an_interrupt_names_what_is_kept(runner: Any) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"1 of 16 cells are kept in .*; the same command goes on"):
        runner("Steady", "Interrupted")
    assert not list(runner.folder.rglob("*part*"))


def test_a_full_disk_stops_the_run_instead_of_failing_every_cell(runner: Any) -> None:
    with pytest.raises(OSError, match="No space left"):
        runner("Full", "Steady")
    assert read_lines(runner.folder / "results.jsonl", Result) == []


SCRIPT = """
import sys
sys.path[:0] = [{home!r}, {tests!r}]
import conftest
runner = conftest.Runner(conftest.tiny_suite(), conftest.Path("run"))
print(len(runner("Slow", "Steady")[1].results))
"""


def test_a_killed_run_goes_on_without_losing_or_redoing_a_finished_cell(runner: Any, editors: Path) -> None:
    script = editors / "start.py"
    script.write_text(SCRIPT.format(home=str(HOME), tests=str(Path(__file__).parent)))
    lines = runner.folder / "results.jsonl"
    process = subprocess.Popen([sys.executable, str(script)], cwd=editors, env={**os.environ})
    try:
        deadline = time.monotonic() + 60
        while not lines.exists() or lines.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < deadline, "the run wrote no five lines in a minute"
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    whole = lines.read_bytes()[: lines.read_bytes().rfind(b"\n") + 1]
    finished = read_lines(lines, Result)
    assert 5 <= len(finished) < 16
    begun = edits(editors)

    run, told = runner("Slow", "Steady")
    assert told.kept == len(finished)
    assert lines.read_bytes().startswith(whole)
    assert all(result is not None and result.status == "ok" for _, result in run.cells())
    again = edits(editors)[len(begun) :]
    assert len(again) == 16 - len(finished)
    assert not {f"{r.method.capitalize()} {r.task.replace('task', 'clip')} 0" for r in finished} & set(again)


def test_two_runs_give_the_same_frames(runner: Any, editors: Path) -> None:
    first, _ = runner("Drifting")
    runner.folder = editors / "second"
    second, _ = runner("Drifting")
    hashes = [[result.frames_sha256 for _, result in run.cells()] for run in (first, second)]
    assert hashes[0] == hashes[1]
    files = [[run.video(result).read_bytes() for _, result in run.cells()] for run in (first, second)]
    assert files[0] == files[1]


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"there is no method 'fulll': name one of via, frame_by_frame, full"):
        named("fulll")


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.to:Be", "there is no module nowhere"), ("theirs:Nobody", "theirs has no Nobody")],
)
def test_a_plug_in_that_is_not_there_stops_before_anything_runs(runner: Any, path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        runner("Steady", Method("mine", path, {}))
    assert not (runner.folder / "run.json").exists()


def test_a_plug_in_cannot_hide_a_package_of_this_project(runner: Any, editors: Path) -> None:
    (editors / "eval.py").write_text("raise RuntimeError('theirs')")
    runner("Steady")
    assert sys.path[0] != str(editors)
    assert sys.path.index(str(editors)) > sys.path.index(str(HOME)) if str(HOME) in sys.path else True


def test_the_folder_of_a_run_reads_back_whole(runner: Any) -> None:
    run, _ = runner("Steady", "copy")
    again = read_run(run.folder)
    assert again.record == run.record
    assert dict(again.results) == dict(run.results)
