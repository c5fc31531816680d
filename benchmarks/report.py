"""The report of a run: tables as Markdown, HTML and CSV, pictures, side-by-side videos.

Reads the run's folder and nothing else; what it writes lies in `report/` and `previews/` and can be deleted.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks import figures, previews, root_choice
from benchmarks.ablations import COMPONENTS, TITLES
from benchmarks.records import Run, read_run
from benchmarks.tables import (
    COLUMNS,
    Column,
    Difference,
    Estimate,
    cells,
    designs,
    differences,
    effects,
    estimates,
    present,
    same_frames,
    sentence,
)
from data.types import Report, UserError, silent

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Table:
    """One printed table: what it shows, its head, rows of text, and notes under it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def write_report(
    folder: Path, *, reference: str | None = None, videos: bool = True, report: Report = silent
) -> Path:
    """Write `report/` of a run whole or not at all; comes back with the path of its HTML page.

    `reference` is the row that the others are compared with: by default `full`, or the first row.
    """
    run = read_run(folder)
    names = [method.name for method in run.record.methods]
    against = reference or ("full" if "full" in names else names[0])
    if against not in names:
        raise UserError(f"{folder} has no row '{against}': its rows are {', '.join(names)}")
    building = folder / "report.part"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()

    table = cells(run)
    columns = present(COLUMNS, table)
    tables = list(printed(table, columns, against))
    clips = previews.side_by_side(run, report) if videos else {}
    document = {
        "run": run.record,
        "ended": table["status"].value_counts().to_dict(),
        "titles": {name: TITLES[name] for name in names if name in TITLES},
        "tables": tables,
        "sentences": said(run, table) if against == "full" else [],
        "same": [
            f"{first} and {second} have the same frames in {same} of {both} cells"
            for first, second, same, both in same_frames(table)
        ],
        "failures": failures(table),
        "pictures": figures.draw(run, table, columns, building),
        "clips": {task: f"../{path.relative_to(folder).as_posix()}" for task, path in clips.items()},
        "tasks": {task.id: task for task in run.record.suite.tasks},
        "earlier": len(run.results) - sum(result is not None for _, result in run.cells()),
    }
    table.to_csv(building / "cells.csv", index=False)
    write_csv(building / "tables.csv", tables)
    for name in ("report.md", "report.html"):
        (building / name).write_text(render(name, document), encoding="utf-8")
    shutil.rmtree(folder / "report", ignore_errors=True)
    building.replace(folder / "report")
    return folder / "report" / "report.html"


def said(run: Run, table: pd.DataFrame) -> list[str]:
    """One sentence for each component, and one on the choice of the root where it can be judged."""
    choice = root_choice.sentence(run)
    return [*(sentence(table, component) for component in COMPONENTS), *([choice] if choice else [])]


def parts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All tasks, then local and global edits apart where a suite has both."""
    yield "All edits", table
    if table["edit"].nunique() > 1:
        for edit, part in table.groupby("edit", sort=False):
            yield f"{str(edit).capitalize()} edits", part


def printed(table: pd.DataFrame, columns: Sequence[Column], reference: str) -> Iterator[Table]:
    """Every table of the report, in its order."""
    for name, part in parts(table):
        yield mean_table(name, part, columns)
    for name, part in parts(table):
        yield difference_table(name, part, columns, reference)
    yield from condition_tables(table, columns)
    for edit, design in designs(table):
        rows = [effect_row(edit, column, design) for column in columns]
        if any(rows):
            head, *_ = [row for row in rows if row]
            yield Table(
                f"{edit.capitalize()} edits: main effects and interactions",
                ["column", *head],
                [[column.title, *row.values()] for column, row in zip(columns, rows) if row],
                ["Mean with the factor minus mean without it, over the whole factorial design."],
            )


def mean_table(name: str, table: pd.DataFrame, columns: Sequence[Column]) -> Table:
    """Each row's mean, 95 % interval, and number of tasks, in each column."""
    found = {column.title: estimates(table, column) for column in columns}
    methods = list(dict.fromkeys(table["method"]))
    rows = [
        [method, *(estimate_text(column, found[column.title][method]) for column in columns)]
        for method in methods
    ]
    arrows = {"lower": " ↓", "higher": " ↑", "neither": ""}
    head = ["", *(f"{column.title}{arrows[column.better]}" for column in columns)]
    clips, tasks = table["source"].nunique(), table["task"].nunique()
    notes = [
        f"Mean [95 % interval, clustered by source clip] over {tasks} tasks on {clips} clips, "
        f"{table['seed'].nunique()} seed(s); n of N tasks where some have no value.",
    ]
    if any(estimate.partial for column in found.values() for estimate in column.values()):
        notes.append("* over fewer tasks than other rows of the column: not comparable with them directly.")
    return Table(name, head, rows, notes)


