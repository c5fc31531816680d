"""How many judgements a study needs: the exact power of the sign test when some answers are ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from data.types import UserError

STAYS = 20  # the curve is saw-toothed: power must hold for so many consecutive sizes
LARGEST = 20_000


def rejection(decisive: NDArray[np.int_], win_rate: float, alpha: float) -> NDArray[np.float64]:
    """P(the exact two-sided sign test of m decisive answers rejects at `alpha`), for each m in `decisive`."""
    critical = stats.binom.ppf(alpha / 2, decisive, 0.5).astype(int)
    too_far = 2 * stats.binom.cdf(critical, decisive, 0.5) > alpha
    critical = np.where(too_far, critical - 1, critical)  # largest c with 2 P(X <= c) <= alpha
    low = stats.binom.cdf(critical, decisive, win_rate)
    high = stats.binom.sf(decisive - critical - 1, decisive, win_rate)
    return np.where(critical >= 0, low + high, 0.0)


def power(judgements: int, win_rate: float, *, tie_share: float = 0.15, alpha: float = 0.05) -> float:
    """Power of the sign test with N judgements: ties are binomial(N, tie_share), the rest is tested exactly.

    `win_rate` is the true share of wins among decisive answers.
    """
    decisive = np.arange(judgements + 1)
    weight = stats.binom.pmf(decisive, judgements, 1 - tie_share)
    return float(weight @ rejection(decisive, win_rate, alpha))


def judgements_needed(
    win_rate: float, *, tie_share: float = 0.15, alpha: float = 0.05, target: float = 0.80
) -> int:
    """The smallest N whose power is at least `target` for N and the 19 sizes after it."""
    if not 0.5 < win_rate < 1 or not 0 <= tie_share < 1 or not 0 < alpha < 1 or not 0 < target < 1:
        raise UserError(
            f"power: the win rate is in (.5, 1), the tie share in [0, 1), alpha and target in (0, 1); "
            f"got {win_rate:g}, {tie_share:g}, {alpha:.3g}, {target:g}"
        )
    size = 64
    reached, n = 0, 0
    reject = rejection(np.arange(size + 1), win_rate, alpha)
    while n < LARGEST:
        n += 1
        if n > size:
            size *= 2
            reject = rejection(np.arange(size + 1), win_rate, alpha)
        weight = stats.binom.pmf(np.arange(n + 1), n, 1 - tie_share)
        reached = reached + 1 if weight @ reject[: n + 1] >= target else 0
        if reached == STAYS:
            return n - STAYS + 1
    raise UserError(f"power: more than {LARGEST} judgements would be needed to see a win rate of {win_rate}")


def smallest_effect(
    judgements: int, *, tie_share: float = 0.15, alpha: float = 0.05, target: float = 0.80
) -> float | None:
    """The smallest true win rate (three decimals) that N judgements see with power `target`; None if there
    is none.
    """

    def sees(thousandth: int) -> bool:
        return power(judgements, thousandth / 1000, tie_share=tie_share, alpha=alpha) >= target

    if not sees(999):
        return None
    blind, seen = 500, 999  # power rises with the win rate
    while seen - blind > 1:
        middle = (blind + seen) // 2
        blind, seen = (blind, middle) if sees(middle) else (middle, seen)
    return seen / 1000


def design_effect(votes_per_clip: float, icc: float) -> float:
    """Variance inflation 1 + (m - 1) icc of m votes a clip with intraclass correlation `icc`."""
    return 1 + (votes_per_clip - 1) * icc


@dataclass(frozen=True)
class Plan:
    """What a planned study can see, and what it costs. `independent` is judgements divided by the design
    effect.
    """

    judgements: int
    inflation: float
    independent: int
    needed: int
    smallest_effect: float | None
    sessions: int
    hours: float
    cost: float


def plan(
    *,
    clips: int,
    votes: int,
    pairs: int,
    session_length: int,
    win_rate: float = 0.60,
    tie_share: float = 0.15,
    icc: float = 0.2,
    tests: int = 15,
    seconds_per_task: float = 40.0,
    overhead_minutes: float = 4.0,
    wage: float = 12.0,
) -> Plan:
    """Judgements, hours and cost of a design, at the smallest Holm level alpha = .05 / `tests`.

    `clips` V and `votes` k per (clip, pair) give V k judgements a cell; `wage` is per hour in any currency.
    """
    if min(clips, votes, pairs, session_length, tests) < 1 or not 0 <= icc <= 1:
        raise UserError(
            "power: clips, votes, pairs, session length and tests are at least 1, icc is in [0, 1]"
        )
    judgements = clips * votes
    inflation = design_effect(votes, icc)
    independent = int(judgements / inflation)
    alpha = 0.05 / tests
    needed = judgements_needed(win_rate, tie_share=tie_share, alpha=alpha)
    sessions = -(-clips * votes * pairs // session_length)
    hours = sessions * (session_length * seconds_per_task / 3600 + overhead_minutes / 60)
    return Plan(
        judgements=judgements,
        inflation=inflation,
        independent=independent,
        needed=int(np.ceil(needed * inflation)),
        smallest_effect=smallest_effect(independent, tie_share=tie_share, alpha=alpha),
        sessions=sessions,
        hours=hours,
        cost=hours * wage,
    )
