"""Image editors that VIA can adapt: `Backbone` says what VIA needs of one, a folder or file holds each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol, cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from data.types import UserError


@dataclass(frozen=True)
class Condition:
    """What the U-Net is conditioned on, for n frames in each guidance branch.

    image_latents: (branches, n, c, h, w); tokens: (branches, n, L, d). The branches of InstructPix2Pix, in
    order: text and image, image only, neither.
    """

    image_latents: torch.Tensor
    tokens: torch.Tensor

    def __len__(self) -> int:
        return self.tokens.shape[1]

    def __getitem__(self, frames: slice | list[int]) -> Condition:
        return Condition(self.image_latents[:, frames], self.tokens[:, frames])

    @property
    def branches(self) -> int:
        return self.tokens.shape[0]

    def branch(self, number: int) -> Condition:
        """One guidance branch alone; `predict` on it is one forward without guidance."""
        return Condition(self.image_latents[number : number + 1], self.tokens[number : number + 1])

    def acting(self, guidance_image: float) -> Condition:
        """Without the last branch where it cancels out of the guidance, at guidance_image 1."""
        return self if guidance_image != 1 else Condition(self.image_latents[:2], self.tokens[:2])


IMAGE_ONLY = 1  # the branch with the image and the null instruction


def guided(outputs: torch.Tensor, branches: int, guidance_text: float, guidance_image: float) -> torch.Tensor:
    """Classifier-free guidance of InstructPix2Pix: (n, c, h, w) from the rows (branches * n, c, h, w), branch
    by branch.

    e = e3 + s_I (e2 - e3) + s_T (e1 - e2) with the branches text and image, image only, neither. With two
    branches s_I is 1 and e3 cancels; a single branch is returned as it is.
    """
    if branches == 1:
        return outputs
    both, image, *neither = outputs.chunk(branches)
    textless = neither[0] + guidance_image * (image - neither[0]) if neither else image
    return textless + guidance_text * (both - image)


class Backbone(Protocol):
    """An instruction-driven image editor. Frames are float (n, 3, H, W) in [0, 1], H and W multiples of
    `size_multiple`.
    """

    name: str
    unet: torch.nn.Module  # forward has the signature of diffusers' UNet2DConditionModel
    size_multiple: int  # frame sides must be multiples of this
    default_side: int  # side that the model was trained for, in pixels
    counted_side: Literal["shorter", "longer"]  # which side of a frame that is
    latent_factor: int  # pixels per latent cell
    guidance_text: float
    guidance_image: float

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents (n, c, h, w) as diffused (scaled; the posterior's mean)."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Frames (n, 3, H, W) in [0, 1] from latents (n, c, h, w)."""
        ...

    def condition(self, frames: torch.Tensor, instruction: str) -> Condition:
        """One condition per frame and guidance branch; image and instruction may both decide it."""
        ...

    def scheduler(self, steps: int, timestep_spacing: str | None = None) -> DDIMScheduler:
        """A new scheduler with its timesteps set (eta 0), on the model's device."""
        ...

    def predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor | int,
        condition: Condition,
        guidance_text: float,
        guidance_image: float,
    ) -> torch.Tensor:
        """The guided model output for latents (n, c, h, w), of the scheduler's prediction type.

        The U-Net sees one batch of branches * n rows, branch by branch, which is what attention processors
        rely on. A condition with one branch is predicted without guidance.
        """
        ...

    def training_loss(
        self,
        source: torch.Tensor,
        edited: torch.Tensor,
        instruction: str,
        generator: torch.Generator,
        dropout: bool = True,
    ) -> torch.Tensor:
        """The editor's own training loss (Eq. 1) on pairs of frames (n, 3, H, W), a scalar with a graph."""
        ...


LOADERS = {"pocket": "via.backbones.pocket.backbone:load", "ip2p": "via.backbones.ip2p:load"}


def load(name: str, device: str = "cpu") -> Backbone:
    """Open an image editor: "pocket" (embedded) or "ip2p:FOLDER" (a diffusers checkpoint on disk).

    Raises UserError when there is no such editor.
    """
    kind, _, folder = name.partition(":")
    if kind not in LOADERS:
        raise UserError(f"there is no backbone {kind!r}: use {' or '.join(LOADERS)} (ip2p:FOLDER)")
    module, function = LOADERS[kind].split(":")
    arguments = [folder] if folder else []
    return cast(Backbone, getattr(import_module(module), function)(*arguments, device=device))
