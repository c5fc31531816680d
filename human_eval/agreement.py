"""Do raters agree, and does the side matter? Ordinal alpha coded by method, unanimity, position bias."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .proportions import sign_test

Level = Literal["nominal", "ordinal", "interval"]
VALUES = (-1, 0, 1)  # the second method won, tie, the first method won
POSITION_ALPHA = 0.001
POSITION_DECISIVE = 20


def counts_of_units(units: ArrayLike) -> NDArray[np.float64]:
    """(units, 3): how often each of -1, 0, 1 was given, from (units, raters) with NaN for missing."""
    table = np.asarray(units, dtype=float)
    known = table[~np.isnan(table)]
    if not np.isin(known, VALUES).all():
        raise ValueError("answers are -1, 0, 1 or NaN")
    return np.stack([(table == value).sum(1) for value in VALUES], 1).astype(float)


def alpha_of_counts(counts: NDArray[np.float64], level: Level = "ordinal") -> float:
    """Krippendorff's alpha from (units, 3) counts (weights allowed); NaN where the answers do not vary."""
    size = counts.sum(1)
    rated = counts[size >= 2]
    if not len(rated):
        return math.nan
    weight = 1 / (rated.sum(1) - 1)
    coincidence = np.einsum("u,uc,uk->ck", weight, rated, rated) - np.diag(weight @ rated)
    margin = coincidence.sum(1)
    distance = np.zeros((3, 3))
    for c in range(3):
        for k in range(c + 1, 3):
            if level == "nominal":
                d = 1.0
            elif level == "interval":
                d = float((VALUES[k] - VALUES[c]) ** 2)
            else:
                d = (margin[c : k + 1].sum() - (margin[c] + margin[k]) / 2) ** 2
            distance[c, k] = distance[k, c] = d
    total = margin.sum()
    expected = margin @ distance @ margin / (total - 1)
    observed = np.sum(coincidence * distance)
    return float(1 - observed / expected) if expected > 0 else math.nan


def alpha(units: ArrayLike, level: Level = "ordinal", *, symmetrised: bool = False) -> float:
    """Alpha of (units, raters) with answers -1, 0, 1, NaN missing, +1 where the first method of the pair won.

    `symmetrised` enters every unit twice, once with all signs flipped: the same after any flips, for pairs
    whose first member is arbitrary. NaN where answers do not vary.
    """
    counts = counts_of_units(units)
    return alpha_of_counts(np.concatenate([counts, counts[:, ::-1]]) if symmetrised else counts, level)


def alpha_interval(
    units: ArrayLike,
    rng: np.random.Generator,
    *,
    level: Level = "ordinal",
    symmetrised: bool = False,
    draws: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of alpha, units resampled."""
    counts = counts_of_units(units)
    values = []
    for _ in range(draws):
        drawn = counts[rng.integers(0, len(counts), len(counts))]
        both = np.concatenate([drawn, drawn[:, ::-1]]) if symmetrised else drawn
        values.append(alpha_of_counts(both, level))
    tail = (1 - confidence) / 2
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def unanimous_share(units: ArrayLike) -> float:
    """Share of units with at least two answers in which all answers are the same; NaN without such units."""
    counts = counts_of_units(units)
    rated = counts[counts.sum(1) >= 2]
    return float((rated.max(1) == rated.sum(1)).mean()) if len(rated) else math.nan


def pairwise_agreement(units: ArrayLike) -> float:
    """Mean over units of the share of rater pairs with equal answers."""
    counts = counts_of_units(units)
    rated = counts[counts.sum(1) >= 2]
    n = rated.sum(1)
    return float(((rated * (rated - 1)).sum(1) / (n * (n - 1))).mean()) if len(rated) else math.nan


@dataclass(frozen=True)
class Position:
    """Left wins against right wins over decisive answers, with the exact sign test."""

    left: int
    right: int
    tie: int

    @property
    def p(self) -> float:
        return sign_test(self.left, self.right)

    @property
    def flagged(self) -> bool:
        """p < .001 with at least 20 decisive answers."""
        return self.left + self.right >= POSITION_DECISIVE and self.p < POSITION_ALPHA


def pooled_position(raters: Mapping[str, Position]) -> Position:
    """All raters together."""
    rows = raters.values()
    return Position(sum(r.left for r in rows), sum(r.right for r in rows), sum(r.tie for r in rows))
