"""InstructPix2Pix from any checkpoint in diffusers' layout: a folder with unet, vae, text_encoder, tokenizer,
scheduler.

The condition is the instruction's CLIP encoding, the same for every frame, so swapping cross-attention cannot
act with this editor. The image latents are the posterior's mode and, unlike the noisy latents, not scaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from data.types import UserError
from via.backbones import Condition, guided

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


class InstructPix2Pix:
    """The Backbone over the parts of a diffusers pipeline, all on one device and of one type."""

    name = "ip2p"
    default_side = 512
    counted_side: Literal["shorter", "longer"] = "longer"
    guidance_text = 7.5
    guidance_image = 1.5

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        noise_schedule: DDIMScheduler,
    ):
        self.unet, self.vae, self.text_encoder = unet.eval(), vae.eval(), text_encoder.eval()
        self.tokenizer, self.noise_schedule = tokenizer, noise_schedule
        self.latent_factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.size_multiple = self.latent_factor * 2 ** (len(unet.config["block_out_channels"]) - 1)
        for module in (unet, vae, text_encoder):
            module.requires_grad_(False)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Scaled latents (n, c, h, w), the posterior's mean."""
        return self._image_latents(frames) * self.vae.config["scaling_factor"]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self.vae.decode(latents / self.vae.config["scaling_factor"]).sample
        return (decoded / 2 + 0.5).clamp(0, 1)

    def condition(self, frames: torch.Tensor, instruction: str) -> Condition:
        """Branches: instruction and image, empty prompt and image, empty prompt and zero latents."""
        image = self._image_latents(frames)
        text, null = self.text_tokens([instruction, ""])
        tokens = torch.stack([text, null, null])[:, None].expand(3, len(frames), *text.shape)
        return Condition(torch.stack([image, image, torch.zeros_like(image)]), tokens)

    def text_tokens(self, prompts: list[str]) -> torch.Tensor:
        """CLIP's last hidden states (n, L, d)."""
        ids = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states: torch.Tensor = self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state
        return states

    def scheduler(self, steps: int, timestep_spacing: str | None = None) -> DDIMScheduler:
        changes = {} if timestep_spacing is None else {"timestep_spacing": timestep_spacing}
        scheduler = DDIMScheduler.from_config(self.noise_schedule.config, clip_sample=False, **changes)
        scheduler.set_timesteps(steps, device=self.unet.device)
        return scheduler

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor | int,
        condition: Condition,
        guidance_text: float,
        guidance_image: float,
    ) -> torch.Tensor:
        branches = condition.branches
        rows = torch.cat(
            [latents.repeat(branches, 1, 1, 1), condition.image_latents.flatten(0, 1)], dim=1
        )  # (branches * n, 2 c, h, w)
        output = self.unet(rows, timestep, condition.tokens.flatten(0, 1), return_dict=False)[0]
        return guided(output, branches, guidance_text, guidance_image)

    def training_loss(
        self,
        source: torch.Tensor,
        edited: torch.Tensor,
        instruction: str,
        generator: torch.Generator,
        dropout: bool = True,
    ) -> torch.Tensor:
        """Mean square error of the noise (Eq. 1), with InstructPix2Pix's condition dropout.

        One uniform draw a sample: the text is dropped below 0.10, the image from 0.05 to 0.15.
        """
        n = len(source)
        with torch.no_grad():
            target = self.encode(edited)
            image = self._image_latents(source)
            text, null = self.text_tokens([instruction, ""])
        draw = torch.rand(n, generator=generator) if dropout else torch.ones(n)
        no_text, no_image = (m.to(target.device) for m in dropped(draw))
        tokens = torch.where(no_text[:, None, None], null, text)
        image = image * (~no_image)[:, None, None, None]
        noise = torch.randn(target.shape, generator=generator).to(target)
        steps = self.noise_schedule.config["num_train_timesteps"]
        timesteps = torch.randint(steps, (n,), generator=generator, dtype=torch.int32).to(target.device)
        noisy = self.noise_schedule.add_noise(target, noise, cast(torch.IntTensor, timesteps))
        output = self.unet(torch.cat([noisy, image], dim=1), timesteps, tokens, return_dict=False)[0]
        return F.mse_loss(output.float(), noise.float())

    def _image_latents(self, frames: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self.vae.encode(frames * 2 - 1).latent_dist.mode()
        return latents


def dropped(draw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which samples lose their text and which their image, bool (n,) each, from uniform draws (n,)."""
    return draw < 0.10, (draw >= 0.05) & (draw < 0.15)


def load(folder: str = "", device: str = "cpu") -> InstructPix2Pix:
    """Open a checkpoint folder; half precision on a GPU. Raises UserError when a part is missing."""
    path = Path(folder)
    if not folder:
        raise UserError("ip2p needs a checkpoint folder: use --backbone ip2p:FOLDER")
    missing = [part for part in PARTS if not (path / part).is_dir()]
    if missing:
        raise UserError(
            f"{path}: no {', '.join(missing)} in it: give a checkpoint folder in diffusers' layout"
        )
    kind: dict[str, Any] = {"torch_dtype": torch.float32 if device == "cpu" else torch.float16}
    return InstructPix2Pix(
        UNet2DConditionModel.from_pretrained(path / "unet", **kind).to(device),
        AutoencoderKL.from_pretrained(path / "vae", **kind).to(device),
        CLIPTextModel.from_pretrained(path / "text_encoder", **kind).to(device),
        CLIPTokenizer.from_pretrained(path / "tokenizer"),
        DDIMScheduler.from_pretrained(path / "scheduler"),
    )
