"""Training of the pocket VAE: crops of source and edited frames, squared error, noise on the latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.pocket.training import Sampler
from via.backbones.pocket import weights
from via.backbones.pocket.training.loop import Plan
from via.backbones.pocket.vae import PocketVAE

CROP = 64


def to_pixels(frames: list[np.ndarray], device: torch.device) -> torch.Tensor:
    """Frames uint8 (H, W, 3) as a tensor (n, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], of the mean square over all frames."""
    return float(-10 * torch.log10(((a.clamp(-1, 1) - b) / 2).square().mean()))


class VAETraining:
    """See `loop.Training`."""

    plan = Plan(samples=160_000, batch=32, learning_rate=2e-3, weight_decay=0.0, hold=0.1, ema=0.999)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = self.open_sampler()
        held_out, rng = Sampler("dev"), np.random.default_rng(1)
        samples = [held_out.draw(rng) for _ in range(48)]
        self.held_out = {
            "source": to_pixels([s.source for s in samples], device),
            "edited": to_pixels([s.edited for s in samples], device),
        }
        rng = np.random.default_rng(0)
        frames = to_pixels([self.sampler.frame(rng) for _ in range(300)], device)
        self.model = PocketVAE().to(device)
        self.model.start_from_principal_components(frames)
        self.frames = frames

    @staticmethod
    def open_sampler() -> Sampler:
        return Sampler("train")

    @staticmethod
    def draw(sampler: Sampler, count: int, rng: np.random.Generator) -> list[np.ndarray]:
        crops = []
        for _ in range(count):
            frame = sampler.frame(rng)
            y, x = rng.integers(0, frame.shape[0] - CROP + 1), rng.integers(0, frame.shape[1] - CROP + 1)
            crops.append(frame[y : y + CROP, x : x + CROP])
        return crops

    def loss(
        self, batch: list[np.ndarray], rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        pixels = to_pixels(batch, self.device)
        latents = self.model.encode(pixels.to(precision)).latent_dist.mode()
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(latents)
        level = torch.from_numpy(rng.random((len(batch), 1, 1, 1), dtype=np.float32)).to(latents)
        disturbed = latents + 0.1 * level * noise * latents.detach().std((0, 2, 3), keepdim=True)
        error = self.model.decode(disturbed).sample.float() - pixels
        square = error.square().mean()
        loss = square + 0.1 * error.abs().mean() + 1e-4 * latents.float().square().mean()
        return loss, {"psnr": float(-10 * torch.log10(square.detach() / 4))}

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        restored = {name: self.model(pixels) for name, pixels in self.held_out.items()}
        figures = {f"held_out_{name}": psnr(restored[name], pixels) for name, pixels in self.held_out.items()}
        rows = [self.held_out["edited"][:10], restored["edited"][:10]]
        picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).clamp(-1, 1)
        return figures, ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    @torch.no_grad()
    def finish(self, log: list[dict[str, float]], hours: float) -> Path:
        self.model.whiten(self.frames)
        folder = weights.WEIGHTS / "vae"
        config: dict[str, Any] = {k: v for k, v in self.model.config.items() if not k.startswith("_")}
        weights.save(self.model, config, folder)
        weights.write_card(
            folder,
            {
                "what": "VAE of the pocket editor: f8, 16 whitened channels, deterministic",
                "recipe": vars(self.plan),
                "samples": int(log[-1]["samples"]),
                "hours": round(hours, 2),
                "held_out": self.evaluate()[0],
                "curve": [
                    {k: round(line[k], 3) for k in ("samples", "held_out_source", "held_out_edited")}
                    for line in log
                ],
            },
        )
        return folder
