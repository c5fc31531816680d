"""A suite of tiny clips whose two valid answers are known, and editors that give them, mix them, or fail."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.methods import Method, named
from benchmarks.records import Key, Result, Run
from benchmarks.run import Suite, run
from benchmarks.scoring import score
from data.types import ArrayClip, Edit, Report, Task, silent
from eval.suite import suite as metric_suite

SIDE, FRAMES = 32, 6

EDITORS = '''
"""Editors of a user: they see the clip alone, and answer it in one of its two valid ways."""

import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from data.types import CannotEdit


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    strength: float = 1.0


def inverted(frame):
    return 255 - frame


def turned(frame):
    return np.roll(frame, 1, axis=2)


class Steady:
    """The first answer in the left half of the frame, always."""

    name = "steady"
    log = Path("edits.log")

    def __init__(self, config=None):
        self.config = config or Config()

    def answer(self, frame, index):
        return inverted(frame)

    def edit(self, clip, edit, *, masks=None, seed=0, report=None):
        with self.log.open("a") as file:
            file.write(f"{type(self).__name__} {clip.name} {seed}\\n")
        for index in range(len(clip)):
            report("edit", index, len(clip))
            frame = clip[index].copy()
            half = frame.shape[1] // 2 if edit.region else frame.shape[1]
            changed = self.answer(frame, index)[:, :half] * self.config.strength
            frame[:, :half] = changed.astype(np.uint8)
            yield frame


class Drifting(Steady):
    """Now one answer, now the other."""

    def answer(self, frame, index):
        return inverted(frame) if index % 2 else turned(frame)


class Slow(Steady):
    def edit(self, clip, edit, **options):
        for frame in super().edit(clip, edit, **options):
            time.sleep(0.02)
            yield frame


class Broken(Steady):
    def answer(self, frame, index):
        if index == 3:
            raise ZeroDivisionError("no such luck")
        return frame


class Short(Steady):
    def edit(self, clip, edit, **options):
        yield from list(super().edit(clip, edit, **options))[:-1]


class Wide(Steady):
    def edit(self, clip, edit, **options):
        for frame in super().edit(clip, edit, **options):
            yield np.repeat(frame, 2, axis=1)


class Captioned(Steady):
    def edit(self, clip, edit, **options):
        raise CannotEdit("captioned needs a target caption: add target_caption to the task")


class Interrupted(Steady):
    def answer(self, frame, index):
        raise KeyboardInterrupt


class Full(Steady):
    def answer(self, frame, index):
        raise OSError(28, "No space left on device", "somewhere")
'''


class NoModels:
    """For rows that need no model."""

    backbone = property(lambda self: pytest.fail("no row here needs a backbone"))
    masker = clip = backbone


class Told:
    """A `Show` that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.results: list[Result] = []
        self.kept = 0

    def start(self, todo: Sequence[Key], kept: int, workers: int) -> None:
        self.kept = kept

    def stage(self, key: Key) -> Report:
        return silent

    def end(self, result: Result) -> None:
        self.results.append(result)

    def say(self, line: str) -> None:
        self.lines.append(line)


def tiny_task(number: int, region: str | None = "the left half") -> Task:
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (FRAMES, 4, 4, 3), dtype=np.uint8)
    frames = coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    mask = np.zeros((FRAMES, SIDE, SIDE), dtype=np.float32)
    mask[:, :, : SIDE // 2 if region else SIDE] = 1

    def answers() -> list[ArrayClip]:
        return [
            ArrayClip(np.where(mask[..., None] > 0, changed, frames).astype(np.uint8))
            for changed in (255 - frames, np.roll(frames, 1, axis=3))
        ]

    name = f"clip{number}"
    return Task(
        id=f"task{number}",
        clip=ArrayClip(frames, Fraction(6), name),
        edit=Edit(instruction=f"Change number {number}", region=region),
        source=name,
        masks=lambda: mask,
        answers=answers,
        conditions={"coupling": ("none", "strong")[number % 2]},
    )


def tiny_suite() -> Suite:
    """Seven local edits and one global one, each on a clip of its own."""
    tasks = [tiny_task(number) for number in range(7)] + [tiny_task(7, region=None)]
    return Suite("tiny", "5" * 64, tasks)


@contextmanager
def working_in(folder: Path) -> Iterator[Path]:
    """`folder` as the current one, with the editors in `theirs.py`; `edits.log` there counts every edit."""
    folder.mkdir()
    (folder / "theirs.py").write_text(EDITORS)
    before, paths = Path.cwd(), list(sys.path)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        sys.path[:] = paths
        sys.modules.pop("theirs", None)


@pytest.fixture
def editors(tmp_path: Path) -> Iterator[Path]:
    with working_in(tmp_path / "here") as folder:
        yield folder


class Runner:
    """Runs rows of the suite into one folder."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite, self.folder = suite, folder

    def __call__(
        self, *rows: str | Method, seeds: Sequence[int] = (0,), retry: bool = False
    ) -> tuple[Run, Told]:
        told = Told()
        methods = [row if isinstance(row, Method) else self.row(row) for row in rows]
        done = run(
            self.suite, methods, seeds, self.folder, models=NoModels(), show=told, command="test", retry=retry
        )
        return done, told

    @staticmethod
    def row(name: str) -> Method:
        return named("copy") if name == "copy" else Method(name.lower(), f"theirs:{name}", {})


@pytest.fixture
def runner(editors: Path) -> Runner:
    return Runner(tiny_suite(), editors / "run")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run, for reading: `full` gives one answer, `frame_by_frame` alternates, `c` fails."""
    rows = {"full": "Steady", "frame_by_frame": "Drifting", "c": "Broken"}
    with working_in(tmp_path_factory.mktemp("finished") / "here") as folder:
        runner = Runner(tiny_suite(), folder / "run")
        runner(*(Method(name, f"theirs:{editor}", {}) for name, editor in rows.items()), "copy")
        score(runner.folder, runner.suite.tasks, metric_suite("pocket,background_psnr"))
    return runner.folder


@pytest.fixture
def tasks() -> list[Task]:
    """The tasks of the finished run."""
    return list(tiny_suite().tasks)
