"""The questions that the paper leaves to its readers: what answers each, and the answers in
docs/questions.md.

    python -m benchmarks.questions [--workers N] [NAME ...]

runs what a question asks for into `runs/questions/NAME` (resumably, as `via ablate` does), draws its picture
into `docs/images`, and writes sentences and table into the page. What is not asked again stays as it was.
"""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmarks import root_choice
from benchmarks.ablations import ALL, DESIGN, LOCAL_FIELDS
from benchmarks.figures import Sweeps, default_row, mask_plot, over_time, sweep_plot, swept
from benchmarks.records import Run, read_run
from benchmarks.report import as_text, difference_table, mean_table
from benchmarks.tables import COLUMNS, Column, cells, differences, estimates, values_of, verdict
from data.types import UserError

PAGE = Path(__file__).parents[1] / "docs" / "questions.md"
RUNS = Path("runs") / "questions"


@dataclass(frozen=True)
class Question:
    """What a question runs (sweeps of one field each, or rows), and the columns that answer it, the first one
    in words."""

    columns: tuple[str, ...]
    sweeps: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    suite: str = "pocket-dev"
    metrics: str = "pocket,background_psnr"


QUESTIONS: dict[str, Question] = {
    "tuning": Question(
        ("one-answer error", "minority share", "edited share", "root agreement"),
        sweeps=(
            "tuning_lr=1e-4,3e-4,1e-3,3e-3",
            "tuning_steps=10,20,40,80",
            "tuning_pairs=4,16,32,64",
        ),
    ),
    "root": Question(
        ("one-answer error", "edited share", "root agreement"),
        sweeps=("root_choice=score,clip,first",),
    ),
    "perfect-root": Question(
        ("one-answer error", "minority share", "edited share", "background error"),
        rows=("frame_by_frame", "c", "full", "strong_tuning", "perfect_root", "perfect_root_strong"),
    ),
    "masks": Question(
        ("answer error", "background error", "mask IoU"),
        sweeps=("masks=predicted,given,dilated,wrong,none",),
    ),
    "blending": Question(
        ("seam error", "answer error", "background error"),
        sweeps=("blend=progressive,constant,last_step,off", "blend_area=whole,inside,object"),
    ),
    "components": Question(
        ("one-answer error", "minority share", "edited share", "background error"), rows=ALL
    ),
    "steps": Question(
        ("one-answer error", "minority share", "edited share"),
        sweeps=("steps=10,12,15,20", "swap_steps=0,2,4,6,8,all"),
    ),
    "group": Question(
        ("one-answer error", "minority share", "edited share"),
        sweeps=("group_size=1,2,4,8", "gather_context=all,preceding"),
    ),
    "drift": Question(
        ("colour drift", "background error", "minority share"),
        rows=("frame_by_frame", "full", "st_only", "copy", "oracle"),
        suite="pocket-long",
        metrics="pocket,background_psnr,histogram_drift",
    ),
}


def commands(name: str) -> list[list[str]]:
    """The arguments of `via` that run a question, one list for each command."""
    question = QUESTIONS[name]
    what = [["--sweep", sweep] for sweep in question.sweeps] or [["--methods", ",".join(question.rows)]]
    tail = ["--metrics", question.metrics, "--out", (RUNS / name).as_posix()]
    return [["ablate", "--suite", question.suite, *words, *tail] for words in what]


def answered(name: str, run: Run, images: Path) -> str:
    """A question's answer from its run, as Markdown; the picture is drawn into `images`."""
    table = asked_about(name, cells(run))
    titled = {column.title: column for column in COLUMNS}
    columns = [titled[title] for title in QUESTIONS[name].columns]
    figure, sentences = picture(name, run, table, columns), spoken(name, table, columns[0])
    if name == "root":
        chosen = ((row, root_choice.sentence(run, row)) for row in dict.fromkeys(table["method"]))
        sentences += [f"`{row}`. {sentence}" for row, sentence in chosen if sentence]
    figure.savefig(images / f"question_{name}.png", dpi=110)
    record = run.record
    made = (
        f"Suite {record.suite.name}, {len(record.suite.tasks)} tasks, {len(record.seeds)} seed(s), begun "
        f"{record.created[:10]} on {', '.join(record.hardware.values())}."
    )
    parts = [f"![{name}](images/question_{name}.png)", *sentences, as_text([mean_table("", table, columns)])]
    for part in list(by_field(name, table).values()) or [table]:
        against = default_row(list(part["method"])) or str(part["method"].iloc[0])
        parts.append(as_text([difference_table("", part, columns, against)]))
    return "\n\n".join(re.sub(r"^##.*\n+", "", part.strip()) for part in [*parts, made])


