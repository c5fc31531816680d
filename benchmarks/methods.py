"""The rows of a run: editors by name or as `package.module:Name`, variants of VIA, and the two controls.

A control sees what no editor can reach: the task's valid answers. `copy` is the source; `oracle` is the best
valid answer through the editor's VAE, as good as any row can look.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.ablations import PERFECT_ROOT, STRONG_TUNING, VARIANTS, Overrides
from benchmarks.records import MethodRecord, config_hash
from benchmarks.root_choice import candidate_errors
from data.types import ArrayClip, CannotEdit, Clip, Editor, Frame, Report, Task, UserError
from data.video import write_lossless
from via.config import configured

EDITORS: dict[str, str] = {
    "via": "via.edit:Via",
    "frame_by_frame": "baselines.frame_by_frame:FrameByFrame",
}
CONTROLS = ("copy", "oracle")
BATCH = 16  # frames that the VAE sees at once

MakeFrames = Callable[[Task, int, Report], Iterator[Frame]]


class Models(Protocol):
    """The image editor, the masker and the CLIP that rows share, loaded when first asked for."""

    @property
    def backbone(self) -> Any: ...
    @property
    def masker(self) -> Any: ...
    @property
    def clip(self) -> Any: ...


class Pocket:
    """The embedded models. Another process that it is sent to loads its own."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @cached_property
    def backbone(self) -> Any:
        from via.backbones.pocket.backbone import load

        return load()

    @cached_property
    def masker(self) -> Any:
        from via.masks.pocket import load

        return load()

    @cached_property
    def clip(self) -> Any:
        from eval.models import Models as Metrics

        return Metrics().open_clip()


@dataclass(frozen=True)
class Method:
    """One row as asked for: its name, what opens its editor, and the fields of its config that are set."""

    name: str
    editor: str
    overrides: Overrides


@dataclass(frozen=True)
class Opened:
    """A row ready to edit: its record, and how a task's frames are made (task, seed, report).

    After an edit `seconds_alone` is what it takes with an empty cache, None where nothing is shared; `facts`
    is what the editor decided (its root frame, ...), pictures written beside the video (folder, video).
    """

    record: MethodRecord
    frames: MakeFrames
    seconds_alone: Callable[[], float | None] = lambda: None
    facts: Callable[[Task, Path, str], dict[str, Any]] = lambda task, folder, video: {}


def named(name: str) -> Method:
    """The row called so: a variant of VIA, an editor, a control, or `package.module:Name`.

    Raises UserError naming what there is.
    """
    variants = {**VARIANTS, **STRONG_TUNING}
    if name in variants:
        return Method(name, "via", variants[name])
    if name in PERFECT_ROOT:
        return Method(name, "perfect_root", PERFECT_ROOT[name])
    if name in EDITORS or name in CONTROLS or ":" in name:
        return Method(name, name, {})
    known = ", ".join([*EDITORS, *VARIANTS, *STRONG_TUNING, *PERFECT_ROOT, *CONTROLS])
    raise UserError(f"there is no method '{name}': name one of {known}, or your own as package.module:Name")


def with_settings(methods: Sequence[Method], settings: Sequence[str]) -> list[Method]:
    """Rows of our editors with `field=value` settings under their own ones.

    Raises UserError for what is no setting of VIA.
    """
    from via.config import ViaConfig

    configured(settings, ViaConfig())
    fields = dict(setting.split("=", 1) for setting in settings)
    changed = []
    for method in methods:
        ours = method.editor in EDITORS or method.name in PERFECT_ROOT
        changed.append(replace(method, overrides={**fields, **method.overrides}) if ours else method)
    return changed


def open_method(method: Method, cache: Path, models: Models) -> Opened:
    """Make a row ready; variants of VIA share the stages of their edits in `cache`.

    Raises UserError when its editor cannot be imported or its config has no such field.
    """
    if method.editor == "copy":
        return Opened(record_of(method, "1", {}, {}), copied)
    if method.editor == "oracle":
        return Opened(record_of(method, "1", {}, weights_of(models)), oracle(models.backbone))
    if method.editor == "via":
        return open_via(method, cache, models)
    if method.editor == "perfect_root":
        return open_perfect_root(method, cache, models)
    kind = imported(EDITORS.get(method.editor, method.editor))
    own = method.editor in EDITORS
    editor = kind(models.backbone) if own else kind()
    known = type(
        editor.config
    ).model_fields  # settings of VIA that a baseline does not have say nothing to it
    settings = [f"{field}={value}" for field, value in method.overrides.items() if field in known]
    if settings:
        config = configured(settings, editor.config)
        editor = kind(models.backbone, config=config) if own else kind(config=config)
    weights = weights_of(models) if own else dict(getattr(editor, "weights", {}))
    return Opened(record_of(method, version_of(editor), dumped(editor), weights), edited(editor))


