"""A whole small study with simulated raters, from a run or from a rendered pocket run that needs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.records import (
    MethodRecord,
    Result,
    RunRecord,
    SuiteRecord,
    TaskRecord,
    append,
    config_hash,
    file_sha256,
    frames_sha256,
    video_name,
    write_record,
)
from data.suites import load, suite_hash
from data.types import Frames, Report, Task, UserError, silent
from data.video import write_lossless

from .formats import own_row
from .import_ import judge, keep
from .new import new_study
from .study import About, Settings, read_key, read_study
from .synthetic import synthetic_votes

Maker = Callable[[TaskRecord], Frames]
SUITE = "pocket-mini"


def demo_study(folder: Path, run: Path | None, seed: int, report: Report = silent) -> Path:
    """Make the study, let simulated raters fill it, import their votes. Raises UserError where `folder`
    exists.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; remove it, or name another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    rendered = folder.with_name(folder.name + "-run")
    if run is None and not (rendered / "run.json").exists():
        render_run(rendered)
    nobody = "nobody: simulated raters"
    settings = Settings(
        name=folder.name if folder.name.replace("-", "").isalnum() else "demo",
        seed=seed,
        votes=6,
        synthetic=True,
        about=About(raters=nobody, payment="none", told="nothing", viewing="none"),
    )
    fewest = settings.model_copy(update={"session_length": None if run else 4})
    study = new_study(fewest, [run or rendered], folder, report=report)
    key = read_key(folder)
    votes = synthetic_votes(study, key, seed)
    rows = [own_row(number, row) for number, row in enumerate(votes, 1)]
    keep(folder, [judge("simulated raters", "own", rows, read_study(folder), key)], [])
    return folder


def render_run(folder: Path) -> None:
    """A run of pocket-mini whose methods are made from its known answers: one answer for the whole clip, an
    answer drawn for every frame (what editing frame by frame does), and one that stops half way."""
    tasks = {task.id: task for task in load(SUITE)}
    suite = SuiteRecord(
        name=SUITE,
        sha256=suite_hash(SUITE),
        tasks=tuple(
            TaskRecord(id=task.id, source=task.source, instruction=task.edit.instruction)
            for task in tasks.values()
        ),
    )
    makers: dict[str, Maker] = {
        "copy": lambda record: tasks[record.id].clip[:],
        "one_answer": lambda record: one_answer(tasks[record.id]),
        "answer_per_frame": lambda record: answer_per_frame(tasks[record.id]),
        "half_way": lambda record: half_way(tasks[record.id]),
    }
    write_run(folder, suite, makers, next(iter(tasks.values())).clip.fps)


def one_answer(task: Task) -> Frames:
    """The first valid answer, the same for the whole clip."""
    assert task.answers is not None
    return task.answers()[0][:]


def answer_per_frame(task: Task) -> Frames:
    """Every frame an answer, drawn anew for each."""
    assert task.answers is not None
    answers = [answer[:] for answer in task.answers()]
    drawn = np.random.default_rng(len(task.id)).integers(0, len(answers), len(task.clip))
    return np.stack([answers[choice][k] for k, choice in enumerate(drawn)])


def half_way(task: Task) -> Frames:
    """The mean of source and answer."""
    return ((task.clip[:].astype(int) + one_answer(task)) // 2).astype(np.uint8)


def write_run(folder: Path, suite: SuiteRecord, makers: Mapping[str, Maker], fps: Fraction) -> None:
    """A run folder in which every method finished every task; `makers` gives the frames of each."""
    records = [
        MethodRecord(
            name=name, editor=name, version="1", config={}, config_hash=config_hash(name, "1", {}, {})
        )
        for name in makers
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        for task in suite.tasks:
            append(
                folder / "results.jsonl",
                finished(folder, suite, record, task, makers[record.name](task), fps, now),
            )
    write_record(
        folder,
        RunRecord(
            created=now,
            command="via study demo",
            suite=suite,
            methods=tuple(records),
            seeds=(0,),
            versions={},
            hardware={},
        ),
    )


def finished(
    folder: Path,
    suite: SuiteRecord,
    method: MethodRecord,
    task: TaskRecord,
    frames: Frames | Sequence[np.ndarray],
    fps: Fraction,
    now: str,
) -> Result:
    """Write one video and the line that says so."""
    name = video_name(method.name, method.config_hash, task.id, 0)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_lossless(folder / name, frames, fps)
    return Result(
        suite=suite.sha256,
        task=task.id,
        method=method.name,
        config_hash=method.config_hash,
        seed=0,
        status="ok",
        frames=len(frames),
        fps=fps,
        size=frames[0].shape[:2],
        video=name,
        video_sha256=file_sha256(folder / name),
        frames_sha256=frames_sha256(frames),
        device="cpu",
        ended=now,
    )
