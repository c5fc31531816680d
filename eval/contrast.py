"""`contrast_ratio` (guard): a washed-out or flat edit, which can win temporal metrics, shows here."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result

FLAT = 1e-8
WASHED_OUT, GREY = 0.5, 0.05


def deviation(luma: NDArray[np.float32]) -> float:
    """Standard deviation of luma (H, W)."""
    return float(cv2.meanStdDev(luma)[1][0, 0])


class Contrast:
    """`deviation` of every frame of both clips."""

    def __init__(self, pair: Pair) -> None:
        self.edited: list[float] = []
        self.source: list[float] = []

    def update(self, moment: Moment) -> None:
        self.edited.append(deviation(moment.edited_luma))
        self.source.append(deviation(moment.source_luma))

    def result(self) -> Result:
        return {"edited": np.array(self.edited), "source": np.array(self.source)}


class ContrastRatio(Card):
    """Mean over frames of the standard deviation of luma, edited / source (ratio of the means).

    A guard: flagged under 0.5 (washed out) and 0.05 (flat). Known: E = S / 2 gives 0.5.
    """

    id, version, direction, range = "contrast_ratio", 1, "none", (0.0, float("inf"))
    measures = (Contrast,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        result = features.measured(pair, Contrast)
        edited, source = float(result["edited"].mean()), float(result["source"].mean())
        if source < FLAT:
            return missing("undefined", "the source is flat", edited=edited, source=source)
        value = edited / source
        flag = "flat" if value < GREY else "washed out" if value < WASHED_OUT else None
        return ok(value, edited=result["edited"], source=result["source"], flag=flag)
