"""What the pocket editor does to a few dev scenes, frame by frame, beside the true answers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pocket_figures import conditions, draw_take, edit_plainly
from data.types import Frame
from via.backbones.pocket.backbone import PocketBackbone

EDITS = ("replace/tiger", "recolour/blue", "background/beach", "accessory/hat", "global/sunset")
LABEL = 16  # height in pixels of the line of text above a block


def editor_picture(backbone: PocketBackbone, columns: int = 6, side: int = 96) -> NDArray[np.uint8]:
    """For five edits, `columns` frames of a clip whose subject moves across: the source, frame-by-frame edits
    with two seeds, and both answers, one row each, uint8 (H, W, 3)."""
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
        drawn = [
            cv2.resize(np.hstack(row), (columns * side, side), interpolation=cv2.INTER_AREA) for row in rows
        ]
        blocks += [_label(f'"{asked}": source, seed 0, seed 1, answer A, answer B', columns * side), *drawn]
    return np.vstack(blocks)


def _label(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((LABEL, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (3, LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (40, 40, 40), 1, cv2.LINE_AA)
    return strip
