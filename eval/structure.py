"""`structure_gradient`: are the edges where they were? Blind to contrast, brightness, negation and colour."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.frames import bands
from eval.metric import Card, mean_of
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result

LEVELS, COPY = 16, 0.001
REACH = 5  # pixels around one that its gradient depends on
FLAT = 1e-8  # of the mean squared gradient
HALF = np.array([-0.5, 0, 0.5], np.float32)
ONE = np.ones(1, np.float32)


def gradient(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gradient magnitude (H, W) after a Gaussian of sigma 1 and radius 4: central differences, mirrored
    borders.

    The edge is not repeated in the mirror.
    """
    smooth = cv2.GaussianBlur(luma, (9, 9), 1.0, borderType=cv2.BORDER_REFLECT_101)
    dx = cv2.sepFilter2D(smooth, cv2.CV_32F, HALF, ONE, borderType=cv2.BORDER_REFLECT_101)
    dy = cv2.sepFilter2D(smooth, cv2.CV_32F, ONE, HALF, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.magnitude(dx, dy, magnitude=dx), dtype=np.float32)


def gradient_distance(source: NDArray[np.float32], edited: NDArray[np.float32]) -> float:
    """1 - cosine of the gradient magnitudes of two luma frames (H, W); NaN where either is flat."""
    ss = ee = difference = 0.0
    height, width = source.shape
    for rows, own in bands(height, width, REACH):
        s, e = (gradient(luma[rows])[own] for luma in (source, edited))
        ss += cv2.norm(s, cv2.NORM_L2SQR)
        ee += cv2.norm(e, cv2.NORM_L2SQR)
        difference += cv2.norm(s, e, cv2.NORM_L2SQR)
    if min(ss, ee) < FLAT * source.size:
        return float("nan")
    product = (ss + ee - difference) / 2
    return max(0.0, 1 - product / math.sqrt(ss * ee))


def changed_share(difference: NDArray[np.uint8]) -> float:
    """Share of pixels that differ by more than 16 of 255 levels in some channel of |edited - source|."""
    alike = cv2.inRange(difference, (0, 0, 0), (LEVELS, LEVELS, LEVELS))
    return 1 - cv2.countNonZero(alike) / alike.size


class Edges:
    """`gradient_distance` and `changed_share` of every frame."""

    def __init__(self, pair: Pair) -> None:
        self.frames: list[float] = []
        self.changed: list[float] = []

    def update(self, moment: Moment) -> None:
        self.frames.append(gradient_distance(moment.source_luma, moment.edited_luma))
        self.changed.append(changed_share(moment.difference))

    def result(self) -> Result:
        return {"frames": np.array(self.frames, dtype=np.float64), "changed": np.array(self.changed)}


class StructureGradient(Card):
    """Per frame 1 - sum(G_S G_E) / sqrt(sum G_S^2 sum G_E^2), G the gradient magnitude of luma after a
    Gaussian of sigma 1; mean over frames in which neither is flat. A shape edit must move it.

    Fooled by: copying the source's edges (0 for a copy, a negative, a washed-out copy); texture added
    everywhere raises it. Known: edges in disjoint places: 1.

    details.changed is the share of pixels that differ from the source by more than 16 of 255 levels; under
    0.1 % the edit is flagged as a source copy.
    """

    id, version, direction, range = "structure_gradient", 1, "down", (0.0, 1.0)
    measures = (Edges,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        result = features.measured(pair, Edges)
        frames, changed = result["frames"], float(result["changed"].mean())
        flag = "source copy" if changed < COPY else None
        value = mean_of(frames)
        if value is None:
            return missing(
                "undefined",
                "flat: no frame has edges in both clips",
                frames=frames,
                changed=changed,
                flag=flag,
            )
        return ok(value, frames=frames, changed=changed, flag=flag)
