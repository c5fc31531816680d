"""Contact sheets: what a suite, or the whole world, looks like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.pocket.backgrounds import kinds
from data.pocket.edits import ARGUMENTS, SUBJECTS, fits
from data.pocket.motion import MOTIONS
from data.pocket.scenes import Scene, render
from data.types import ArrayClip, Clip, Frames, Task, UserError

LABEL = 16  # height in pixels of the line of text above a row


def _row(clip: Clip, columns: int, side: int) -> Frames:
    """`columns` evenly spaced frames side by side, the longer side scaled to `side`."""
    chosen = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
    height, width = clip.size
    scale = side / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    frames = [cv2.resize(clip[int(i)], shape, interpolation=cv2.INTER_AREA) for i in chosen]
    return np.hstack([np.pad(frame, ((0, 2), (0, 2), (0, 0)), constant_values=255) for frame in frames])


def _stack(rows: Sequence[NDArray[np.uint8]]) -> Frames:
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.vstack(padded)


def _label(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((LABEL, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (3, LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def _task_block(task: Task, columns: int, side: int) -> Frames:
    about = ", ".join(v for k, v in task.conditions.items() if k != "edit")
    rows = [_row(task.clip, columns, side)]
    if task.masks is not None and task.edit.region is not None:
        masks = task.masks()
        grey = np.repeat(np.rint(masks * 255).astype(np.uint8)[..., None], 3, axis=-1)
        rows.append(_row(ArrayClip(grey), columns, side))
    if task.answers is not None:
        rows += [_row(answer, columns, side) for answer in task.answers()]
    width = max(rows[0].shape[1], 560)
    said = _label(f'{task.id}: "{task.edit.instruction}"', width)
    return _stack([said, *([_label(about, width)] if about else []), *rows])


def suite_sheet(tasks: Sequence[Task], columns: int = 8, side: int = 72, blocks: int = 2) -> Frames:
    """For every task its source, the true mask of a local edit, and each valid answer, (H, W, 3).

    A row shows `columns` evenly spaced frames; `blocks` tasks stand side by side. Tasks without truth show
    their source only.
    """
    made = [_task_block(task, columns, side) for task in tasks]
    per = -(-len(made) // blocks)
    piles = [_stack(made[i : i + per]) for i in range(0, len(made), per)]
    height = max(pile.shape[0] for pile in piles)
    padded = [
        np.pad(pile, ((0, height - pile.shape[0]), (0, 10), (0, 0)), constant_values=255) for pile in piles
    ]
    return np.hstack(padded)


def edits_sheet(split: str, side: int = 96) -> Frames:
    """Source, answer A and answer B of every edit, over all motions and backgrounds of a split."""
    cells = []
    for i, edit in enumerate(ARGUMENTS):
        motion = MOTIONS[i % len(MOTIONS)]
        subject, family = next(
            (SUBJECTS[(i + j) % len(SUBJECTS)], (i + j) % 2)
            for j in range(len(SUBJECTS))
            if fits(edit, SUBJECTS[(i + j) % len(SUBJECTS)], (i + j) % 2)
        )
        behind = [
            f"{kinds(split)[(i + j) % len(kinds(split))]}/{i}" for j in range(2 if motion == "cut" else 1)
        ]
        scene = Scene.model_validate(
            {
                "split": split,
                "subject": subject,
                "family": family,
                "motion": motion,
                "backgrounds": behind,
                "other": SUBJECTS[(i + 3) % len(SUBJECTS)] if motion == "pair" else None,
            }
        )
        take = render(scene, 24, seed=i)
        frame = 19 if motion == "late" else 5
        answers = take.answers(edit)
        images = [take.source[frame], *(answer[frame] for answer in answers)]
        images += [np.full_like(images[0], 255)] * (3 - len(images))
        strip = np.hstack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images])
        cells.append(np.vstack([_label(f"{subject}, {motion}: {edit}", strip.shape[1]), strip]))
    columns = 4
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    gap = np.full((cells[0].shape[0], 6, 3), 255, np.uint8)
    lines = [
        np.hstack([part for cell in cells[i : i + columns] for part in (cell, gap)])
        for i in range(0, len(cells), columns)
    ]
    return np.vstack(lines)


def write_png(path: str | Path, image: Frames) -> None:
    """Write RGB (H, W, 3) beside `path` and rename it.

    Raises:
        UserError: the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise UserError(f"{target}: the folder {target.parent} does not exist; make it first")
    beside = target.with_name(f".{target.name}.part")
    encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
    beside.write_bytes(encoded.tobytes())
    os.replace(beside, target)
