"""Test-time editing adaptation (section 4.1): the tuning set of Eq. 5, and an editor tuned on it for the time
of a block.

`tuned` knows an image editor and pairs of pictures, nothing of VIA's loop, so any method can be run on a
tuned editor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import peft
import torch
import torch.nn.functional as F
from peft.tuners import lora
from safetensors import SafetensorError, safe_open
from torch import nn

from data.types import UserError
from via.backbones import Backbone
from via.stages import beside, save_tensors

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True)
class AffineRanges:
    """Ranges of section 5: rotation and shear in degrees (both signs), translation as a share of the side,
    crop.
    """

    rotation: float = 5.0
    translation: float = 0.05
    crop: tuple[float, float] = (0.75, 1.0)
    shear: float = 10.0
    fill: Literal["reflect", "crop"] = "reflect"


def affine_matrices(
    n: int, size: tuple[int, int], generator: torch.Generator, ranges: AffineRanges | None = None
) -> torch.Tensor:
    """F_k of Eq. 5 as float32 matrices (n, 3, 3): from source to result, in pixels, origin at the frame's
    centre.

    Each is one product in the paper's order: rotation, translation, then the crop (which enlarges the kept
    part to the whole frame, at a random place), then shear. With `fill` crop the result is enlarged further
    until nothing from beyond the source's edge is seen.
    """
    ranges = ranges or AffineRanges()
    height, width = size
    matrices = []
    for _ in range(n):
        draws: list[float] = torch.rand(7, generator=generator).tolist()
        signs = [2 * u - 1 for u in draws]
        angle = math.radians(ranges.rotation * signs[0])
        rotation = _matrix([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
        shift_x, shift_y = signs[1] * ranges.translation * width, signs[2] * ranges.translation * height
        translation = _matrix([[1, 0, shift_x], [0, 1, shift_y]])
        kept = ranges.crop[0] + (ranges.crop[1] - ranges.crop[0]) * draws[3]
        place_x, place_y = signs[4] * (1 - kept) * width / 2, signs[5] * (1 - kept) * height / 2
        crop = _matrix([[1 / kept, 0, -place_x / kept], [0, 1 / kept, -place_y / kept]])
        shear = _matrix([[1, math.tan(math.radians(ranges.shear * signs[6])), 0], [0, 1, 0]])
        matrix = shear @ crop @ translation @ rotation
        matrices.append(_covered(matrix, size) if ranges.fill == "crop" else matrix)
    return torch.stack(matrices).float()


def _matrix(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)


def _covered(matrix: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`matrix` followed by the smallest enlargement after which every corner of the result lies on the
    source.
    """
    half = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64)
    inverse = torch.linalg.inv(matrix)
    centre = inverse[:2, 2].clamp(
        -0.95 * half, 0.95 * half
    )  # a result centred beyond the source is moved onto it
    inverse[:2, 2] = centre
    corners = torch.tensor([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)], dtype=torch.float64) * half
    reach = corners @ inverse[:2, :2].T
    room = torch.where(reach > 0, half - centre, half + centre)
    zoom = (reach.abs() / room).amax().clamp(min=1.0)
    inverse[:2, :2] /= zoom
    return torch.linalg.inv(inverse)


