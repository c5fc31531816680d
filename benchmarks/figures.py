"""The pictures of a report: Fig. 10 in the paper's arrangement, sweeps, and the dose-response to coupling.

Frames come from the run's own videos (the source is the row `copy`); nothing else is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from textwrap import fill, shorten

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.ablations import TITLES
from benchmarks.records import Result, Run, TaskRecord
from benchmarks.tables import Column, differences, estimates, values_of
from data.types import Frames
from data.video import open_clip
from eval.statistics import Interval
from via.config import ViaConfig, configured

# Rows of Fig. 10, left and right panel of each example; None where the paper has none.
ARRANGEMENT = (("copy", "full"), ("e", "c"), ("d", "b"), ("frame_by_frame", "oracle"))
LETTERS = {
    "copy": "source",
    "full": "(a) full",
    "frame_by_frame": "frame by frame",
    "oracle": "best valid answer",
}
EXAMPLES = (
    "Change into a tiger",
    "Make it Japanese woodblock print",
)  # the paper's own, where a suite has them
STRIP = 4  # frames of a panel
DOSE = "condition:coupling"
DOSES = ("single", "none", "weak", "strong")


def draw(run: Run, table: pd.DataFrame, columns: Sequence[Column], folder: Path) -> dict[str, str]:
    """Write every picture the run has cells for; comes back with file name -> caption."""
    pictures = {}
    figure = fig10(run)
    if figure is not None:
        for name in ("fig10.png", "fig10.pdf"):
            figure.savefig(folder / name, dpi=150)
        pictures["fig10.png"] = (
            "What each component changes, in the arrangement of the paper's Fig. 10; below, frame-by-frame "
            "editing and the best valid answer"
        )
    if sweeps := swept(list(dict.fromkeys(table["method"]))):
        shown = [column for column in columns if column.kind != "seconds"]
        sweep_plot(table, shown, sweeps).savefig(folder / "sweep.png", dpi=120)
        pictures["sweep.png"] = (
            "Every column over the swept fields, at the paired difference to the default, with its 95 % "
            "interval"
        )
    titled = {column.title: column for column in columns}
    if "mask IoU" in titled and "answer error" in titled:
        masks = mask_plot(table, titled["answer error"], titled["mask IoU"])
        if masks is not None:
            masks.savefig(folder / "masks.png", dpi=120)
            pictures["masks.png"] = "Answer error against how well the masks match the true ones"
    dose = dose_plot(table, columns)
    if dose is not None:
        dose.savefig(folder / "dose_response.png", dpi=150)
        pictures["dose_response.png"] = (
            "How results depend on how strongly the answer follows incidental content"
        )
    return pictures


@dataclass(frozen=True)
class Example:
    """One column of Fig. 10: a task, and each row's frames (STRIP, H, W, 3) or why there are none."""

    task: TaskRecord
    strips: dict[str, Frames | str]


def fig10(run: Run) -> Figure | None:
    """The paper's Fig. 10: a local example left, a global one right; None without any `full` video."""
    local = example(run, [task for task in run.record.suite.tasks if task.region is not None])
    whole = example(run, [task for task in run.record.suite.tasks if task.region is None])
    examples = [found for found in (local, whole) if found is not None]
    if not examples:
        return None
    names = {name for found in examples for name in found.strips}
    rows = [pair for pair in ARRANGEMENT if names & set(pair)]
    height, width = next(
        strip.shape[1:3]
        for found in examples
        for strip in found.strips.values()
        if not isinstance(strip, str)
    )
    panel = 4.2
    figure = Figure(
        figsize=(panel * 2 * len(examples), (panel * height / (STRIP * width) + 0.3) * len(rows) + 0.4),
        layout="constrained",
    )
    for part, found in zip(np.atleast_1d(figure.subfigures(1, len(examples), wspace=0.03)), examples):
        part.suptitle(f"“{found.task.instruction}”", fontsize=12, style="italic")
        axes = part.subplots(len(rows), 2, squeeze=False)
        for pair, line in zip(rows, axes):
            for name, axis in zip(pair, line):
                show_strip(axis, name, found.strips.get(name))
    return figure


def show_strip(axis: Axes, name: str, strip: Frames | str | None) -> None:
    """Frames side by side under their caption, or the reason why there are none."""
    axis.set_xticks([])
    axis.set_yticks([])
    letter = LETTERS.get(name, f"({name})")
    caption = letter if name in LETTERS else f"{letter} {TITLES.get(name, '')}"
    axis.set_title(caption, fontsize=9, loc="left", pad=3)
    if isinstance(strip, np.ndarray):
        axis.imshow(beside(strip))
        axis.spines[:].set_visible(False)
    else:
        axis.spines[:].set_color("#bbb")
        reason = fill(shorten(strip or "not in this run", 90), 44)
        axis.text(0.5, 0.5, reason, ha="center", va="center", fontsize=8, transform=axis.transAxes)


