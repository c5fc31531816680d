"""`via study new`: a study folder from a study file and the videos of runs."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.types import ArrayClip, Report, UserError, silent

from .compose import Composition, Shown, compose
from .material import Material, gather
from .media import brought_together, read_clip, tiled, treated, write_h264
from .study import Key, Panel, SessionPlan, Settings, Study, TaskPlan, check_digit, write_private, write_text

DECODED = 12  # clips kept in memory while tiles are made


@dataclass(frozen=True)
class Tile:
    """A tiled clip in clips/ and what tasks need to know of it."""

    file: str
    fps: float
    frames: int
    panel: Panel
    rule: str


@dataclass
class Tiler:
    """Makes each tiled clip once; decoded videos are kept for a while, because neighbours share them."""

    shorter_side: int
    key: Key
    folder: Path
    made: dict[tuple[str, ...], Tile] = field(default_factory=dict)
    decoded: dict[Path, ArrayClip] = field(default_factory=dict)

    def tile(self, shown: Shown) -> Tile:
        content = (shown.item.clip, shown.left, shown.right, shown.treatment)
        if content not in self.made:
            item = shown.item
            paths = (item.source_video, item.videos[shown.left], item.videos[shown.right])
            together = brought_together(*(self._clip(path) for path in paths), self.shorter_side)
            triple = treated(together, shown.treatment)
            name = self.key.name("file", *content) + ".mp4"
            write_h264(self.folder / name, tiled(triple), triple.fps)
            self.made[content] = Tile(name, float(triple.fps), len(triple.source), triple.panel, triple.rule)
        return self.made[content]

    def _clip(self, path: Path) -> ArrayClip:
        if path not in self.decoded:
            if len(self.decoded) >= DECODED:
                self.decoded.pop(next(iter(self.decoded)))
            self.decoded[path] = read_clip(path)
        return self.decoded[path]


def new_study(
    settings: Settings,
    runs: Sequence[Path],
    folder: Path,
    *,
    secret: str | None = None,
    report: Report = silent,
) -> Study:
    """Make a study folder: design, tiled clips, key. Written beside and renamed when whole.

    `secret` (64 hex digits) is drawn anew unless given; with the same secret and settings the folder is the
    same.
    """
    if folder.exists():
        raise UserError(f"{folder}: exists already; name another --out, or remove it")
    material = gather(settings, runs)
    composition = compose(settings, material)
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "clips").mkdir(parents=True)
    key = Key(secret=secret or secrets.token_hex(32), ours=None, methods={})
    tiler = Tiler(settings.shorter_side, key, beside / "clips")
    study, key = named(settings, material, composition, key, tiler, report)
    write_text(beside / "study.json", study.model_dump_json(by_alias=True, indent=1) + "\n")
    write_private(beside / "private" / "settings.json", settings.model_dump_json(indent=1) + "\n")
    write_private(beside / "private" / "key.json", key.model_dump_json(indent=1) + "\n")
    beside.rename(folder)
    return study


def named(
    settings: Settings, material: Material, composition: Composition, key: Key, tiler: Tiler, report: Report
) -> tuple[Study, Key]:
    """Give every session and task its blinded names; the study gets the slots, the key what is in them."""
    sessions, tasks = {}, {}
    methods: dict[str, dict] = {}
    expected, repeats, files = {}, {}, {}
    star = settings.design == "star"
    for number, sitting in enumerate(composition.sittings):
        session = f"s{number + 1:03d}"
        ids = {}
        for part, row in (("training", sitting.training), ("tasks", sitting.tasks)):
            ids[part] = [
                f"t{key.name('task', settings.name, session, part, str(i))[:9]}" for i in range(len(row))
            ]
            for order, (task, shown) in enumerate(zip(ids[part], row), 1):
                tile = tiler.tile(shown)
                slots = ("s1", "s2") if key.mac("slot", session, task)[0] % 2 else ("s2", "s1")
                tasks[task] = TaskPlan(
                    session=session,
                    order=order,
                    kind=shown.kind,
                    clip=shown.item.clip,
                    source=shown.item.source,
                    pair=f"p{shown.pair}",
                    left=slots[0],
                    right=slots[1],
                    check=check_digit(settings.name, task),
                    instruction=shown.item.instruction,
                    media=key.name(settings.name, session, task, "tile"),
                    fps=tile.fps,
                    frames=tile.frames,
                    panel=tile.panel,
                    normalised=tile.rule,
                )
                methods[task] = {"left": shown.left, "right": shown.right}
                files[task] = tile.file
                if shown.expected is not None:
                    expected[task] = shown.expected
                if shown.repeats is not None:
                    repeats[task] = ids[part][shown.repeats]
        block = sitting.block
        sessions[session] = SessionPlan(
            list=block.list,
            replicate=block.replicate,
            block=block.block,
            training=tuple(ids["training"]),
            tasks=tuple(ids["tasks"]),
        )
        report("sessions", number + 1, len(composition.sittings))
    study = Study(
        study=settings.name,
        settings=settings.model_copy(update={"ours": None, "methods": None}),  # names stay private
        aspects=tuple(aspect.name for aspect in settings.aspects),
        answers=settings.answers,
        sessions=sessions,
        tasks=tasks,
        numbers={
            "clips": composition.clips,
            "sources": len({t.source for t in tasks.values() if t.kind == "real"}),
            "instructions": len({t.instruction for t in tasks.values() if t.kind == "real"}),
            "methods": len(material.methods),
            "pairs": len(composition.pairs),
            "votes": settings.votes,
            "session_length": composition.session_length,
            "sources_repeat": int(composition.sources_repeat),
        },
        runs=material.runs,
        warnings=material.warnings,
    ).sealed()
    ours = (settings.ours or material.methods[0]) if star else None
    return study, key.model_copy(
        update={
            "design": settings.design,
            "ours": ours,
            "methods": methods,
            "pairs": composition.pairs,
            "expected": expected,
            "repeats": repeats,
            "files": files,
        }
    )
