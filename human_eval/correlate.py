"""Metrics against people: does a metric order methods and items as raters do?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.records import read_run
from data.types import UserError

FEWEST_METHODS = 5
EXACT_METHODS = 8  # 8! = 40 320 orders
RANDOM_ORDERS = 20_000


@dataclass(frozen=True)
class Correlation:
    """Rank correlation over methods with its two-sided permutation p; NaN with fewer than five methods."""

    value: float
    p: float


@dataclass(frozen=True)
class Accuracy:
    """Share of answers a metric predicts, ties counted; the threshold for a metric tie comes from the other
    clips.
    """

    value: float
    low: float
    high: float
    items: int


def win_ratios(rows: pd.DataFrame) -> dict[str, float]:
    """(wins + half the ties) / comparisons of each method, from joined votes of one question."""
    points: dict[str, list[float]] = {}
    for first, second, y in zip(rows["first"], rows["second"], rows["y"]):
        points.setdefault(first, []).append((1 + y) / 2)
        points.setdefault(second, []).append((1 - y) / 2)
    return {method: float(np.mean(values)) for method, values in points.items()}


def over_methods(
    human: Sequence[float], metric: Sequence[float], statistic: str, rng: np.random.Generator
) -> Correlation:
    """`spearman` or `kendall` (tau-b) over methods.

    p is the share of all orders of the metric whose |statistic| is at least the observed one; with more
    than eight methods, of 20 000 random orders and the observed one.
    """
    compute = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[statistic]
    x, y = np.asarray(human, float), np.asarray(metric, float)
    if len(x) < FEWEST_METHODS or len(set(x)) == 1 or len(set(y)) == 1:
        return Correlation(math.nan, math.nan)
    observed = float(compute(x, y).statistic)
    if statistic == "spearman":  # of ranks: one matrix product for all orders
        a, b = stats.rankdata(x), stats.rankdata(y)
        a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    else:
        i, j = np.triu_indices(len(x), 1)
        a, b = x, y
    exact = len(x) <= EXACT_METHODS
    orders = np.array(list(permutations(range(len(x))))) if exact else _random_orders(len(x), rng)
    if statistic == "spearman":
        values = b[orders] @ a / len(x)
    else:
        signs, permuted = np.sign(a[i] - a[j]), b[orders]
        other = np.sign(permuted[:, i] - permuted[:, j])
        values = other @ signs / math.sqrt(np.sum(signs**2) * np.sum(np.sign(b[i] - b[j]) ** 2))
    hits = int((np.abs(values) >= abs(observed) - 1e-12).sum())
    return Correlation(observed, hits / len(orders) if exact else (1 + hits) / (1 + len(orders)))


def _random_orders(count: int, rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.permutation(count) for _ in range(RANDOM_ORDERS)])


def per_item(
    rows: pd.DataFrame, scores: Mapping[tuple[str, str], float], rng: np.random.Generator
) -> Accuracy:
    """Pairwise accuracy per answer: a metric tie is right when the rater tied.

    `scores` maps (clip, method) to a value, larger is better. Source clips are split in two halves; the
    threshold below which a difference is a tie is chosen on one half and scored on the other, both ways.
    The interval resamples source clips.
    """
    known = rows[
        [
            (c, m) in scores and (c, o) in scores
            for c, m, o in zip(rows["clip"], rows["first"], rows["second"])
        ]
    ]
    sources = sorted(known["source"].unique())
    if len(sources) < 4:
        return Accuracy(math.nan, math.nan, math.nan, len(known))
    difference = np.array(
        [scores[c, m] - scores[c, o] for c, m, o in zip(known["clip"], known["first"], known["second"])]
    )
    y, source = known["y"].to_numpy(), known["source"].to_numpy()
    half = set(rng.permutation(sources)[: len(sources) // 2])
    is_half = np.array([s in half for s in source])
    right = np.empty(len(y))
    for choose, score in ((is_half, ~is_half), (~is_half, is_half)):
        threshold = best_threshold(difference[choose], y[choose])
        right[score] = predicted(difference[score], threshold) == y[score]
    sums = pd.DataFrame({"source": source, "right": right}).groupby("source")["right"].agg(["sum", "size"])
    drawn = rng.integers(0, len(sums), (2000, len(sums)))
    means = sums["sum"].to_numpy()[drawn].sum(1) / sums["size"].to_numpy()[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Accuracy(float(right.mean()), float(low), float(high), len(y))


def predicted(difference: np.ndarray, threshold: float) -> np.ndarray:
    """-1, 0, 1: who the metric says won; a tie where |difference| <= threshold."""
    return np.where(np.abs(difference) <= threshold, 0, np.sign(difference))


def best_threshold(difference: np.ndarray, y: np.ndarray) -> float:
    """The threshold with the highest accuracy, the smallest of equals; 0 makes only exact ties ties."""
    candidates = np.unique(np.concatenate([[0.0], np.abs(difference)]))
    accuracy = [np.mean(predicted(difference, threshold) == y) for threshold in candidates]
    return float(candidates[int(np.argmax(accuracy))])


@dataclass(frozen=True)
class MetricRow:
    """One metric against one question."""

    metric: str
    aspect: str
    methods: int
    spearman: Correlation
    kendall: Correlation
    accuracy: Accuracy


def correlate(
    judgements: pd.DataFrame,
    aspects: Sequence[str],
    scores: Mapping[str, Mapping[tuple[str, str], float]],
    seed: int,
) -> list[MetricRow]:
    """Every metric against every question. `scores[metric]` maps (clip, method) to a value, larger is
    better.
    """
    rng = np.random.default_rng(seed)
    result = []
    for metric, values in sorted(scores.items()):
        for aspect in aspects:
            rows = judgements[judgements["aspect"] == aspect]
            human = win_ratios(rows)
            means = {
                method: float(np.mean(found))
                for method in human
                if (found := [values[c, method] for c in rows["clip"].unique() if (c, method) in values])
            }
            shared = [method for method in human if method in means]
            columns = [human[m] for m in shared], [means[m] for m in shared]
            result.append(
                MetricRow(
                    metric,
                    aspect,
                    len(shared),
                    over_methods(*columns, "spearman", rng),
                    over_methods(*columns, "kendall", rng),
                    per_item(rows, values, rng),
                )
            )
    return result


def scores_of_runs(
    folders: Sequence[Path], lower_is_better: Sequence[str], run_seed: int | None = None
) -> dict[str, dict[tuple[str, str], float]]:
    """metric -> (clip, method) -> value, turned so that larger is better; only of the videos that a study
    with this `run_seed` shows.

    `lower_is_better` names metrics, with or without their version. Raises UserError where there are no
    scores, or one of these names is of none.
    """
    table: dict[str, dict[tuple[str, str], float]] = {}
    for folder in folders:
        run = read_run(folder)
        seed = run.record.seeds[0] if run_seed is None else run_seed
        shown = {(method.name, method.config_hash) for method in run.record.methods}
        for key, metric in run.scores:
            score = run.score(key, metric)
            if score is None or score.status != "ok" or score.value is None:
                continue
            if key.seed != seed or (key.method, key.config_hash) not in shown:
                continue
            sign = -1 if {metric, metric.split("@")[0]} & set(lower_is_better) else 1
            table.setdefault(metric, {})[key.task, key.method] = sign * float(score.value)
    if not table:
        raise UserError("the runs hold no scores; run `via score RUN` first")
    known = {name for metric in table for name in (metric, metric.split("@")[0])}
    for name in lower_is_better:
        if name not in known:
            raise UserError(
                f"--lower-is-better: the runs have no metric '{name}' (they have {', '.join(sorted(table))})"
            )
    return table


def rows_of(found: Sequence[MetricRow]) -> tuple[list[str], list[list[str]], list[dict[str, Any]]]:
    """Header and rows to print, and the same as records in which what is undefined is None."""
    header = [
        "metric",
        "question",
        "methods",
        "Spearman (p)",
        "Kendall (p)",
        "accuracy per answer (95 %)",
        "answers",
    ]
    rows, records = [], []
    for row in found:
        a = row.accuracy
        rows.append(
            [
                row.metric,
                row.aspect,
                str(row.methods),
                correlation_text(row.spearman),
                correlation_text(row.kendall),
                "–" if math.isnan(a.value) else f"{a.value:.3f} ({a.low:.3f} to {a.high:.3f})",
                str(a.items),
            ]
        )
        values = {
            "spearman": row.spearman.value,
            "spearman_p": row.spearman.p,
            "kendall": row.kendall.value,
            "kendall_p": row.kendall.p,
            "accuracy": a.value,
            "accuracy_low": a.low,
            "accuracy_high": a.high,
        }
        known = {name: None if math.isnan(value) else value for name, value in values.items()}
        records.append(
            {"metric": row.metric, "aspect": row.aspect, "methods": row.methods, "answers": a.items} | known
        )
    return header, rows, records


def correlation_text(correlation: Correlation) -> str:
    if math.isnan(correlation.value):
        return f"needs {FEWEST_METHODS} methods"
    return f"{correlation.value:+.3f} ({correlation.p:.3f})"
