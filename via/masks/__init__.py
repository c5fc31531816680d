"""From an instruction to masks (section 4.1, Fig. 3): a phrase for the region, then a mask in every frame.

Doors: `Masker`, `grammar` (instruction to phrase), `given` (masks from a file), and one module for each
model.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data.types import Clip, Frame


class Masker(Protocol):
    """Finds what an instruction edits."""

    name: str

    def region(self, frame: Frame, instruction: str) -> str | None:
        """The region to edit as a phrase ("the dog"), or None when the whole frame is edited."""
        ...

    def masks(self, clip: Clip, phrase: str) -> NDArray[np.float32]:
        """How surely each pixel belongs to the phrase, (n, H, W) in [0, 1]."""
        ...
