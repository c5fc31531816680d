"""One cell of Table 1 from its counts: shares, the exact sign test and intervals that treat votes as
independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Counts:
    """Answers of one aspect and one pair: ours preferred, theirs preferred, ties (both-fail answers among
    them).
    """

    ours: int
    theirs: int
    tie: int

    @property
    def n(self) -> int:
        return self.ours + self.theirs + self.tie

    @property
    def shares(self) -> tuple[float, float, float]:
        """(ours, theirs, tie) / n; NaN where nobody answered."""
        if not self.n:
            return math.nan, math.nan, math.nan
        return self.ours / self.n, self.theirs / self.n, self.tie / self.n

    @property
    def percents(self) -> tuple[float, float, float]:
        """Shares in percent, as the paper prints them."""
        return (
            (100 * self.ours / self.n, 100 * self.theirs / self.n, 100 * self.tie / self.n)
            if self.n
            else self.shares
        )

    @property
    def win_rate(self) -> float:
        """Wins among decisive answers, w / (w + l); NaN where all are ties."""
        decisive = self.ours + self.theirs
        return self.ours / decisive if decisive else math.nan

    @property
    def net_preference(self) -> float:
        """(w - l) / n in [-1, 1]: ties stay in the denominator."""
        return (self.ours - self.theirs) / self.n if self.n else math.nan

    @property
    def half_win_rate(self) -> float:
        """(w + t / 2) / n."""
        return (self.ours + self.tie / 2) / self.n if self.n else math.nan


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact binomial(w + l, 1/2) p: min(1, 2 sum_{i <= min(w, l)} C(w + l, i) / 2^(w + l)), in
    integers.
    """
    total, term, below = wins + losses, 1, 0
    for i in range(min(wins, losses) + 1):
        below += term
        term = term * (total - i) // (i + 1)
    return min(1.0, 2 * below / 2**total)


def goodman(counts: Counts, confidence: float = 0.95) -> tuple[Interval, Interval, Interval]:
    """Simultaneous intervals of the three shares (Goodman 1965), as shares in [0, 1]."""
    n = counts.n
    a = stats.chi2.isf((1 - confidence) / 3, 1)

    def interval(x: int) -> Interval:
        if not n:
            return math.nan, math.nan
        root = math.sqrt(a * (a + 4 * x * (n - x) / n))
        return (a + 2 * x - root) / (2 * (n + a)), (a + 2 * x + root) / (2 * (n + a))

    return interval(counts.ours), interval(counts.theirs), interval(counts.tie)


def wilson(wins: int, losses: int, confidence: float = 0.95) -> Interval:
    """Wilson interval of w / (w + l)."""
    return _proportion(wins, losses, confidence, "wilson")


def clopper_pearson(wins: int, losses: int, confidence: float = 0.95) -> Interval:
    """Exact interval of w / (w + l)."""
    return _proportion(wins, losses, confidence, "exact")


def _proportion(wins: int, losses: int, confidence: float, method: str) -> Interval:
    if wins + losses == 0:
        return math.nan, math.nan
    interval = stats.binomtest(wins, wins + losses).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)


def fragility(counts: Counts) -> float:
    """Design effect at which the cell loses 5 % significance: (w - l)^2 / (w + l) / 1.96^2; NaN if all are
    ties.
    """
    decisive = counts.ours + counts.theirs
    return (counts.ours - counts.theirs) ** 2 / decisive / 1.96**2 if decisive else math.nan


def equivalent(mean: float, variance: float, df: float, margin: float = 0.10, alpha: float = 0.05) -> bool:
    """Two one-sided t tests: whether the net preference lies within +-margin, both at level `alpha`."""
    if not variance > 0:
        return abs(mean) < margin and variance == 0
    bound = float(stats.t.isf(alpha, df)) * math.sqrt(variance)
    return -margin < mean - bound and mean + bound < margin
