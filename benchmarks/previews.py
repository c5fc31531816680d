"""Side-by-side videos for browsers: all rows of a task in one clip, frame-exact because they are one clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.figures import LETTERS, first_seed
from benchmarks.records import Run, video_name
from data.types import Clip, Frame, Report, silent
from data.video import open_clip, write_mp4

COLUMNS = 4  # tiles in a row
SMALLEST = 224  # pixels; smaller tiles are enlarged
BAR = 22  # pixels of caption above a tile


def side_by_side(run: Run, report: Report = silent) -> dict[str, Path]:
    """Task -> an H.264 clip of all its rows (first seed) in `previews/`; made only where rows changed."""
    tasks = run.record.suite.tasks
    made = {}
    for done, task in enumerate(tasks):
        report("previews", done, len(tasks))
        results = {name: result for name, result in first_seed(run, task.id).items() if result.status == "ok"}
        if not results:
            continue
        content = "".join(f"{name} {result.frames_sha256}\n" for name, result in results.items())
        label = Path(video_name("", "", task.id, run.record.seeds[0])).stem
        path = run.folder / "previews" / f"{label}.{hashlib.sha256(content.encode()).hexdigest()[:8]}.mp4"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            clips = {name: open_clip(run.video(result)) for name, result in results.items()}
            write_mp4(path, tiled(clips), next(iter(clips.values())).fps)
        made[task.id] = path
    report("previews", len(tasks), len(tasks))
    return made


def tiled(clips: Mapping[str, Clip]) -> Iterator[Frame]:
    """Frames of all clips in a grid, each under its name; as many as the shortest clip has."""
    height, width = next(iter(clips.values())).size
    scale = max(1, ceil(SMALLEST / min(height, width)))
    tile = (height * scale, width * scale)
    bars = {name: caption(LETTERS.get(name, name), tile[1]) for name in clips}
    columns = min(COLUMNS, len(clips))
    blank = np.full((tile[0] + BAR, tile[1], 3), 255, dtype=np.uint8)
    for index in range(min(map(len, clips.values()))):
        tiles = [np.concatenate([bars[name], fitted(clip[index], tile)]) for name, clip in clips.items()]
        tiles += [blank] * (-len(tiles) % columns)
        lines = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
        whole = np.concatenate(lines)
        yield np.pad(whole, ((0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)), mode="edge")


def fitted(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame at another size (height, width)."""
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def caption(text: str, width: int) -> Frame:
    """Black text on a white bar (BAR, width, 3)."""
    bar = Image.new("RGB", (width, BAR), "white")
    ImageDraw.Draw(bar).text((4, 3), text, fill="black", font=ImageFont.load_default(14))
    return np.asarray(bar)
