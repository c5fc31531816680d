"""Frame-by-frame editing: the image editor on every frame alone, from the same noise as every other method.

It is the row that any video editor must beat, and what VIA becomes when all of its components are switched
off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.types import Clip, Edit, Frame, Report, UserError, silent
from via.backbones import Backbone
from via.config import Solver, Spacing
from via.framing import Framing, read
from via.sampling import added_noise, batches, denoise, place, start_noise


class FrameByFrameConfig(BaseModel):
    """None is the backbone's own value. noise: one draw for all frames, or one for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    guidance_text: float | None = None
    guidance_image: float | None = None
    timestep_spacing: Spacing | None = None
    scheduler: Solver = "ddim"
    noise: Literal["shared", "per_frame"] = "shared"
    size: Annotated[int, Field(ge=8)] | None = None


class FrameByFrame:
    """The editor; `batch_size` changes rounding and speed only."""

    name = "frame_by_frame"

    def __init__(self, backbone: Backbone, config: FrameByFrameConfig | None = None, *, batch_size: int = 8):
        self.backbone, self.config, self.batch_size = backbone, config or FrameByFrameConfig(), batch_size

    def edit(
        self,
        clip: Clip,
        edit: Edit,
        *,
        masks: NDArray[np.float32] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Iterator[Frame]:
        """Edited frames in order, uint8 RGB of the clip's size."""
        if not edit.instruction.strip():
            raise UserError("the instruction is empty: say what to change")
        return self._edited(clip, edit, seed, report)

    @torch.no_grad()
    def _edited(self, clip: Clip, edit: Edit, seed: int, report: Report) -> Iterator[Frame]:
        config, backbone = self.config, self.backbone
        text = backbone.guidance_text if config.guidance_text is None else config.guidance_text
        image = backbone.guidance_image if config.guidance_image is None else config.guidance_image
        framing = Framing.of(backbone, clip.size, config.size)
        scheduler = backbone.scheduler(config.steps, config.timestep_spacing)
        device, dtype = place(backbone)
        done = 0
        for frames in batches(range(len(clip)), self.batch_size):
            pixels = framing.frames_in(read(clip, frames)).to(device, dtype)
            condition = backbone.condition(pixels, edit.instruction).acting(image)
            shape = condition.image_latents.shape[2:]

            def added(
                i: int, frames: Sequence[int] = frames, shape: Sequence[int] = shape
            ) -> torch.Tensor | None:
                return added_noise(config.scheduler, config.noise, frames, shape, seed, i, config.steps)

            noise = start_noise(config.noise, frames, shape, seed).to(device, dtype)
            latents = denoise(backbone, noise, condition, scheduler, text, image, noise=added)
            yield from framing.frames_out(backbone.decode(latents))
            done += len(frames)
            report("edit", done, len(clip))
