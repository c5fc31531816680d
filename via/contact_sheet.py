"""Pictures side by side, each under a line of text: to choose a root edit, and to explain an edit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

MARGIN, LINE = 6, 16
LEAST, MOST = 160, 480  # widths in pixels between which pictures are shown


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], labels: Sequence[str], columns: int = 4
) -> Image.Image:
    """RGB pictures (H, W, 3) of one size in rows, each under its label; small ones are enlarged by a whole
    number, large ones reduced.
    """
    height, width = pictures[0].shape[:2]
    scale = max(1, round(LEAST / width)) if width < MOST else MOST / width
    cell = (round(width * scale), max(1, round(height * scale)))
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    size = (columns * (cell[0] + MARGIN) + MARGIN, rows * (cell[1] + LINE + MARGIN) + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        row, column = divmod(number, columns)
        left, top = MARGIN + column * (cell[0] + MARGIN), MARGIN + row * (cell[1] + LINE + MARGIN)
        draw.text((left, top), label, fill="black")
        image = Image.fromarray(np.ascontiguousarray(picture)).resize(cell, resampling)
        sheet.paste(image, (left, top + LINE))
    return sheet
