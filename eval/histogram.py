"""`histogram_drift`: colour that creeps away along a clip (the paper's Fig. 8)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result

BINS = 64


def cumulative(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(3, 64) cumulative histogram of each RGB channel of a uint8 frame, 64 bins on [0, 1]."""
    counts = [cv2.calcHist([frame], [channel], None, [BINS], [0, 256]).ravel() for channel in range(3)]
    return np.cumsum(np.stack(counts).astype(np.float64), axis=1) / (frame.shape[0] * frame.shape[1])


def earth_mover(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Earth mover's distance of two cumulative histograms (3, 64), mean over channels, in [0, 1)."""
    return float(np.abs(a - b).sum(axis=1).mean() / BINS)


class Drift:
    """Distance of every frame's histogram to the first one's, of both clips."""

    def __init__(self, pair: Pair) -> None:
        self.first: list[NDArray[np.float64]] = []
        self.edited: list[float] = []
        self.source: list[float] = []

    def update(self, moment: Moment) -> None:
        now = [cumulative(moment.edited), cumulative(moment.source)]
        if not self.first:
            self.first = now
            return
        self.edited.append(earth_mover(now[0], self.first[0]))
        self.source.append(earth_mover(now[1], self.first[1]))

    def result(self) -> Result:
        return {"edited": np.array(self.edited), "source": np.array(self.source)}


class HistogramDrift(Card):
    """Per RGB channel, 64 bins: earth mover's distance between frame t and frame 0, mean over channels and
    t >= 1; edited minus source, at least 0.

    Fooled by: freezing. Known: all pixels from 0.25 to 0.5: 0.25; permuted pixels: 0.
    """

    id, version, direction, range = "histogram_drift", 1, "down", (0.0, 1.0)
    measures = (Drift,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        result = features.measured(pair, Drift)
        if len(result["edited"]) == 0:
            return missing("undefined", "too few frames: 2 are needed")
        edited, source = float(result["edited"].mean()), float(result["source"].mean())
        return ok(max(0.0, edited - source), edited=edited, source=source, frames=result["edited"])
