"""The numbers of a report, read from a run alone: a value per cell, means with intervals, paired differences.

From cells to a table: a task's value is the mean over its seeds, a method's the mean over its tasks.
Intervals are clustered by source clip, comparisons are paired over the tasks that both rows have and
corrected for the number of rows compared in one column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from benchmarks.ablations import DESIGN, Component
from benchmarks.records import Key, Result, Run
from eval.statistics import Comparison, Interval, clustered_interval, compare, holm, share_interval

CONTROLS = ("copy", "oracle")  # rows that make the others readable; nothing is tested against them


@dataclass(frozen=True)
class Column:
    """One column: a metric's value or one of its details, which way is better, how it is printed."""

    title: str
    metric: str | None  # None: seconds, which the result itself holds
    detail: str | None = None
    better: Literal["lower", "higher"] = "lower"
    kind: Literal["number", "share", "seconds", "decibel"] = "number"

    def show(self, value: float | None) -> str:
        """A value of this column in print; a dash where there is none."""
        if value is None:
            return "–"
        digits = {"number": ".4f", "share": ".1%", "seconds": ".1f", "decibel": ".2f"}[self.kind]
        return format(value, digits).replace("%", " %")

    def signed(self, value: float) -> str:
        """A difference of this column in print, with its sign."""
        return ("+" if value > 0 else "") + self.show(value).replace("-", "−")


COLUMNS = (
    Column("answer error", "answer_error@1"),
    Column("one-answer error", "answer_error@1", "one_answer"),
    Column("answer switches", "answer_switches@1", kind="share"),
    Column("minority share", "edited_share@1", "minority_share", kind="share"),
    Column("edited share", "edited_share@1", better="higher", kind="share"),
    Column("root agreement", "root_agreement@1", better="higher", kind="share"),
    Column("background error", "answer_error_outside@1"),
    Column("background PSNR", "background_psnr@1", better="higher", kind="decibel"),
    Column("warp error", "warp_error_short@1"),
    Column("seconds", None, kind="seconds"),
)


@dataclass(frozen=True)
class Estimate:
    """A method's mean in a column: its interval, how many of how many tasks have a value, and why others
    have none. `partial` marks a mean that is not over the tasks that most rows are averaged over."""

    interval: Interval | None
    scored: int
    asked: int
    reasons: tuple[str, ...] = ()
    partial: bool = False


@dataclass(frozen=True)
class Difference:
    """A row minus the reference in a column, on the tasks that both have; `p` is Holm's within the column."""

    comparison: Comparison | None
    p: float | None
    reason: str | None


def cells(run: Run, columns: Sequence[Column] = COLUMNS) -> pd.DataFrame:
    """One row per asked cell: task, source, edit ("local" or "global"), method, seed, status, reason, values.

    A value that does not exist, or whose score is stale, is NaN here and nowhere else.
    """
    tasks = {task.id: task for task in run.record.suite.tasks}
    rows = []
    for key, result in run.cells():
        task = tasks[key.task]
        row = {
            "task": task.id,
            "source": task.source,
            "edit": "global" if task.region is None else "local",
            "method": key.method,
            "seed": key.seed,
            "status": result.status if result else "missing",
            "reason": result.reason if result else "not run yet",
            **{f"condition:{name}": value for name, value in task.conditions.items()},
        }
        values = {column.title: value_of(run, key, result, column) for column in columns}
        rows.append({**row, **{title: np.nan if value is None else value for title, value in values.items()}})
    return pd.DataFrame(rows)


def value_of(run: Run, key: Key, result: Result | None, column: Column) -> float | None:
    """What a cell has in a column; None where it has nothing."""
    if result is None or result.status != "ok":
        return None
    if column.metric is None:
        return result.seconds_alone if result.seconds_alone is not None else sum(result.seconds.values())
    score = run.score(key, column.metric)
    if score is None:
        return None
    return score.value if column.detail is None else score.details.get(column.detail)


def present(columns: Sequence[Column], table: pd.DataFrame) -> list[Column]:
    """The columns in which at least one cell has a value."""
    return [column for column in columns if table[column.title].notna().any()]


