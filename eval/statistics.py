"""Intervals and tests for scores that are clustered by source clip.

The unit of sampling is the source clip: edits of one clip, and seeds of one edit, are not independent.
Intervals are CR2 (Bell and McCaffrey 2002) with Satterthwaite degrees of freedom; comparisons are paired
sign-flip tests over clips, corrected by Holm's method. NumPy and SciPy only.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import networkx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FEWEST_CLIPS = 6  # below it the smallest two-sided p of a sign-flip test, 2 / 2^G, is above 0.05
EXACT_UP_TO = 14  # clips; all 2^G sign patterns are counted
RANDOM_PATTERNS = 20_000
FEW_FOR_BOOTSTRAP = 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; `low` and `high` are None when there is only one clip ("one clip")."""

    mean: float
    low: float | None
    high: float | None
    variance: float | None  # of the mean
    df: float | None
    n: int
    clips: int


@dataclass(frozen=True)
class Comparison:
    """Paired differences a - b: their interval, and the sign-flip p, None with a reason when it cannot be
    decided.

    `p_log` is the same test on logarithms, where all scores are positive: skewed scores deserve both.
    """

    difference: Interval
    p: float | None
    p_log: float | None
    reason: str | None


@dataclass(frozen=True)
class Groups:
    """Which of K methods can be told apart. Methods that share a letter cannot; a is the best.

    `p` holds the corrected p of the pairs (0, 1), (0, 2), ... in order; `ranks` the best and worst rank of
    each method that the data allow. `decidable` is False with too few clips: then all share one letter.
    """

    letters: list[str]
    ranks: list[tuple[int, int]]
    p: list[float | None]
    decidable: bool


def clustered_interval(scores: ArrayLike, clips: Sequence[Any], level: float = 0.95) -> Interval:
    """The mean of scores (n,) and its CR2 interval, clustered by the clip labels (n,).

    With clusters of size n_g and residual sums r_g: var = sum r_g^2 / (1 - n_g / N) / N^2, and
    Satterthwaite's df = (sum l)^2 / sum l^2 over the eigenvalues l of M'M, M's column g being (I - 11'/N) 1_g
    / (N sqrt(1 - n_g/N)). Clusters of equal size: the variance of the clip means over G, df = G - 1. Raises
    ValueError when scores are missing.
    """
    y, groups, sizes = _clustered(scores, clips)
    n, g = len(y), len(sizes)
    mean = float(y.mean())
    if g == 1:
        return Interval(mean, None, None, None, None, n, 1)
    share = sizes / n
    residual_sums = np.bincount(groups, weights=y - mean, minlength=g)
    variance = float((residual_sums**2 / (1 - share)).sum() / n**2)
    # M'M in closed form: 1_a' (I - 11'/N) 1_b = n_a [a = b] - n_a n_b / N
    inner = np.diag(sizes) - np.outer(sizes, sizes) / n
    scale = 1 / (n * np.sqrt(1 - share))
    gram = inner * np.outer(scale, scale)
    df = float(np.trace(gram) ** 2 / (gram**2).sum())
    half = float(stats.t.ppf((1 + level) / 2, df)) * variance**0.5
    return Interval(mean, mean - half, mean + half, variance, df, n, g)


def share_interval(successes: ArrayLike, clips: Sequence[Any], level: float = 0.95) -> Interval:
    """As `clustered_interval` for scores that are shares in [0, 1], kept inside [0, 1].

    A column of zeros or of ones has no variance but is not certain: it gets Wilson's bound, a clip counting
    once.
    """
    interval = clustered_interval(successes, clips, level)
    y = np.asarray(successes, dtype=np.float64)
    if (y == y[0]).all() and y[0] in (0.0, 1.0):
        z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
        slack = z2 / (interval.clips + z2)
        low, high = (0.0, slack) if y[0] == 0 else (1 - slack, 1.0)
        return Interval(interval.mean, low, high, None, None, interval.n, interval.clips)
    if interval.low is None or interval.high is None:
        return interval
    low, high = max(interval.low, 0.0), min(interval.high, 1.0)
    return Interval(interval.mean, low, high, interval.variance, interval.df, interval.n, interval.clips)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    clips: Sequence[Any],
    generator: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float | None, float | None, str | None]:
    """(low, high, warning) of `statistic(indices)` by the percentile bootstrap over clips.

    For what is not a mean: rank correlations, ratios, medians. `statistic` is given indices into the items
    and may return NaN, which is left out. Under 20 clips the interval is too short, which the warning says.
    Under 2 clips: None.
    """
    _, groups, sizes = _clustered(np.zeros(len(clips)), clips)
    if len(sizes) < 2:
        return None, None, "one clip"
    members = [np.flatnonzero(groups == g) for g in range(len(sizes))]
    values = np.empty(draws)
    for draw in range(draws):
        chosen = generator.integers(len(members), size=len(members))
        values[draw] = statistic(np.concatenate([members[g] for g in chosen]))
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None, None, "the statistic has no value in any resample"
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    few = len(sizes) < FEW_FOR_BOOTSTRAP
    return float(low), float(high), f"{len(sizes)} clips: this interval is too short" if few else None