def open_via(method: Method, cache: Path, models: Models) -> Opened:
    """A variant of VIA, which tells its root and what its stages take without the cache."""
    from via.config import ViaConfig
    from via.edit import Via

    config = configured([f"{field}={value}" for field, value in method.overrides.items()], ViaConfig())
    predicts = config.masks == "predicted" and config.region != "whole"
    weights = weights_of(models, masker=predicts)
    follow = None
    if config.root_choice == "clip" and config.tuning != "off":
        from benchmarks.following import Following

        follow = Following(models.clip)
        weights["clip"] = models.clip.weights
    editor = Via(models.backbone, models.masker if predicts else None, config, cache=cache, follow=follow)
    return Opened(
        record_of(method, version_of(editor), dumped(editor), weights),
        edited(editor),
        lambda: sum(editor.trace.seconds.values()),
        lambda task, folder, video: traced(editor, task, folder, video),
    )


def open_perfect_root(method: Method, cache: Path, models: Models) -> Opened:
    """VIA that is told its root edit."""
    from benchmarks.perfect_root import perfect_root
    from via.config import ViaConfig
    from via.edit import Via

    config = configured([f"{field}={value}" for field, value in method.overrides.items()], ViaConfig())

    def make(told: ViaConfig) -> MakeFrames:
        return edited(Via(models.backbone, models.masker, told, cache=cache))

    record = record_of(method, "1", config.model_dump(mode="json"), weights_of(models, masker=True))
    return Opened(record, perfect_root(make, config, cache))


def traced(editor: Any, task: Task, folder: Path, video: str) -> dict[str, Any]:
    """What VIA decided in its last edit. Beside the video are written the edited root frame as a picture, and
    where the edit acts as a video, white in the region."""
    from PIL import Image

    from via.framing import Framing

    trace = editor.trace
    mask = str(Path(video).with_suffix(".mask.mkv"))
    write_lossless(folder / mask, acting(trace.region, task.clip), task.clip.fps)
    facts: dict[str, Any] = {
        "region": trace.region.phrase if trace.region else None,
        "mask": mask,
        "group": trace.group,
    }
    if trace.root is not None:
        framing = Framing.of(editor.backbone, task.clip.size, editor.config.size)
        picture = str(Path(video).with_suffix(".root.png"))
        Image.fromarray(framing.frames_out(trace.root.edited[None])[0]).save(folder / picture)
        candidates = framing.frames_out(trace.root.candidates.float() / 255)
        facts |= {
            "root_frame": trace.root.frame,
            "root_edit": picture,
            "root_scores": trace.root.scores,
            "root_chosen": trace.root.chosen,
            "root_errors": candidate_errors(task, trace.root.frame, candidates),
        }
    return facts


def acting(region: Any, clip: Clip) -> Iterator[Frame]:
    """Frames that are white where an edit acts; without a region it acts on the whole frame."""
    for index in range(len(clip)):
        inside = region.pixels([index])[0] if region else np.ones(clip.size, bool)
        yield np.repeat(255 * inside.astype(np.uint8)[..., None], 3, axis=2)


def version_of(editor: Editor) -> str:
    return str(getattr(editor, "version", "1"))


def dumped(editor: Editor) -> dict[str, Any]:
    return editor.config.model_dump(mode="json")


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


def weights_of(models: Models, masker: bool = False) -> dict[str, str]:
    """The sha256 of the shared models' weights, by name."""
    from via.stages import weights_digest

    used = [models.backbone, models.masker] if masker else [models.backbone]
    return {model.name: weights_digest(model) for model in used}


def edited(editor: Editor) -> MakeFrames:
    """Frames of an editor. Masks are handed over only where its config says `masks: given`, and a clip whose
    answers are known only as its frames: a rendered clip could be asked for them."""

    def frames(task: Task, seed: int, report: Report) -> Iterator[Frame]:
        masks = None
        if getattr(editor.config, "needs_given_masks", False):
            if task.masks is None:
                raise CannotEdit(f"{task.id} has no true mask, which {editor.name} is told to use")
            masks = task.masks()
        clip = task.clip
        if task.answers is not None:
            clip = ArrayClip(clip[:], clip.fps, clip.name)
        return editor.edit(clip, task.edit, masks=masks, seed=seed, report=report)

    return frames


def copied(task: Task, seed: int, report: Report) -> Iterator[Frame]:
    """The source itself."""
    for index in range(len(task.clip)):
        yield task.clip[index]


def oracle(backbone: Any) -> MakeFrames:
    """The valid answer that survives a backbone's VAE best (in root mean square error), through that VAE."""
    from via.framing import Framing

    def through_vae(frames: Any) -> Any:
        framing = Framing.of(backbone, frames.shape[1:3])
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
