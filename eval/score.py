"""What a metric returns (Score), what it is given (Pair), and what it is (Metric)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.types import Clip, Edit

if TYPE_CHECKING:
    from eval.features import Features
    from eval.walk import Measurement

Status = Literal["ok", "skipped", "undefined", "refused", "error"]
Direction = Literal["up", "down", "none"]


class Score(BaseModel):
    """A finite value, or None with a status and a reason in words.

    status: `ok`; `skipped` (something is missing here: weights, a mask); `undefined` (the formula has no
    value for this input); `refused` (the input breaks a rule: another size); `error` (the computation
    failed). `details` holds values per frame or pair as plain JSON, in which None stands for "no value".
    `seconds` is the time the metric itself took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    status: Status = "ok"
    reason: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    seconds: float = 0.0

    @field_validator("details", mode="before")
    @classmethod
    def _plain(cls, details: dict[str, Any]) -> dict[str, Any]:
        return {name: plain(value) for name, value in details.items()}

    @model_validator(mode="after")
    def _honest(self) -> Score:
        if self.status == "ok" and (self.value is None or not math.isfinite(self.value)):
            raise ValueError(f"a score that is ok has a finite value, not {self.value}")
        if self.status != "ok" and (self.value is not None or not self.reason):
            raise ValueError(f"a score that is {self.status} has no value, and a reason")
        return self


class Missing(Exception):
    """A network or file that a metric needs is not here; the metric is `skipped` with this as its reason."""


def ok(value: float, **details: Any) -> Score:
    """A score with a value; one that is not finite becomes an `error`, never a number."""
    if not math.isfinite(value):
        return Score(value=None, status="error", reason=f"the computation gave {value}", details=details)
    return Score(value=float(value), details=details)


def missing(status: Status, reason: str, **details: Any) -> Score:
    """A score without a value: `skipped`, `undefined`, `refused` or `error`, with the reason in words."""
    return Score(value=None, status=status, reason=reason, details=details)


def plain(value: Any) -> Any:
    """`value` as JSON has it: arrays become lists, whatever is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class Pair:
    """A source clip and its edit, with what is known about them.

    mask: bool (n, H, W), True where the edit may act; `mask_origin` says whose it is (true, given,
    predicted).
    predicted_mask: the method's own, to be judged against `mask`. answers: every valid edit as a whole
    clip, where known. root: the edit's root frame index and root image uint8 (H, W, 3), where the method
    has one. rival: another edit, for preferences.
    """

    source: Clip
    edited: Clip
    edit: Edit | None = None
    mask: NDArray[np.bool_] | None = None
    mask_origin: str = "true"
    predicted_mask: NDArray[np.bool_] | None = None
    answers: Sequence[Clip] | None = None
    rival: Clip | None = None
    root: tuple[int, NDArray[np.uint8]] | None = None


class Metric(Protocol):
    """One number for one edit. `id` and `version` name the definition: any change of a value it can return is
    a new version."""

    id: str
    version: int
    direction: Direction  # which way is better; none: context or a guard
    range: tuple[float, float]
    needs: tuple[str, ...]  # of: mask, captions, answers, clip, lpips, dino, ...
    suite: str
    cost: str  # in words: what dominates it
    compat: tuple[str, ...]  # published variants that it also computes, by name
    measures: tuple[type[Measurement], ...]  # what it reads from the one walk over the pair

    @property
    def name(self) -> str:
        """id@version, with `:variant` for a published one."""
        ...

    def card(self) -> str:
        """Formula, source, preprocessing, what fools it: what `via metrics show` prints."""
        ...

    def __call__(self, pair: Pair, features: Features) -> Score: ...
