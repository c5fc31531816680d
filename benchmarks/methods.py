"""The rows of a run: editors by name or as `package.module:Name`, variants of VIA, and the two controls.

A control sees what no editor can reach: the task's valid answers. `copy` is the source; `oracle` is the best
valid answer through the editor's VAE, as good as any row can look.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablations import VARIANTS, Overrides
from benchmarks.records import MethodRecord, config_hash
from data.types import CannotEdit, Editor, Frame, Report, Task, UserError

EDITORS: dict[str, str] = {
    "via": "via.edit:Via",
    "frame_by_frame": "baselines.frame_by_frame:FrameByFrame",
}
CONTROLS = ("copy", "oracle")
BATCH = 16  # frames that the VAE sees at once

MakeFrames = Callable[[Task, int, Report], Iterator[Frame]]
LoadBackbone = Callable[[], Any]


@dataclass(frozen=True)
class Method:
    """One row as asked for: its name, what opens its editor, and the fields of its config that are set."""

    name: str
    editor: str
    overrides: Overrides


@dataclass(frozen=True)
class Opened:
    """A row ready to edit: its record, how a task's frames are made (task, seed, report), and what the editor
    says about the last edit (its root frame, ...)."""

    record: MethodRecord
    frames: MakeFrames
    facts: Callable[[], Mapping[str, Any]]


def named(name: str) -> Method:
    """The row called so: a variant of VIA, an editor, a control, or `package.module:Name`.

    Raises UserError naming what there is.
    """
    if name in VARIANTS:
        return Method(name, "via", VARIANTS[name])
    if name in EDITORS or name in CONTROLS or ":" in name:
        return Method(name, name, {})
    known = ", ".join([*EDITORS, *VARIANTS, *CONTROLS])
    raise UserError(f"there is no method '{name}': name one of {known}, or your own as package.module:Name")


def open_method(method: Method, cache: Path, backbone: LoadBackbone) -> Opened:
    """Make a row ready. `backbone` loads the image editor that rows share; variants share `cache`."""
    if method.editor == "copy":
        return Opened(record_of(method, "1", {}, {}), copied, dict)
    if method.editor == "oracle":
        shared = backbone()
        return Opened(record_of(method, "1", {}, weights_of(shared)), oracle(shared), dict)
    editor = open_editor(method, cache, backbone)
    config = editor.config.model_dump(mode="json")
    record = record_of(method, str(getattr(editor, "version", "1")), config, weights_of(editor))
    return Opened(record, edited(editor), lambda: getattr(editor, "facts", {}))


def record_of(method: Method, version: str, config: dict[str, Any], weights: dict[str, str]) -> MethodRecord:
    digest = config_hash(method.editor, version, config, weights)
    return MethodRecord(
        name=method.name,
        editor=method.editor,
        version=version,
        config=config,
        weights=weights,
        config_hash=digest,
    )


def open_editor(method: Method, cache: Path, backbone: LoadBackbone) -> Editor:
    """The editor of a row, its config with the row's fields set.

    Raises UserError when it cannot be imported or does not have such a field.
    """
    from via.config import configured

    settings = [f"{field}={value}" for field, value in method.overrides.items()]
    kind = imported(EDITORS.get(method.editor, method.editor))
    if method.editor == "via":
        from via.config import ViaConfig

        return kind(configured(settings, ViaConfig()), backbone=backbone(), cache=cache)
    if method.editor in EDITORS:
        return kind(backbone=backbone())
    editor = kind()
    return kind(config=configured(settings, editor.config)) if settings else editor


def imported(path: str) -> Any:
    """The attribute that `package.module:Name` names; the current folder is searched last.

    Raises UserError when there is no such module or name; an error inside the module is the module's.
    """
    module, _, name = path.partition(":")
    if "" not in sys.path and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise UserError(
            f"{path}: there is no module {error.name}: install it, or run from its folder"
        ) from None
    if not hasattr(found, name):
        raise UserError(f"{path}: {module} has no {name}")
    return getattr(found, name)


def weights_of(holder: Any) -> dict[str, str]:
    """The sha256 of the weights that an editor or backbone names; empty where it has none."""
    return dict(getattr(holder, "weights", {}))


def edited(editor: Editor) -> MakeFrames:
    """Frames of an editor. Masks are handed over only where its config says `masks: given`."""

    def frames(task: Task, seed: int, report: Report) -> Iterator[Frame]:
        masks = None
        if getattr(editor.config, "needs_given_masks", False):
            if task.masks is None:
                raise CannotEdit(f"{task.id} has no true mask, which {editor.name} is told to use")
            masks = task.masks()
        return editor.edit(task.clip, task.edit, masks=masks, seed=seed, report=report)

    return frames


def copied(task: Task, seed: int, report: Report) -> Iterator[Frame]:
    """The source itself."""
    for index in range(len(task.clip)):
        yield task.clip[index]


def oracle(backbone: Any) -> MakeFrames:
    """The valid answer that survives a backbone's VAE best (in root mean square error), through that VAE."""
    from via.framing import Framing

    def through_vae(frames: Any) -> Any:
        framing = Framing.fit(frames.shape[1:3], backbone.default_side, backbone.size_multiple)
        pixels = framing.frames_in(frames).to(backbone.device)
        return framing.frames_out(backbone.decode(backbone.encode(pixels)))

    def frames(task: Task, seed: int, report: Report) -> Iterator[Frame]:
        if task.answers is None:
            raise CannotEdit(f"the valid answers of {task.id} are not known")
        best: tuple[float, list[Frame]] | None = None
        for answer in task.answers():
            rebuilt, error = [], 0.0
            for start in range(0, len(answer), BATCH):
                exact = answer[start : start + BATCH]
                batch = through_vae(exact)
                error += float(np.square(batch.astype(np.float64) - exact).sum())
                rebuilt.extend(batch)
            if best is None or error < best[0]:
                best = error, rebuilt
        yield from best[1] if best else []

    return frames
