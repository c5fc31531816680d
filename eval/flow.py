"""Optical flow and what can be compared along it.

`flow[y, x] = (dx, dy)` in pixels, float32 (H, W, 2): what is at p in frame a is at p + flow(p) in frame b;
it lives on the grid of a. The forward flow pulls the *later* frame back onto the earlier grid.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.frames import bands

Flow = NDArray[np.float32]
Preset = Literal["medium", "fast"]

LONGEST_SIDE = 512  # of the frames that flow is estimated on
PRESETS = {"medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST}
NOTHING: Any = None  # OpenCV's way to leave an argument out
SMALLEST_SIDE = 16  # DIS needs a few patches of 8 pixels


def estimate(
    a: NDArray[np.uint8], b: NDArray[np.uint8], preset: Preset = "medium", scale: float = 1.0
) -> Flow:
    """DIS flow from luma a to luma b, uint8 (H, W), at the size round(scale * (H, W)), in pixels of (H, W).

    Frames whose long side is above 512 are first reduced to that by area. The result lives on the reduced
    grid; `enlarged` brings it to the frame's. Frames too small for DIS are enlarged by repeating the
    border.
    """
    height, width = a.shape
    factor = min(1.0, LONGEST_SIDE / max(height, width)) * scale
    h, w = max(1, round(height * factor)), max(1, round(width * factor))
    frames = [_reduced(a, h, w), _reduced(b, h, w)]
    pad = (max(0, SMALLEST_SIDE - h), max(0, SMALLEST_SIDE - w))
    if any(pad):
        frames = [np.pad(frame, ((0, pad[0]), (0, pad[1])), mode="edge") for frame in frames]
    # a new one each time: kept, it would hold memory in cache that what follows uses again
    estimator = cv2.DISOpticalFlow.create(PRESETS[preset])
    flow = np.asarray(estimator.calc(frames[0], frames[1], NOTHING), dtype=np.float32)
    flow = np.ascontiguousarray(flow[:h, :w])
    return _stretched(flow, width / w, height / h)


def enlarged(flow: Flow, size: tuple[int, int]) -> Flow:
    """A flow already in pixels of the frame, brought to the frame's grid (H, W), bilinear."""
    if flow.shape[:2] == size:
        return flow
    return np.asarray(cv2.resize(flow, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def resized(flow: Flow, size: tuple[int, int]) -> Flow:
    """A flow resampled to another frame size: dx by the ratio of widths, dy by the ratio of heights."""
    height, width = flow.shape[:2]
    return _stretched(enlarged(flow, size), size[1] / width, size[0] / height)


def target(flow: Flow) -> Flow:
    """p + flow(p) for every pixel p: (H, W, 2) float32, the coordinates that `pull` samples."""
    return np.asarray(cv2.add(_grid(*flow.shape[:2]), np.ascontiguousarray(flow)), dtype=np.float32)


def pull(image: NDArray[Any], to: Flow, out: Any = NOTHING) -> NDArray[np.float32]:
    """An image (H, W, c) sampled bilinearly at `to` (H, W, 2); integers are pixel centres, float32.

    Outside the frame the value is the border's, and does not matter: such pixels are not valid. `out` is an
    earlier result whose memory may be used again.
    """
    return np.asarray(
        cv2.remap(
            image.astype(np.float32, copy=False),
            to,
            NOTHING,
            cv2.INTER_LINEAR,
            dst=out,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.float32,
    )


def valid(forward: Flow, backward: Flow, to: Flow | None = None) -> NDArray[np.uint8]:
    """Pixels of a seen again in b (Sundaram et al. 2010): uint8 (H, W), 255 where valid, else 0 (an OpenCV
    mask).

    p + f(p) is inside the frame, and with g = backward(p + f(p)): |f + g|^2 <= 0.01 (|f|^2 + |g|^2) + 0.5.
    """
    height, width = forward.shape[:2]
    to = target(forward) if to is None else to
    mask = np.empty((height, width), np.uint8)
    back = squares = NOTHING  # their memory is used again for every band, while it is in cache
    for rows, _ in bands(height, width):
        back = pull(backward, to[rows], back)
        # of either component, until they are added
        squares = cv2.multiply(forward[rows], forward[rows], dst=squares)
        cv2.accumulateSquare(back, squares)
        mismatch = cv2.add(forward[rows], back, dst=back)
        cv2.multiply(mismatch, mismatch, dst=mismatch)
        excess = cv2.scaleAdd(squares, -0.01, mismatch, dst=mismatch)
        total = excess[..., 0] + excess[..., 1]
        cv2.compare(total, 0.5, cv2.CMP_LE, dst=mask[rows])  # type: ignore[call-overload]
    # what is farther from the border than any motion stays inside
    reach = 1 + int(np.ceil(cv2.norm(forward, cv2.NORM_INF)))
    for strip in (np.s_[:reach], np.s_[-reach:], np.s_[:, :reach], np.s_[:, -reach:]):
        inside = cv2.inRange(to[strip], (0.0, 0.0), (float(width - 1), float(height - 1)))
        mask[strip] &= np.asarray(inside, dtype=np.uint8)
    return mask


def _reduced(image: NDArray[np.uint8], h: int, w: int) -> NDArray[np.uint8]:
    if image.shape == (h, w):
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _stretched(flow: Flow, x: float, y: float) -> Flow:
    if x == y:
        return flow if x == 1 else np.multiply(flow, np.float32(x))
    return flow * np.array([x, y], dtype=np.float32)


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> Flow:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)
