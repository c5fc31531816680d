"""The pocket editor as a Backbone: what VIA adapts by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from data.pocket.words import tokenize
from via.backbones import Condition, guided
from via.backbones.pocket import weights
from via.backbones.pocket.conditioner import PocketConditioner
from via.backbones.pocket.unet import PocketUNet, scheduler, training_timesteps
from via.backbones.pocket.vae import PocketVAE


@dataclass
class PocketBackbone:
    """VAE, conditioner and U-Net of the pocket editor; see `via.backbones.Backbone`."""

    vae: PocketVAE
    conditioner: PocketConditioner
    unet: PocketUNet
    device: torch.device
    name: str = "pocket"
    size_multiple: int = 16
    default_side: int = 128
    counted_side: Literal["shorter", "longer"] = "shorter"
    latent_factor: int = 8
    guidance_text: float = 1.1
    guidance_image: float = 1.0

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return self.vae.encode(frames * 2 - 1).latent_dist.mode()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return (self.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def condition(self, frames: torch.Tensor, instruction: str) -> Condition:
        latents = self.encode(frames)
        tokens, _ = self.conditioner(latents, self._words(instruction, len(latents)))
        null = self.conditioner.null().expand_as(tokens)
        return Condition(
            torch.stack([latents, latents, torch.zeros_like(latents)]), torch.stack([tokens, null, null])
        )

    def scheduler(self, steps: int, timestep_spacing: str | None = None) -> DDIMScheduler:
        schedule = scheduler()
        if timestep_spacing is not None:
            schedule.register_to_config(timestep_spacing=timestep_spacing)
        schedule.set_timesteps(steps, device=self.device)
        return schedule

    @torch.no_grad()
    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor | int,
        condition: Condition,
        guidance_text: float,
        guidance_image: float,
    ) -> torch.Tensor:
        branches = condition.branches
        rows = torch.cat([latents.repeat(branches, 1, 1, 1), condition.image_latents.flatten(0, 1)], dim=1)
        output = self.unet(rows, timestep, condition.tokens.flatten(0, 1)).sample
        return guided(output, branches, guidance_text, guidance_image)

    def training_loss(
        self,
        source: torch.Tensor,
        edited: torch.Tensor,
        instruction: str,
        generator: torch.Generator,
        dropout: bool = True,
    ) -> torch.Tensor:
        """Squared error of x0 at the timesteps the editor was trained at, with InstructPix2Pix's dropout of
        text (10 %) and image (10 %)."""
        image_latents, wanted = self.encode(source), self.encode(edited)
        n = len(wanted)
        with torch.no_grad():
            tokens, _ = self.conditioner(image_latents, self._words(instruction, n))
            null = self.conditioner.null()
        if dropout:
            draw = torch.rand(n, 1, 1, generator=generator, device=generator.device).to(wanted)
            tokens = torch.where(draw < 0.10, null, tokens)
            image_latents = image_latents * ((draw < 0.05) | (draw >= 0.15))[..., None]
        signal = self.unet.signal
        draws = torch.rand(n, generator=generator, device=generator.device)
        steps = training_timesteps(draws, len(signal)).to(wanted.device)
        noise = torch.randn(wanted.shape, generator=generator, device=generator.device).to(wanted)
        scale = signal[steps][:, None, None, None]
        noisy = scale * wanted + (1 - scale.square()).sqrt() * noise
        x0 = self.unet(torch.cat([noisy, image_latents], dim=1), steps, tokens).sample
        return (x0 - wanted).square().mean()

    def _words(self, instruction: str, n: int) -> torch.Tensor:
        return torch.tensor([tokenize(instruction)] * n, device=self.device)


def load(folder: Path = weights.WEIGHTS, device: str | torch.device = "cpu") -> PocketBackbone:
    """The committed pocket editor on a device. Raises UserError when a file is not the one its card names."""
    device = torch.device(device)
    return PocketBackbone(
        vae=weights.load(PocketVAE, folder / "vae").to(device),
        conditioner=weights.load(PocketConditioner, folder / "editor" / "conditioner").to(device),
        unet=weights.load(PocketUNet, folder / "editor" / "unet").to(device),
        device=device,
    )
