"""Suites: small manifests of tasks, never rendered media. `load("pocket")` gives the tasks of
data/suites/pocket.json.

Doors: `load`, `names`, `suite_hash`, `frozen` (rules and suites as they were hashed before the first run on
them).
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from data.pocket import RULES
from data.pocket.coupling import COUPLING
from data.pocket.scenes import Scene, render
from data.types import Task, UserError

NOT_SUITES = ("FROZEN.json", "published.json")  # published edits are fetched, not rendered: data.published
RULE_FILES = (
    "backgrounds.py",
    "coupling.py",
    "edits.py",
    "layers.py",
    "motion.py",
    "operators.py",
    "scenes.py",
    "sprites.json",
    "sprites.py",
    "vocabulary.txt",
    "words.py",
)


class PocketTask(BaseModel):
    """One line of a manifest: a scene, how long it is filmed, and what is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    scene: Scene
    seed: int
    frames: int
    fps: str = "6"
    edit: str
    instruction: str
    condition: Literal["plain", "late entry", "two subjects", "cut"] = "plain"
    expected: Literal["+", "0"]  # whether agreement over frames should rise above frame-by-frame editing

    @field_validator("fps")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if Fraction(value) <= 0:
            raise ValueError("a frame rate is positive")
        return value


class Manifest(BaseModel):
    """A suite. `version` rises when its tasks change; `rules` is the version of the world it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    rules: int
    split: Literal["dev", "report"]
    size: int
    about: str
    tasks: tuple[PocketTask, ...]


def names() -> list[str]:
    """The suites that come with the project."""
    found = (path.name for path in files("data.suites").iterdir())
    return sorted(name[:-5] for name in found if name.endswith(".json") and name not in NOT_SUITES)


def manifest(name_or_path: str | Path) -> Manifest:
    """The manifest called so, or the one in a JSON file.

    Raises:
        UserError: there is none, it does not validate, or it needs other rules.
    """
    name = str(name_or_path)
    if name in names():
        text = files("data.suites").joinpath(f"{name}.json").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise UserError(f"{name}: no such suite; choose from {', '.join(names())}, or give a manifest's path")
    try:
        found = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{name}: not a suite manifest: {where}: {first['msg']}") from None
    if found.rules != RULES:
        raise UserError(
            f"{name}: made for rules {found.rules} of the pocket world, these are {RULES}; use that version"
        )
    return found


def _task(line: PocketTask, size: int) -> Task:
    take = render(line.scene, line.frames, size, Fraction(line.fps), line.seed, line.source)
    return Task(
        id=line.id,
        clip=take.source,
        edit=take.edit(line.edit, line.instruction),
        source=line.source,
        masks=lambda: take.masks(line.edit),
        answers=lambda: take.answers(line.edit),
        conditions={
            "edit": line.edit,
            "motion": line.scene.motion,
            "coupling": COUPLING[line.edit],
            "condition": line.condition,
            "expected": line.expected,
        },
    )


def load(name_or_path: str | Path) -> list[Task]:
    """The tasks of a suite. Clips, masks and answers are painted when they are read.

    Raises:
        UserError: as `manifest`.
    """
    suite = manifest(name_or_path)
    return [_task(line, suite.size) for line in suite.tasks]


def suite_hash(name_or_path: str | Path) -> str:
    """sha256 of a suite's content, whatever its formatting; it names the version of the rules too."""
    content = manifest(name_or_path).model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def rule_hashes() -> dict[str, str]:
    """sha256 of every file that decides how scenes look and which answer is shown."""
    root = files("data.pocket")
    media = sorted(
        f"media/{path.name}" for path in root.joinpath("media").iterdir() if path.name.endswith(".jpg")
    )
    return {
        name: hashlib.sha256(root.joinpath(name).read_bytes()).hexdigest() for name in (*RULE_FILES, *media)
    }


def current() -> dict[str, object]:
    """What FROZEN.json says when nothing has changed."""
    return {"rules": RULES, "files": rule_hashes(), "suites": {name: suite_hash(name) for name in names()}}


def frozen() -> dict[str, object]:
    """Rules and suites as they were frozen."""
    return json.loads(files("data.suites").joinpath("FROZEN.json").read_text())
