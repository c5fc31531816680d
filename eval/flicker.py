"""`flicker`: brightness that jumps from frame to frame, beyond what the source does."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result


def bend(before: NDArray[np.float32], now: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Mean over pixels of |Y_t - (Y_{t-1} + Y_{t+1}) / 2| of three luma frames (H, W)."""
    line = cv2.addWeighted(before, 0.5, after, 0.5, 0)
    return float(cv2.norm(now, line, cv2.NORM_L1)) / now.size


def step(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two uint8 frames, in [0, 1]."""
    return float(cv2.norm(before, now, cv2.NORM_L1)) / now.size / 255


def bends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """|y_t - (y_{t-1} + y_{t+1}) / 2| of a series (n,): (n - 2,)."""
    return np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2)


def frozen(edited_steps: NDArray[np.float64], source_steps: NDArray[np.float64]) -> bool:
    """Whether the edit stands still in at least half of the steps in which the source moves.

    Still is under a tenth of the source's own mean difference between neighbours; a source whose mean
    difference is below one grey level does not move.
    """
    moves = source_steps > 1 / 255
    still = edited_steps < 0.1 * source_steps
    return bool(moves.any() and (still & moves).sum() >= 0.5 * moves.sum())


class Flickering:
    """`bend` of every three neighbours of both clips, their mean luma, and mean absolute differences of
    neighbours.
    """

    def __init__(self, pair: Pair) -> None:
        self.rows: dict[str, list[float]] = {
            name: []
            for name in ("edited", "source", "edited_mean", "source_mean", "edited_step", "source_step")
        }

    def update(self, moment: Moment) -> None:
        self.rows["edited_mean"].append(float(cv2.mean(moment.edited_luma)[0]))
        self.rows["source_mean"].append(float(cv2.mean(moment.source_luma)[0]))
        now = moment.before
        if now is not None:
            self.rows["edited_step"].append(step(now.edited, moment.edited))
            self.rows["source_step"].append(step(now.source, moment.source))
        if now is not None and now.before is not None:
            before = now.before
            self.rows["edited"].append(bend(before.edited_luma, now.edited_luma, moment.edited_luma))
            self.rows["source"].append(bend(before.source_luma, now.source_luma, moment.source_luma))

    def result(self) -> Result:
        return {name: np.array(values) for name, values in self.rows.items()}


class Flicker(Card):
    """F(X) = mean over t and pixels of |Y_t - (Y_{t-1} + Y_{t+1}) / 2|; score max(0, F(E) - F(S)). The
    global twin, on frame means of luma, is in the details (lamp-like flicker).

    Fooled by: freezing, blur, low contrast, slow drift (ramps are invisible by design). Motion of the
    source is subtracted. Known: alternating a, b: |a - b|; one bright frame of height h in T frames: 2h /
    (T - 2). compat vbench, ivebench: 1 - mean absolute difference of neighbours, of the edit alone.
    """

    id, version, direction, range = "flicker", 1, "down", (0.0, 1.0)
    measures = (Flickering,)
    compat = ("vbench", "ivebench")

    def __call__(self, pair: Pair, features: Features) -> Score:
        result = features.measured(pair, Flickering)
        if self.variant:
            if len(result["edited_step"]) == 0:
                return missing("undefined", "too few frames: 2 are needed")
            return ok(1 - float(result["edited_step"].mean()), pairs=result["edited_step"])
        if len(result["edited"]) == 0:
            return missing("undefined", "too few frames: 3 are needed")
        edited, source = float(result["edited"].mean()), float(result["source"].mean())
        details: dict[str, Any] = {
            "edited": edited,
            "source": source,
            "global_edited": bends(result["edited_mean"]).mean(),
            "global_source": bends(result["source_mean"]).mean(),
            "frames": result["edited"],
            "flag": "frozen" if frozen(result["edited_step"], result["source_step"]) else None,
        }
        return ok(max(0.0, edited - source), **details)
