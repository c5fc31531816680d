"""The root edit (section 4.1): a random frame, edited with several seeds, and the best of these edits chosen.

The paper leaves the choice to a person and names its automation as future work; `choose` is one: the
candidate that agrees most with the others inside the region (the medoid) and leaves most of the source
outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


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
