"""Text to mask, shaped like CLIPSeg: picture and phrase meet in a small transformer, whose tokens a decoder
unfolds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from via.backbones.pocket.conditioner import sine_positions
from via.backbones.pocket.vae import Residual


class PocketMask(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Logits of the region that a phrase names: frames (n, 3, H, W) in [-1, 1] and word ids (n, 12) to (n, H,
    W).

    H and W are multiples of 8.
    """

    @register_to_config
    def __init__(self, vocabulary: int, width: int = 128, layers: int = 4, words: int = 12) -> None:
        super().__init__()
        self.quarter = nn.Sequential(nn.Conv2d(3 * 16, 48, 3, padding=1), Residual(48))
        self.eighth = nn.Sequential(nn.Conv2d(48, width, 3, stride=2, padding=1), Residual(width))
        self.word_embedding = nn.Embedding(vocabulary, width)
        self.word_position = nn.Parameter(torch.randn(words, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.widen = nn.Sequential(nn.Conv2d(width + 48, 48, 1), Residual(48), nn.Conv2d(48, 16 * 8, 1))
        self.finish = nn.Sequential(
            nn.Conv2d(3 + 8, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 1, 3, padding=1)
        )

    def forward(self, frames: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        quarter = self.quarter(F.pixel_unshuffle(frames, 4))  # (n, 48, H/4, W/4)
        eighth = self.eighth(quarter)  # (n, 128, H/8, W/8)
        n, width, h, w = eighth.shape
        patches = eighth.flatten(2).transpose(1, 2) + sine_positions(h, w, width).to(eighth)
        states = self.encoder(torch.cat([patches, self.word_embedding(words) + self.word_position], dim=1))
        fused = states[:, : h * w].transpose(1, 2).view(n, width, h, w)
        fused = F.interpolate(fused, scale_factor=2, mode="nearest")
        features = F.pixel_shuffle(self.widen(torch.cat([fused, quarter], dim=1)), 4)  # (n, 8, H, W)
        return self.finish(torch.cat([frames, features], dim=1))[:, 0]
