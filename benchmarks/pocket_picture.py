"""What the pocket editor does to a few dev scenes, frame by frame, beside the true answers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pocket_figures import conditions, draw_take, edit_plainly
from data.types import Frame
from via.backbones.pocket.backbone import PocketBackbone

EDITS = (  # one of each kind, all of strong coupling
    "replace/tiger",
    "recolour/blue",
    "local_style/japanese woodblock print",
    "background/beach",
    "accessory/hat",
    "global/sunset",
)
ROWS = ("source", "seed 0", "seed 1", "answer A", "answer B")
TITLE, MARGIN, GAP = 24, 72, 12  # pixels: a block's title, the names of its rows, and between blocks


def editor_picture(backbone: PocketBackbone, columns: int = 6, side: int = 96) -> NDArray[np.uint8]:
    """A block for each of EDITS, two beside each other, with `columns` frames of a clip whose subject moves
    across: the rows of ROWS, uint8 (H, W, 3)."""
    blocks = []
    for number, edit in enumerate(EDITS):
        take = draw_take(np.random.default_rng([5, number]), edit, motion="translate")
        chosen = np.linspace(0, len(take.source) - 1, columns).round().astype(int).tolist()
        sources = [take.source[i] for i in chosen]
        asked = take.edit(edit).instruction
        condition = conditions(backbone, sources, [asked] * columns)
        rows: list[list[Frame]] = [sources]
        rows += [list(edit_plainly(backbone, condition, seed)) for seed in (0, 1)]
        rows += [[answer[i] for i in chosen] for answer in take.answers(edit)]
        blocks.append(_block(asked, rows, side))
    return np.vstack([np.hstack(blocks[i : i + 2]) for i in range(0, len(blocks), 2)])


def _block(title: str, rows: list[list[Frame]], side: int) -> NDArray[np.uint8]:
    width = MARGIN + len(rows[0]) * side + GAP
    block = np.full((TITLE + len(rows) * side + GAP, width, 3), 255, np.uint8)
    _write(block, f'"{title}"', (MARGIN, TITLE - 7), 0.5)
    for i, (name, row) in enumerate(zip(ROWS, rows)):
        top = TITLE + i * side
        _write(block, name, (4, top + side // 2 + 4), 0.42)
        strip = cv2.resize(np.hstack(row), (len(row) * side, side), interpolation=cv2.INTER_AREA)
        block[top : top + side, MARGIN : width - GAP] = strip
    return block


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
