"""Intervals that know that votes share clips and raters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Clustered:
    """Mean score of votes in {-1, 0, 1} and its two-way clustered variance, interval and design effect."""

    mean: float
    variance: float
    variance_of_votes: float
    df: int
    low: float
    high: float

    @property
    def design_effect(self) -> float:
        """Variance against that of independent votes; NaN where votes do not vary."""
        return self.variance / self.variance_of_votes if self.variance_of_votes > 0 else math.nan


def cluster_variance(residual: NDArray[np.float64], groups: NDArray[np.int_]) -> float:
    """G / (G - 1) sum_g (sum of residuals in g)^2 / n^2; NaN with one group only."""
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2:
        return math.nan
    sums = np.bincount(groups, weights=residual, minlength=count)
    return float(count / (count - 1) * np.sum(sums**2) / len(residual) ** 2)


def two_way(y: ArrayLike, clip: Sequence[str], rater: Sequence[str], confidence: float = 0.95) -> Clustered:
    """Interval of the mean of y, clustered on clip and rater.

    V = max(V_clip, V_rater, V_clip + V_rater - V_vote), each with the factor G / (G - 1), and a t quantile
    with min(clips, raters) - 1 degrees of freedom. With a single clip or a single rater the interval is
    undefined (NaN).
    """
    score = np.asarray(y, dtype=float)
    clips, raters = (
        pd.factorize(np.asarray(clip, dtype=object))[0],
        pd.factorize(np.asarray(rater, dtype=object))[0],
    )
    if len(score) == 0:
        return Clustered(math.nan, math.nan, math.nan, 0, math.nan, math.nan)
    mean = float(score.mean())
    residual = score - mean
    by_clip, by_rater = cluster_variance(residual, clips), cluster_variance(residual, raters)
    by_vote = cluster_variance(residual, np.arange(len(score)))
    variance = max(by_clip, by_rater, by_clip + by_rater - by_vote)
    if math.isnan(by_clip) or math.isnan(by_rater):
        variance = math.nan
    df = min(int(clips.max()), int(raters.max()))
    reach = float(stats.t.isf((1 - confidence) / 2, df)) * math.sqrt(variance) if df > 0 else math.nan
    return Clustered(mean, variance, by_vote, df, mean - reach, mean + reach)


def sign_flip(y: ArrayLike, clip: Sequence[str]) -> float:
    """Two-sided p of "no preference" when all votes of one clip change sign together, exact for any number of
    clips.

    The share of the 2^clips sign patterns whose |sum of y| is at least the observed one. Votes are -1, 0 or
    1, so clip sums are integers and the number of patterns with each total follows by convolution.
    """
    score = np.asarray(y, dtype=int)
    sums = np.bincount(pd.factorize(np.asarray(clip, dtype=object))[0], weights=score).astype(int)
    patterns = np.ones(1)  # share of patterns by total, the middle is zero
    for total in np.abs(sums):
        wider = np.zeros(len(patterns) + 2 * total)
        wider[: len(patterns)] += patterns / 2
        wider[2 * total :] += patterns / 2
        patterns = wider
    reach = len(patterns) // 2
    totals = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(patterns[totals >= abs(score.sum())].sum()))


def pigeonhole(
    votes: pd.DataFrame,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> NDArray[np.float64]:
    """Conservative interval of any weighted statistic: clips and raters drawn independently, weights
    multiplied.

    `votes` has columns clip and rater; `statistic` maps weights of shape (n votes,) to a vector (D,). Returns
    (2, D): lower and upper percentile over the draws in which the statistic is finite.
    """
    clips, clip_names = pd.factorize(votes["clip"])
    raters, rater_names = pd.factorize(votes["rater"])
    values = []
    for _ in range(draws):
        by_clip = rng.multinomial(len(clip_names), np.full(len(clip_names), 1 / len(clip_names)))
        by_rater = rng.multinomial(len(rater_names), np.full(len(rater_names), 1 / len(rater_names)))
        values.append(statistic((by_clip[clips] * by_rater[raters]).astype(float)))
    tail = (1 - confidence) / 2
    return np.nanquantile(np.array(values), [tail, 1 - tail], axis=0)
