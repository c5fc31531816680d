"""The numbers of a report, read from a run alone: a value per cell, means with intervals, paired differences.

From cells to a table: a task's value is the mean over its seeds, a method's the mean over its tasks.
Intervals are clustered by source clip, comparisons are paired over the tasks that both rows have and
corrected for the number of rows compared in one column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    better: Literal["lower", "higher", "neither"] = "lower"
    kind: Literal["number", "square", "share", "seconds", "decibel"] = "number"
    about: tuple[str, ...] = ()  # fields of VIA: shown only where one of them is swept

    @property
    def hint(self) -> str:
        """How to read the column, for an axis."""
        return "(neither way is better)" if self.better == "neither" else f"({self.better} is better)"

    def show(self, value: float | None) -> str:
        """A value of this column in print; a dash where there is none."""
        if value is None:
            return "–"
        digits = {"number": ".4f", "square": ".6f", "share": ".1%", "seconds": ".1f", "decibel": ".2f"}[
            self.kind
        ]
        return format(value, digits)

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
    Column(
        "seam error",
        "background_psnr@1",
        "ring_mse",
        kind="square",
        about=("blend", "blend_area", "blend_group"),
    ),
    Column("background PSNR", "background_psnr@1", better="higher", kind="decibel"),
    Column("CLIP direction", "clip_direction@1", better="higher"),
    Column("CLIP similarity", "clip_direction@1", "image_similarity", better="neither"),
    Column("warp error", "warp_error_short@1"),
    Column("colour drift", "histogram_drift@1"),
    Column("mask IoU", "mask_iou@1", better="higher", about=("masks", "mask_grow", "mask_smooth", "region")),
    Column("seconds", None, kind="seconds"),
)


@dataclass(frozen=True)
class Estimate:
    """A method's mean in a column: its interval, how many of how many tasks have a value, and how its cells
    ended where none is ok. `partial` marks a mean over fewer tasks than another row's."""

    interval: Interval | None
    scored: int
    asked: int
    why: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class Difference:
    """A row minus the reference in a column, on the tasks that both have; `p` is Holm's within the column."""

    comparison: Comparison | None
    p: float | None
    reason: str | None


def cells(run: Run, columns: Sequence[Column] = COLUMNS) -> pd.DataFrame:
    """One row per asked cell: task, source, edit ("local" or "global"), method, seed, how it ended, values.

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
            "frames": result.frames_sha256 if result else None,
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
    """The columns in which at least one cell has a value, without those about fields that no row sweeps."""
    swept = {field for row in table["method"].unique() for field in values_of(row)}
    return [
        column
        for column in columns
        if table[column.title].notna().any() and (not column.about or swept & set(column.about))
    ]


def values_of(row: str) -> dict[str, str]:
    """Field -> value of a swept row, by its name; empty for other rows.

    >>> values_of("steps=10,blend=last_step")
    {'steps': '10', 'blend': 'last_step'}
    """
    parts = [part.partition("=") for part in row.split(",")] if "=" in row else []
    return {field: value for field, _, value in parts}


def by_cell(table: pd.DataFrame, column: Column) -> pd.DataFrame:
    """(task, source, seed) x methods, NaN where a cell has no value."""
    wide = table.set_index(["task", "source", "seed", "method"])[column.title].unstack("method")
    return wide.reindex(columns=list(dict.fromkeys(table["method"])))


def over_seeds(wide: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Tasks x methods, means over the seeds that all methods of `wide` have; the tasks' source clips."""
    means = wide.dropna().groupby(["task", "source"], sort=False).mean()
    return means, list(means.index.get_level_values("source"))


def estimates(table: pd.DataFrame, column: Column) -> dict[str, Estimate]:
    """Each method's mean over tasks in a column, with its interval."""
    wide = by_cell(table, column)
    tasks = table["task"].nunique()
    found = {}
    for method in wide.columns:
        means, sources = over_seeds(wide[[method]])
        ended = table.loc[table["method"] == method, "status"].unique()
        why = None if "ok" in ended else "failed" if "error" in ended else str(ended[0])
        interval = None
        if len(means):
            estimate = share_interval if column.kind == "share" else clustered_interval
            interval = estimate(means[method].to_numpy(), sources)
        found[method] = Estimate(interval, len(means), tasks, why)
    usual = max(estimate.scored for estimate in found.values())
    return {
        method: replace(estimate, partial=0 < estimate.scored < usual) for method, estimate in found.items()
    }