def sign_flip_p(
    differences: ArrayLike, clips: Sequence[Any], generator: np.random.Generator | None = None
) -> float | None:
    """The two-sided p of "no difference" for paired differences (n,), whole clips changing sign together.

    The statistic is |sum over clips of the clip's summed differences|. Up to 14 clips all 2^G patterns are
    counted; beyond that 20,000 random ones and the observed (`generator`, by default one of seed 0, so that a
    table is the same every time). None with fewer than 6 clips, which cannot decide at 5 %.
    """
    d, groups, sizes = _clustered(differences, clips)
    g = len(sizes)
    if g < FEWEST_CLIPS:
        return None
    sums = np.bincount(groups, weights=d, minlength=g)
    tolerance = 1e-12 * float(np.abs(sums).sum())
    observed = abs(float(sums.sum())) - tolerance
    if g <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=g)))
        return float((np.abs(signs @ sums) >= observed).mean())
    random = generator or np.random.default_rng(0)
    signs = random.choice((-1.0, 1.0), size=(RANDOM_PATTERNS, g))
    return float(((np.abs(signs @ sums) >= observed).sum() + 1) / (RANDOM_PATTERNS + 1))


def compare(
    a: ArrayLike, b: ArrayLike, clips: Sequence[Any], generator: np.random.Generator | None = None
) -> Comparison:
    """Paired scores of two methods on the same items (n,): interval of a - b, and sign-flip tests over clips.

    `generator` serves both tests in turn where clips are too many to count all patterns.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired scores come in pairs: {first.shape} against {second.shape}")
    interval = clustered_interval(first - second, clips)
    p = sign_flip_p(first - second, clips, generator)
    positive = bool((first > 0).all() and (second > 0).all())
    p_log = sign_flip_p(np.log(first) - np.log(second), clips, generator) if positive else None
    reason = None if p is not None else f"cannot be decided with {interval.clips} clips"
    return Comparison(interval, p, p_log, reason)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over one family, in the given order; None (not tested) stays None and is
    not counted."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[index] = largest
    return corrected


def significance_groups(
    scores: ArrayLike,
    clips: Sequence[Any],
    higher_is_better: bool = True,
    alpha: float = 0.05,
    generator: np.random.Generator | None = None,
) -> Groups:
    """Compact letters and rank ranges for the scores (K methods, n items) of methods on the same items."""
    table = np.asarray(scores, dtype=np.float64)
    k = len(table)
    order = sorted(range(k), key=lambda i: -table[i].mean() if higher_is_better else table[i].mean())
    place = {method: rank for rank, method in enumerate(order)}
    pairs = list(itertools.combinations(range(k), 2))
    p = holm([sign_flip_p(table[i] - table[j], clips, generator) for i, j in pairs])
    apart = {pair for pair, value in zip(pairs, p) if value is not None and value < alpha}
    alike = networkx.Graph()
    alike.add_nodes_from(range(k))
    alike.add_edges_from(pair for pair in pairs if pair not in apart)
    cliques = sorted(sorted(place[i] for i in clique) for clique in networkx.find_cliques(alike))
    letters = [""] * k
    for index, clique in enumerate(cliques):
        for rank in clique:
            letters[order[rank]] += _letter(index)
    ranks = []
    for i in range(k):
        rivals = [j for pair in apart if i in pair for j in pair if j != i]
        better = sum(place[j] < place[i] for j in rivals)
        ranks.append((1 + better, k - (len(rivals) - better)))
    return Groups(letters, ranks, p, k < 2 or any(value is not None for value in p))


def _letter(index: int) -> str:
    """a ... z, then a1, b1, ..."""
    turn, letter = divmod(index, 26)
    return string.ascii_lowercase[letter] + (str(turn) if turn else "")


def _clustered(scores: ArrayLike, clips: Sequence[Any]) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Scores (n,), the number of each one's clip (n,), and the clips' sizes (G,)."""
    y = np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or len(y) != len(clips) or len(y) == 0:
        raise ValueError(f"one clip for each score: {y.shape} scores, {len(clips)} clips")
    if not np.isfinite(y).all():
        raise ValueError("scores are finite; leave out what has no value and say how many remain")
    _, groups, sizes = np.unique(np.asarray(clips), return_inverse=True, return_counts=True)
    return y, groups.reshape(-1), sizes.astype(np.float64)