def estimate_text(column: Column, estimate: Estimate) -> str:
    if estimate.interval is None:
        return estimate.why or "–"
    interval = estimate.interval
    span = "one clip"
    if interval.low is not None and interval.high is not None:
        span = f"{column.show(interval.low)}, {column.show(interval.high)}"
    count = "" if estimate.scored == estimate.asked else f" ({estimate.scored} of {estimate.asked})"
    return f"{column.show(interval.mean)} [{span}]{count}{' *' if estimate.partial else ''}"


def difference_table(name: str, table: pd.DataFrame, columns: Sequence[Column], reference: str) -> Table:
    """Each row minus the reference, paired by task."""
    found = {column.title: differences(table, column, reference) for column in columns}
    methods = list(dict.fromkeys(method for column in found.values() for method in column))
    rows = [
        [method, *(difference_text(column, found[column.title].get(method)) for column in columns)]
        for method in methods
    ]
    tested = sum(any(found[c.title][method].comparison for c in columns) for method in methods)
    notes = [
        f"Row minus `{reference}` [95 % interval], on the tasks that both have. p: sign flips of whole "
        f"clips, Holm over the {tested} rows tested in a column.",
    ]
    clips = table["source"].nunique()
    smallest = min(1.0, 2 / 2**clips * max(1, tested))
    if smallest >= 0.05:
        notes.append(
            f"With {clips} clips no corrected p can be under {smallest:.2g}: nothing is decided at 5 %."
        )
    return Table(
        f"{name}: difference to {reference}", ["", *(column.title for column in columns)], rows, notes
    )


def difference_text(column: Column, difference: Difference | None) -> str:
    if difference is None or difference.comparison is None:
        return difference.reason or "–" if difference else "–"
    interval = difference.comparison.difference
    text = column.signed(interval.mean)
    if interval.low is not None and interval.high is not None:
        text += f" [{column.signed(interval.low)}, {column.signed(interval.high)}]"
    return f"{text}, {f'p = {difference.p:.2g}' if difference.p is not None else difference.reason}"


def condition_tables(table: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """`full` minus `frame_by_frame` for each value of a condition, where a suite varies one."""
    if not {"full", "frame_by_frame"} <= set(table["method"]):
        return
    pair = table[table["method"].isin(["full", "frame_by_frame"])]
    for name in ("coupling", "condition", "expected"):
        key = f"condition:{name}"
        if key not in pair or pair[key].nunique() < 2:
            continue
        rows = []
        for value, part in pair.groupby(key, sort=False):
            found = [differences(part, column, "frame_by_frame").get("full") for column in columns]
            texts = [difference_text(column, one) for column, one in zip(columns, found)]
            rows.append([f"{value} ({part['task'].nunique()} tasks)", *texts])
        notes = ["full minus frame_by_frame [95 % interval]; p: sign flips of whole clips, one test a cell."]
        yield Table(f"By {name}", [name, *(column.title for column in columns)], rows, notes)


def effect_row(edit: str, column: Column, table: pd.DataFrame) -> dict[str, str]:
    """The contrasts of one column by name; empty where the run lacks a row of the design."""
    row = {}
    for effect in effects(table, column, edit):
        interval = effect.interval
        span = "one clip"
        if interval.low is not None and interval.high is not None:
            span = f"{column.signed(interval.low)}, {column.signed(interval.high)}"
        row[" × ".join(effect.factors)] = f"{column.signed(interval.mean)} [{span}]"
    return row


def failures(table: pd.DataFrame) -> list[str]:
    """One line for each cell that has no video, with its reason."""
    missing = table[table["status"] != "ok"]
    return [
        f"{cell.method}, {cell.task}, seed {cell.seed}: {cell.status}: {cell.reason}"
        for cell in missing.itertuples()
    ]


def write_csv(path: Path, tables: Sequence[Table]) -> None:
    """All tables as one long CSV: table, row, column, text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "row", "column", "value"])
        for table in tables:
            for row in table.rows:
                writer.writerows(
                    [table.title, row[0], head, value] for head, value in zip(table.head[1:], row[1:])
                )


def show(run: Run, console: Console) -> None:
    """Print what a terminal shows of a report: means with intervals, the components, how the run ended."""
    table = cells(run)
    columns = present(COLUMNS, table)
    means = mean_table("All edits", table, columns)
    grid = RichTable(*(["", *(row[0] for row in means.rows)]), box=SIMPLE, title=means.title, padding=(0, 1))
    for head, *texts in zip(means.head[1:], *(row[1:] for row in means.rows)):
        grid.add_row(head, *(Text(text.replace(" [", "\n[").replace(" (", "\n(")) for text in texts))
    console.print(grid)
    names = {method.name for method in run.record.methods}
    lines = said(run, table) if "full" in names else []
    counts = ", ".join(f"{n} {status}" for status, n in table["status"].value_counts().items())
    for line in [*means.notes, *lines, f"{counts} of {len(table)} cells."]:
        console.print(line, markup=False, highlight=False)


def as_text(tables: Sequence[Table]) -> str:
    """Tables as Markdown."""
    return render("tables.md", {"tables": tables})


def render(name: str, document: dict[str, Any]) -> str:
    """A template filled in; what is not Markdown is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda template: template is not None and template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(document)
