"""What the metrics share: a card read from the class, and tables of per-pair values."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np

from data.types import UserError
from eval.score import Direction
from eval.walk import Measurement, Result


class Card:
    """The attributes of a metric (see eval.score.Metric) with their usual values, and the text made of
    them.
    """

    id: str
    version: int = 1
    direction: ClassVar[Direction]
    range: tuple[float, float]
    needs: tuple[str, ...] = ()
    suite: str = "default"
    cost: str = "small"
    compat: tuple[str, ...] = ()
    resizer: str = "none"
    measures: tuple[type[Measurement], ...] = ()

    def __init__(self, compat: str | None = None) -> None:
        if compat is not None and compat not in self.compat:
            known = ", ".join(self.compat) or "none"
            raise UserError(f"{self.id}: no published variant {compat!r}; known: {known}")
        self.variant = compat

    @property
    def name(self) -> str:
        """id@version, with the published variant where one is asked for."""
        return f"{self.id}@{self.version}" + (f":{self.variant}" if self.variant else "")

    def card(self) -> str:
        """Formula, source, what fools it, and what it needs."""
        low, high = self.range
        facts = [
            f"{self.name}  [{self.suite}]",
            inspect.cleandoc(self.__doc__ or ""),
            f"direction: {self.direction}   range: {low:g} to {high:g}   resizer: {self.resizer}",
            f"needs: {', '.join(self.needs) or 'nothing'}   cost: {self.cost}",
            f"compat: {', '.join(self.compat) or 'none'}",
        ]
        return "\n".join(facts)


def per_pair(rows: list[dict[str, float]]) -> Result:
    """Rows of equal keys as arrays (n,)."""
    return {
        name: np.array([row[name] for row in rows], dtype=np.float64) for name in (rows[0] if rows else ())
    }


def mean_of(values: Any) -> float | None:
    """Mean over what is finite; None when nothing is."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return float(finite.mean()) if len(finite) else None
