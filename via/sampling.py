"""Plain editing with an image editor: where the noise comes from, and the denoising loop without any
adaptation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from via.backbones import Backbone, Condition


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose; different purposes of one seed are independent of each other."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def start_noise(
    kind: Literal["shared", "per_frame"], frames: Sequence[int], shape: Sequence[int], seed: int
) -> torch.Tensor:
    """Standard normal noise (n, c, h, w) for the frames with these numbers; `shape` is (c, h, w).

    shared: one draw for all frames (appendix B: "the same random seed"); per_frame: one draw for each frame
    number, whatever the batch.
    """
    if kind == "shared":
        return torch.randn(1, *shape, generator=generator(seed, "noise")).expand(len(frames), *shape)
    return torch.stack([torch.randn(*shape, generator=generator(seed, f"noise {i}")) for i in frames])


def place(backbone: Backbone) -> tuple[torch.device, torch.dtype]:
    """Device and floating type of the backbone's U-Net."""
    weight = next(backbone.unet.parameters())
    return weight.device, weight.dtype


def denoise(
    backbone: Backbone,
    latents: torch.Tensor,
    condition: Condition,
    scheduler: DDIMScheduler,
    guidance_text: float,
    guidance_image: float,
    after_step: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Edited latents (n, c, h, w) from noise (n, c, h, w), each frame on its own.

    `after_step(i, latents)` may replace the latents after step i (local blending does).
    """
    for i, timestep in enumerate(scheduler.timesteps):
        output = backbone.predict(latents, timestep, condition, guidance_text, guidance_image)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        if after_step is not None:
            latents = after_step(i, latents)
    return latents


def batches(frames: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`frames` in pieces of at most `size`, in order."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]
