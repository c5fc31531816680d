"""Reading a judge's reply: JSON of the asked form, in at most one code fence. Anything else is an error,
never a number."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)

Preference = Literal["A", "B", "tie"]
Outcome = Literal["first", "second", "tie"]


class Unreadable(ValueError):
    """A reply that is not what was asked for; the message says how."""


class ScoreReply(BaseModel):
    """1 (worst) to 5."""

    model_config = ConfigDict(strict=True, extra="ignore")
    score: Annotated[int, Field(ge=1, le=5)]
    reason: str


class PreferenceReply(BaseModel):
    """Which of the two shown edits is better."""

    model_config = ConfigDict(strict=True, extra="ignore")
    better: Preference
    reason: str


def read_score(reply: str) -> ScoreReply:
    """The score of a reply. Raises Unreadable."""
    try:
        return ScoreReply.model_validate(_object(reply))
    except ValidationError as error:
        raise Unreadable(_first(error)) from error


def read_preference(reply: str) -> PreferenceReply:
    """The preference of a reply. Raises Unreadable."""
    try:
        return PreferenceReply.model_validate(_object(reply))
    except ValidationError as error:
        raise Unreadable(_first(error)) from error


def both_orders(shown_ab: str, shown_ba: str) -> tuple[Outcome, bool]:
    """(outcome, position bias) of two replies, the second with A and B exchanged.

    Agreeing answers count; disagreeing ones are a tie and a sign of position bias. Raises Unreadable.
    """
    first, second = read_preference(shown_ab).better, read_preference(shown_ba).better
    turned: Preference = {"A": "B", "B": "A", "tie": "tie"}[second]  # type: ignore[assignment]
    if first != turned:
        return "tie", True
    outcomes: dict[Preference, Outcome] = {"A": "first", "B": "second", "tie": "tie"}
    return outcomes[first], False


def _object(reply: str) -> dict[str, Any]:
    text = reply.strip()
    if fenced := FENCE.match(text):
        text = fenced.group(1)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"not a JSON object but {type(value).__name__}")
    return value


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
