"""Rankings from pairs with ties: Davidson, Rao-Kupper and Bradley-Terry, fitted by Newton's method.

Abilities are natural logarithms, zero for the first item. Nothing is fitted where no finite estimate
exists: the graph with an edge from i to j for every win of i over j, and both ways for a tie, must be
strongly connected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from data.types import UserError

Array = NDArray[np.float64]
RUNAWAY = 20.0  # odds of e^20 are no estimate of any number of votes


class NotIdentified(UserError):
    """The votes do not determine finite abilities; the message names the group that cannot be placed."""


@dataclass(frozen=True)
class Contests:
    """Counts of pairs. Contest k compares items[first[k]] (shown left, where that matters) with
    items[second[k]].
    """

    items: tuple[str, ...]
    first: NDArray[np.int_]
    second: NDArray[np.int_]
    won: Array
    lost: Array
    tied: Array

    @classmethod
    def of(cls, items: Sequence[str], rows: Sequence[tuple[str, str, float, float, float]]) -> Contests:
        """From rows (first, second, first won, second won, ties)."""
        place = {item: i for i, item in enumerate(items)}
        table = np.array([row[2:] for row in rows], dtype=float).reshape(-1, 3)
        return cls(
            tuple(items),
            np.array([place[row[0]] for row in rows], dtype=int),
            np.array([place[row[1]] for row in rows], dtype=int),
            *(table[:, i].copy() for i in range(3)),
        )


@dataclass(frozen=True)
class Fit:
    """Maximum-likelihood estimate. `ability[0]` is 0; `covariance` is of (ability[1:], ties, position),
    inverse Hessian.

    `tie` is nu (Davidson) or theta (Rao-Kupper), None where the model has none; `position` is delta, the
    bonus of the side shown left. `deviance` is G^2 against the saturated multinomial with `df` degrees of
    freedom.
    """

    model: str
    items: tuple[str, ...]
    ability: Array
    covariance: Array
    log_likelihood: float
    deviance: float
    df: int
    tie: float | None = None
    position: float | None = None
    regularised: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def standard_error(self) -> Array:
        """Of ability, (M,); zero for the reference."""
        return np.concatenate([[0.0], np.sqrt(np.diag(self.covariance)[: len(self.items) - 1])])

    @property
    def deviance_p(self) -> float:
        return float(stats.chi2.sf(self.deviance, self.df)) if self.df > 0 else math.nan

    def order(self) -> list[str]:
        """Items from strongest to weakest."""
        return [self.items[i] for i in np.argsort(-self.ability, kind="stable")]


def strong_groups(contests: Contests, *, ties_link: bool = True) -> list[list[str]]:
    """Groups of items within which every item can be reached from every other along wins (and ties)."""
    size = len(contests.items)
    edges = np.zeros((size, size))
    np.add.at(edges, (contests.first, contests.second), contests.won + ties_link * contests.tied)
    np.add.at(edges, (contests.second, contests.first), contests.lost + ties_link * contests.tied)
    _, label = connected_components(csr_array(edges), directed=True, connection="strong")
    groups: dict[int, list[str]] = {}
    for item, group in zip(contests.items, label):
        groups.setdefault(int(group), []).append(item)
    return list(groups.values())


def require_identified(contests: Contests, *, ties_link: bool = True) -> None:
    """Raise NotIdentified unless finite abilities exist."""
    groups = strong_groups(contests, ties_link=ties_link)
    if len(groups) > 1:
        smallest = min(groups, key=len)
        raise NotIdentified(
            f"no finite ranking: {', '.join(smallest)} only won, only lost or never met the others; "
            f"collect more votes, or use --regularise 0.5"
        )


def require_decisive(contests: Contests) -> None:
    """Raise NotIdentified where every answer is a tie: no finite tie parameter exists, regularised or not."""
    if contests.won.sum() + contests.lost.sum() == 0:
        raise NotIdentified("no finite ranking: every answer is a tie; only the half-win scores are defined")


def davidson(contests: Contests, *, position: bool = False, regularise: float = 0.0) -> Fit:
    """Davidson's model: P(i) : P(j) : P(tie) = p_i : p_j : nu sqrt(p_i p_j), p = exp(ability).

    Without any tie nu is 0 and the model is Bradley-Terry; with ties only it raises NotIdentified.
    `position` adds delta to the item shown left.
    """
    require_decisive(contests)
    if not regularise:
        require_identified(contests)
    has_ties = bool(contests.tied.sum() > 0)
    items, counts, features = _linear(contests, ties=has_ties, position=position, regularise=regularise)
    size = len(items)
    estimate, covariance, likelihood = _newton_logit(features, counts)
    tie_at = size - 1 if has_ties else None
    return _finish(
        "davidson",
        contests,
        estimate,
        covariance,
        likelihood,
        _deviance(features, counts, estimate),
        _df(contests, len(estimate) - (size - len(contests.items)))
        if has_ties
        else _df_without_ties(contests),
        tie=float(np.exp(estimate[tie_at])) if tie_at is not None else 0.0,
        position=float(estimate[-1]) if position else None,
        regularise=regularise,
        extra=size - len(contests.items),
        notes=() if has_ties else ("no ties: nu = 0, the model is Bradley-Terry",),
    )


def bradley_terry(contests: Contests, *, ties: str, regularise: float = 0.0) -> Fit:
    """Bradley-Terry with ties counted half ("half-win") or left out ("drop-ties"). Neither is a model of
    ties.
    """
    if ties == "half-win":
        half = contests.tied / 2
        decisive = replace(contests, won=contests.won + half, lost=contests.lost + half, tied=0 * half)
    elif ties == "drop-ties":
        decisive = replace(contests, tied=0 * contests.tied)
    else:
        raise ValueError(f"ties is 'half-win' or 'drop-ties', not {ties!r}")
    if not regularise:
        require_identified(decisive)
    items, counts, features = _linear(decisive, ties=False, position=False, regularise=regularise)
    estimate, covariance, likelihood = _newton_logit(features, counts)
    return _finish(
        ties,
        contests,
        estimate,
        covariance,
        likelihood,
        _deviance(features, counts, estimate),
        _df_without_ties(decisive),
        regularise=regularise,
        extra=len(items) - len(contests.items),
    )


def rao_kupper(contests: Contests, *, regularise: float = 0.0) -> Fit:
    """Rao and Kupper's model: P(i) = p_i / (p_i + theta p_j), ties within a threshold ln(theta) >= 0.

    With d = a_i - a_j and s = ln(theta) the log-likelihood is (w + t) ln sigma(d - s) + (l + t) ln sigma(-d
    - s) + t ln(exp(2 s) - 1), concave in (a, s).
    """
    if contests.tied.sum() == 0:
        fit = bradley_terry(contests, ties="drop-ties", regularise=regularise)
        return replace(
            fit,
            model="rao-kupper",
            tie=1.0,
            notes=("no ties: theta = 1, the model is Bradley-Terry", *fit.notes),
        )
    require_decisive(contests)
    if not regularise:
        require_identified(contests)
    padded = _with_phantom(contests, regularise)
    size, real = len(padded.items), len(contests.won)
    estimate = np.zeros(size)
    estimate[-1] = 0.5
    difference = np.zeros((len(padded.won), size))  # of d by the parameters (a_1.., s)
    for k, (i, j) in enumerate(zip(padded.first, padded.second)):
        if i:
            difference[k, i - 1] += 1
        if j:
            difference[k, j - 1] -= 1
    threshold = np.zeros(size)
    threshold[-1] = 1
    # votes against the phantom carry no ties: they are Bradley-Terry contests and leave theta alone
    is_real = np.arange(len(padded.won)) < real
    up = difference - np.where(is_real[:, None], threshold, 0)
    down = -difference - np.where(is_real[:, None], threshold, 0)
    ahead, behind, tied = padded.won + padded.tied, padded.lost + padded.tied, padded.tied.sum()

    def value(parameters: Array) -> float:
        if parameters[-1] <= 0:
            return -math.inf
        log_up, log_down = -np.logaddexp(0, -(up @ parameters)), -np.logaddexp(0, -(down @ parameters))
        return float(ahead @ log_up + behind @ log_down + tied * math.log(math.expm1(2 * parameters[-1])))

    def derivatives(parameters: Array) -> tuple[Array, Array]:
        s_up, s_down = 1 / (1 + np.exp(up @ parameters)), 1 / (1 + np.exp(down @ parameters))
        gradient = up.T @ (ahead * s_up) + down.T @ (behind * s_down)
        information = (up.T * (ahead * s_up * (1 - s_up))) @ up + (
            down.T * (behind * s_down * (1 - s_down))
        ) @ down
        gap = math.expm1(2 * parameters[-1])
        gradient[-1] += tied * 2 * (gap + 1) / gap
        information[-1, -1] += tied * 4 * (gap + 1) / gap**2
        return gradient, information

    estimate, covariance = _newton(value, derivatives, estimate)
    fitted = np.stack([up[:real] @ estimate, down[:real] @ estimate], 1)
    probability = 1 / (1 + np.exp(-fitted))
    probability = np.concatenate([probability, 1 - probability.sum(1, keepdims=True)], 1)
    counts = np.stack([contests.won, contests.lost, contests.tied], 1)
    return _finish(
        "rao-kupper",
        contests,
        estimate,
        covariance,
        value(estimate),
        _g2(counts, probability),
        _df(contests, len(contests.items)),
        tie=float(np.exp(estimate[-1])),
        regularise=regularise,
        extra=size - len(contests.items),
    )


def davidson_per_pair(contests: Contests) -> dict[tuple[str, str], Fit]:
    """A Davidson model of its own for each pair: on a star this is saturated, ability ln(l / w), nu t /
    sqrt(w l).
    """
    fits = {}
    for k, (i, j) in enumerate(zip(contests.first, contests.second)):
        pair = (contests.items[i], contests.items[j])
        row = (*pair, contests.won[k], contests.lost[k], contests.tied[k])
        fits[pair] = davidson(Contests.of(pair, [row]))
    return fits


def rank_intervals(
    fit: Fit, *, design_effect: float = 1.0, confidence: float = 0.95
) -> dict[str, tuple[int, int]]:
    """(best, worst) rank of each item: Bonferroni over all pairwise differences of abilities.

    The covariance is multiplied by `design_effect`, because votes share clips and raters.
    """
    size = len(fit.items)
    covariance = np.zeros((size, size))
    covariance[1:, 1:] = fit.covariance[: size - 1, : size - 1] * design_effect
    pairs = list(combinations(range(size), 2))
    critical = float(stats.norm.isf((1 - confidence) / 2 / len(pairs)))
    above, below = np.zeros(size, int), np.zeros(size, int)
    for i, j in pairs:
        variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        z = (fit.ability[i] - fit.ability[j]) / math.sqrt(variance)
        if abs(z) > critical:
            weaker, stronger = (j, i) if z > 0 else (i, j)
            above[weaker] += 1
            below[stronger] += 1
    return {item: (1 + int(above[i]), size - int(below[i])) for i, item in enumerate(fit.items)}


def _with_phantom(contests: Contests, regularise: float) -> Contests:
    """Half a virtual win each way (with 0.5) between every item and one added item."""
    if not regularise:
        return contests
    size = len(contests.items)
    return Contests(
        (*contests.items, "phantom"),
        np.concatenate([contests.first, np.arange(size)]),
        np.concatenate([contests.second, np.full(size, size)]),
        np.concatenate([contests.won, np.full(size, regularise)]),
        np.concatenate([contests.lost, np.full(size, regularise)]),
        np.concatenate([contests.tied, np.zeros(size)]),
    )


def _linear(
    contests: Contests, *, ties: bool, position: bool, regularise: float
) -> tuple[tuple[str, ...], Array, Array]:
    """Items, counts (K, 3) and features (K, 3, D) of the outcomes first, second, tie; an outcome not
    offered is NaN.
    """
    padded = _with_phantom(contests, regularise)
    size = len(padded.items)
    width = size - 1 + ties + position
    counts = np.stack([padded.won, padded.lost, padded.tied], 1)
    features = np.zeros((len(counts), 3, width))
    for k, (i, j) in enumerate(zip(padded.first, padded.second)):
        if i:
            features[k, 0, i - 1] += 1
            features[k, 2, i - 1] += 0.5
        if j:
            features[k, 1, j - 1] += 1
            features[k, 2, j - 1] += 0.5
    real = len(contests.won)
    if ties:
        features[:, 2, size - 1] = 1
    if position:
        features[:real, 0, -1] = 1
        features[:real, 2, -1] = 0.5
    features[real:, 2] = np.nan
    if not ties:
        features[:, 2] = np.nan
    return padded.items, counts, features


def _probabilities(features: Array, estimate: Array) -> Array:
    scores = np.nan_to_num(features, nan=0.0) @ estimate
    scores = np.where(np.isnan(features[:, :, 0]), -np.inf, scores)
    scores = scores - scores.max(1, keepdims=True)
    weight = np.exp(scores)
    return weight / weight.sum(1, keepdims=True)


def _require_overlap(features: Array, counts: Array) -> None:
    """Raise NotIdentified where the likelihood has no maximum.

    That is where a direction exists in which no observed outcome loses against another and one gains (a
    linear program). Strong connection alone does not exclude it while the tie parameter is free: one pair
    with wins and ties but no loss.
    """
    rows = [
        features[k, seen] - features[k, other]
        for k, seen in zip(*np.nonzero(counts))
        for other in range(3)
        if other != seen and not np.isnan(features[k, other, 0])
    ]
    gains = np.array(rows)
    found = optimize.linprog(-gains.sum(0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=(-1, 1))
    if found.status != 0 or -found.fun > 1e-7:
        raise NotIdentified(
            "no finite ranking: abilities and the tie parameter grow together without end; collect more "
            "votes, or use --regularise 0.5"
        )


def _newton_logit(features: Array, counts: Array) -> tuple[Array, Array, float]:
    """Maximum of sum counts ln softmax(features @ theta): an exponential family, so Newton with the full
    Hessian.
    """
    _require_overlap(features, counts)
    known = np.nan_to_num(features, nan=0.0)
    n = counts.sum(1)

    def value(theta: Array) -> float:
        with np.errstate(divide="ignore"):
            logs = np.log(_probabilities(features, theta))
        return float(np.sum(counts * np.where(counts > 0, logs, 0.0)))

    def derivatives(theta: Array) -> tuple[Array, Array]:
        p = _probabilities(features, theta)
        mean = np.einsum("ko,kod->kd", p, known)
        gradient = np.einsum("ko,kod->d", counts, known) - n @ mean
        second = np.einsum("k,ko,kod,koe->de", n, p, known, known) - np.einsum("k,kd,ke->de", n, mean, mean)
        return gradient, second

    theta, covariance = _newton(value, derivatives, np.zeros(features.shape[2]))
    return theta, covariance, value(theta)


def _newton(value, derivatives, start: Array) -> tuple[Array, Array]:
    """Newton's method with halved steps for a concave `value`; returns the maximum and the inverse
    information.
    """
    theta = start
    for _ in range(100):
        gradient, information = derivatives(theta)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            raise NotIdentified(
                "no finite ranking: the likelihood has no maximum; collect more votes"
            ) from None
        now, scale = value(theta), 1.0
        while not value(theta + scale * step) >= now - 1e-12 * abs(now) and scale > 1e-10:
            scale /= 2
        theta = theta + scale * step
        if np.max(np.abs(step)) < 1e-12:
            break
    else:
        raise NotIdentified("no finite ranking: the estimate did not settle in 100 Newton steps")
    if np.max(np.abs(theta)) > RUNAWAY:
        raise NotIdentified("no finite ranking: the estimate runs away; collect more votes")
    return theta, np.linalg.inv(derivatives(theta)[1])


def _g2(counts: Array, probability: Array) -> float:
    n = counts.sum(1, keepdims=True)
    expected = n * probability
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(2 * np.sum(np.where(counts > 0, counts * np.log(counts / expected), 0.0)))


def _deviance(features: Array, counts: Array, estimate: Array) -> float:
    return _g2(counts, _probabilities(features, estimate))


def _df(contests: Contests, parameters: int) -> int:
    return 2 * int(np.sum(contests.won + contests.lost + contests.tied > 0)) - parameters


def _df_without_ties(contests: Contests) -> int:
    return int(np.sum(contests.won + contests.lost > 0)) - (len(contests.items) - 1)


def _finish(
    model: str,
    contests: Contests,
    estimate: Array,
    covariance: Array,
    likelihood: float,
    deviance: float,
    df: int,
    *,
    tie: float | None = None,
    position: float | None = None,
    regularise: float = 0.0,
    extra: int = 0,
    notes: tuple[str, ...] = (),
) -> Fit:
    """Leave out the phantom and put the reference in front."""
    real = len(contests.items) - 1
    keep = np.r_[0:real, real + extra : len(estimate)]
    return Fit(
        model,
        contests.items,
        np.concatenate([[0.0], estimate[:real]]),
        covariance[np.ix_(keep, keep)],
        likelihood,
        deviance,
        df,
        tie=tie,
        position=position,
        regularised=regularise,
        notes=notes + ((f"regularised: {regularise}",) if regularise else ()),
    )
