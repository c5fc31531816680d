"""Which frames form the attention group (section 4.2): evenly spread over the clip, or over its shots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data.types import Clip, UserError

CUT = 15.0  # mean change of a colour between two shots, of 255
STANDS_OUT = 2.0  # a cut changes this many times more than the two frames before and after it


def group_numbers(
    where: Literal["even", "shots"] | Sequence[int], size: int, frames: int, shots: Sequence[int] = (0,)
) -> list[int]:
    """Frame numbers of the group, in order, each once.

    even: `size` numbers spread over the clip, ends included. shots: the same number of frames, every shot
    given a share by its length and at least one; `shots` holds the first frame of each. Otherwise the numbers
    themselves. Raises UserError when a number lies outside the clip or the shots outnumber the group.

    >>> group_numbers("even", 4, 12)
    [0, 4, 7, 11]
    >>> group_numbers("shots", 4, 12, shots=[0, 9])
    [0, 4, 8, 10]
    """
    if where == "even":
        return _spread(0, frames, size)
    if where == "shots":
        if len(shots) > size:
            raise UserError(
                f"the clip has {len(shots)} shots and the group {size} frames: "
                f"use --set group_size={len(shots)} or more, or --set group_frames=even"
            )
        bounds = [*shots, frames]
        lengths = [end - start for start, end in pairwise(bounds)]
        shares = [1] * len(lengths)
        for _ in range(size - len(shares)):
            shares[int(np.argmax([length / share for length, share in zip(lengths, shares)]))] += 1
        numbers = [
            n for start, end, share in zip(bounds, bounds[1:], shares) for n in _spread(start, end, share)
        ]
        return sorted(set(numbers))
    outside = [number for number in where if not 0 <= number < frames]
    if outside or not where:
        raise UserError(f"group_frames: the clip has frames 0 to {frames - 1}, not {outside or 'none'}")
    return sorted(set(where))


def _spread(start: int, end: int, count: int) -> list[int]:
    """`count` numbers evenly over [start, end - 1], ends included; a single one in the middle."""
    if count == 1:
        return [(start + end - 1) // 2]
    return sorted(set(np.linspace(start, end - 1, count).round().astype(int).tolist()))


def shot_starts(clip: Clip) -> list[int]:
    """First frame of each shot: a cut changes the picture, and far more than the frames around it do.

    Compares neighbouring frames as 16 x 16 mean colours, reading one frame at a time.
    """
    changes = [0.0]
    previous = _thumbnail(clip[0])
    for number in range(1, len(clip)):
        current = _thumbnail(clip[number])
        changes.append(float(np.abs(current - previous).mean()))
        previous = current
    starts = [0]
    for number in range(1, len(clip)):
        around = changes[max(number - 2, 0) : number] + changes[number + 1 : number + 3]
        if changes[number] >= CUT and changes[number] >= STANDS_OUT * max(around):
            starts.append(number)
    return starts


def _thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colours (16, 16, 3)."""
    return cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
