"""Masks in the pocket world: a grammar reads the instruction, the pocket text-to-mask model finds what it
names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from data.pocket.words import VOCABULARY, tokenize
from data.types import Clip, Frame, UserError
from via.backbones.pocket import weights
from via.backbones.pocket.mask import PocketMask
from via.masks.grammar import region_of

SIDE = 128  # shorter side the model was trained for
BATCH = 16


@dataclass
class PocketMasker:
    """See `via.masks.Masker`."""

    model: PocketMask
    device: torch.device
    name: str = "pocket"

    def region(self, frame: Frame, instruction: str) -> str | None:
        return region_of(instruction)

    @torch.no_grad()
    def masks(self, clip: Clip, phrase: str) -> NDArray[np.float32]:
        """(n, H, W) in [0, 1]. Raises UserError when the model knows none of the phrase's nouns."""
        ids = tokenize(phrase)
        if not any(i > 1 and VOCABULARY[i] not in ("the", "of", "head") for i in ids):
            raise UserError(
                f'the pocket mask model does not know the words of "{phrase}": give --mask FILE, or --region '
                f'with a phrase it knows, for instance "the animal" or "the background"'
            )
        height, width = clip.size
        scale = SIDE / min(height, width)
        inner = tuple(max(8, round(side * scale / 8) * 8) for side in (height, width))
        masks = []
        for at in range(0, len(clip), BATCH):
            frames = torch.from_numpy(np.ascontiguousarray(clip[at : at + BATCH])).to(self.device)
            pixels = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
            pixels = F.interpolate(pixels, inner, mode="bilinear", antialias=True, align_corners=False)
            words = torch.tensor([ids] * len(pixels), device=self.device)
            soft = self.model(pixels, words).sigmoid()
            soft = F.interpolate(soft[:, None], (height, width), mode="bilinear", align_corners=False)
            masks.append(soft[:, 0].cpu().numpy())
        return np.concatenate(masks)


def load(folder: Path = weights.WEIGHTS, device: str | torch.device = "cpu") -> PocketMasker:
    """The committed text-to-mask model. Raises UserError when its file is not the one its card names."""
    device = torch.device(device)
    return PocketMasker(weights.load(PocketMask, folder / "mask").to(device), device)
