"""`motion_fidelity`, `motion_fidelity_paired`: do points of the edit move as points of the source do?

Yatim et al. 2024, symmetric as their formula has it. Tracks are (n, T, 2) pixel positions (x, y) with
visibility (n, T); here a grid of points carried along DIS flow, dropped where it becomes invalid.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval import flow
from eval.features import Features
from eval.metric import Card, mean_of
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result

Tracks = NDArray[np.float64]
Visible = NDArray[np.bool_]
STILL = 0.1  # px: a shorter step has no direction
SPACING = 8  # pixels between the points of the grid
FEWEST_STEPS = 0.5


def similarity(
    source: Tracks, seen_source: Visible, edited: Tracks, seen_edited: Visible
) -> NDArray[np.float64]:
    """c (n, m): mean over steps visible in both of the cosine of displacements, still/still 1,
    still/moving 0.

    NaN for pairs of tracks with fewer than half of the steps.
    """
    a, b = np.diff(source.astype(np.float64), axis=1), np.diff(edited.astype(np.float64), axis=1)
    la, lb = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    still_a, still_b = la < STILL, lb < STILL
    unit_a = a / np.maximum(la, STILL)[..., None] * ~still_a[..., None]
    unit_b = b / np.maximum(lb, STILL)[..., None] * ~still_b[..., None]
    steps_a = (seen_source[:, 1:] & seen_source[:, :-1]).astype(np.float64)
    steps_b = (seen_edited[:, 1:] & seen_edited[:, :-1]).astype(np.float64)
    moving = np.einsum("itc,it,jtc,jt->ij", unit_a, steps_a, unit_b, steps_b, optimize=True)
    still = (still_a * steps_a) @ (still_b * steps_b).T
    shared = steps_a @ steps_b.T
    enough = shared >= FEWEST_STEPS * a.shape[1]
    enough &= shared > 0
    return np.where(enough, (moving + still) / np.maximum(shared, 1), np.nan)


def motion_fidelity(c: NDArray[np.float64]) -> float | None:
    """(mean_i max_j c_ij + mean_j max_i c_ij) / 2 over tracks that have any; None when none has."""
    sides = [mean_of(_largest(c, axis)) for axis in (1, 0)]
    if sides[0] is None or sides[1] is None:
        return None
    return (sides[0] + sides[1]) / 2


def motion_fidelity_paired(c: NDArray[np.float64]) -> float | None:
    """mean_i c_ii: the same grid point in both clips. ValueError when their numbers differ."""
    if c.shape[0] != c.shape[1]:
        raise ValueError(f"paired tracks start at the same points: {c.shape[0]} against {c.shape[1]}")
    return mean_of(np.diagonal(c))


def without_itself(source: Tracks, edited: Tracks) -> float:
    """The published script (`dmt`): one-sided, and the match with the same index forbidden. NaN with a
    still point."""
    a, b = np.diff(source.astype(np.float64), axis=1), np.diff(edited.astype(np.float64), axis=1)
    with np.errstate(invalid="ignore"):
        unit_a, unit_b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    c = np.einsum("itc,jtc->ij", unit_a, unit_b) / a.shape[1] - np.eye(len(a))
    return float(c.max(axis=1).mean())


def _largest(c: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    filled = np.where(np.isnan(c), -np.inf, c).max(axis=axis)
    return np.where(np.isfinite(filled), filled, np.nan)


class Chained:
    """Tracks of both clips from one grid of points in frame 0, carried along each clip's own flow."""

    def __init__(self, pair: Pair) -> None:
        height, width = pair.source.size
        x = np.arange(SPACING // 2, width, SPACING, dtype=np.float32)
        y = np.arange(SPACING // 2, height, SPACING, dtype=np.float32)
        start = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        self.tracks = {name: [start] for name in ("source", "edited")}
        self.seen = {name: [np.ones(len(start), bool)] for name in ("source", "edited")}

    def update(self, moment: Moment) -> None:
        if (before := moment.before) is None:
            return
        self._carry("source", moment.flows[0], moment.valid)
        edited = [
            flow.enlarged(flow.estimate(a, b), (a.shape[0], a.shape[1]))
            for a, b in ((before.edited_grey, moment.edited_grey), (moment.edited_grey, before.edited_grey))
        ]
        self._carry("edited", edited[0], flow.valid(edited[0], edited[1]))

    def _carry(self, name: str, forward: flow.Flow, valid: NDArray[np.uint8]) -> None:
        at = self.tracks[name][-1]
        points = np.ascontiguousarray(at[None])
        step = flow.pull(forward, points)[0]
        kept = (
            cv2.remap(valid, points, flow.NOTHING, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)[0] > 0
        )
        self.tracks[name].append(at + step)
        self.seen[name].append(self.seen[name][-1] & kept)

    def result(self) -> Result:
        tracks = {name: np.stack(steps, axis=1) for name, steps in self.tracks.items()}
        seen = {f"seen_{name}": np.stack(steps, axis=1) for name, steps in self.seen.items()}
        return {**tracks, **seen}


class MotionFidelity(Card):
    """Tracks i of the source and j of the edit, c_ij the mean cosine of their displacements (steps under
    0.1 px are still: still/still 1, still/moving 0); (mean_i max_j c + mean_j max_i c) / 2. Source: Yatim
    et al. 2024. Tracks: a grid of points every 8 px, carried along DIS flow.

    Fooled by: many tracks: the maximum over n unrelated tracks is far above 0. Print it beside the paired
    score, which has no such floor. Camera motion dominates.
    """

    id, version, direction, range = "motion_fidelity", 1, "up", (-1.0, 1.0)
    suite, needs = "motion", ()
    measures = (Chained,)
    cost = "DIS flow in both directions on both clips"
    compat: tuple[str, ...] = ("dmt",)

    def __call__(self, pair: Pair, features: Features) -> Score:
        if len(pair.source) < 2:
            return missing("undefined", "too few frames: 2 are needed")
        result = features.measured(pair, Chained)
        if self.variant == "dmt":
            value: float | None = without_itself(result["source"], result["edited"])
        else:
            tracks = (result[name] for name in ("source", "seen_source", "edited", "seen_edited"))
            value = self.of(similarity(*tracks))
        if value is None or not np.isfinite(value):
            return missing(
                "undefined", "no track is seen in half of the steps, or a point stands still (dmt)"
            )
        return ok(value, tracker=f"DIS medium, grid of {SPACING} px", tracks=len(result["source"]))

    @staticmethod
    def of(c: NDArray[np.float64]) -> float | None:
        return motion_fidelity(c)


class MotionFidelityPaired(MotionFidelity):
    """mean_i c_ii: the same grid point in both clips. Has no floor from many tracks; a shifted edit loses."""

    id, compat = "motion_fidelity_paired", ()

    @staticmethod
    def of(c: NDArray[np.float64]) -> float | None:
        return motion_fidelity_paired(c)
