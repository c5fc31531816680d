"""The ablations: a table from a variant's name to the fields of `ViaConfig` that it sets, nothing else.

A variant is an ordinary row of an ordinary run. What a variant changes but cannot act on (blending, where the
whole frame is edited) is not run and is reported as such, not as a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from data.types import Task, UserError

Overrides = Mapping[str, str]  # field -> value as typed on the command line

ST_OFF: Overrides = {"spatiotemporal": "off"}
TUNING_OFF: Overrides = {"tuning": "off"}
BLEND_OFF: Overrides = {"blend": "off"}

VARIANTS: dict[str, Overrides] = {
    "full": {},
    "b": BLEND_OFF,  # Fig. 10 (b)
    "c": TUNING_OFF,  # Fig. 10 (c)
    "d": {"gather": "off", "swap_own": "on", "swap_cross": "off"},  # Fig. 10 (d): Eq. 4 alone
    "e": {"swap_cross": "off"},  # Fig. 10 (e)
    "fig11": {"gather": "off"},
    "d2": {"gather": "off", "swap_own": "on"},
    "d0": ST_OFF,
    "st_only": {**TUNING_OFF, **BLEND_OFF},
    "tuning_only": {**ST_OFF, **BLEND_OFF},
    "local_only": {**ST_OFF, **TUNING_OFF},
    "appendix_b_constant": {"blend": "constant"},
    "appendix_b_last": {"blend": "last_step"},
}

# Rows that ask why tuning gains what it gains: its strength, and the quality of the root edit.
STRONG: Overrides = {"tuning_lr": "1e-3", "tuning_steps": "120", "tuning_pairs": "64"}
STRONG_TUNING: dict[str, Overrides] = {"strong_tuning": STRONG}
PERFECT_ROOT: dict[str, Overrides] = {"perfect_root": {}, "perfect_root_strong": STRONG}

TITLES: dict[str, str] = {
    "full": "VIA, whole",
    "b": "without local latent adaptation",
    "c": "without test-time editing adaptation",
    "d": "without gather-swap: cross-frame attention only",
    "e": "without cross-attention swap",
    "fig11": "without gathering",
    "d2": "without gathering, own variables appended",
    "d0": "without spatiotemporal adaptation",
    "st_only": "spatiotemporal adaptation only",
    "tuning_only": "test-time editing adaptation only",
    "local_only": "local latent adaptation only",
    "appendix_b_constant": "blending with constant weights",
    "appendix_b_last": "blending in the last step only",
    "strong_tuning": "tuned three times as long at three times the rate",
    "perfect_root": "told a valid answer as its root edit",
    "perfect_root_strong": "told a valid answer as its root edit, tuned strongly",
    "frame_by_frame": "every frame edited alone",
    "copy": "the source, unedited",
    "oracle": "the best valid answer, through the VAE",
}

DEFAULT = ("frame_by_frame", "full", "b", "c", "d", "e", "copy", "oracle")
ALL = ("frame_by_frame", *VARIANTS, "copy", "oracle")

# Fields that act only where a part of the frame is edited: a global edit's region is the whole frame.
LOCAL_FIELDS = frozenset(
    {"blend", "blend_area", "blend_group", "masks", "mask_grow", "mask_smooth", "root_local", "paste"}
)
# The 2 x 2 x 2 design: (spatiotemporal, tuning, local) -> row. With nothing on, frames are edited alone.
DESIGN: dict[tuple[int, int, int], str] = {
    (1, 1, 1): "full",
    (1, 1, 0): "b",
    (1, 0, 1): "c",
    (0, 1, 1): "d0",
    (1, 0, 0): "st_only",
    (0, 1, 0): "tuning_only",
    (0, 0, 1): "local_only",
    (0, 0, 0): "frame_by_frame",
}


@dataclass(frozen=True)
class Component:
    """A part of the method: the row that takes it away, and the column that the paper says it improves."""

    title: str
    without: str
    column: str
    claim: str


COMPONENTS = (
    Component("Local latent adaptation", "b", "background error", "leaves what is not edited as it was"),
    Component("Test-time editing adaptation", "c", "one-answer error", "adheres to the one edit of the root"),
    Component("Gather and swap", "d", "minority share", "keeps the edit consistent across frames"),
    Component("Cross-attention swap", "e", "one-answer error", "adds consistency and reduces artifacts"),
)


def cannot_act(name: str, overrides: Overrides, task: Task, others: Mapping[str, Overrides]) -> str | None:
    """Why a variant need not run on a task, being another row of the run there; None if it must run."""
    if task.edit.region is not None:
        return None
    local, acting = parted(overrides)
    alike = {other: parted(theirs)[0] for other, theirs in others.items() if parted(theirs)[1] == acting}
    first = min(alike, key=lambda other: len(alike[other]), default=name)
    if first == name:
        return None
    fields = ", ".join(sorted(field for field in local if local[field] != alike[first].get(field)))
    return f"cannot act here: {fields} on an edit of the whole frame; the same as {first}"


def parted(overrides: Overrides) -> tuple[Overrides, Overrides]:
    """Overrides that act on local edits only, and the others."""
    local = {field: value for field, value in overrides.items() if field in LOCAL_FIELDS}
    return local, {field: value for field, value in overrides.items() if field not in LOCAL_FIELDS}


def sweep(assignments: Sequence[str]) -> dict[str, Overrides]:
    """Variants from `field=a,b` texts: every combination of their values.

    Raises UserError for a text without `=` or without values.
    """
    axes: list[tuple[str, list[str]]] = []
    for text in assignments:
        field, equals, values = text.partition("=")
        if not (field and equals and values):
            raise UserError(f"--sweep {text}: write field=value,value,...")
        axes.append((field, values.split(",")))
    variants: dict[str, Overrides] = {}
    for combination in product(*(values for _, values in axes)):
        overrides = {field: value for (field, _), value in zip(axes, combination)}
        variants[",".join(f"{field}={value}" for field, value in overrides.items())] = overrides
    return variants
