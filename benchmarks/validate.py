"""Whether a folder is a run: every line by its model, every path inside, every video as its hashes say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.records import Result, Run, file_sha256, frames_sha256, read_run
from data.types import UserError
from data.video import open_clip


def faults(folder: Path) -> list[str]:
    """Everything that breaks the format, one line each; empty for a valid run."""
    try:
        run = read_run(folder)
    except UserError as error:
        return [str(error)]
    return [*result_faults(run), *score_faults(run)]


def result_faults(run: Run) -> Iterator[str]:
    for key, result in run.results.items():
        where = f"{run.folder}: {key.method}, {key.task}, seed {key.seed}"
        if result.status != "ok":
            if not result.reason:
                yield f"{where}: {result.status} without a reason"
            continue
        yield from (f"{where}: {fault}" for fault in video_faults(run, result))


def video_faults(run: Run, result: Result) -> Iterator[str]:
    """What is wrong with the video of an ok result."""
    if None in (
        result.video,
        result.video_sha256,
        result.frames_sha256,
        result.frames,
        result.fps,
        result.size,
    ):
        yield "ok without video, hashes, frames, fps and size"
        return
    try:
        path = run.video(result)
    except UserError as error:
        yield str(error)
        return
    if not path.is_file():
        yield f"{result.video} is missing"
        return
    if file_sha256(path) != result.video_sha256:
        yield f"{result.video} is not the file that its line names (sha256)"
        return
    clip = open_clip(path)
    if frames_sha256(clip[index] for index in range(len(clip))) != result.frames_sha256:
        yield f"{result.video} does not decode to the frames that its line names"
    if (len(clip), clip.size, clip.fps) != (result.frames, result.size, result.fps):
        yield f"{result.video} has another length, size or rate than its line says"


def score_faults(run: Run) -> Iterator[str]:
    for (key, metric), score in run.scores.items():
        where = f"{run.folder}: {metric} of {key.method}, {key.task}, seed {key.seed}"
        if (score.value is None) == (score.status == "ok"):
            yield f"{where}: a score has a value if and only if it is ok"
        if score.value is None and not score.reason:
            yield f"{where}: {score.status} without a reason"
        result = run.results.get(key)
        if result is None:
            yield f"{where}: there is no such result"
        elif result.frames_sha256 != score.frames_sha256:
            yield f"{where}: stale, computed from other frames: run `via score` again"
