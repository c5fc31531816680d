"""Small runs and studies for the tests of this room, written in the run format of `benchmarks.records`."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.records import SuiteRecord, TaskRecord
from human_eval.demo import write_run
from human_eval.new import new_study
from human_eval.study import About, Settings, Study

FRAMES, SIZE, FPS = 12, (96, 128), Fraction(12)
ABOUT = About(raters="six colleagues", payment="none", told="nothing of the methods", viewing="own computers")


def numbered(index: int, colour: tuple[int, int, int], frames: int = FRAMES, size=SIZE) -> np.ndarray:
    """A clip whose frame number is drawn as six black or white blocks in its top row, on a moving ground."""
    height, width = size
    block = width // 8
    clip = np.empty((frames, height, width, 3), np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    for k in range(frames):
        ground = 96 + 48 * np.sin((x + 3 * k + 17 * index) / 9) * np.cos(y / 11)
        clip[k] = (0.5 * ground[..., None] + 0.5 * np.array(colour)).astype(np.uint8)
        for bit in range(6):
            value = 235 if k >> bit & 1 else 20
            clip[k, 0:block, (bit + 1) * block : (bit + 2) * block] = value
    return clip


COLOURS = {
    "copy": (128, 128, 128),
    "viamethod": (200, 120, 60),
    "tokenmethod": (60, 160, 200),
    "perframemethod": (90, 200, 90),
    "tunemethod": (190, 80, 190),
}


def make_run(
    folder: Path,
    methods=("copy", "viamethod", "tokenmethod", "perframemethod"),
    *,
    sources=8,
    per_source=1,
    frames=FRAMES,
    size=SIZE,
    instruction="make number {} look like {}",
):
    """A whole run: every method finished every task."""
    tasks = tuple(
        TaskRecord(id=f"clip{s:02d}-{e}", source=f"clip{s:02d}", instruction=instruction.format(s, e))
        for s in range(sources)
        for e in range(per_source)
    )
    number = {task.id: index for index, task in enumerate(tasks)}

    def maker(method):
        return lambda task: numbered(number[task.id], COLOURS[method], frames, size)

    suite = SuiteRecord(name="tiny", sha256="0" * 64, tasks=tasks)
    write_run(folder, suite, {method: maker(method) for method in methods}, FPS)
    return folder


def make_study(folder: Path, run: Path, **settings) -> Study:
    """A study over a run, small enough for a test."""
    given = dict(name="tiny", session_length=4, votes=2, ours="viamethod", about=ABOUT) | settings
    return new_study(Settings(**given), [run], folder, secret="5a" * 32)
