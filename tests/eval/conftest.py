"""Reading and comparing the golden cases: arrays, expected values, limits, and traps that must not be
matched."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from data.types import ArrayClip

FOLDER = Path(__file__).parent / "golden"
LIMITS = json.loads((FOLDER / "limits.json").read_text(encoding="utf-8"))


def arrays(case: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{case}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def document(case: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{case}.json").read_text(encoding="utf-8"))


def check(case: str, got: dict[str, Any], groups: tuple[str, ...] = ("definition",)) -> None:
    """Every expected value of the groups is within its limit, and none matches a trap instead."""
    doc = document(case)
    got = {name: _plain(value) for name, value in got.items()}
    faults = []
    for group in groups:
        for name, want in doc.get(group, {}).items():
            if name not in got:
                faults.append(f"{name}: missing")
            elif why := _differs(got[name], want, _limit(doc["function"], name)):
                faults.append(f"{name}: {why}")
    for trap, entry in doc.get("traps", {}).items():
        of = entry["of"]
        limit = _limit(doc["function"], of)
        caught = trap_is_told_apart(case, trap)
        if caught and of in got and not _differs(got[of], entry["value"], limit):
            faults.append(f"{of}: matches {trap}")
    assert not faults, f"{case}: " + "; ".join(faults)


def check_compat(case: str, got: dict[str, Any]) -> None:
    """The published variants that are given are within their limits of what the published code says."""
    doc = document(case)
    faults = []
    for name, value in got.items():
        if why := _differs(_plain(value), doc["compat"][name], _limit(doc["function"], name)):
            faults.append(f"{name}: {why}")
    assert not faults, f"{case}: " + "; ".join(faults)


def trap_is_told_apart(case: str, trap: str) -> bool:
    """Whether the trap's value lies outside the limit around the true one, so that `check` can catch it."""
    doc = document(case)
    entry = doc["traps"][trap]
    return bool(
        _differs(entry["value"], doc["definition"][entry["of"]], _limit(doc["function"], entry["of"]))
    )


def _limit(function: str, name: str) -> dict[str, float]:
    values = LIMITS["values"].get(function, {})
    return {**LIMITS["default"], **values.get("*", {}), **values.get(name, {})}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _differs(got: Any, want: Any, limit: dict[str, float]) -> str:
    """'' when within the limit, else why not."""
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return f"{got!r:.60} for a list of {len(want)}"
        return next((why for g, w in zip(got, want) if (why := _differs(g, w, limit))), "")
    if want is None or got is None or isinstance(want, str) or isinstance(got, str | list | dict):
        return "" if got == want and type(got) is type(want) else f"got {got!r:.60}, expected {want!r:.60}"
    if isinstance(want, int):
        return "" if got == want else f"got {got!r}, expected {want!r}"
    close = abs(got - want) <= limit["abs"] + limit["rel"] * abs(want)
    return "" if close else f"got {got!r}, expected {want!r} (off by {abs(got - want):.3g})"


@pytest.fixture(name="golden")
def _golden() -> SimpleNamespace:
    """The golden cases: `golden.arrays(case)`, `golden.check(case, values)`, `golden.check_compat(case,
    values)`."""
    return SimpleNamespace(
        arrays=arrays,
        document=document,
        check=check,
        check_compat=check_compat,
        trap_is_told_apart=trap_is_told_apart,
    )


@pytest.fixture(scope="session", name="moving")
def _moving() -> ArrayClip:
    """10 frames at 4 frames a second, 60x72: a soft texture, and a square moving against it."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (60, 120, 3), dtype=np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    square = cv2.GaussianBlur(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), (0, 0), 1)
    frames = np.stack([texture[:, t : t + 72] for t in range(10)])
    for t in range(10):
        frames[t, 20:36, 10 + 2 * t : 26 + 2 * t] = square
    return ArrayClip(frames, Fraction(4), "moving")