def beside(frames: Frames, gap: int = 2) -> Frames:
    """Frames (n, H, W, 3) as one white-ruled picture (H, n W + gaps, 3)."""
    n, height, width, _ = frames.shape
    picture = np.full((height, n * width + (n - 1) * gap, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        left = index * (width + gap)
        picture[:, left : left + width] = frame
    return picture


def example(run: Run, tasks: Sequence[TaskRecord]) -> Example | None:
    """The task to show: the paper's own if it is among `tasks`, else the first; needs a video of `full`."""
    wanted = [instruction.lower() for instruction in EXAMPLES]
    for task in sorted(tasks, key=lambda task: task.instruction.lower() not in wanted):
        results = first_seed(run, task.id)
        if "full" in results and results["full"].status == "ok":
            strips = {name: strip_of(run, result) for name, result in results.items()}
            return Example(task, strips)
    return None


def first_seed(run: Run, task: str) -> dict[str, Result]:
    """Row -> result of a task with the run's first seed."""
    seed = run.record.seeds[0]
    return {
        key.method: result
        for key, result in run.cells()
        if key.task == task and key.seed == seed and result is not None
    }


def strip_of(run: Run, result: Result) -> Frames | str:
    """Evenly spaced frames of a result's video, ends included, or the reason why it has none."""
    if result.status != "ok":
        return result.reason or result.status
    clip = open_clip(run.video(result))
    indices = np.linspace(0, len(clip) - 1, STRIP).round().astype(int)
    return np.stack([clip[int(index)] for index in indices])


Sweeps = dict[str, dict[str, dict[str, str]]]  # swept field -> other fields' values -> value -> row


def swept(rows: Sequence[str]) -> Sweeps:
    """The sweeps among the rows of a run, by the field that runs along the horizontal axis.

    >>> swept(["full", "steps=10", "steps=20"])
    {'steps': {'': {'10': 'steps=10', '20': 'steps=20'}}}
    >>> swept(["blend=off,steps=5", "blend=constant,steps=5"])["blend"]["steps=5"]["off"]
    'blend=off,steps=5'
    """
    found: Sweeps = {}
    for row in rows:
        if "=" in row:
            (field, value), *others = values_of(row).items()
            line = ", ".join(f"{name}={other}" for name, other in others)
            found.setdefault(field, {}).setdefault(line, {})[value] = row
    return {field: lines for field, lines in found.items() if len(ticks(lines)) > 1}


def ticks(lines: dict[str, dict[str, str]]) -> list[str]:
    """All values of a swept field, in the order of the rows."""
    return list(dict.fromkeys(value for line in lines.values() for value in line))


def sweep_plot(table: pd.DataFrame, columns: Sequence[Column], sweeps: Sweeps) -> Figure:
    """Columns over the values of each swept field: one line of panels a column, or three columns abreast
    where one field is swept.

    A point is the mean; where the default is among the values it stands without a bar, and the others at
    their paired difference to it, with the 95 % interval of that difference. Further fields of a sweep are
    colours; frame-by-frame editing is a dashed line.
    """
    across = len(sweeps) if len(sweeps) > 1 else min(3, len(columns))
    down = -(-len(columns) * len(sweeps) // across)
    figure = Figure(figsize=(4.2 * across, 2.8 * down), layout="constrained")
    places = list(figure.subplots(down, across, squeeze=False).flat)
    for axis, (column, field) in zip(places, product(columns, sweeps)):
        shares = field != next(iter(sweeps))
        if shares:
            axis.sharey(places[places.index(axis) - 1])
        sweep_panel(axis, column, field, sweeps[field], table)
        if shares:
            axis.set_ylabel("")
    for axis, (column, _) in zip(places, product(columns, sweeps)):
        if column.kind == "share":  # a difference's interval may reach where no share can be
            low, high = axis.get_ylim()
            axis.set_ylim(max(low, -0.03), min(high, 1.03))
    for axis in places[len(columns) * len(sweeps) :]:
        axis.remove()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, fontsize=8, loc="outside upper right", ncols=4)
    return figure


def sweep_panel(
    axis: Axes, column: Column, field: str, lines: dict[str, dict[str, str]], table: pd.DataFrame
) -> None:
    """One column over the values of one field."""
    values = ticks(lines)
    found = estimates(table, column)
    for number, (label, points) in enumerate(lines.items()):
        shown = beside_default(table, column, list(points.values()))
        for value, row in points.items():
            mark(axis, values.index(value) + 0.12 * number, shown[row], color=f"C{number}")
        if label:
            axis.plot([], [], "o", color=f"C{number}", label=label)
    plain = found.get("frame_by_frame")
    if plain is not None and plain.interval is not None and plain.interval.mean is not None:
        axis.axhline(plain.interval.mean, color="#888", ls="--", lw=1, label="frame by frame")
    crowded = sum(map(len, values)) > 32
    axis.set_xticks(range(len(values)), values, rotation=30 if crowded else 0)
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_xlabel(field)
    axis.set_ylabel(f"{column.title}\n{column.hint}")
    if column.kind == "share":
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def default_row(rows: Sequence[str]) -> str | None:
    """The row of a sweep that is VIA as it is, or None.

    >>> default_row(["steps=12", "steps=10"]), default_row(["steps=12"]), default_row(["c", "full"])
    ('steps=10', None, 'full')
    """
    plain = ViaConfig()
    return next(
        (row for row in rows if row == "full" or ("=" in row and configured(row.split(","), plain) == plain)),
        None,
    )


def beside_default(table: pd.DataFrame, column: Column, rows: Sequence[str]) -> dict[str, Interval | None]:
    """The default's mean without an interval, and every other row's at its paired difference to it; without
    a default every row's own mean and interval."""
    found = {row: estimate.interval for row, estimate in estimates(table, column).items()}
    default = default_row(rows)
    base = found[default] if default else None
    if default is None or base is None:
        return {row: found[row] for row in rows}
    shown: dict[str, Interval | None] = {default: replace(base, low=None, high=None)}
    for row, difference in differences(table[table["method"].isin(rows)], column, default).items():
        apart = difference.comparison.difference if difference.comparison else None
        shown[row] = apart and replace(
            apart,
            mean=base.mean + apart.mean,
            low=None if apart.low is None else base.mean + apart.low,
            high=None if apart.high is None else base.mean + apart.high,
        )
    return shown


def mask_plot(table: pd.DataFrame, error: Column, overlap: Column) -> Figure | None:
    """Error against how well a row's masks match the true ones; None where no masks were swept."""
    errors, overlaps = estimates(table, error), estimates(table, overlap)
    rows = [row for row in errors if "masks" in values_of(row)]
    if len(rows) < 2:
        return None
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, row in enumerate(rows):
        across, up = overlaps[row].interval, errors[row].interval
        if across is not None and across.mean is not None:
            mark(axis, across.mean, up, color=f"C{number}")
            axis.plot([], [], "o", color=f"C{number}", label=row)
    axis.set_xlim(-0.05, 1.05)
    axis.set_xlabel("mask IoU with the true mask")
    axis.set_ylabel(f"{error.title} {error.hint}")
    axis.legend(fontsize=8)
    return figure


OVER_TIME = {"colour drift": "histogram_drift@1", "background error": "answer_error_outside@1"}


def over_time(run: Run, rows: Sequence[str]) -> Figure:
    """What colour and background do along a clip: each row's mean over its cells, frame by frame."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    for axis, (title, metric) in zip(figure.subplots(1, len(OVER_TIME)), OVER_TIME.items()):
        for number, row in enumerate(rows):
            series = [
                score.details["frames"]
                for key, _ in run.cells()
                if key.method == row and (score := run.score(key, metric)) and score.details.get("frames")
            ]
            if series:
                length = min(map(len, series))
                mean = np.mean([values[:length] for values in series], axis=0)
                axis.plot(mean, color=f"C{number}", lw=1.2, label=TITLES.get(row, row))
        axis.set_xlabel("frame")
        axis.set_ylabel(f"{title} (lower is better)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, fontsize=8, loc="outside upper right", ncols=3)
    return figure


def mark(axis: Axes, place: float, interval: object, **style: object) -> None:
    """A mean with its 95 % interval."""
    mean, low, high = (getattr(interval, name, None) for name in ("mean", "low", "high"))
    if mean is None:
        return
    error = None if low is None or high is None else [[mean - low], [high - mean]]
    axis.errorbar([place], [mean], yerr=error, fmt="o", capsize=3, **{"color": "C0", **style})


def dose_plot(table: pd.DataFrame, columns: Sequence[Column]) -> Figure | None:
    """Minority share and one-answer error over the strength of coupling, frame by frame against full."""
    rows = [row for row in ("frame_by_frame", "full") if row in set(table["method"])]
    shown = [
        column for column in columns if column.title in ("minority share", "one-answer error", "edited share")
    ]
    if DOSE not in table or len(rows) < 2 or not shown or table[DOSE].nunique() < 2:
        return None
    doses = sorted(table[DOSE].dropna().unique(), key=lambda dose: (*DOSES, dose).index(dose))
    figure = Figure(figsize=(4.2 * len(shown), 3.2), layout="constrained")
    for axis, column in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        for offset, row in enumerate(rows):
            for place, dose in enumerate(doses):
                found = estimates(table[(table[DOSE] == dose) & (table["method"] == row)], column)
                mark(axis, place + 0.12 * offset, found[row].interval, color=f"C{offset}")
            axis.plot([], [], "o", color=f"C{offset}", label=TITLES.get(row, row))
        axis.set_xticks(
            range(len(doses)),
            [f"{dose}\n({table[table[DOSE] == dose]['task'].nunique()} tasks)" for dose in doses],
        )
        axis.set_xlabel("coupling")
        axis.set_ylabel(column.title)
    figure.axes[0].legend(fontsize=8)
    return figure
