"""How frames are brought to a network's size, by name. The name is part of a metric's definition.

| name | what | used by | |---|---|---| | clip_openai | shorter side to S, bicubic with antialias (PIL's),
centre crop | ours; TGVE, FateZero, V2VBench | | clip_ip2p | straight to S x S, torch bicubic without
antialias | InstructPix2Pix, InsV2V | | clip_vbench | shorter side to S, torch bicubic without antialias,
centre crop | VBench from mp4 | | dino_vbench | shorter side to S, bilinear without antialias, no crop |
VBench | | dino_structure | shorter side to S, bilinear with antialias, no crop | structure distance |
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Resizer = Literal["clip_openai", "clip_ip2p", "clip_vbench", "dino_vbench", "dino_structure"]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resize(frames: NDArray[np.uint8], resizer: Resizer, side: int) -> torch.Tensor:
    """uint8 RGB (n, H, W, 3) -> float32 (n, 3, h, w) in [0, 1] by the named resizer, not yet normalised."""
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    size = (side, round(width * scale)) if height <= width else (round(height * scale), side)
    if resizer == "clip_openai":
        images = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC) for frame in frames]
        return _cropped(_tensor(np.stack([np.asarray(image) for image in images])), side)
    tensor = _tensor(frames)
    if resizer == "clip_ip2p":
        return _interpolated(tensor, (side, side), "bicubic", False)
    if resizer == "clip_vbench":
        return _cropped(_interpolated(tensor, size, "bicubic", False).clamp(0, 1), side)
    return _interpolated(tensor, size, "bilinear", resizer == "dino_structure")


def normalise(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(images - mean) / std per channel of (n, 3, h, w)."""
    as_column = lambda values: torch.tensor(values, device=images.device).view(1, 3, 1, 1)  # noqa: E731
    return (images - as_column(mean)) / as_column(std)


def _tensor(frames: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


def _interpolated(images: torch.Tensor, size: tuple[int, int], mode: str, antialias: bool) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        images, size=size, mode=mode, align_corners=False, antialias=antialias
    )


def _cropped(images: torch.Tensor, side: int) -> torch.Tensor:
    top, left = (images.shape[2] - side) // 2, (images.shape[3] - side) // 2
    return images[:, :, top : top + side, left : left + side]
