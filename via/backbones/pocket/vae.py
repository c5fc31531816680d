"""The pocket VAE: deterministic, eight pixels to a latent cell, sixteen channels of unit variance.

The encoder is a linear map of 8x8 patches (started from their principal components) plus a small
convolutional correction; the decoder is the inverse map plus a convolutional one that finishes at full size,
without block edges.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

PATCH = 8


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), (n, c, h, w) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias set to zero: what it is added to starts as it is."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class PocketVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encoder and decoder with the calls of diffusers' AutoencoderKL; pixels in [-1, 1], latents whitened per
    channel."""

    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        encoder_width: int = 96,
        decoder_width: int = 128,
        finish_width: int = 64,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (1, 1, 1, 1),  # diffusers reads the factor 8 from its length
    ) -> None:
        super().__init__()
        patch = 3 * PATCH * PATCH
        self.encode_linear = nn.Conv2d(patch, latent_channels, 1)
        self.encode_residual = nn.Sequential(
            nn.Conv2d(patch, encoder_width, 3, padding=1),
            Residual(encoder_width),
            nn.SiLU(),
            zeroed(nn.Conv2d(encoder_width, latent_channels, 1)),
        )
        self.decode_linear = nn.Conv2d(latent_channels, patch, 1)
        self.coarse = nn.Sequential(
            nn.Conv2d(latent_channels, decoder_width, 3, padding=1),
            Residual(decoder_width),
            Residual(decoder_width),
            nn.Conv2d(decoder_width, 4 * finish_width, 1),
        )
        self.middle = nn.Sequential(
            Residual(finish_width), Residual(finish_width), nn.Conv2d(finish_width, 16 * (3 + 16), 1)
        )
        self.finish = nn.Sequential(
            nn.Conv2d(3 + 16, 16, 3, padding=1), nn.SiLU(), zeroed(nn.Conv2d(16, 3, 3, padding=1))
        )
        with torch.no_grad():  # the picture itself starts as the linear map's
            for parameter in self.middle[-1].parameters():
                parameter[: 3 * 16].zero_()
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """Whitened latents (n, 16, H/8, W/8) of pixels (n, 3, H, W) in [-1, 1], as a distribution of no
        width."""
        patches = F.pixel_unshuffle(x, PATCH)
        latents = self.encode_linear(patches) + self.encode_residual(patches)
        latents = (latents - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]
        parameters = torch.cat([latents, torch.full_like(latents, -30.0)], dim=1)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(parameters, deterministic=True))

    def decode(self, z: torch.Tensor, return_dict: bool = True, generator: object = None) -> Any:
        """Pixels (n, 3, H, W), about [-1, 1], of whitened latents (n, 16, H/8, W/8)."""
        z = z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
        base = F.pixel_shuffle(self.decode_linear(z), PATCH)  # (n, 3, H, W)
        middle = F.pixel_shuffle(self.coarse(z), 2)  # (n, 64, H/4, W/4)
        full = F.pixel_shuffle(self.middle(middle), 4)  # (n, 3 + 16, H, W)
        image = base + full[:, :3]
        image = image + self.finish(torch.cat([image, full[:, 3:]], dim=1))
        return DecoderOutput(sample=image) if return_dict else (image,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction of x."""
        restored: torch.Tensor = self.decode(self.encode(x).latent_dist.mode(), return_dict=False)[0]
        return restored

    @torch.no_grad()
    def start_from_principal_components(self, frames: torch.Tensor) -> None:
        """Set the linear maps to the principal components of the 8x8 patches of frames (n, 3, H, W) in [-1,
        1]."""
        patches = F.pixel_unshuffle(frames, PATCH).permute(0, 2, 3, 1).flatten(0, 2)  # (m, 192)
        mean = patches.mean(0)
        _, values, basis = torch.linalg.svd(patches - mean, full_matrices=False)
        scale = values / len(patches) ** 0.5
        channels = len(self.latent_mean)
        kept = basis[:channels] / scale[:channels, None]  # (16, 192)
        inverse = torch.linalg.pinv(kept)  # (192, 16)
        self.encode_linear.load_state_dict({"weight": kept[:, :, None, None], "bias": -kept @ mean})
        self.decode_linear.load_state_dict({"weight": inverse[:, :, None, None], "bias": mean})

    @torch.no_grad()
    def whiten(self, frames: torch.Tensor) -> None:
        """Measure the latents' mean and deviation per channel on frames (n, 3, H, W), and work on whitened
        ones from now on."""
        self.latent_mean.zero_()
        self.latent_std.fill_(1.0)
        latents = self.encode(frames).latent_dist.mode()
        self.latent_mean.copy_(latents.mean((0, 2, 3)))
        self.latent_std.copy_(latents.std((0, 2, 3)))
