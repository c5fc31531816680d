"""Cells spread over processes end as those of one process do, and leave a run that goes on after any end."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

import via
from benchmarks.methods import Pocket, named, with_settings
from benchmarks.progress import Bars
from benchmarks.records import Result, Run, read_lines, read_run
from benchmarks.run import Suite, run
from benchmarks.scoring import score
from benchmarks.validate import faults
from benchmarks.workers import spread
from data.types import UserError
from eval.suite import suite as metric_suite

HOME = Path(via.__file__).parents[1]
SMALL = ("steps=2", "tuning_steps=1", "tuning_pairs=2", "root_candidates=2", "group_size=2")
METRICS = "answer_error,edited_share"


def manifest(place: Path, frames: int, tasks: int) -> Path:
    """A suite of tasks of the dev suite, local edits first, cut short."""
    suite = json.loads(files("data.suites").joinpath("pocket-dev.json").read_text())
    local_first = sorted(suite["tasks"], key=lambda task: not task["edit"].startswith("replace/"))
    path = place / "short.json"
    cut = [{**task, "frames": frames} for task in local_first[:tasks]]
    path.write_text(json.dumps({**suite, "name": "short", "tasks": cut}))
    return path


def whole(suite: Suite, folder: Path, workers: int) -> Run:
    rows = with_settings([named(name) for name in ("full", "c", "copy")], SMALL)
    with Bars() as bars:
        run(suite, rows, [0], folder, models=Pocket(), show=bars, workers=workers)
    return score(folder, suite.tasks, metric_suite(METRICS), workers=workers, origin=suite.origin)


def test_two_workers_end_where_one_does(tmp_path: Path) -> None:
    suite = Suite.named(str(manifest(tmp_path, frames=2, tasks=2)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has: the number of threads may decide a sum's last bit
    try:
        one = whole(suite, tmp_path / "one", 1)
    finally:
        torch.set_num_threads(threads)
    two = whole(suite, tmp_path / "two", 2)
    assert faults(two.folder) == []
    hashes = [{key: r.frames_sha256 if r else None for key, r in run.cells()} for run in (one, two)]
    assert hashes[0] == hashes[1]
    assert None not in hashes[0].values()
    assert len(set(hashes[0].values())) == 6
    values = [{place: score.value for place, score in run.scores.items()} for run in (one, two)]
    assert values[0] == values[1]
    assert len(values[0]) == 12
    assert "workers" not in one.record.hardware
    assert two.record.hardware["workers"] == "2 workers of one thread"
    for key, result in two.cells():
        assert result is not None
        assert result.seconds_alone
        assert ("tuning" in result.seconds) == (key.method == "full")  # no seconds of another cell's stages


THEIRS = '''
"""An editor that says where it works; from the third edit on it waits until it may go on."""

import os
import time
from pathlib import Path

from pydantic import BaseModel


class Config(BaseModel):
    pass


class Waiting:
    name = "waiting"
    config = Config()

    def edit(self, clip, edit, *, masks=None, seed=0, report=None):
        log = Path("processes.log")
        with log.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        for index in range(len(clip)):
            yield clip[index]
            while len(log.read_text().splitlines()) > 2 and not Path("go").exists():
                time.sleep(0.1)
'''
START = """
import signal
import sys
from pathlib import Path

from benchmarks.methods import Method, Pocket, named
from benchmarks.progress import Bars
from benchmarks.run import Suite, run

if __name__ == "__main__":
    # as in a terminal, also where the tests run in the background, whose processes ignore interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = [Method("waiting", "theirs:Waiting", {}), named("copy")]
    try:
        with Bars() as bars:
            suite, workers = Suite.named("short.json"), int(sys.argv[1])
            run(suite, rows, [0], Path("run"), models=Pocket(), show=bars, workers=workers)
    except KeyboardInterrupt as error:
        sys.exit(f"interrupted: {error}")
"""


def begun(folder: Path) -> list[int]:
    """Which process began each edit, in order."""
    log = folder / "processes.log"
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(happens: Any, what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize(
    ("how", "code", "then"), [(signal.SIGINT, 1, 2), (signal.SIGKILL, -signal.SIGKILL, 1)]
)
def test_an_end_from_outside_stops_the_workers_and_leaves_a_run_that_goes_on(
    how: signal.Signals, code: int, then: int, tmp_path: Path
) -> None:
    manifest(tmp_path, frames=2, tasks=4)
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "start.py").write_text(START)
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "start.py"]
    process = subprocess.Popen(
        [*words, "2"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: len(begun(tmp_path)) >= 4 or process.poll() is not None, "no fourth edit began")
        if how is signal.SIGINT and process.poll() is None:
            os.killpg(process.pid, how)  # as a terminal does: to the workers too
        else:
            process.kill()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, said
    assert "Traceback" not in said
    workers = set(begun(tmp_path))
    assert len(workers) == 2
    eventually(lambda: not any(map(alive, workers)), "the workers outlive the run")
    kept = read_lines(tmp_path / "run" / "results.jsonl", Result)
    assert [result.status for result in kept] == ["ok"] * 4
    assert not list((tmp_path / "run").rglob("*.part*"))
    assert not (tmp_path / "run" / "logs").exists()
    if how is signal.SIGINT:
        kept_line = (
            f"interrupted: {len(kept)} of 8 cells are kept in run; the same command goes on from there"
        )
        assert said.splitlines()[-1] == kept_line

    (tmp_path / "go").touch()
    done = subprocess.run(
        [*words, str(then)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert f"{len(kept)} cells are there already" in done.stderr
    run = read_run(tmp_path / "run")
    assert all(result is not None and result.status == "ok" for _, result in run.cells())
    assert faults(run.folder) == []


SQUARES = '''
"""Work that squares numbers; at the number 3 it ends badly in the way that is asked for."""

import os

import torch

from data.types import UserError


def squares(worst):
    def work(number, tell):
        if number == 3 and worst == "die":
            os._exit(7)
        if number == 3 and worst == "mend":
            raise UserError("three is one too many: leave it out")
        if number == 3 and worst == "full":
            raise OSError(28, "No space left on device", "somewhere")
        if number == 3 and worst == "bug":
            raise ZeroDivisionError("a bug")
        tell((number, number * number, torch.get_num_threads()))

    return work
'''


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "squaring.py").write_text(SQUARES)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("squaring").squares
    sys.modules.pop("squaring")


def test_every_job_is_done_once_by_one_thread(squares: Any) -> None:
    heard: list[tuple[int, int, int]] = []
    spread(partial(squares, "none"), range(6), 2, heard.append)
    assert sorted(heard) == [(n, n * n, 1) for n in range(6)]


@pytest.mark.parametrize(
    ("worst", "kind", "said"),
    [
        ("die", UserError, "a worker process died with exit code 7.*fewer --workers"),
        ("mend", UserError, "^three is one too many: leave it out$"),
        ("full", OSError, "No space left on device: 'somewhere'"),
        ("bug", RuntimeError, "in work\n(.|\n)*ZeroDivisionError: a bug"),
    ],
)
def test_what_ends_a_worker_is_raised_where_it_was_started(
    squares: Any, worst: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        spread(partial(squares, worst), range(3, 4), 2, lambda told: None)
