"""Results kept as lines of JSON while they are made: what was torn by a kill is lost alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file's lines, none if there is no file; what is torn or empty is no value."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append_line(path: Path, value: Any) -> None:
    """One more line; one that an earlier process left torn is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
