"""`sharpness_ratio` (guard): blur and noise, which can win temporal metrics, show here."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result

FLAT = 1e-8
BLURRED, NOISY = 0.5, 3.0


def laplacian_variance(luma: NDArray[np.float32]) -> float:
    """Variance of the 4-neighbour Laplacian of luma (H, W), border mirrored without repeating the edge."""
    laplacian = cv2.Laplacian(luma, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    return cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size - cv2.mean(laplacian)[0] ** 2


class Sharpness:
    """`laplacian_variance` of every frame of both clips."""

    def __init__(self, pair: Pair) -> None:
        self.edited: list[float] = []
        self.source: list[float] = []

    def update(self, moment: Moment) -> None:
        self.edited.append(laplacian_variance(moment.edited_luma))
        self.source.append(laplacian_variance(moment.source_luma))

    def result(self) -> Result:
        return {"edited": np.array(self.edited), "source": np.array(self.source)}


class SharpnessRatio(Card):
    """Mean over frames of the variance of the 4-neighbour luma Laplacian, edited / source (ratio of the
    means).

    A guard: flagged under 0.5 (blur) and above 3 (noise). Known: E = S / 2 gives 0.25.
    """

    id, version, direction, range = "sharpness_ratio", 1, "none", (0.0, float("inf"))
    measures = (Sharpness,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        result = features.measured(pair, Sharpness)
        edited, source = float(result["edited"].mean()), float(result["source"].mean())
        if source < FLAT:
            return missing("undefined", "the source is flat", edited=edited, source=source)
        value = edited / source
        flag = "blurred" if value < BLURRED else "noisy" if value > NOISY else None
        return ok(value, edited=result["edited"], source=result["source"], flag=flag)
