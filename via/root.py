"""The root edit (section 4.1): a random frame, edited with several seeds, and the best of these edits chosen.

The paper leaves the choice to a person and names its automation as future work; `choose` is one: the
candidate that agrees most with the others inside the region (the medoid) and leaves most of the source
outside it; with a CLIP, that also follows the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.types import UserError
from via.framing import Framing


@dataclass(frozen=True)
class Root:
    """The root frame's number, its candidates (k, 3, H, W) as uint8, their scores, and the one chosen."""

    frame: int
    candidates: torch.Tensor
    scores: dict[str, list[float]]
    chosen: int

    @property
    def edited(self) -> torch.Tensor:
        """E_root as float (3, H, W) in [0, 1]."""
        return self.candidates[self.chosen].float() / 255


def root_frame(areas: Sequence[float] | None, frames: int, generator: torch.Generator) -> int:
    """A randomly drawn frame number; where `areas` gives the region's size in each frame, drawn again until
    it has half of the median.

    The median is taken over the frames that show the region at all: a subject may have left.
    """
    order: list[int] = torch.randperm(frames, generator=generator).tolist()
    if areas is None:
        return order[0]
    seen = torch.tensor([area for area in areas if area > 0])
    enough = 0.5 * float(seen.median())
    return next(frame for frame in order if areas[frame] >= enough)


@dataclass(frozen=True)
class Scores:
    """One value a candidate, higher is better, in units of the pixel range (0 to 1, negated distances)."""

    agreement: torch.Tensor
    preservation: torch.Tensor
    following: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        return self.agreement + self.preservation + self.following

    @property
    def best(self) -> int:
        """The highest total; the first of equals."""
        return int(self.total.argmax())


def scores(
    candidates: torch.Tensor,
    source: torch.Tensor,
    region: torch.Tensor | None,
    following: torch.Tensor | None = None,
) -> Scores:
    """Scores of candidates (k, 3, H, W) for the edit of `source` (3, H, W), pixels in [0, 1].

    agreement: minus the mean distance to the other candidates inside `region` (1, H, W) bool, or everywhere;
    its maximum is the medoid. preservation: minus the mean distance to the source outside the region, zero
    for a global edit. following: how well each candidate follows the instruction, where somebody can say
    (CLIP), else zero.
    """
    k = len(candidates)
    inside = torch.ones_like(source[:1]) if region is None else region.to(source)
    distances = torch.stack([(candidates - one).abs().mean(dim=1, keepdim=True) for one in candidates])
    apart = (distances * inside).sum(dim=(2, 3, 4)) / inside.sum().clamp(min=1)  # (k, k)
    agreement = -apart.sum(dim=1) / max(k - 1, 1)
    outside = 1 - inside
    moved = (candidates - source).abs().mean(dim=1, keepdim=True) * outside
    preservation = -moved.sum(dim=(1, 2, 3)) / outside.sum().clamp(min=1)
    return Scores(agreement, preservation, torch.zeros(k) if following is None else following)


def from_file(path: Path, framing: Framing) -> torch.Tensor:
    """An edited root frame from an image file, as the model takes it, (3, H, W) in [0, 1]."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise UserError(
            f"{path}: not a readable image ({error}); give the edited root frame as PNG or JPEG"
        ) from None
    height, width = pixels.shape[:2]
    if abs(width / height / (framing.source[1] / framing.source[0]) - 1) > 0.02:
        raise UserError(
            f"{path}: {width} x {height} has another aspect ratio than the clip "
            f"({framing.source[1]} x {framing.source[0]}): crop it to the clip's"
        )
    fitted = Framing((height, width), framing.scaled, framing.padded)
    return fitted.frames_in(pixels[None])[0]
