"""DINO's ViT, its tokens and the keys of its last layer, and the `dino_structure` distance on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.models import file_sha256
from eval.resize import IMAGENET_MEAN, IMAGENET_STD, Resizer, normalise, resize
from eval.score import Missing, Pair, Score, ok


class Vit:
    """A ViTModel in a folder as transformers writes it (DINO's checkpoints are such)."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from transformers import ViTModel

        self.weights = file_sha256(folder / "model.safetensors")
        self.model: Any = ViTModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
        self.model = self.model.float().eval().to(device)
        self.device = device

    def tokens(self, frames: NDArray[np.uint8], resizer: Resizer, side: int) -> NDArray[np.float32]:
        """Normalised tokens (n, 1 + patches, d) of the last layer, the class token first."""
        import torch

        with torch.inference_mode():
            return np.asarray(self._run(frames, resizer, side, 1.0).last_hidden_state.cpu().numpy())

    def keys(self, frames: NDArray[np.uint8], side: int, peak: float = 1.0) -> NDArray[np.float32]:
        """Keys of the last layer (n, heads, 1 + patches, d), frames in [0, peak] before ImageNet's mean and
        std."""
        import torch

        kept: list[Any] = []
        layer = self.model.encoder.layer[-1].attention.attention
        handle = layer.key.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            with torch.inference_mode():
                self._run(frames, "dino_structure", side, peak)
        finally:
            handle.remove()
        keys = kept[0].cpu().numpy()
        heads = int(self.model.config.num_attention_heads)
        return np.asarray(keys.reshape(*keys.shape[:2], heads, -1).transpose(0, 2, 1, 3))

    def _run(self, frames: NDArray[np.uint8], resizer: Resizer, side: int, peak: float) -> Any:
        patch = int(self.model.config.patch_size)
        images = resize(frames, resizer, side)
        images = images[:, :, : images.shape[2] // patch * patch, : images.shape[3] // patch * patch]
        images = normalise(images * peak, IMAGENET_MEAN, IMAGENET_STD).to(self.device)
        return self.model(pixel_values=images, interpolate_pos_encoding=True)


def vit(features: Features, name: str) -> Vit:
    """The network named in the models in use, opened once. Raises Missing."""
    folder = getattr(features.models, name)
    if folder is None or not (Path(folder) / "config.json").is_file():
        raise Missing(
            f"needs DINO ({name}): a folder of ViTModel of transformers, {folder or 'none is named'}"
        )
    opened = features.models.opened
    if name not in opened:
        opened[name] = Vit(Path(folder), features.models.device)
    network: Vit = opened[name]
    return network


def self_similarity(keys: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine similarity (n, tokens, tokens) of keys (n, heads, tokens, d), heads concatenated per token."""
    n, heads, tokens, d = keys.shape
    rows = keys.transpose(0, 2, 1, 3).reshape(n, tokens, heads * d).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return np.asarray(rows @ rows.transpose(0, 2, 1))


def structure_distance(source: NDArray[Any], edited: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) mean squared difference of the self-similarities of two clips' keys (Tumanyan et al. 2022)."""
    return np.asarray(((self_similarity(source) - self_similarity(edited)) ** 2).mean(axis=(1, 2)))


@dataclass(frozen=True)
class Keys:
    """Keys of DINO ViT-B/8 as an extractor; `peak` 255 feeds it what PIE-Bench does."""

    network: Vit
    peak: float
    side: int = 224

    @property
    def key(self) -> dict[str, str]:
        weights = self.network.weights
        return {
            "extractor": "dino-keys-1",
            "weights": weights,
            "resizer": f"dino_structure-{self.side}x{self.peak}",
        }

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        return self.network.keys(frames, self.side, self.peak)


class DinoStructure(Card):
    """Keys of the last layer of DINO ViT-B/8, heads concatenated, cosine self-similarity over all tokens,
    mean squared difference between source and edit, mean over frames. Input in [0, 1] before ImageNet's
    mean and std. Source: Tumanyan et al. 2022.

    Fooled by: a copy (0). compat pie: input in 0..255, as published. Known: four orthogonal keys against
    four equal: 0.75.
    """

    id, version, direction, range = "dino_structure", 1, "down", (0.0, 4.0)
    suite, needs, resizer, compat = "vbench", ("dino_b8",), "dino_structure", ("pie",)
    cost = "one ViT-B/8 pass a frame and clip"

    def __call__(self, pair: Pair, features: Features) -> Score:
        extractor = Keys(vit(features, "dino_b8"), 255.0 if self.variant == "pie" else 1.0)
        frames = [  # frame by frame: the keys of a whole clip would not fit
            structure_distance(extractor(pair.source[t : t + 1]), extractor(pair.edited[t : t + 1]))[0]
            for t in range(len(pair.source))
        ]
        return ok(float(np.mean(frames)), frames=frames)