def by_task(table: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Tasks x methods: the mean over seeds, NaN where any asked seed has no value."""
    return table.pivot_table(
        index=["task", "source"],
        columns="method",
        values=column.title,
        aggfunc=lambda values: values.mean(skipna=False),
        dropna=False,
        sort=False,
        observed=True,
    ).reindex(columns=list(dict.fromkeys(table["method"])))


def estimates(table: pd.DataFrame, column: Column) -> dict[str, Estimate]:
    """Each method's mean over tasks in a column, with its interval."""
    wide = by_task(table, column)
    usual = wide.notna().sum().max()
    found = {}
    for method in wide.columns:
        values = wide[method].dropna()
        cells_of = table[(table["method"] == method) & table[column.title].isna()]
        reasons = tuple(dict.fromkeys(str(reason) for reason in cells_of["reason"] if reason))
        interval = None
        if len(values):
            sources = values.index.get_level_values("source")
            estimate = share_interval if column.kind == "share" else clustered_interval
            interval = estimate(values.to_numpy(), list(sources))
        found[method] = Estimate(interval, len(values), len(wide), reasons, 0 < len(values) < usual)
    return found


def differences(
    table: pd.DataFrame, column: Column, reference: str, *, beside_controls: bool = False
) -> dict[str, Difference]:
    """Each other method minus the reference, paired by task, tested by sign flips of whole clips; the
    controls are left out unless `beside_controls`."""
    wide = by_task(table, column)
    found: dict[str, Difference] = {}
    rows = [
        method
        for method in wide.columns
        if method != reference and (beside_controls or method not in CONTROLS)
    ]
    if reference not in wide:
        return found
    comparisons = {}
    for method in rows:
        pair = wide[[method, reference]].dropna()
        if len(pair) == 0:
            found[method] = Difference(None, None, "no task has a value for both")
            continue
        sources = list(pair.index.get_level_values("source"))
        comparisons[method] = compare(pair[method].to_numpy(), pair[reference].to_numpy(), sources)
    corrected = holm([comparison.p for comparison in comparisons.values()])
    for (method, comparison), p in zip(comparisons.items(), corrected):
        found[method] = Difference(comparison, p, comparison.reason)
    return {method: found[method] for method in rows}


@dataclass(frozen=True)
class Effect:
    """A main effect (one factor) or an interaction of the 2 x 2 x 2 design, on the mean of a column."""

    factors: tuple[str, ...]
    interval: Interval


FACTORS = ("spatiotemporal", "tuning", "local")
# Where the whole frame is edited local adaptation cannot act, and the design has two factors.
GLOBAL_DESIGN = {(1, 1): "full", (1, 0): "c", (0, 1): "d0", (0, 0): "frame_by_frame"}


def designs(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The parts of a run to which one factorial design applies: "local" and "global" edits."""
    for edit, part in table.groupby("edit", sort=False):
        yield str(edit), part


def effects(table: pd.DataFrame, column: Column, edit: str) -> list[Effect]:
    """Contrasts of the factorial design over the tasks on which all its rows have a value.

    A main effect is the mean with the factor minus the mean without it, over all settings of the others; an
    interaction is half of how much one factor's effect differs with and without the other, and so on. Empty
    when the run lacks a row of the design.
    """
    design = GLOBAL_DESIGN if edit == "global" else DESIGN
    wide = by_task(table, column)
    if not set(design.values()) <= set(wide.columns):
        return []
    whole = wide[list(design.values())].dropna()
    if len(whole) == 0:
        return []
    signs = 2 * np.array(list(design)) - 1  # (rows, factors)
    sources = list(whole.index.get_level_values("source"))
    found = []
    for order in range(1, signs.shape[1] + 1):
        for chosen in itertools.combinations(range(signs.shape[1]), order):
            contrast = whole.to_numpy() @ signs[:, chosen].prod(axis=1) / (len(design) / 2)
            found.append(Effect(tuple(FACTORS[i] for i in chosen), clustered_interval(contrast, sources)))
    return found


def sentence(table: pd.DataFrame, component: Component, columns: Sequence[Column] = COLUMNS) -> str:
    """What one component changed, by how much, and whether that is beyond chance."""
    column = next(column for column in columns if column.title == component.column)
    reasons = set(
        table.loc[(table["method"] == component.without) & (table["status"] == "skipped"), "reason"]
    )
    difference = differences(table, column, "full").get(component.without)
    head = f"{component.title}: the paper says it {component.claim}."
    if difference is None:
        return f"{head} Not measured here: the run has no rows `full` and `{component.without}`."
    if difference.comparison is None:
        why = "; ".join(sorted(map(str, reasons))) or difference.reason
        return f"{head} Not measured here: {why}."
    pair = by_task(table, column)[["full", component.without]].dropna()
    with_it, without = pair["full"].mean(), pair[component.without].mean()
    change = f"{column.title} is {column.show(with_it)} with it and {column.show(without)} without"
    better = without > with_it if column.better == "lower" else without < with_it
    direction = "no difference" if with_it == without else "better with it" if better else "worse with it"
    return f"{head} On {len(pair)} tasks {change} ({direction}); {verdict(column, difference)}."


def verdict(column: Column, difference: Difference) -> str:
    """A difference with its interval, and whether it is beyond chance, in words."""
    if difference.comparison is None:
        return str(difference.reason)
    interval = difference.comparison.difference
    if interval.low is None or interval.high is None:
        return f"the difference of {column.show(interval.mean)} rests on one clip"
    mean, low, high = (column.signed(value) for value in (interval.mean, interval.low, interval.high))
    span = f"the difference is {mean} [{low}, {high}]"
    if difference.p is None:
        return f"{span} and {difference.reason}"
    judged = "beyond chance" if difference.p < 0.05 else "not beyond chance"
    return f"{span}, p = {difference.p:.3g} after Holm's correction: {judged}"
