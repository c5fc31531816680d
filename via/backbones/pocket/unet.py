"""The pocket U-Net: diffusers' own, told where it is, and predicting the edited latents as a change to the
source's."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel, UNet2DConditionOutput
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn

PLANES = 8
SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "rescale_betas_zero_snr": True,
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def scheduler() -> DDIMScheduler:
    """The noise schedule the editor was trained on: zero terminal SNR, the network predicts x0."""
    return DDIMScheduler(**SCHEDULE)


def training_timesteps(draws: torch.Tensor, count: int) -> torch.Tensor:
    """Timesteps (n,), of `count`, to train at, from uniform draws (n,) in [0, 1): mostly the noisiest, since
    sampling keeps the errors of its first steps."""
    return ((1 - draws.square()) * count).long().clamp(max=count - 1)


def coordinate_planes(like: torch.Tensor) -> torch.Tensor:
    """Fixed planes (n, 8, h, w): x and y in [-1, 1], and their first sines and cosines, for a tensor (n, c,
    h, w)."""
    n, _, h, w = like.shape
    y = (torch.arange(h, device=like.device) * 2 + 1) / h - 1
    x = (torch.arange(w, device=like.device) * 2 + 1) / w - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    planes = [x, y]
    planes += [f(torch.pi * k * x) for k in (1, 2) for f in (torch.sin, torch.cos)]
    planes += [f(torch.pi * y) for f in (torch.sin, torch.cos)]
    return torch.stack(planes).to(like.dtype).expand(n, -1, -1, -1)


class PocketUNet(UNet2DConditionModel):
    """UNet2DConditionModel with the signature of InstructPix2Pix's, from (n, 32, h, w) to x0 of (n, 16, h,
    w).

    Inside: the noisy latents are scaled to their linear estimate of x0 (nothing at t = 999, where they are
    pure noise), the position is given as planes, the first condition token enters the time embedding as well,
    and the output is added to the source's latents under a linear map of their channels that the same token
    names: most global edits are nearly that, and a network between normalisations is slow to learn one. The
    first token says nothing of the answer, so neither does the map.
    """

    signal: torch.Tensor  # sqrt(alpha-bar) of every training timestep, (1000,)

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        in_channels: int = 32,
        out_channels: int = 16,
        block_out_channels: tuple[int, ...] = (96, 192),
        layers_per_block: int = 1,
        cross_attention_dim: int = 128,
        attention_head_dim: int = 4,
        norm_num_groups: int = 16,
    ) -> None:
        levels = len(block_out_channels)
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels + PLANES,
            out_channels=out_channels,
            down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=attention_head_dim,
            norm_num_groups=norm_num_groups,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=cross_attention_dim,
        )
        self.register_to_config(in_channels=in_channels)
        self.tint = nn.Linear(cross_attention_dim, out_channels**2, bias=False)
        self.register_buffer("signal", scheduler().alphas_cumprod.sqrt(), persistent=False)
        for parameter in (*self.conv_out.parameters(), self.tint.weight):  # the change starts as none
            nn.init.zeros_(parameter)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        encoder_hidden_states: torch.Tensor,
        *unused: Any,
        return_dict: bool = True,
        **keywords: Any,
    ) -> UNet2DConditionOutput | tuple[torch.Tensor]:
        """x0 (n, 16, h, w) from noisy and source latents (n, 16 + 16, h, w) and condition tokens (n, L,
        d)."""
        noisy, source = sample.chunk(2, dim=1)
        steps = torch.as_tensor(timestep, device=sample.device).long().expand(len(sample))
        argument = encoder_hidden_states[:, 0]
        noisy = noisy * self.signal[steps][:, None, None, None].to(noisy.dtype)
        change = super().forward(
            torch.cat([noisy, source, coordinate_planes(noisy)], dim=1),
            timestep,
            encoder_hidden_states,
            class_labels=argument,
            return_dict=False,
            **{name: value for name, value in keywords.items() if value is not None},
        )[0]
        tint = self.tint(argument).unflatten(1, (source.shape[1], -1))
        x0 = source + torch.einsum("nij,njhw->nihw", tint, source) + change
        return UNet2DConditionOutput(sample=x0) if return_dict else (x0,)
