"""Votes: one row per answer, blind until the key is joined; files in which no cell can act as a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .study import Key, Study, write_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "study", "session", "rater", "list", "replicate", "order", "task", "kind", "clip", "pair",
    "left", "right", "aspect", "answer", "rev", "shown_at", "answered_at",
    "play_ms_left", "play_ms_right", "play_ms_source", "seeks", "dropped_frames", "source_visible",
    "client", "origin", "schema",
)  # fmt: skip

Vote = dict[str, Any]
SCORE = {"ours": 1, "theirs": -1, "tie": 0}


def vote(study: Study, session: str, task: str, aspect: str, answer: str, **facts: Any) -> Vote:
    """A whole row: what the design knows of the task, then the given facts (rater, times, origin, ...)."""
    plan, sitting = study.tasks[task], study.sessions[session]
    row: Vote = dict.fromkeys(COLUMNS)
    row |= {
        "study": study.study, "session": session, "list": sitting.list, "replicate": sitting.replicate,
        "order": plan.order, "task": task, "kind": plan.kind, "clip": plan.clip, "pair": plan.pair,
        "left": plan.left, "right": plan.right, "aspect": aspect, "answer": answer, "rev": 1, "schema": 1,
    }  # fmt: skip
    return row | {name: value for name, value in facts.items() if name in COLUMNS and value is not None}


def winner(row: Vote, key: Key) -> str | None:
    """`ours`, `theirs` or `tie` for a real task (first and second member of the pair); None for checks.

    A both-fail answer counts as a tie.
    """
    if row["kind"] != "real":
        return None
    if row["answer"] in ("tie", "both_fail"):
        return "tie"
    won = key.methods[row["task"]][row["answer"]]
    return "ours" if won == first_member(row["task"], key) else "theirs"


def first_member(task: str, key: Key) -> str:
    """The method that a task's scores are coded by: ours in a star, the pair's first in a round robin."""
    shown = key.methods[task]
    if key.ours in shown.values():
        return str(key.ours)
    return next((a for a, b in key.pairs if {a, b} == set(shown.values())), shown["left"])


def judgements(votes: Iterable[Vote], study: Study, key: Key) -> pd.DataFrame:
    """Votes on real tasks with their methods.

    Columns are those of the votes and first, second, winner, y in {-1, 0, 1}, source, first_left (whether the
    first member was shown left).
    """
    import pandas as pd

    rows = []
    for row in votes:
        result = winner(row, key)
        if result is None:
            continue
        shown, first = key.methods[row["task"]], first_member(row["task"], key)
        joined = {
            "first": first,
            "second": shown["right"] if shown["left"] == first else shown["left"],
            "winner": result,
            "y": SCORE[result],
            "source": study.tasks[row["task"]].source or row["clip"],
            "first_left": shown["left"] == first,
        }
        rows.append(row | joined)
    return pd.DataFrame(rows, columns=[*COLUMNS, "first", "second", "winner", "y", "source", "first_left"])


def neutral(value: Any) -> str:
    """A CSV cell that a spreadsheet shows as text: an apostrophe before `= + - @`, a tab or a line break."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "'" + text if text[:1] in "=+-@\t\r\n" and text and not is_number else text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with every cell neutral; negative numbers stay numbers only where they are numbers."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([neutral(name) for name in header])
    writer.writerows([neutral(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def votes_csv(votes: Iterable[Vote]) -> str:
    """One row per answer with all `COLUMNS`."""
    return csv_text(COLUMNS, ([row.get(name) for name in COLUMNS] for row in votes))


def read_votes(path: Path) -> list[Vote]:
    """The accepted votes of a study; none where nothing was imported yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write_votes(path: Path, votes: Iterable[Vote]) -> None:
    """`votes.jsonl` and the same as CSV beside it."""
    rows = list(votes)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_text(path.with_suffix(".csv"), votes_csv(rows))
