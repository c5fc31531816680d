"""Plain editing with an image editor: where the noise comes from, and the denoising loop without any
adaptation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from via.backbones import Backbone, Condition
from via.config import Solver


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose; different purposes of one seed are independent of each other."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def start_noise(
    kind: Literal["shared", "per_frame"],
    frames: Sequence[int],
    shape: Sequence[int],
    seed: int,
    purpose: str = "noise",
) -> torch.Tensor:
    """Standard normal noise (n, c, h, w) for the frames with these numbers; `shape` is (c, h, w).

    shared: one draw for all frames (appendix B: "the same random seed"); per_frame: one draw for each frame
    number, whatever the batch.
    """
    if kind == "shared":
        return torch.randn(1, *shape, generator=generator(seed, purpose)).expand(len(frames), *shape)
    return torch.stack([torch.randn(*shape, generator=generator(seed, f"{purpose} {i}")) for i in frames])


def added_noise(
    solver: Solver,
    kind: Literal["shared", "per_frame"],
    frames: Sequence[int],
    shape: Sequence[int],
    seed: int,
    step: int,
    steps: int,
    purpose: str = "noise",
) -> torch.Tensor | None:
    """What step `step` (from 0) of `steps` adds to these frames, standard normal (n, c, h, w), drawn as
    `start_noise` does; None where nothing is added: by DDIM, and by the last step of any solver.
    """
    if solver == "ddim" or step == steps - 1:
        return None
    return start_noise(kind, frames, shape, seed, f"{purpose} of step {step}")


def stepped(
    scheduler: DDIMScheduler,
    output: torch.Tensor,
    timestep: torch.Tensor,
    latents: torch.Tensor,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """Latents (n, c, h, w) at the next cleaner level: DDIM, or with `noise` Euler's ancestral step.

    The ancestral step has the mean and the variance of DDIM's with eta 1, written in sigmas (sigma_up^2 =
    sigma'^2 (1 - sigma'^2 / sigma^2)), so one scheduler serves both.
    """
    keywords: dict[str, Any] = {} if noise is None else {"eta": 1.0, "variance_noise": noise.to(latents)}
    return scheduler.step(output, int(timestep), latents, **keywords, return_dict=False)[0]


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
    noise: Callable[[int], torch.Tensor | None] = lambda step: None,
) -> torch.Tensor:
    """Edited latents (n, c, h, w) from noise (n, c, h, w), each frame on its own.

    `after_step(i, latents)` may replace the latents after step i (local blending does); `noise(i)` is what
    step i adds.
    """
    for i, timestep in enumerate(scheduler.timesteps):
        output = backbone.predict(latents, timestep, condition, guidance_text, guidance_image)
        latents = stepped(scheduler, output, timestep, latents, noise(i))
        if after_step is not None:
            latents = after_step(i, latents)
    return latents


def batches(frames: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`frames` in pieces of at most `size`, in order."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]
