"""From a clip's size to the model's and back: scale one side, pad to the backbone's multiple, crop
and scale back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from data.types import Clip, Frames
from via.backbones import Backbone


@dataclass(frozen=True)
class Framing:
    """Sizes are (height, width) in pixels: of the clip, after scaling, after padding at the right and the
    bottom.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, backbone: Backbone, source: tuple[int, int], side: int | None = None) -> Framing:
        """The framing of a clip for an image editor, of its own size unless `side` is given."""
        side = side or backbone.default_side
        return cls.fit(source, side, backbone.size_multiple, backbone.counted_side)

    @classmethod
    def fit(
        cls,
        source: tuple[int, int],
        side: int,
        multiple: int,
        counted: Literal["shorter", "longer"] = "shorter",
    ) -> Framing:
        """The framing that makes the counted side `side` and both sides multiples of `multiple` by padding.

        >>> Framing.fit((240, 427), side=128, multiple=16)
        Framing(source=(240, 427), scaled=(128, 228), padded=(128, 240))
        >>> Framing.fit((240, 427), side=512, multiple=64, counted="longer")
        Framing(source=(240, 427), scaled=(288, 512), padded=(320, 512))
        """
        scale = side / (min(source) if counted == "shorter" else max(source))
        height, width = (max(1, round(length * scale)) for length in source)
        padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        return cls(source, (height, width), padded)

    def frames_in(self, frames: Frames) -> torch.Tensor:
        """Model frames (n, 3, H, W) in [0, 1] from uint8 RGB (n, H, W, 3)."""
        pixels = (
            torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2).float() / 255
        )
        return self._pad(_resized(pixels, self.scaled, "bicubic").clamp(0, 1))

    def masks_in(self, masks: NDArray[np.bool_]) -> torch.Tensor:
        """Binary model masks (n, 1, H, W) from masks of the clip's size; a pixel that covers any mask is
        mask.
        """
        pixels = torch.from_numpy(np.require(masks, requirements=["C", "W"]))[:, None].float()
        return self._pad(F.adaptive_max_pool2d(pixels, self.scaled))

    def frames_out(self, pixels: torch.Tensor) -> Frames:
        """uint8 RGB frames (n, H, W, 3) of the clip's size from model frames (n, 3, H, W)."""
        pixels = pixels.float()[..., : self.scaled[0], : self.scaled[1]]
        pixels = _resized(pixels, self.source, "bicubic").clamp(0, 1)
        frames: Frames = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return frames

    def _pad(self, pixels: torch.Tensor) -> torch.Tensor:
        bottom, right = self.padded[0] - self.scaled[0], self.padded[1] - self.scaled[1]
        return F.pad(pixels, (0, right, 0, bottom), mode="replicate") if bottom or right else pixels


def _resized(pixels: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return F.interpolate(pixels, size, mode=mode, align_corners=False, antialias=True)


def read(clip: Clip, frames: Sequence[int]) -> Frames:
    """The frames with these numbers, uint8 RGB (n, H, W, 3); a run of neighbours is read in one go."""
    first, last = frames[0], frames[-1]
    if list(frames) == list(range(first, last + 1)):
        return clip[first : last + 1]
    return np.stack([clip[i] for i in frames])
