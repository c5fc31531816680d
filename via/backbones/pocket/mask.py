"""Text to mask: the picture gives vectors, the phrase a filter, and what the filter answers to is the region.

As in LSeg (Li et al., "Language-driven semantic segmentation", 2022) the picture is read without the phrase:
one reading answers any number of phrases, so that in training each frame is asked for everything in it and
for much that is not. Cells of 4x4 pixels say what stands there, pixels only where it ends.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from via.backbones.pocket.conditioner import sine_positions
from via.backbones.pocket.vae import Residual


def _transformer(width: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
    )
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


class PocketMask(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Logits of the region that a phrase names: frames (n, 3, H, W) in [-1, 1] and word ids (n, 12) to (n, H,
    W).

    H and W are multiples of 8.
    """

    @register_to_config
    def __init__(
        self, vocabulary: int, width: int = 128, layers: int = 3, words: int = 12, fine: int = 8
    ) -> None:
        super().__init__()
        half = width // 2
        self.quarter = nn.Conv2d(3 * 16, half, 3, padding=1)
        self.eighth = nn.Sequential(
            Residual(half), nn.Conv2d(half, width, 3, stride=2, padding=1), Residual(width)
        )
        self.sixteenth = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.encoder = _transformer(width, layers)
        self.to_eighth = nn.Sequential(nn.Conv2d(2 * width, width, 1), Residual(width))
        self.to_quarter = nn.Sequential(nn.Conv2d(width + half, half, 1), Residual(half))
        self.to_pixels = nn.Conv2d(half, 16 * fine, 1)
        self.detail = nn.Conv2d(3, fine, 3, padding=1)
        self.word_embedding = nn.Embedding(vocabulary, half)
        self.word_position = nn.Parameter(torch.randn(words, half))
        self.reader = _transformer(half, 2)
        self.to_filter = nn.Linear(half, half + fine + 1)

    def features(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors of cells, (n, d, H/4, W/4), and of pixels, (n, f, H, W)."""
        quarter = self.quarter(F.pixel_unshuffle(frames, 4))  # (n, 64, H/4, W/4)
        eighth = self.eighth(quarter)  # (n, 128, H/8, W/8)
        coarse = self.sixteenth(eighth)
        n, width, h, w = coarse.shape
        states = self.encoder(coarse.flatten(2).transpose(1, 2) + sine_positions(h, w, width).to(coarse))
        coarse = states.transpose(1, 2).reshape(n, width, h, w)
        eighth = self.to_eighth(_beside(coarse, eighth))
        cells = self.to_quarter(_beside(eighth, quarter))
        return cells, F.silu(F.pixel_shuffle(self.to_pixels(cells), 4) + self.detail(frames))

    def filters(self, words: torch.Tensor) -> torch.Tensor:
        """What the phrases (m, 12) ask of the vectors: weights and a bias, (m, d + f + 1)."""
        states = self.reader(self.word_embedding(words) + self.word_position)
        return self.to_filter(states.mean(dim=1))

    def forward(self, frames: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return answer(self.features(frames), self.filters(words)[:, None])[:, 0]


def answer(features: tuple[torch.Tensor, torch.Tensor], filters: torch.Tensor) -> torch.Tensor:
    """Logits (n, k, H, W) of k phrases a frame, with filters (n, k, d + f + 1)."""
    cells, pixels = features
    d = cells.shape[1]
    coarse = torch.einsum("nkd,ndhw->nkhw", filters[..., :d], cells) + filters[..., -1, None, None]
    fine = torch.einsum("nkf,nfhw->nkhw", filters[..., d:-1], pixels)
    return fine + F.interpolate(coarse, scale_factor=4, mode="nearest")


def _beside(coarse: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
    """Two grids of channels on the finer one."""
    return torch.cat([F.interpolate(coarse, finer.shape[-2:], mode="nearest"), finer], dim=1)
