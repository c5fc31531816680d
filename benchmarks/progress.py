"""What a person sees while a run works: a bar with stage and time left, or a line per cell where there is no
terminal."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmarks.records import Key, Result
from data.types import Report, silent

WIDTH = 170  # characters of a line where there is no terminal


class Bars:
    """Shows a run (`benchmarks.run.Show`) on a console; a context manager: a bar must be taken down."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live = self.console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.live,
        )
        self.cells = self.bar.add_task("cells", total=None, left="")
        self.todo: list[Key] = []
        self.workers = 1
        self.began: dict[Key, float] = {}
        self.lines: dict[Key, TaskID] = {}  # of the cells under way
        self.took: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> Bars:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def start(self, todo: Sequence[Key], kept: int, workers: int = 1) -> None:
        self.todo, self.workers = list(todo), workers
        self.bar.update(self.cells, total=len(todo))
        if kept:
            self.say(f"{kept} cells are there already, {len(todo)} remain")

    def stage(self, key: Key) -> Report:
        self.began[key] = time.monotonic()
        if not self.live:
            return silent
        line = self.lines[key] = self.bar.add_task("", total=None, left="")

        def report(stage: str, done: int, total: int) -> None:
            text = f"{key.method}, {key.task}, seed {key.seed}: {stage}"
            self.bar.update(line, description=text, completed=done, total=total)

        return report

    def end(self, result: Result) -> None:
        key, moment = result.key, time.monotonic()
        took = moment - self.began.pop(key, moment)
        if key in self.lines:
            self.bar.remove_task(self.lines.pop(key))
        if result.status != "skipped":
            self.took[result.method].append(took)
        self.todo.remove(key)
        left = f"{duration(self.remaining())} left" if self.todo else "done"
        self.bar.update(self.cells, advance=1, left=left)
        ending = f": {result.reason}" if result.reason else f", {took:.1f} s"
        if not self.live or result.status == "error":
            self.say(f"{result.method}, {result.task}, seed {result.seed}: {result.status}{ending} ({left})")

    def remaining(self) -> float:
        """Seconds left: each cell as long as its method's cells took, or as all took, on average; shared out
        among the workers."""
        everything = [seconds for times in self.took.values() for seconds in times]
        if not everything:
            return 0.0
        average = sum(everything) / len(everything)
        means = {method: sum(times) / len(times) for method, times in self.took.items()}
        return sum(means.get(key.method, average) for key in self.todo) / self.workers

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 5 min`.

    >>> duration(40), duration(200), duration(7500)
    ('40 s', '3 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def console() -> Console:
    """Where results are printed: as wide as the terminal, or wide enough for a table in a file."""
    wide = Console()
    return wide if wide.is_terminal else Console(width=WIDTH)


@contextmanager
def stages() -> Iterator[Report]:
    """A `report` shown as one bar on the terminal; without a terminal it is silent."""
    where = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=where, disable=not where.is_terminal, transient=True) as bar:
        line = bar.add_task("", total=None)
        yield lambda stage, done, total: bar.update(line, description=stage, completed=done, total=total)
