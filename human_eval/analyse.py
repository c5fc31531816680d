"""From joined votes to Table 1: one cell per question and pair, rankings, agreement and position, per
question.

Questions are never pooled: one person answers them in one sitting, so they are dependent views of one trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from eval.statistics import holm

from . import ranking
from .agreement import Position, alpha, alpha_interval, pairwise_agreement, pooled_position, unanimous_share
from .clustered import Clustered, pigeonhole, sign_flip, two_way
from .proportions import Counts, Interval, equivalent, fragility, goodman, sign_test, wilson
from .ranking import Contests, Fit, NotIdentified

LEVEL = 0.05
DEVIANCE_LEVEL = 0.01
Fitted = TypeVar("Fitted")
MODELS = ("davidson", "half-win", "drop-ties", "rao-kupper")


@dataclass(frozen=True)
class Cell:
    """One question, one pair. `first` is ours in a star; p values are two-sided."""

    aspect: str
    first: str
    second: str
    counts: Counts
    both_fail: int
    clips: int
    raters: int
    sign_p: float
    holm_p: float
    clustered_p: float
    shares: tuple[Interval, Interval, Interval]  # Goodman, ours, theirs, tie
    preference: Clustered  # of the net preference
    win_rate: Interval  # Wilson, independent votes
    win_rate_clustered: Interval  # pigeonhole bootstrap, conservative
    fragility: float
    equivalent: bool

    @property
    def verdict(self) -> str:
        """`ours`, `theirs` or `not significant`, by the Holm p."""
        if self.holm_p > LEVEL:
            return "not significant"
        return "ours" if self.counts.ours > self.counts.theirs else "theirs"

    @property
    def contested(self) -> bool:
        """Whether the exact and the clustered p disagree at .05."""
        return (self.sign_p <= LEVEL) != (self.clustered_p <= LEVEL)


@dataclass(frozen=True)
class Board:
    """Rankings of one question. A model that cannot be fitted has its reason instead."""

    aspect: str
    items: tuple[str, ...]
    contests: Contests
    fits: dict[str, Fit]
    reasons: dict[str, str]
    design_effect: float
    ranks: dict[str, tuple[int, int]]
    per_pair: dict[tuple[str, str], Fit]
    position: Fit | None
    is_star: bool

    @property
    def flips(self) -> list[tuple[str, str]]:
        """Pairs of methods that the models order differently."""
        orders = [fit.order() for fit in self.fits.values()]
        return [
            (a, b)
            for i, a in enumerate(self.items)
            for b in self.items[i + 1 :]
            if len({order.index(a) < order.index(b) for order in orders}) > 1
        ]

    @property
    def misfit(self) -> bool:
        """Whether Davidson's one tie parameter is rejected at .01."""
        fit = self.fits.get("davidson")
        return fit is not None and fit.deviance_p < DEVIANCE_LEVEL


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on one question; alpha is coded by method, symmetrised in a round robin."""

    aspect: str
    units: int
    alpha: float
    low: float
    high: float
    unanimous: float
    pairwise: float


@dataclass(frozen=True)
class Analysis:
    """Everything the report prints about one set of votes."""

    cells: tuple[Cell, ...]
    boards: tuple[Board, ...]
    agreement: tuple[Agreement, ...]
    position: dict[str, Position]  # per rater
    votes: int
    raters: int
    clips: int

    @property
    def pooled(self) -> Position:
        return pooled_position(self.position)

    def cell(self, aspect: str, first: str, second: str) -> Cell:
        """The cell of a question and a pair."""
        return next(c for c in self.cells if (c.aspect, c.first, c.second) == (aspect, first, second))


def analyse(
    judgements: pd.DataFrame,
    aspects: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    *,
    is_star: bool,
    seed: int = 0,
    regularise: float = 0.0,
    draws: int = 1000,
) -> Analysis:
    """Analyse joined votes (see `votes.judgements`). `draws` is the size of the bootstraps."""
    rng = np.random.default_rng(seed)
    table = cells(judgements, aspects, pairs, rng, draws)
    boards = tuple(
        board(judgements[judgements["aspect"] == aspect], aspect, pairs, table, is_star, regularise)
        for aspect in aspects
    )
    agreed = tuple(
        agreement(judgements[judgements["aspect"] == aspect], aspect, rng, not is_star, draws)
        for aspect in aspects
    )
    return Analysis(
        cells=table,
        boards=boards,
        agreement=agreed,
        position=positions(judgements),
        votes=len(judgements),
        raters=judgements["rater"].nunique(),
        clips=judgements["source"].nunique(),
    )


def counted(rows: pd.DataFrame) -> Counts:
    """Ours, theirs and ties of some votes."""
    return Counts(int((rows["y"] == 1).sum()), int((rows["y"] == -1).sum()), int((rows["y"] == 0).sum()))


def cells(
    judgements: pd.DataFrame,
    aspects: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    rng: np.random.Generator,
    draws: int,
) -> tuple[Cell, ...]:
    """All cells, with one Holm correction over the whole table."""
    parts = [
        (aspect, first, second, _rows(judgements, aspect, first, second))
        for aspect in aspects
        for first, second in pairs
    ]
    counts = [counted(rows) for *_, rows in parts]
    raw = [sign_test(c.ours, c.theirs) if c.n else None for c in counts]
    corrected = holm(raw)
    return tuple(
        _cell(
            aspect,
            first,
            second,
            rows,
            count,
            math.nan if p is None else p,
            math.nan if h is None else h,
            rng,
            draws,
        )
        for (aspect, first, second, rows), count, p, h in zip(parts, counts, raw, corrected)
    )


def _rows(judgements: pd.DataFrame, aspect: str, first: str, second: str) -> pd.DataFrame:
    is_pair = (judgements["first"] == first) & (judgements["second"] == second)
    return judgements[is_pair & (judgements["aspect"] == aspect)]


def _cell(
    aspect: str,
    first: str,
    second: str,
    rows: pd.DataFrame,
    counts: Counts,
    sign_p: float,
    holm_p: float,
    rng: np.random.Generator,
    draws: int,
) -> Cell:
    y = rows["y"].to_numpy(dtype=float)
    preference = two_way(y, rows["source"], rows["rater"])

    def win_rate(weights: np.ndarray) -> np.ndarray:
        won, lost = weights @ (y == 1), weights @ (y == -1)
        return np.array([won / (won + lost) if won + lost else math.nan])

    clustered: Interval = (math.nan, math.nan)
    if counts.ours + counts.theirs and preference.df > 0 and draws:
        votes = pd.DataFrame({"clip": rows["source"].to_numpy(), "rater": rows["rater"].to_numpy()})
        low, high = pigeonhole(votes, win_rate, rng, draws=draws)
        clustered = (float(low[0]), float(high[0]))
    return Cell(
        aspect=aspect,
        first=first,
        second=second,
        counts=counts,
        both_fail=int((rows["answer"] == "both_fail").sum()),
        clips=rows["source"].nunique(),
        raters=rows["rater"].nunique(),
        sign_p=sign_p,
        holm_p=holm_p,
        clustered_p=sign_flip(y, rows["source"]) if counts.n else math.nan,
        shares=goodman(counts),
        preference=preference,
        win_rate=wilson(counts.ours, counts.theirs),
        win_rate_clustered=clustered,
        fragility=fragility(counts),
        equivalent=equivalent(preference.mean, preference.variance, preference.df)
        if preference.df > 0
        else False,
    )


def board(
    rows: pd.DataFrame,
    aspect: str,
    pairs: Sequence[tuple[str, str]],
    table: Sequence[Cell],
    is_star: bool,
    regularise: float,
) -> Board:
    """Rankings of one question by all models, with rank intervals widened by the cells' design effect."""
    items = tuple(dict.fromkeys(method for pair in pairs for method in pair))
    contests = Contests.of(items, [_contest(rows, first, second) for first, second in pairs])
    fits: dict[str, Fit] = {}
    reasons: dict[str, str] = {}
    for model in MODELS:
        try:
            fits[model] = fitted(model, contests, regularise)
        except NotIdentified as refusal:
            reasons[model] = str(refusal)
    effects = [c.preference.design_effect for c in table if c.aspect == aspect]
    known = [effect for effect in effects if not math.isnan(effect)]
    effect = max(1.0, float(np.mean(known))) if known else 1.0
    can_split = "davidson" in fits and not regularise
    per_pair = attempted(lambda: ranking.davidson_per_pair(contests)) if can_split else None
    position = (
        attempted(lambda: ranking.davidson(sided(rows, items, pairs), position=True)) if can_split else None
    )
    return Board(
        aspect=aspect,
        items=items,
        contests=contests,
        fits=fits,
        reasons=reasons,
        design_effect=effect,
        ranks=ranking.rank_intervals(fits["davidson"], design_effect=effect) if "davidson" in fits else {},
        per_pair=per_pair or {},
        position=position,
        is_star=is_star,
    )


