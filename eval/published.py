"""Numbers beside the edits that authors published: every pair of data/suites/published.json, scored by the
default suite.

Resumable: one line of JSON a pair, and what is there is not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from data.published import Published, PublishedSuite, pairs
from data.types import Report, silent
from eval.features import Features
from eval.frames import aligned
from eval.lines import append_line, read_lines
from eval.score import Pair
from eval.suite import flags, score, suite

FRAMES = 60  # at most the first 60 that correspond
FLOOR, COVERAGE = 0.5, 0.3
SHOWN = (
    ("warp_error_short", "W x1000", 1000, 3),
    ("warp_error_short_normalised", "N", 1, 4),
    ("warp_error_long_normalised", "N long", 1, 3),
    ("tof", "tOF px", 1, 2),
    ("flicker", "flicker x1000", 1000, 1),
    ("structure_gradient", "structure", 1, 3),
    ("histogram_drift", "drift x1000", 1000, 1),
    ("sharpness_ratio", "sharp.", 1, 2),
    ("contrast_ratio", "contr.", 1, 2),
)


def key(entry: Published) -> str:
    """What tells one pair from another."""
    return f"{entry.source.file} {entry.source.box} {entry.edited.file} {entry.edited.box} {entry.method}"


def measure(
    manifest: PublishedSuite, folder: Path, rows: Path, report: Report = silent
) -> list[dict[str, Any]]:
    """Score every pair whose files are in the folder and whose frames correspond; append to `rows` and
    return all."""
    done: list[dict[str, Any]] = list(read_lines(rows))
    known = {row["key"] for row in done}
    metrics = suite("default")
    scored = [entry for entry in manifest.pairs if entry.correspond != "no"]
    todo = [entry for entry in scored if key(entry) not in known]
    report("published", len(scored) - len(todo), len(scored))
    rest = manifest.model_copy(update={"pairs": todo})
    for entry, source, edited in pairs(rest, folder, FRAMES):
        before, after, record = aligned(source, edited, "trim", "edited")
        scores = score(Pair(before, after), metrics, Features())
        row = {
            "key": key(entry),
            "clip": entry.clip,
            "method": entry.method,
            "by": entry.by,
            "kind": entry.kind,
            "prompt": entry.instruction or entry.prompt_target,
            "page": entry.page,
            "frames": len(before),
            "size": list(before.size),
            "resized": "resized" in record,
            "step": entry.step,
            "weak": entry.correspond == "weak",
            "flags": flags(scores),
            "floor": scores["warp_error_short@1"].details.get("floor_mean"),
            "coverage": scores["warp_error_short@1"].details.get("coverage_mean"),
            "opencv": cv2.__version__,
            "scores": {name.partition("@")[0]: one.value for name, one in scores.items()},
        }
        done.append(row)
        append_line(rows, row)
        report("published", len(done), len(scored))
    return done


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Tables by source clip, rows sorted by N: only rows of one table share a source, and may be compared."""
    parts = []
    for clip in dict.fromkeys(row["clip"] for row in rows):
        chosen = [row for row in rows if row["clip"] == clip]
        chosen.sort(key=lambda row: _last(row["scores"]["warp_error_short_normalised"]))
        first = chosen[0]
        height, width = first["size"]
        head = f"### {clip}\n\n{width}x{height}, {first['page']}\n"
        columns = ["method", "run by", "frames", *(title for _, title, _, _ in SHOWN), "flags"]
        lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for row in chosen:
            values = [_shown(row["scores"][name], factor, digits) for name, _, factor, digits in SHOWN]
            lines.append(
                "| " + " | ".join([_name(row), row["by"], str(row["frames"]), *values, _flags(row)]) + " |"
            )
        parts.append(head + "\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _name(row: dict[str, Any]) -> str:
    return f"{row['method']}: {row['prompt']}" if row["prompt"] else row["method"]


def _shown(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _flags(row: dict[str, Any]) -> str:
    found = list(row["flags"])
    value = row["scores"]["warp_error_short"]
    if row["floor"] is not None and value is not None and row["floor"] > FLOOR * value:
        found.append("floor above half of W")
    if row["coverage"] is not None and row["coverage"] < COVERAGE:
        found.append("low coverage")
    if row["step"] > 1:
        found.append(f"every {row['step']}nd frame" if row["step"] == 2 else f"every {row['step']}th frame")
    if row["weak"]:
        found.append("follows the source only roughly")
    if row["resized"]:
        found.append("resized")
    return ", ".join(found)


def _last(value: float | None) -> float:
    return float("inf") if value is None else value
