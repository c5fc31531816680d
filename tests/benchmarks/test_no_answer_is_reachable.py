"""No editor can reach a valid answer, or the scene that could render one, from what it is given."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from benchmarks.methods import edited
from data.pocket.scenes import SceneClip, Take
from data.suites import load
from data.types import silent


class Config(BaseModel):
    needs_given_masks: bool = True


class Nosy:
    """An editor that keeps what it was given."""

    name = "nosy"
    config = Config()

    def edit(self, clip: Any, edit: Any, **given: Any) -> Iterator[Any]:
        self.given = [clip, edit, given]
        return iter(())


def reachable(start: Any) -> Iterator[Any]:
    """Every object that references lead to, without entering code."""
    seen, waiting = set(), [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, ModuleType | type | FunctionType):
            continue
        seen.add(id(thing))
        yield thing
        waiting += gc.get_referents(thing)


def test_an_editor_reaches_neither_answers_nor_the_scene() -> None:
    task = load("pocket-mini")[0]
    assert any(isinstance(thing, Take) for thing in reachable(task.clip)), "the walk finds what is there"
    editor = Nosy()
    list(edited(editor)(task, 0, silent))
    found = [thing for thing in reachable(editor.given) if isinstance(thing, Take | SceneClip)]
    assert found == []