def warp(frame: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """`frame` (3, H, W) under each matrix (n, 3, 3): (n, 3, H, W), bilinear, reflected beyond the edge."""
    height, width = frame.shape[-2:]
    to_pixels = torch.diag(torch.tensor([width / 2, height / 2, 1.0])).to(matrices)
    theta = torch.linalg.inv(to_pixels) @ torch.linalg.inv(matrices) @ to_pixels
    grid = F.affine_grid(theta[:, :2].to(frame), [len(matrices), *frame.shape], align_corners=False)
    return F.grid_sample(
        frame.expand(len(matrices), -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )


def affine_pairs(
    source: torch.Tensor,
    edited: torch.Tensor,
    n: int,
    generator: torch.Generator,
    ranges: AffineRanges | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tuning set of Eq. 5: n transformed copies of S_root and of E_root, (n, 3, H, W) each, from (3, H,
    W) in [0, 1].

    The k-th source and the k-th edit are under the same F_k.
    """
    matrices = affine_matrices(n, (source.shape[-2], source.shape[-1]), generator, ranges)
    return warp(source, matrices), warp(edited, matrices)


@dataclass(frozen=True)
class Adapter:
    """What tuning learnt of the U-Net: LoRA's factors (peft's names), or with rank 0 whole weights by
    parameter name.
    """

    rank: int
    tensors: dict[str, torch.Tensor]

    def save(self, path: Path) -> None:
        """Write as safetensors, beside its place first."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with beside(path) as part:
            save_tensors(part, tensors, {"via_adapter": json.dumps({"rank": self.rank})})

    @classmethod
    def load(cls, path: Path) -> Adapter:
        """Read what `save` wrote. Raises UserError when the file is not an adapter."""
        try:
            with safe_open(path, "pt") as file:
                rank = json.loads(file.metadata()["via_adapter"])["rank"]
                return cls(rank, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise UserError(f"{path}: not an adapter written by VIA ({error})") from None


def tune(
    backbone: Backbone,
    pairs: tuple[torch.Tensor, torch.Tensor],
    instruction: str,
    generator: torch.Generator,
    *,
    method: Literal["lora", "full"] = "lora",
    rank: int = 8,
    steps: int = 40,
    lr: float = 3e-4,
    batch: int = 4,
    dropout: bool = True,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Adapter:
    """Fine-tune the backbone's U-Net on pairs (n, 3, H, W) with the editor's own loss (Eq. 1) and hand back
    what was learnt.

    Each step sees `batch` pairs drawn with replacement. The backbone is afterwards as it was before, also
    after an exception.
    """
    sources, edits = pairs
    unet = backbone.unet
    with torch.enable_grad(), _as_found(unet):
        unet.requires_grad_(False)
        if method == "lora":
            initial = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
            _inject(unet, rank, initial)
            trained = {name: p for name, p in unet.named_parameters() if "lora_" in name}
        else:
            # trained copies take the place of the weights, which stay untouched
            for module in unet.modules():
                for name, parameter in module.named_parameters(recurse=False):
                    setattr(module, name, nn.Parameter(parameter.detach().clone()))
            trained = dict(unet.named_parameters())
        for parameter in trained.values():
            parameter.requires_grad_(True)
        optimiser = torch.optim.AdamW(trained.values(), lr=lr, weight_decay=0.0)
        for step in range(steps):
            chosen = torch.randint(len(sources), (batch,), generator=generator)
            loss = backbone.training_loss(sources[chosen], edits[chosen], instruction, generator, dropout)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimiser.step()
            report(step + 1, steps)
        tensors = {name: parameter.detach().clone() for name, parameter in trained.items()}
    return Adapter(rank if method == "lora" else 0, tensors)


@contextmanager
def adapted(unet: nn.Module, adapter: Adapter) -> Iterator[None]:
    """The U-Net with an adapter's weights merged in, so that it costs nothing, for the time of the block.

    Afterwards every weight is the tensor found, also after an exception. Raises UserError when the adapter
    was made for another U-Net.
    """
    merged = _merged_weights(unet, adapter)
    parameters = dict(unet.named_parameters())
    found = {name: parameters[name].data for name in merged}
    try:
        for name, weight in merged.items():
            parameters[name].data = weight
        yield
    finally:
        for name, weight in found.items():
            parameters[name].data = weight


@contextmanager
def tuned(
    backbone: Backbone,
    pairs: tuple[torch.Tensor, torch.Tensor],
    instruction: str,
    generator: torch.Generator,
    *,
    method: Literal["lora", "full"] = "lora",
    rank: int = 8,
    steps: int = 40,
    lr: float = 3e-4,
    batch: int = 4,
    dropout: bool = True,
) -> Iterator[Adapter]:
    """The backbone tuned on `pairs` for the time of the block; see `tune` and `adapted`."""
    adapter = tune(
        backbone,
        pairs,
        instruction,
        generator,
        method=method,
        rank=rank,
        steps=steps,
        lr=lr,
        batch=batch,
        dropout=dropout,
    )
    with adapted(backbone.unet, adapter):
        yield adapter


def _merged_weights(unet: nn.Module, adapter: Adapter) -> dict[str, torch.Tensor]:
    """Weights by parameter name that take the place of the U-Net's own."""
    parameters = dict(unet.named_parameters())
    if adapter.rank == 0:
        if adapter.tensors.keys() != parameters.keys():
            raise UserError("the adapter was made for another U-Net: its parameters have other names")
        return {name: tensor.to(parameters[name]) for name, tensor in adapter.tensors.items()}
    merged = {}
    with torch.no_grad(), _as_found(unet):
        _inject(unet, adapter.rank, torch.Generator())
        factors = {name: p for name, p in unet.named_parameters() if "lora_" in name}
        if adapter.tensors.keys() != factors.keys():
            raise UserError("the adapter was made for another U-Net: its layers have other names")
        for name, factor in factors.items():
            factor.copy_(adapter.tensors[name])
        for name, module in unet.named_modules():
            if isinstance(module, lora.Linear):
                base = module.get_base_layer()
                weight = cast(torch.Tensor, base.weight)
                merged[f"{name}.weight"] = weight + module.get_delta_weight("default").to(weight)
    return merged


def _inject(unet: nn.Module, rank: int, generator: torch.Generator) -> None:
    """LoRA layers of peft on every attention projection; A is drawn from `generator`, B is zero."""
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS, init_lora_weights=False)
    peft.inject_adapter_in_model(config, unet)
    for name, parameter in unet.named_parameters():
        if "lora_A" in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            drawn = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
            parameter.data = drawn.to(parameter)
        elif "lora_B" in name:
            parameter.data = torch.zeros_like(parameter)


@contextmanager
def _as_found(unet: nn.Module) -> Iterator[None]:
    """After the block the U-Net has the modules, parameters and gradient flags that it has now: the very
    objects.
    """
    attributes = dict(unet.__dict__)
    modules = [(module, dict(module._modules), dict(module._parameters)) for module in unet.modules()]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in unet.parameters()]
    try:
        yield
    finally:
        for module, children, parameters in modules:
            module._modules.clear()
            module._modules.update(children)
            module._parameters.clear()
            module._parameters.update(parameters)
        for parameter, flag, grad in flags:
            parameter.requires_grad_(flag)
            parameter.grad = grad
        for name in unet.__dict__.keys() - attributes.keys():
            del unet.__dict__[name]
