"""Every step of one edit as pictures, in the order of Fig. 2, with a page that shows them (`via edit
--explain`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from data.types import Clip, Edit, Frame, silent
from via import local
from via.contact_sheet import contact_sheet
from via.edit import Via
from via.framing import read
from via.lock_step import Job, gathered
from via.region import Region
from via.root import Root
from via.sampling import generator
from via.stages import Stages

PAIRS = 8  # tuning pairs shown


@dataclass(frozen=True)
class Section:
    """One step: its title, what was decided, and the picture's file name (or None)."""

    title: str
    text: str
    picture: str | None


@torch.no_grad()
def explain(
    editor: Via,
    clip: Clip,
    edit: Edit,
    result: Sequence[Frame],
    folder: Path,
    *,
    masks: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Path:
    """Write the pictures and index.html of an edit that `editor` has just done, and hand back the page's
    path.

    `result` are the edited frames of the group, in the group's order. Stages are taken from the editor's
    cache where it has one and made again where not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []

    def show(title: str, text: str, name: str = "", sheet: Image.Image | None = None) -> None:
        if sheet is not None:
            sheet.save(folder / f"{name}.png")
        sections.append(
            Section(f"{len(sections) + 1}. {title}", text, f"{name}.png" if sheet is not None else None)
        )

    config = editor.config
    with Stages(editor.cache) as stages:
        trace = editor.trace
        job = editor.job(clip, edit, seed, stages, silent)
        editor.trace = trace
        region, group = editor.region(job, masks), editor.group(job)
        source = read(clip, group)
        names = [f"frame {number}" for number in group]

        if region is None:
            show("Region", "The whole frame is edited; nothing is blended.")
        else:
            phrase = region.phrase or "given masks"
            show(
                "Region and masks",
                f"“{phrase}”",
                "masks",
                contact_sheet(_over(source, region, group), names),
            )

        if trace.root is not None:
            root = trace.root
            shown = job.framing.frames_out(root.candidates.float() / 255)
            totals = root.scores["total"]
            marks = [f"{'chosen: ' if k == root.chosen else ''}{score:.4f}" for k, score in enumerate(totals)]
            text = f"Frame {root.frame}, edited with {len(marks)} seeds; score: agreement plus preservation."
            show("Root candidates", text, "root", contact_sheet(list(shown), marks))
            pairs, labels = _pairs(editor, job, root)
            text = f"{config.tuning_pairs} affine copies of the root pair (Eq. 5): source, edit, source, ..."
            show("Tuning pairs", text, "pairs", contact_sheet(pairs, labels, columns=4))

        if region is not None and config.blend != "off":
            middle = group[len(group) // 2]
            weights, labels = _weights(job, region, middle)
            text = f"The source's weight after each step (Eq. 6), {config.blend}, frame {middle}."
            show("Blending weights", text, "weights", contact_sheet(weights, labels, columns=5))

        if config.spatiotemporal:
            for chained, name in ((False, "before"), (True, "after")):
                frames = _group_edit(editor, job, group, chained=chained)
                text = "The group, gathered (Eq. 7, 8)." if chained else "Each frame of the group on its own."
                title = f"Group {name} gathering (Fig. 11)"
                show(title, text, f"group_{name}", contact_sheet(frames, names))

        show("Source", "The group's frames.", "source", contact_sheet(list(source), names))
        text = "The same frames of the result, against the group (Eq. 9)."
        show("Result", text, "result", contact_sheet(list(result), names))
        seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in trace.seconds.items())
        show("Time", seconds)
    page = folder / "index.html"
    page.write_text(_page(edit.instruction, sections), encoding="utf-8")
    return page


def _over(source: NDArray[np.uint8], region: Region, numbers: list[int]) -> list[NDArray[np.uint8]]:
    """Frames with everything outside the mask dimmed."""
    inside = region.pixels(numbers)[..., None]
    return list(np.where(inside, source, source // 4 + 160))


def _pairs(editor: Via, job: Job, chosen: Root) -> tuple[list[NDArray[np.uint8]], list[str]]:
    sources, edits = (part.float().cpu() for part in editor.pairs(job, chosen, generator(job.seed, "tuning")))
    shown = torch.stack([sources[:PAIRS], edits[:PAIRS]], dim=1).flatten(0, 1)
    labels = [f"{kind} {k + 1}" for k in range(len(shown) // 2) for kind in ("source", "edit")]
    return list(job.framing.frames_out(shown)), labels


def _weights(job: Job, region: Region, number: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    config = job.config
    cells = region.cells[[number]]
    steps = range(1, config.steps + 1)
    weights = [
        local.source_weight(cells, step, config.steps, config.blend, config.blend_area)[0, 0]
        for step in steps
    ]
    shown = [(weight * 255).byte()[..., None].expand(-1, -1, 3).numpy() for weight in weights]
    return shown, [f"step {step}" for step in steps]


def _group_edit(editor: Via, job: Job, group: list[int], *, chained: bool) -> list[NDArray[np.uint8]]:
    """The group's own trajectory decoded: stage one of Fig. 4, with or without gathering, by the editor
    untuned.
    """
    backbone = editor.backbone
    condition = editor.condition(job, group)
    drawn = replace(job, config=job.config.model_copy(update={"noise": "shared", "gather": chained}))
    latents = editor.start(drawn, None, group, condition)
    for i, timestep in enumerate(job.scheduler.timesteps):
        output, _ = gathered(backbone, drawn, timestep, latents, condition)
        latents = drawn.step(i, output, latents, group)
    return list(job.framing.frames_out(backbone.decode(latents)))


def _page(instruction: str, sections: Sequence[Section]) -> str:
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{escape(instruction)}</title>",
        "<style>body{font:16px/1.5 sans-serif;max-width:62em;margin:2em auto;padding:0 1em}",
        "img{max-width:100%}h2{margin-top:2em}</style>",
        f"<h1>“{escape(instruction)}”, step by step</h1>",
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        if section.picture:
            parts.append(f"<img src='{section.picture}' alt='{escape(section.title)}'>")
    return "\n".join(parts) + "\n</html>\n"
