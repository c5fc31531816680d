"""A run: every task of a suite by every method and seed, cell by cell, resumable after any interruption.

A cell's line is written after its video is on disk under its final name; what a kill cuts off is done again.
Cells may be edited by several processes; one alone writes the lines.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.ablations import cannot_act
from benchmarks.methods import Method, Models, Opened, open_method
from benchmarks.records import (
    Key,
    MethodRecord,
    Result,
    Run,
    RunRecord,
    SuiteRecord,
    TaskRecord,
    append,
    cell_key,
    file_sha256,
    read_run,
    video_name,
    write_record,
    writing,
)
from benchmarks.workers import Tell, spread
from data.suites import load, manifest, suite_hash
from data.types import CannotEdit, Frame, Report, Task, UserError
from data.video import write_lossless

PACKAGES = ("via-bench", "torch", "torchvision", "diffusers", "transformers", "peft", "numpy", "av")


@dataclass(frozen=True)
class Suite:
    """Tasks under a name, with the hash of everything that decides their content. `origin` is the name or
    manifest file that `named` opens it by, also in another process."""

    name: str
    sha256: str
    tasks: Sequence[Task]
    origin: str = ""

    @classmethod
    def named(cls, origin: str) -> Suite:
        """The suite called so, or the one in a manifest file. Raises UserError where there is none."""
        return cls(manifest(origin).name, suite_hash(origin), load(origin), origin)

    @property
    def record(self) -> SuiteRecord:
        return SuiteRecord(name=self.name, sha256=self.sha256, tasks=tuple(map(described, self.tasks)))


def described(task: Task) -> TaskRecord:
    return TaskRecord(
        id=task.id,
        source=task.source,
        instruction=task.edit.instruction,
        region=task.edit.region,
        kind=task.edit.kind,
        conditions=task.conditions,
    )


class Show(Protocol):
    """What a run tells while it works."""

    def start(self, todo: Sequence[Key], kept: int, workers: int) -> None: ...
    def stage(self, key: Key) -> Report: ...
    def end(self, result: Result) -> None: ...
    def say(self, line: str) -> None: ...


def run(
    suite: Suite,
    methods: Sequence[Method],
    seeds: Sequence[int],
    folder: Path,
    *,
    models: Models,
    show: Show,
    command: str = "",
    retry: bool = False,
    workers: int = 1,
) -> Run:
    """Do the cells that `folder` does not have yet, task by task; comes back with the whole run.

    With several `workers`, processes of one thread share out the cells, those of one task and seed to one
    process; the suite needs its `origin` then. A cell that ended as `error` is not tried again unless
    `retry`. Methods that the folder holds already stay in its tables; the same method with another config
    starts new cells. Raises UserError when the folder holds another suite or another process writes to it,
    KeyboardInterrupt with what is kept in its message.
    """
    editing = Editing(suite, methods, folder, models)
    rows = [row.record for row in editing.rows.values()]
    with writing(folder):
        record = asked(folder, suite, rows, seeds, command, show, workers)
        write_record(folder, record)
        before = read_run(folder)
        cells = [
            cell_key(record.suite, task.id, row, seed)
            for task in suite.tasks
            for seed in seeds
            for row in rows
        ]
        todo = [key for key in cells if not ended(before, key, retry)]
        groups = [list(group) for _, group in groupby(todo, lambda key: (key.task, key.seed))]
        show.start(todo, len(cells) - len(todo), workers)
        done, stages = 0, dict[Key, Report]()

        def hear(told: Progress | Result) -> None:
            nonlocal done
            if isinstance(told, Result):
                append(folder / "results.jsonl", told)
                show.end(told)
                done += 1
                return
            key, *stage = told
            if key not in stages:
                stages[key] = show.stage(key)
            stages[key](*stage)

        try:
            if workers > 1:
                spread(partial(opened, suite.origin, methods, folder, models), groups, workers, hear)
            else:
                for group in groups:
                    editing(group, hear)
        except KeyboardInterrupt:
            kept = len(cells) - len(todo) + done
            raise KeyboardInterrupt(
                f"{kept} of {len(cells)} cells are kept in {folder}; the same command goes on from there"
            ) from None
    return read_run(folder)


Progress = tuple[Key, str, int, int]  # how far a cell is: its stage, done, total


class Editing:
    """A suite's tasks and rows, opened in this process to do cells with."""

    def __init__(self, suite: Suite, methods: Sequence[Method], folder: Path, models: Models) -> None:
        self.folder = folder
        self.tasks = {task.id: task for task in suite.tasks}
        self.rows = {method.name: open_method(method, folder / "cache", models) for method in methods}
        self.overrides = {method.name: method.overrides for method in methods if method.editor == "via"}

    def __call__(self, keys: Sequence[Key], tell: Tell) -> None:
        """Do these cells, telling of each first its progress and last its result."""
        for key in keys:
            task, why = self.tasks[key.task], None
            if key.method in self.overrides:
                why = cannot_act(key.method, self.overrides[key.method], task, self.overrides)
            if why:
                tell(outcome(key, "skipped", why))
                continue

            def report(stage: str, done: int, total: int, key: Key = key) -> None:
                tell((key, stage, done, total))

            report("start", 0, 1)
            tell(cell(self.folder, key, task, key.seed, self.rows[key.method], report))


