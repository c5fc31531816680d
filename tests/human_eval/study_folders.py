"""Small runs and studies for the tests of this room, written in the run format of `benchmarks.records`."""

from fractions import Fraction
from pathlib import Path

import av
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


def write_lossless(path: Path, frames: np.ndarray, fps: Fraction) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for array in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


COLOURS = {
    "copy": (128, 128, 128),
    "viamethod": (200, 120, 60),
    "tokenmethod": (60, 160, 200),
    "perframemethod": (90, 200, 90),
    "tunemethod": (190, 80, 190),
}


def make_run(
    folder: Path, methods=("copy", "viamethod", "tokenmethod", "perframemethod"), sources=8, per_source=1
):
    """A whole run: every method finished every task."""
    tasks = tuple(
        TaskRecord(id=f"clip{s:02d}-{e}", source=f"clip{s:02d}", instruction=f"make number {s} look like {e}")
        for s in range(sources)
        for e in range(per_source)
    )
    suite = SuiteRecord(name="tiny", sha256="0" * 64, tasks=tasks)
    records = tuple(
        MethodRecord(name=m, editor=m, version="1", config={}, config_hash=config_hash(m, "1", {}, {}))
        for m in methods
    )
    folder.mkdir(parents=True)
    run = RunRecord(
        created="2026-01-01T00:00:00Z",
        command="test",
        suite=suite,
        methods=records,
        seeds=(0,),
        versions={},
        hardware={},
    )
    write_record(folder, run)
    for record in records:
        for index, task in enumerate(tasks):
            video = numbered(index, COLOURS[record.name], frames, size)
            name = video_name(record.name, record.config_hash, task.id, 0)
            write_lossless(folder / name, video, FPS)
            line = Result(
                suite=suite.sha256,
                task=task.id,
                method=record.name,
                config_hash=record.config_hash,
                seed=0,
                status="ok",
                frames=frames,
                fps=FPS,
                size=size,
                video=name,
                video_sha256=file_sha256(folder / name),
                frames_sha256=frames_sha256(video),
                device="cpu",
                ended="2026-01-01T00:00:00Z",
            )
            append(folder / "results.jsonl", line)
    return folder


def make_study(folder: Path, run: Path, **settings) -> Study:
    """A study over a run, small enough for a test."""
    given = dict(name="tiny", session_length=4, votes=2, ours="viamethod", about=ABOUT) | settings
    return new_study(Settings(**given), [run], folder, secret="5a" * 32)
