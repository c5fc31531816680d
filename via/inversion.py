"""DDIM inversion of the source: the latents that blending needs, one block a noise level, in a scratch file.

Sampling reads the levels in the opposite order to that in which inversion makes them, and all frames at once,
so the trajectory lies in a file: level i holds the latents before step i, level `steps` the clean source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from via.backbones import Backbone, Condition


class Trajectory:
    """Latents of all frames at each noise level on disk, float32 (levels, frames, c, h, w), by plain reads
    and writes.
    """

    def __init__(
        self, path: Path, levels: int, frames: int, shape: tuple[int, ...], *, new: bool = False
    ) -> None:
        self.levels, self.frames, self.shape = levels, frames, shape
        self._bytes = 4 * int(np.prod(shape))
        self._file = path.open("w+b" if new else "rb")

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, level: int, frames: Sequence[int], latents: torch.Tensor) -> None:
        """Keep latents (n, c, h, w) of the frames with these numbers."""
        for frame, values in zip(frames, latents.float().cpu().contiguous().numpy(), strict=True):
            self._file.seek(self._bytes * (level * self.frames + frame))
            self._file.write(values.tobytes())

    def read(self, level: int, frames: Sequence[int]) -> torch.Tensor:
        """float32 latents (n, c, h, w) on the CPU."""
        rows = []
        for frame in frames:
            self._file.seek(self._bytes * (level * self.frames + frame))
            rows.append(np.frombuffer(self._file.read(self._bytes), np.float32).reshape(self.shape))
        return torch.from_numpy(np.stack(rows))


def noise_levels(scheduler: DDIMScheduler) -> list[tuple[float, float]]:
    """For each step of the scheduler, alpha-bar before it and after it, as `scheduler.step` takes them."""
    alphas, final = scheduler.alphas_cumprod, scheduler.final_alpha_cumprod
    stride = scheduler.config["num_train_timesteps"] // scheduler.num_inference_steps
    levels = []
    for timestep in scheduler.timesteps.tolist():
        after = alphas[timestep - stride] if timestep >= stride else final
        levels.append((float(alphas[timestep]), float(after)))
    return levels


def epsilon(output: torch.Tensor, latents: torch.Tensor, alpha: float, prediction_type: str) -> torch.Tensor:
    """The noise that a model output stands for, at the noise level `alpha` (alpha-bar) of the network's own
    time.

    At the clean end the latents are one step cleaner than the network's time; taking the alpha of that time
    keeps the division by sqrt(1 - alpha) finite.
    """
    if prediction_type == "epsilon":
        return output
    if prediction_type == "sample":
        return (latents - alpha**0.5 * output) / (1 - alpha) ** 0.5
    if prediction_type == "v_prediction":
        return alpha**0.5 * output + (1 - alpha) ** 0.5 * latents
    raise ValueError(f"prediction type {prediction_type!r} has no noise to invert with")


def inverted_step(
    output: torch.Tensor, latents: torch.Tensor, cleaner: float, noisier: float, prediction_type: str
) -> torch.Tensor:
    """DDIM's step with the roles swapped: latents at alpha-bar `cleaner` -> latents at `noisier`.

    x0 = (x - sqrt(1 - a_s) eps) / sqrt(a_s); x' = sqrt(a_t) x0 + sqrt(1 - a_t) eps.
    """
    eps = epsilon(output, latents, noisier, prediction_type)
    clean = (latents - (1 - cleaner) ** 0.5 * eps) / cleaner**0.5
    return noisier**0.5 * clean + (1 - noisier) ** 0.5 * eps


def invert(
    backbone: Backbone,
    source: torch.Tensor,
    condition: Condition,
    scheduler: DDIMScheduler,
    trajectory: Trajectory,
    frames: Sequence[int],
) -> None:
    """Write the inverted trajectory of the clean latents `source` (n, c, h, w) of these frames.

    `condition` has one branch: one forward a step, no guidance. The network sees the time of the noisier end
    with the latents of the cleaner one, as in every public DDIM inversion.
    """
    latents = source
    trajectory.write(len(scheduler.timesteps), frames, latents)
    levels = noise_levels(scheduler)
    for i in reversed(range(len(levels))):
        noisier, cleaner = levels[i]
        output = backbone.predict(latents, scheduler.timesteps[i], condition, 1.0, 1.0)
        latents = inverted_step(output, latents, cleaner, noisier, scheduler.config["prediction_type"])
        trajectory.write(i, frames, latents)


def add_noise(
    source: torch.Tensor,
    noise: torch.Tensor,
    scheduler: DDIMScheduler,
    trajectory: Trajectory,
    frames: Sequence[int],
) -> None:
    """Write, in place of an inverted trajectory, the source noised with the start noise of its edit (n, c, h,
    w).
    """
    trajectory.write(len(scheduler.timesteps), frames, source)
    for i, (before, _) in enumerate(noise_levels(scheduler)):
        trajectory.write(i, frames, before**0.5 * source + (1 - before) ** 0.5 * noise)
