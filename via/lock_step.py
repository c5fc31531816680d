"""All frames of a clip advanced together, one denoising step at a time (4.2, Fig. 4): gather, swap, blend.

At each step the group's frames go first, in order, and fill a store of keys and values; then every frame of
the clip is advanced against it; then the store is dropped. Memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from data.types import Clip, Edit, Report
from via import attention
from via.backbones import Backbone, Condition
from via.config import ViaConfig
from via.framing import Framing
from via.sampling import added_noise, stepped
from via.stages import Stages

Blended = Callable[[torch.Tensor, Sequence[int], int], torch.Tensor]  # latents, frames, steps done -> latents


@dataclass(frozen=True)
class Job:
    """One edit under way: what every stage reads."""

    clip: Clip
    edit: Edit
    seed: int
    config: ViaConfig
    framing: Framing
    scheduler: DDIMScheduler
    guidance: tuple[float, float]
    stages: Stages
    report: Report
    frames: Sequence[int]  # the frames to edit; all of them unless the work is shared out
    depends: dict[str, Any]  # what every stage depends on

    @property
    def layers(self) -> attention.Layers:
        """Where attention is swapped."""
        config = self.config
        return attention.Layers(config.swap_self, config.swap_cross, config.swap_layers, config.swap_branches)

    @property
    def noise_kind(self) -> Literal["shared", "per_frame"]:
        """How noise is drawn wherever it is."""
        return "per_frame" if self.config.noise == "per_frame" else "shared"

    def step(
        self, i: int, output: torch.Tensor, latents: torch.Tensor, frames: Sequence[int]
    ) -> torch.Tensor:
        """Latents (n, c, h, w) of these frames after step i."""
        config = self.config
        shape = latents.shape[1:]
        noise = added_noise(config.scheduler, self.noise_kind, frames, shape, self.seed, i, config.steps)
        return stepped(self.scheduler, output, self.scheduler.timesteps[i], latents, noise)


def lock_step(
    backbone: Backbone,
    job: Job,
    latents: torch.Tensor,
    parts: Sequence[tuple[Sequence[int], Condition]],
    group: tuple[Sequence[int], torch.Tensor, Condition] | None,
    blended: Blended,
) -> torch.Tensor:
    """Edited latents (n, c, h, w) of all frames from their noise (n, c, h, w), advanced together step by
    step.

    `parts` are the frames' numbers in batches with their conditions; `group` is the numbers, noise and
    condition of the attention group, which has a trajectory of its own, or None for no swapping.
    `blended(latents, frames, done)` is local blending after `done` steps.
    """
    config = job.config
    latents = latents.clone()
    swapping = config.steps if config.swap_steps is None else config.swap_steps
    done, total = 0, config.steps * len(latents)

    for i, timestep in enumerate(job.scheduler.timesteps):
        store = None
        if group is not None and i < swapping:
            # Stage one of Fig. 4: the group's frames, in order, each against those before it.
            numbers, group_latents, condition = group
            outputs, store = gathered(backbone, job, timestep, group_latents, condition)
            group_latents = job.step(i, outputs, group_latents, numbers)
            if config.blend_group:
                group_latents = blended(group_latents, numbers, i + 1)
            group = (numbers, group_latents, condition)

        # Stage two: every frame, those of the group included, against the group.
        row = 0
        for frames, condition in parts:
            rows = slice(row, row + len(frames))
            row = rows.stop
            with _swapped(backbone, store, condition.branches, job.layers, config.swap_own):
                output = backbone.predict(latents[rows], timestep, condition, *job.guidance)
            latents[rows] = blended(job.step(i, output, latents[rows], frames), frames, i + 1)
            done += len(frames)
            job.report("edit", done, total)
    return latents


def gathered(
    backbone: Backbone, job: Job, timestep: torch.Tensor, latents: torch.Tensor, condition: Condition
) -> tuple[torch.Tensor, attention.GroupStore]:
    """Outputs (k + 1, c, h, w) for the group's latents at this step, and its keys and values (Eq. 7, 8)."""

    def predict(j: int) -> torch.Tensor:
        return backbone.predict(latents[j : j + 1], timestep, condition[j : j + 1], *job.guidance)

    return attention.gather(
        backbone.unet,
        predict,
        len(latents),
        condition.branches,
        job.layers,
        chained=job.config.gather,
        context=job.config.gather_context,
    )


def _swapped(
    backbone: Backbone,
    store: attention.GroupStore | None,
    branches: int,
    layers: attention.Layers,
    own: bool,
) -> AbstractContextManager[None]:
    if store is None:
        return nullcontext()
    return attention.swapped(backbone.unet, store, branches, layers, own=own)
