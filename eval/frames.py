"""Frames as numbers: what is accepted at the door, values in [0, 1], luma, and pairs of clips that do not
match.

Outside, frames are uint8 RGB (H, W, 3); inside they are float32 u8 / 255, exactly: never clipped, stretched
or made linear. Luma is Y = 0.299 R + 0.587 G + 0.114 B on the encoded values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import Clip, UserError

Floats32 = NDArray[np.float32]
LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)  # of uint8, in [0, 1]
BAND_PIXELS = 2**14


def four_channels(frame: NDArray[Any]) -> Floats32:
    """An RGB frame (H, W, 3) as float32 (H, W, 4) in its own unit, the fourth channel constant, because
    OpenCV samples four channels along a flow in half the time it takes for three.
    """
    known = frame if frame.dtype == np.uint8 else frame.astype(np.float32)
    return np.asarray(cv2.cvtColor(known, cv2.COLOR_RGB2RGBA), dtype=np.float32)


def samples(frame: NDArray[Any]) -> Floats32:
    """An RGB frame (H, W, 3), uint8 or float in [0, 1], as float32 in [0, 1]."""
    return np.asarray(cv2.LUT(frame, LEVELS) if frame.dtype == np.uint8 else frame, dtype=np.float32)


def luma(sampled: Floats32) -> Floats32:
    """Y (H, W) in [0, 1] of `samples` (H, W, 3)."""
    return np.asarray(cv2.cvtColor(sampled, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def frame_luma(frame: NDArray[np.uint8]) -> Floats32:
    """Y (H, W) in [0, 1] of a frame (H, W, 3), made in bands: its `samples` are larger than the cache."""
    whole = np.empty(frame.shape[:2], np.float32)
    for rows, _ in bands(*frame.shape[:2]):
        whole[rows] = luma(samples(frame[rows]))
    return whole


def bands(height: int, width: int, halo: int = 0) -> Iterator[tuple[slice, slice]]:
    """Rows of a frame in pieces that stay in a processor's cache, whatever the size of the frame.

    Each piece as (its rows with `halo` more on either side where there are any, its own rows among those).
    """
    step = max(12 * halo, BAND_PIXELS // width, 1)  # the halo adds a sixth at most
    for top in range(0, height, step):
        bottom = min(top + step, height)
        first, last = max(0, top - halo), min(height, bottom + halo)
        yield slice(first, last), slice(top - first, bottom - first)


def check_frame(frame: NDArray[Any], size: tuple[int, int], name: str, index: int) -> NDArray[np.uint8]:
    """The frame itself when it is uint8 RGB of the clip's size; else a UserError that names it."""
    if frame.dtype != np.uint8 or frame.shape != (*size, 3):
        raise UserError(
            f"{name}: frame {index} is {frame.dtype} {frame.shape}, not uint8 {(*size, 3)}: decode it again"
        )
    return np.ascontiguousarray(frame)


def mismatch(source: Clip, edited: Clip) -> str | None:
    """Why the two cannot be compared frame by frame, and the option that would allow it; None when they
    can."""
    if len(edited) < 1 or len(source) < 1:
        return "a clip has at least one frame"
    if source.size != edited.size:
        return f"the source is {_size(source)}, the edit {_size(edited)}: --resize=edited scales the edit"
    if len(source) != len(edited):
        return (
            f"the source has {len(source)} frames, the edit {len(edited)}: --align=trim or --align=resample"
        )
    if source.fps != edited.fps:
        return f"the source has {_fps(source)} frames a second, the edit {_fps(edited)}: --align=resample"
    return None


def aligned(
    source: Clip, edited: Clip, align: str | None = None, resize: str | None = None
) -> tuple[Clip, Clip, dict[str, Any]]:
    """(source, edited, record): two clips that match, and what was done to make them so.

    align trim: the first frames that both have; resample: the edit's frame nearest in time to each frame of
    the source. resize edited: the edit scaled to the source's size, by area down and bicubic up. Without
    the option that a mismatch needs: UserError.
    """
    if align not in (None, "trim", "resample") or resize not in (None, "edited"):
        raise UserError(f"--align is trim or resample, --resize is edited, not {align or resize}")
    record: dict[str, Any] = {}
    if resize == "edited" and source.size != edited.size:
        record["resized"] = [list(edited.size), list(source.size)]
        edited = Arranged(edited, range(len(edited)), edited.fps, source.size)
    if align == "trim" and (len(source), source.fps) != (len(edited), edited.fps):
        n = min(len(source), len(edited))
        record["trimmed"] = [len(source), len(edited), n]
        source = Arranged(source, range(n), source.fps, source.size)
        edited = Arranged(edited, range(n), source.fps, edited.size)
    if align == "resample" and (len(source), source.fps) != (len(edited), edited.fps):
        times = [Fraction(t) / source.fps * edited.fps for t in range(len(source))]
        if times[-1] > len(edited):
            raise UserError(f"the edit ends early, after {len(edited)} frames: --align=trim cuts the source")
        indices = [min(len(edited) - 1, int(time + Fraction(1, 2))) for time in times]
        record["resampled"] = indices
        edited = Arranged(edited, indices, source.fps, edited.size)
    if why := mismatch(source, edited):
        raise UserError(why)
    return source, edited, record


@dataclass(frozen=True)
class Arranged:
    """Frames of another clip in a given order, at a given size."""

    clip: Clip
    indices: Sequence[int]
    fps: Fraction
    size: tuple[int, int]

    @property
    def name(self) -> str:
        return self.clip.name

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return np.stack([self[i] for i in range(*index.indices(len(self)))])
        return scaled(self.clip[self.indices[index]], self.size)


def scaled(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """One frame at `size` (H, W): area filter when smaller, bicubic when larger."""
    if frame.shape[:2] == size:
        return frame
    shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    return np.asarray(
        cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC),
        dtype=np.uint8,
    )


def _size(clip: Clip) -> str:
    return f"{clip.size[1]}x{clip.size[0]}"


def _fps(clip: Clip) -> str:
    return f"{float(clip.fps):g}"
