"""What swapping costs: floating-point operations of a forward, plain and against a group, by layer.

Counted by running the U-Net on the meta device, which has shapes but no numbers.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from via.attention import Layers, gather, swapped


@dataclass(frozen=True)
class Counted:
    """FLOPs for one frame in one guidance branch: of the forward, and of each attention layer by name."""

    total: int
    layers: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """A forward edited plainly and swapped."""

    plain: Counted
    swapped: Counted

    @property
    def ratio(self) -> float:
        return self.swapped.total / self.plain.total


def swap_cost(
    unet: torch.nn.Module,
    size: tuple[int, int],
    tokens: tuple[int, int],
    group: int = 4,
    frames: int = 2,
    layers: Layers | None = None,
) -> Cost:
    """The cost of swapping for latents of `size` (h, w) and condition tokens (L, d), with a group of `group`.

    `frames` go through together, as in an edit; the figures are for one of them.
    """
    shape_only = copy.deepcopy(unet).to("meta")
    channels: int = getattr(unet, "config")["in_channels"]  # noqa: B009
    chosen = layers or Layers()

    def forward(rows: int) -> torch.Tensor:
        sample = torch.empty(rows, channels, *size, device="meta")
        condition = torch.empty(rows, *tokens, device="meta")
        output: torch.Tensor = shape_only(sample, 500, condition, return_dict=False)[0]
        return output

    with torch.no_grad():
        plain = _counted(shape_only, lambda: forward(frames), frames)
        _, store = gather(shape_only, lambda j: forward(1), group, 1, chosen)
        with swapped(shape_only, store, 1, chosen):
            against_group = _counted(shape_only, lambda: forward(frames), frames)
    return Cost(plain, against_group)


def _counted(unet: torch.nn.Module, forward: object, frames: int) -> Counted:
    assert callable(forward)
    with FlopCounterMode(display=False) as counter:
        forward()
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    prefix = type(unet).__name__ + "."
    layers = {
        name.removeprefix(prefix): count // frames
        for name, count in by_module.items()
        if name.endswith((".attn1", ".attn2"))
    }
    return Counted(counter.get_total_flops() // frames, layers)


def stable_diffusion_unet() -> UNet2DConditionModel:
    """A U-Net of Stable Diffusion 1.5's size with InstructPix2Pix's eight input channels, without numbers."""
    with torch.device("meta"):
        return UNet2DConditionModel(in_channels=8, cross_attention_dim=768)


def table(cost: Cost) -> str:
    """One line a layer: GFLOP plain and swapped; then the totals and their ratio."""
    lines = [f"{'layer':<62} {'plain':>9} {'swapped':>9}  GFLOP a frame and branch"]
    for name, count in cost.plain.layers.items():
        lines.append(f"{name:<62} {count / 1e9:9.3f} {cost.swapped.layers.get(name, 0) / 1e9:9.3f}")
    plain, against = cost.plain.total / 1e9, cost.swapped.total / 1e9
    lines.append(f"{'whole forward':<62} {plain:9.3f} {against:9.3f}  ratio {cost.ratio:.3f}")
    return "\n".join(lines)
