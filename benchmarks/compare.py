"""Two rows against each other, of one run or of two, paired by task."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.records import Run, read_run
from benchmarks.report import Table, difference_text, estimate_text, parts
from benchmarks.tables import COLUMNS, CONTROLS, cells, differences, estimates, present
from data.types import UserError


def compared(first: str, second: str) -> list[Table]:
    """Means of both rows and their paired difference, for all, local and global edits.

    `first` and `second` are RUN:ROW, or RUN. Raises UserError when a row is not there or the runs are not
    of one version of one suite.
    """
    (run_a, row_a), (run_b, row_b) = opened(first), opened(second)
    if run_a.record.suite.sha256 != run_b.record.suite.sha256:
        names = f"{run_a.record.suite.name} and {run_b.record.suite.name}"
        raise UserError(f"{first} and {second} are runs of other suites or suite versions ({names})")
    label_a, label_b = (row_a, row_b) if row_a != row_b else (first, second)
    rows = [labelled(run_a, row_a, label_a), labelled(run_b, row_b, label_b)]
    table = pd.concat(rows, ignore_index=True)
    columns = present(COLUMNS, table)
    found = []
    for name, part in parts(table):
        body = []
        for column in columns:
            means = estimates(part, column)
            difference = differences(part, column, label_b, beside_controls=True).get(label_a)
            texts = [estimate_text(column, means[label]) for label in (label_a, label_b)]
            body.append([column.title, *texts, difference_text(column, difference)])
        notes = [
            "Difference [95 % interval, clustered by source clip]; p: sign flips of clips, one test a line."
        ]
        found.append(Table(name, ["", label_a, label_b, f"{label_a} − {label_b}"], body, notes))
    return found


def opened(text: str) -> tuple[Run, str]:
    """A run and one of its rows from RUN:ROW or RUN."""
    folder, row = (text, "") if Path(text).is_dir() else text.rpartition(":")[::2]
    run = read_run(Path(folder))
    names = [method.name for method in run.record.methods]
    choice = [row] if row else [name for name in names if name not in CONTROLS]
    if len(choice) != 1 or choice[0] not in names:
        raise UserError(f"{text}: name one row as {folder}:ROW; its rows are {', '.join(names)}")
    return run, choice[0]


def labelled(run: Run, row: str, label: str) -> pd.DataFrame:
    table = cells(run)
    return table[table["method"] == row].assign(method=label)