def asked_about(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The cells that a question is about: local edits alone, where what is swept acts on nothing else."""
    fields = {sweep.partition("=")[0] for sweep in QUESTIONS[name].sweeps}
    return table[table["edit"] == "local"] if fields and fields <= LOCAL_FIELDS else table


def by_field(name: str, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The cells of each swept field that has any."""
    fields = [sweep.partition("=")[0] for sweep in QUESTIONS[name].sweeps]
    parts = {field: table[[field in values_of(row) for row in table["method"]]] for field in fields}
    return {field: part for field, part in parts.items() if len(part)}


def picture(name: str, run: Run, table: pd.DataFrame, columns: Sequence[Column]) -> Figure:
    """The picture of a question: its sweeps or rows, or what it has of its own."""
    if name == "drift":
        return over_time(run, ("frame_by_frame", "st_only", "full"))
    if name == "masks":
        scatter = mask_plot(table, columns[0], columns[-1])
        if scatter is not None:
            return scatter
    rows = list(dict.fromkeys(table["method"]))
    shown = DESIGN.values() if name == "components" else QUESTIONS[name].rows
    asked: Sweeps = {"row": {"": {row: row for row in shown if row in rows and row != "frame_by_frame"}}}
    return sweep_plot(table, columns, swept(rows) or asked)


def spoken(name: str, table: pd.DataFrame, column: Column) -> list[str]:
    """For each swept field, its best value in a column against the default, in words."""
    return [compared(field, part, column) for field, part in by_field(name, table).items()]


def compared(field: str, table: pd.DataFrame, column: Column) -> str:
    """One sentence over the rows of one swept field."""
    means = {
        row: estimate.interval.mean
        for row, estimate in estimates(table, column).items()
        if estimate.interval is not None and estimate.interval.mean is not None
    }
    default = default_row(list(means))
    if default is None or len(means) < 2:
        return (
            f"`{field}`: not measured ({column.title} has no value at the default, or at the default only)."
        )
    choose = min if column.better == "lower" else max
    others = [row for row in means if row != default]
    best = choose(others, key=means.__getitem__)
    said = f"`{field}`: {column.title} is {column.show(means[default])} at the default `{default}`"
    judged = verdict(column, differences(table, column, default)[best])
    return f"{said}; the best other value is `{best}` with {column.show(means[best])}: {judged}."


def filled(page: str, name: str, answer: str) -> str:
    """The page with the answer of a question between its marks.

    >>> print(filled("Why?\\n<!-- measured: x -->\\nold\\n<!-- end -->", "x", "Because."))
    Why?
    <!-- measured: x -->
    <BLANKLINE>
    Because.
    <BLANKLINE>
    <!-- end -->
    """
    mark = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not mark.search(page):
        raise UserError(
            f"{PAGE}: it has no place for {name}: write <!-- measured: {name} --> and <!-- end -->"
        )
    return mark.sub(lambda match: f"{match[1]}\n{answer}\n\n{match[2]}", page)


def main(arguments: Sequence[str]) -> None:
    """Run and answer these questions, or all."""
    parser = ArgumentParser(prog="python -m benchmarks.questions")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(QUESTIONS)}; none is all")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    asked = parser.parse_args(arguments)
    names: list[str] = asked.names
    unknown = [name for name in names if name not in QUESTIONS]
    if unknown:
        sys.exit(f"there is no question {unknown[0]}: {', '.join(QUESTIONS)}")
    if not PAGE.exists():
        sys.exit(f"{PAGE}: no such page: run this in a checkout")
    for name in names or list(QUESTIONS):
        for words in commands(name):
            command = [sys.executable, "-m", "via.cli", *words, "--workers", str(asked.workers)]
            subprocess.run(command, check=True)
        answer = answered(name, read_run(RUNS / name), PAGE.parent / "images")
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), name, answer), encoding="utf-8")
        print(f"{PAGE}: {name} is answered")


if __name__ == "__main__":
    main(sys.argv[1:])