def attempted(fit: Callable[[], Fitted]) -> Fitted | None:
    """A side analysis, or None where its own votes do not determine it."""
    try:
        return fit()
    except NotIdentified:
        return None


def fitted(model: str, contests: Contests, regularise: float) -> Fit:
    """One of the four models by name."""
    if model == "davidson":
        return ranking.davidson(contests, regularise=regularise)
    if model == "rao-kupper":
        return ranking.rao_kupper(contests, regularise=regularise)
    return ranking.bradley_terry(contests, ties=model, regularise=regularise)


def _contest(rows: pd.DataFrame, first: str, second: str) -> tuple[str, str, float, float, float]:
    counts = counted(rows[(rows["first"] == first) & (rows["second"] == second)])
    return first, second, counts.ours, counts.theirs, counts.tie


def sided(rows: pd.DataFrame, items: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Contests:
    """Contests split by side: the item shown left comes first."""
    contests = []
    for first, second in pairs:
        pair = rows[(rows["first"] == first) & (rows["second"] == second)]
        on_left, on_right = counted(pair[pair["first_left"]]), counted(pair[~pair["first_left"].astype(bool)])
        contests.append((first, second, on_left.ours, on_left.theirs, on_left.tie))
        contests.append((second, first, on_right.theirs, on_right.ours, on_right.tie))
    return Contests.of(items, contests)


def units(rows: pd.DataFrame) -> np.ndarray:
    """(units, raters) of answers -1, 0, 1 by method; a unit is a clip with a pair, NaN is missing."""
    if rows.empty:
        return np.empty((0, 1))
    return rows.pivot_table(index=["clip", "pair"], columns="rater", values="y", aggfunc="first").to_numpy(
        dtype=float
    )


def agreement(
    rows: pd.DataFrame, aspect: str, rng: np.random.Generator, symmetrised: bool, draws: int
) -> Agreement:
    """Alpha with its interval over units, unanimity and pairwise agreement."""
    table = units(rows)
    rated = int((np.sum(~np.isnan(table), axis=1) >= 2).sum())
    low, high = (
        alpha_interval(table, rng, symmetrised=symmetrised, draws=draws)
        if rated and draws
        else (math.nan, math.nan)
    )
    return Agreement(
        aspect=aspect,
        units=rated,
        alpha=alpha(table, symmetrised=symmetrised),
        low=low,
        high=high,
        unanimous=unanimous_share(table),
        pairwise=pairwise_agreement(table),
    )


def positions(judgements: pd.DataFrame) -> dict[str, Position]:
    """Left wins, right wins and ties of every rater."""
    result = {}
    for rater, rows in judgements.groupby("rater"):
        left, right = int((rows["answer"] == "left").sum()), int((rows["answer"] == "right").sum())
        result[str(rater)] = Position(left, right, len(rows) - left - right)
    return result