def opened(origin: str, methods: Sequence[Method], folder: Path, models: Models) -> Editing:
    return Editing(Suite.named(origin), methods, folder, models)


def asked(
    folder: Path,
    suite: Suite,
    methods: Sequence[MethodRecord],
    seeds: Sequence[int],
    command: str,
    show: Show,
    workers: int,
) -> RunRecord:
    """The folder's `run.json` after this command: its rows and seeds are added to those it has."""
    record = RunRecord(
        created=now(),
        command=command,
        suite=suite.record,
        methods=tuple(methods),
        seeds=tuple(seeds),
        versions=versions(),
        hardware=hardware(workers),
    )
    if not (folder / "run.json").exists():
        return record
    before = read_run(folder).record
    if before.suite.name != suite.name:
        raise UserError(
            f"{folder} holds a run of {before.suite.name}, not of {suite.name}: name another --out"
        )
    if before.suite.sha256 != suite.sha256:
        show.say(f"{suite.name} has changed since this run began: all its cells are new cells")
    rows = {method.name: method for method in before.methods}
    for method in methods:
        if method.name in rows and rows[method.name].config_hash != method.config_hash:
            show.say(f"{method.name} has another configuration than before: its cells are new cells")
        rows[method.name] = method
    all_seeds = tuple(dict.fromkeys([*before.seeds, *seeds]))
    return record.model_copy(
        update={"created": before.created, "methods": tuple(rows.values()), "seeds": all_seeds}
    )


def ended(run: Run, key: Key, retry: bool) -> bool:
    """Whether a cell needs no work: it ended, and its video is still there."""
    result = run.results.get(key)
    if result is None or (retry and result.status == "error"):
        return False
    return result.status != "ok" or run.video(result).is_file()


def cell(folder: Path, key: Key, task: Task, seed: int, row: Opened, report: Report) -> Result:
    """Edit one task and keep its video. A failure becomes a line with its reason; an interrupt and a full
    disk are raised."""
    video = video_name(key.method, key.config_hash, key.task, key.seed)
    path = folder / video
    path.parent.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch(report)
    reset_peak_memory()
    try:
        digest = write_lossless(path, checked(row.frames(task, seed, watch), task), task.clip.fps)
    except CannotEdit as error:
        return outcome(key, "skipped", str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        log = folder / "logs" / Path(video).relative_to("videos").with_suffix(".txt")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc(), encoding="utf-8")
        return outcome(key, "error", " ".join(f"{type(error).__name__}: {error}".split()))
    seconds = watch.stop()
    alone = row.seconds_alone()
    host, device = peak_memory()
    return outcome(
        key,
        "ok",
        None,
        seconds=seconds,
        seconds_alone=sum(seconds.values()) if alone is None else alone,
        host_bytes=host,
        device_bytes=device,
        frames=len(task.clip),
        fps=task.clip.fps,
        size=task.clip.size,
        video=video,
        video_sha256=file_sha256(path),
        frames_sha256=digest,
        facts=row.facts(task, folder, video),
    )


def outcome(key: Key, status: str, reason: str | None, **values: Any) -> Result:
    fields = {**key.model_dump(), "status": status, "reason": reason, "device": device_name(), "ended": now()}
    return Result.model_validate({**fields, "versions": versions(), **values})


def checked(frames: Iterator[Frame], task: Task) -> Iterator[Frame]:
    """Pass frames on; raises ValueError unless they are uint8, as many and as large as the clip's."""
    wanted = (*task.clip.size, 3)
    count = 0
    for frame in frames:
        if frame.shape != wanted or frame.dtype != np.uint8:
            raise ValueError(f"frame {count} is {frame.dtype} {frame.shape}, the clip's are uint8 {wanted}")
        count += 1
        yield frame
    if count != len(task.clip):
        raise ValueError(f"the editor gave {count} frames for a clip of {len(task.clip)}")


class Stopwatch:
    """A `report` that passes on what it is told and times the stages."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.seconds: dict[str, float] = {}
        self.current, self.since = "start", time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.current:
            self._close()
            self.current = stage
        self.report(stage, done, total)

    def _close(self) -> None:
        moment = time.perf_counter()
        self.seconds[self.current] = self.seconds.get(self.current, 0.0) + moment - self.since
        self.since = moment

    def stop(self) -> dict[str, float]:
        self._close()
        return self.seconds


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(workers: int) -> dict[str, str]:
    machine = {"machine": platform.machine(), "cores": f"{os.cpu_count()} cores", "device": device_name()}
    return machine | ({"workers": f"{workers} workers of one thread"} if workers > 1 else {})


def accelerator() -> Any:
    """torch.cuda where it is loaded and has a device, else None; a run without torch does not load it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def device_name() -> str:
    cuda = accelerator()
    return str(cuda.get_device_name()) if cuda else "cpu"


def reset_peak_memory() -> None:
    """Let the peaks of the process start anew, where the system can (Linux, CUDA)."""
    if cuda := accelerator():
        cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> tuple[int, int | None]:
    """Peak bytes since the last reset: of the process, of the accelerator (None without one)."""
    cuda = accelerator()
    device = int(cuda.max_memory_allocated()) if cuda else None
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        host = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return host, device
