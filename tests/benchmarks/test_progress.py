"""What a person is told while a run works."""

import io

import pytest
from rich.console import Console

from benchmarks.progress import Bars, duration
from benchmarks.records import Key, Result

A = "a" * 64


def key(method: str, task: str) -> Key:
    return Key(suite=A, task=task, method=method, config_hash=A, seed=0)


def ended(cell: Key, status: str = "ok", reason: str | None = None) -> Result:
    return Result.model_validate(
        {**cell.model_dump(), "status": status, "reason": reason, "device": "cpu", "ended": "now"}
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "1 h 30 min"), (7500, "2 h 5 min")]
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_every_cell_is_a_line_with_its_end_and_reason() -> None:
    out = io.StringIO()
    cells = [key("full", "dog"), key("b", "dog")]
    with Bars(Console(file=out, width=200)) as bars:
        bars.start(cells, kept=3)
        bars.end(ended(cells[0]))
        bars.end(ended(cells[1], "error", "ValueError: [odd] reason"))
    lines = out.getvalue().splitlines()
    assert lines[0] == "3 cells are there already, 2 remain"
    assert lines[1].startswith("full, dog, seed 0: ok, ")
    assert lines[2] == "b, dog, seed 0: error: ValueError: [odd] reason (done)"


def test_time_left_is_what_the_method_took_before() -> None:
    bars = Bars(Console(file=io.StringIO()))
    bars.todo = [key("slow", "b"), key("quick", "b"), key("new", "b")]
    bars.took["slow"] = [10.0, 30.0]
    bars.took["quick"] = [1.0, 3.0]
    assert bars.remaining() == 20 + 2 + 11  # a method not seen yet takes what cells took on average
