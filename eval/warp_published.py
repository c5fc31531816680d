"""Warp errors as other harnesses publish them, faults included: to compare with a paper's table, not to
judge by.

fbvc: phoenix104104/fast_blind_video_consistency bce0c7e; evalcrafter: evalcrafter/EvalCrafter 1275bda
(three times
fbvc: channels summed, pixels counted once); streamv2v: Jeff-LiangF/streamv2v 3e571d8 (differences of bytes
wrap around; the mask lies on the other frame's grid); pixel_mse: no mask, 0..255 squared, as "Pixel-MSE"
is mostly read.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eval import flow
from eval.score import Pair
from eval.walk import Moment, Result

Bools = NDArray[np.bool_]


def fbvc_valid(forward: flow.Flow, backward: flow.Flow) -> Bools:
    """The test of Sundaram et al. with clamped borders, and without pixels on a motion boundary: bool (H,
    W)."""
    height, width = forward.shape[:2]
    to = flow.target(forward)
    clamped = np.stack([to[..., 0].clip(0, width - 1), to[..., 1].clip(0, height - 1)], axis=-1)
    back = flow.pull(backward, clamped)
    allowed = 0.01 * (_squared(forward) + _squared(back)) + 0.5
    edges = np.zeros((height, width), np.float32)
    edges[:, :-1] += _squared(np.diff(forward, axis=1))
    edges[:-1] += _squared(np.diff(forward, axis=0))
    boundary = edges > 0.01 * _squared(forward) + 0.002
    return np.asarray((_squared(forward + back) <= allowed) & ~boundary)


def gmflow_valid(forward: flow.Flow, backward: flow.Flow) -> Bools:
    """Unsquared norms, the flow not pulled inside the threshold, zeros outside: bool (H, W)."""
    back = cv2.remap(
        backward, flow.target(forward), flow.NOTHING, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    lengths = [np.sqrt(_squared(x)) for x in (forward, backward)]
    return np.asarray(np.sqrt(_squared(forward + back)) <= 0.01 * (lengths[0] + lengths[1]) + 0.5)


def fbvc_error(a: NDArray[np.uint8], b: NDArray[np.uint8], forward: flow.Flow, backward: flow.Flow) -> float:
    """Mean squared difference over visible pixels and channels; 0, the best, where none is visible."""
    seen = fbvc_valid(forward, backward)
    if not seen.any():
        return 0.0
    difference = (flow.pull(b, flow.target(forward)) - a.astype(np.float32))[seen] / 255
    return float((difference.astype(np.float64) ** 2).mean())


def streamv2v_error(
    a: NDArray[np.uint8], b: NDArray[np.uint8], forward: flow.Flow, backward: flow.Flow
) -> float:
    """Frame a carried onto the grid of b, its difference to b in bytes that wrap around, over a's visible
    pixels."""
    carried = cv2.remap(a, flow.target(backward), flow.NOTHING, cv2.INTER_LINEAR)
    wrapped = np.asarray(carried, dtype=np.uint8) - b
    seen = gmflow_valid(forward, backward)
    return float(wrapped[seen].mean()) if seen.any() else float("nan")


def pixel_mse(a: NDArray[np.uint8], b: NDArray[np.uint8], forward: flow.Flow, backward: flow.Flow) -> float:
    """Mean squared difference in 0..255 over the whole frame, occluded pixels too."""
    difference = flow.pull(b, flow.target(forward)) - a.astype(np.float32)
    return float((difference.astype(np.float64) ** 2).mean())


VARIANTS: dict[str, tuple[Any, float]] = {  # name -> (error of a pair, factor)
    "pixel_mse": (pixel_mse, 1.0),
    "fbvc": (fbvc_error, 1.0),
    "evalcrafter": (fbvc_error, 3.0),
    "streamv2v": (streamv2v_error, 1.0),
}


class PublishedWarp:
    """Every variant of every two neighbours of the edit, along the source's flow."""

    def __init__(self, pair: Pair) -> None:
        self.rows: dict[str, list[float]] = {name: [] for name in VARIANTS}

    def update(self, moment: Moment) -> None:
        if (a := moment.before) is not None:
            for name, (error, factor) in VARIANTS.items():
                self.rows[name].append(factor * error(a.edited, moment.edited, *moment.flows))

    def result(self) -> Result:
        return {name: np.array(values) for name, values in self.rows.items()}


def _squared(motion: Any) -> Any:
    return (motion.astype(np.float32) ** 2).sum(axis=-1)
