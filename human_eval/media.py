"""Clips as raters see them: three videos brought to one size, rate and length, tiled into one H.264 file.

One tiled clip per comparison (source above, A | B below) needs one decoder only, so the three panels cannot
drift apart, and no file exists that belongs to one method alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from PIL import Image, ImageDraw, ImageFont

from data.types import ArrayClip, Frame, Frames, UserError
from data.video import open_clip

from .study import Panel

ASPECT_TOLERANCE = 0.02
GAP = 8  # px between panels, even
BACKGROUND = 24  # grey level around panels
GROUP = 12  # frames from one key frame to the next
CRF = "16"

Treatment = Literal["", "degraded-left", "degraded-right", "say-left", "say-right", "say-tie"]


@dataclass(frozen=True)
class Triple:
    """Source, A and B as uint8 RGB (n, H, W, 3) of one size, rate and length, and how they got there."""

    source: Frames
    left: Frames
    right: Frames
    fps: Fraction
    rule: str

    @property
    def panel(self) -> Panel:
        return Panel(width=self.source.shape[2], height=self.source.shape[1], gap=GAP)


def read_clip(path: Path) -> ArrayClip:
    """All frames of a video file, at constant rate."""
    clip = open_clip(path)
    return ArrayClip(clip[:], clip.fps, path.stem)


def brought_together(source: ArrayClip, left: ArrayClip, right: ArrayClip, shorter_side: int) -> Triple:
    """The three clips at one size, frame rate and frame count; clips are never enlarged or stretched.

    Size: the source's aspect ratio, the shorter side that of the smallest clip, at most `shorter_side`,
    both even; up to 2 % of other aspect is cropped at the centre, more raises UserError. Rate: the lowest
    of the three. Length: the shortest. Each frame shown is the clip's own frame at that time.
    """
    clips = {"source": source, "A": left, "B": right}
    height, width = source.size
    for clip in clips.values():
        aspect = clip.size[1] / clip.size[0] / (width / height)
        if abs(aspect - 1) > ASPECT_TOLERANCE:
            raise UserError(
                f"{clip.name}: {clip.size[1]}x{clip.size[0]} has another aspect ratio than the source's "
                f"{width}x{height}; crop or pad it before the study"
            )
    short = min(shorter_side, *(min(clip.size) for clip in clips.values()))
    scale = short / min(height, width)
    size = (max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2))
    fps = min(clip.fps for clip in clips.values())
    seconds = min(len(clip) / clip.fps for clip in clips.values())
    count = max(1, int(seconds * fps))
    parts, rules = [], []
    for name, clip in clips.items():
        shown = [min(len(clip) - 1, int(k / fps * clip.fps)) for k in range(count)]
        parts.append(np.stack([resized(clip[i], size) for i in shown]))
        rules.append(f"{name} {clip.size[1]}x{clip.size[0]}, {len(set(shown))} of {len(clip)} frames")
    rule = f"{size[1]}x{size[0]}, {count} frames at {float(fps):g} fps: {'; '.join(rules)}"
    return Triple(*parts, fps, rule)


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """Centre-cropped to the aspect of `size` (height, width) and scaled to it."""
    height, width = frame.shape[:2]
    if (height, width) == size:
        return frame
    crop = min(height / size[0], width / size[1])
    h, w = round(size[0] * crop), round(size[1] * crop)
    top, left = (height - h) // 2, (width - w) // 2
    image = Image.fromarray(frame[top : top + h, left : left + w])
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def treated(triple: Triple, treatment: Treatment) -> Triple:
    """The clips of a check: one side degraded, or a caption on both that says which answer to give."""
    if not treatment:
        return triple
    action, _, side = treatment.partition("-")
    if action == "degraded":
        left = degraded(triple.left) if side == "left" else triple.left
        right = degraded(triple.right) if side == "right" else triple.right
    else:
        words = {"left": "Answer A", "right": "Answer B", "tie": "Answer: no difference"}[side]
        left, right = captioned(triple.left, words), captioned(triple.right, words)
    return Triple(triple.source, left, right, triple.fps, triple.rule)


def degraded(frames: Frames) -> Frames:
    """Heavy blocking: means over blocks of about a tenth of the height."""
    block = max(4, frames.shape[1] // 10)
    n, height, width, _ = frames.shape
    rows, columns = np.arange(height) // block, np.arange(width) // block
    result = np.empty_like(frames)
    for k in range(n):
        small = np.zeros((rows[-1] + 1, columns[-1] + 1, 3))
        np.add.at(small, (rows[:, None], columns[None, :]), frames[k].astype(float))
        size = np.bincount(rows)[:, None] * np.bincount(columns)[None, :]
        result[k] = (small / size[:, :, None]).round().astype(np.uint8)[rows][:, columns]
    return result


def captioned(frames: Frames, words: str) -> Frames:
    """White words on a black band at the bottom of every frame."""
    n, height, width, _ = frames.shape
    size = max(9, height // 9)
    font = ImageFont.load_default(size)
    while size > 7 and font.getlength(words) > width - 8:
        size -= 1
        font = ImageFont.load_default(size)
    result = frames.copy()
    for k in range(n):
        image = Image.fromarray(result[k])
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, height - size - 8, width, height), fill=(0, 0, 0))
        x = (width - font.getlength(words)) / 2
        draw.text((x, height - size - 6), words, font=font, fill=(255, 255, 255))
        result[k] = np.asarray(image)
    return result


def panels(panel: Panel) -> dict[str, tuple[int, int]]:
    """(x, y) of each panel in the tiled frame."""
    w, h, gap = panel.width, panel.height, panel.gap
    return {"source": ((w + gap) // 2 // 2 * 2, 0), "left": (0, h + gap), "right": (w + gap, h + gap)}


def tiled(triple: Triple) -> Frames:
    """(n, 2 h + gap, 2 w + gap, 3): the source centred above, left and right below, a grey ground."""
    panel, n = triple.panel, len(triple.source)
    w, h = panel.width, panel.height
    canvas = np.full((n, 2 * h + GAP, 2 * w + GAP, 3), BACKGROUND, np.uint8)
    for name, (x, y) in panels(panel).items():
        canvas[:, y : y + h, x : x + w] = getattr(triple, name)
    return canvas


def write_h264(path: Path, frames: Frames, fps: Fraction) -> None:
    """H.264 high, yuv420p, constant rate, closed groups of 12, faststart, no audio and no metadata."""
    beside = path.with_suffix(".part.mp4")
    container_options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(beside), "w", options=container_options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        stream.codec_context.thread_count = 1
        stream.options = {
            "crf": CRF,
            "profile": "high",
            "preset": "medium",
            "x264-params": f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:open-gop=0:bframes=0:"
            "colorprim=bt709:transfer=bt709:colormatrix=bt709",
        }
        without_notes = BitStreamFilterContext(
            "filter_units=remove_types=6", stream
        )  # the encoder's own notes
        for array in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            for packet in stream.encode(frame):
                for clean in without_notes.filter(packet):
                    container.mux(clean)
        for packet in stream.encode():
            for clean in without_notes.filter(packet):
                container.mux(clean)
        for clean in without_notes.filter(None):
            container.mux(clean)
    os.utime(beside, (0, 0))  # the time of making is nobody's business
    beside.replace(path)


def filmstrip(path: Path, panel: Panel, count: int = 6) -> dict[str, list[Image.Image]]:
    """`count` evenly spaced frames of each panel of a tiled clip."""
    clip = read_clip(path)
    picked = np.linspace(0, len(clip) - 1, count).round().astype(int)
    strips: dict[str, list[Image.Image]] = {}
    for name, (x, y) in panels(panel).items():
        strips[name] = [Image.fromarray(clip[i][y : y + panel.height, x : x + panel.width]) for i in picked]
    return strips


def contact_sheet(images: Sequence[Image.Image], height: int = 96) -> Image.Image:
    """Images of one size side by side, with thin white gaps."""
    width = round(images[0].width * height / images[0].height)
    sheet = Image.new("RGB", (len(images) * (width + 2) - 2, height), "white")
    for i, image in enumerate(images):
        sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS), (i * (width + 2), 0))
    return sheet