def differences(
    table: pd.DataFrame, column: Column, reference: str, *, beside_controls: bool = False
) -> dict[str, Difference]:
    """Each other method minus the reference, paired by task, tested by sign flips of whole clips; the
    controls are left out unless `beside_controls`."""
    wide = by_cell(table, column)
    if reference not in wide:
        return {}
    rows = [row for row in wide.columns if row != reference and (beside_controls or row not in CONTROLS)]
    found: dict[str, Difference] = {}
    comparisons: dict[str, Comparison] = {}
    for row in rows:
        pair, sources = over_seeds(wide[[row, reference]])
        if len(pair):
            comparisons[row] = compare(pair[row].to_numpy(), pair[reference].to_numpy(), sources)
        else:
            found[row] = Difference(None, None, "no task has a value for both")
    corrected = holm([comparison.p for comparison in comparisons.values()])
    for (row, comparison), p in zip(comparisons.items(), corrected):
        found[row] = Difference(comparison, p, comparison.reason)
    return {row: found[row] for row in rows}


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
    wide = by_cell(table, column)
    if not set(design.values()) <= set(wide.columns):
        return []
    whole, sources = over_seeds(wide[list(design.values())])
    if len(whole) == 0:
        return []
    signs = 2 * np.array(list(design)) - 1  # (rows, factors)
    found = []
    for order in range(1, signs.shape[1] + 1):
        for chosen in itertools.combinations(range(signs.shape[1]), order):
            contrast = whole.to_numpy() @ signs[:, chosen].prod(axis=1) / (len(design) / 2)
            found.append(Effect(tuple(FACTORS[i] for i in chosen), clustered_interval(contrast, sources)))
    return found


def sentence(table: pd.DataFrame, component: Component, columns: Sequence[Column] = COLUMNS) -> str:
    """What one component changed, by how much, and whether that is beyond chance."""
    head = f"{component.title}: the paper says it {component.claim}."
    without, column = component.without, next(c for c in columns if c.title == component.column)
    difference = differences(table, column, "full").get(without)
    if difference is None:
        return f"{head} Not measured: the run has no rows `full` and `{without}`."
    if ("full", without) in {pair[:2] for pair in same_frames(table) if pair[2] == pair[3]}:
        return f"{head} It cannot act here: its frames are the same with and without it."
    if difference.comparison is None:
        return f"{head} Not measured: {difference.reason}."
    pair, _ = over_seeds(by_cell(table, column)[["full", without]])
    mean, other = pair["full"].mean(), pair[without].mean()
    better = other > mean if column.better == "lower" else other < mean
    direction = "no difference" if mean == other else "better with it" if better else "worse with it"
    change = f"{column.title} is {column.show(mean)} with it and {column.show(other)} without ({direction})"
    judged = f"{verdict(column, difference)}.{caveat(table, without, column)}"
    return f"{head} On {len(pair)} tasks {change}; {judged}"


def caveat(table: pd.DataFrame, without: str, column: Column) -> str:
    """That fewer frames are edited with the component, where consistency could come from not editing."""
    edited = next(c for c in COLUMNS if c.title == "edited share")
    if column.title not in ("minority share", "answer switches") or table[edited.title].isna().all():
        return ""
    pair, _ = over_seeds(by_cell(table, edited)[["full", without]])
    mean, other = pair["full"].mean(), pair[without].mean()
    if not mean < other:
        return ""
    return f" But fewer frames are edited at all with it ({edited.show(mean)} against {edited.show(other)})."


def same_frames(table: pd.DataFrame) -> list[tuple[str, str, int, int]]:
    """Pairs of rows with the same frames in some cell: (row, row, cells where they do, cells of both)."""
    wide = table.set_index(["task", "seed", "method"])["frames"].unstack("method")
    found = []
    for first, second in itertools.combinations(dict.fromkeys(table["method"]), 2):
        both = wide[[first, second]].dropna()
        same = int((both[first] == both[second]).sum())
        if same:
            found.append((first, second, same, len(both)))
    return found


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
