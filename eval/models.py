"""The networks that some metrics need, opened when first asked for. What is not here is said so, with what
would help.

Nothing is downloaded unless a hub name is given on purpose.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.score import Missing

if TYPE_CHECKING:
    from eval.judge import Judge
    from eval.resize import Resizer


@dataclass(frozen=True)
class Texts:
    """Embeddings (m, d) of texts, not normalised, and which of them were cut to the tower's length."""

    features: NDArray[np.float64]
    truncated: list[bool]


class ClipFolder:
    """A CLIP in a folder as transformers writes it (config.json, model.safetensors), read without a network.

    Texts are tokenized by the folder's own tokenizer files; a folder without any speaks the words of the
    pocket world, one token a word, ended by the text tower's `eos_token_id`. Long texts are cut so that
    the end-of-text token stays.
    """

    def __init__(self, folder: Path | str, device: str = "cpu") -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.folder, self.device = Path(folder), device
        if not (self.folder / "config.json").is_file():
            raise Missing(f"{self.folder}: no CLIP here (config.json and model.safetensors)")
        self.weights = file_sha256(self.folder / "model.safetensors")
        self.model: Any = CLIPModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
        self.model = self.model.float().eval().to(device)
        written = ("tokenizer.json", "vocab.json")
        own = any((self.folder / name).is_file() for name in written)
        self.tokenizer: Any = (
            AutoTokenizer.from_pretrained(self.folder, local_files_only=True) if own else None
        )
        self.mean, self.std = _statistics(self.folder)
        self.side = int(self.model.config.vision_config.image_size)
        self.logit_scale = float(self.model.logit_scale.detach())

    @property
    def name(self) -> str:
        return f"{self.folder.name} ({self.weights[:12]})"

    def pooled(self, resizer: Resizer = "clip_openai") -> ClipTower:
        """The extractor of unprojected image features (n, hidden)."""
        return ClipTower(self, resizer)

    def project(self, pooled: NDArray[Any]) -> NDArray[np.float64]:
        """Projected image features (n, d), not normalised."""
        weight = self.model.visual_projection.weight.detach().cpu().numpy().astype(np.float64)
        return np.asarray(pooled.astype(np.float64) @ weight.T)

    def images(self, frames: NDArray[np.uint8], resizer: Resizer) -> NDArray[np.float32]:
        import torch

        from eval.resize import normalise, resize

        with torch.inference_mode():
            images = normalise(resize(frames, resizer, self.side), self.mean, self.std).to(self.device)
            return np.asarray(self.model.vision_model(pixel_values=images).pooler_output.cpu().numpy())

    def texts(self, texts: Sequence[str]) -> Texts:
        import torch

        length = int(self.model.config.text_config.max_position_embeddings)
        rows = [self.tokens(text, length) for text in texts]
        with torch.inference_mode():
            tokens = torch.tensor([row for row, _ in rows], device=self.device)
            pooled = self.model.text_model(input_ids=tokens).pooler_output
            features = self.model.text_projection(pooled).cpu().numpy().astype(np.float64)
        return Texts(features, [cut for _, cut in rows])

    def tokens(self, text: str, length: int) -> tuple[list[int], bool]:
        """(token ids of the given length, whether the text was cut); the last token of a cut text is end-
        of-text."""
        if self.tokenizer is not None:
            whole = len(self.tokenizer(text, verbose=False)["input_ids"])
            row = self.tokenizer(text, padding="max_length", truncation=True, max_length=length)["input_ids"]
            return list(row), whole > length
        from data.pocket.words import tokenize

        words = [token for token in tokenize(text, 4 * length) if token != 0]
        end = int(self.model.config.text_config.eos_token_id)
        row = [*words[: length - 1], end]
        return row + [0] * (length - len(row)), len(words) > length - 1


class OpenClip:
    """A checkpoint of open_clip, by `ARCHITECTURE/PRETRAINED` (ViT-L-14/openai) or `ARCHITECTURE/FILE`."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        try:
            import open_clip
        except ImportError as error:
            raise Missing("open_clip_torch is not installed: pip install 'via-bench[metrics]'") from error
        architecture, _, pretrained = name.partition("/")
        try:
            self.model: Any = open_clip.create_model(
                architecture, pretrained=pretrained or None, device=device
            )
        except (RuntimeError, OSError, ValueError, FileNotFoundError) as error:
            raise Missing(f"open_clip has no {name} here: {str(error).splitlines()[0]}") from error
        self.model.eval()
        self.tokenizer: Any = open_clip.get_tokenizer(architecture)
        self.device, self.name = device, f"open_clip {name}"
        self.context = int(self.model.context_length)
        size = self.model.visual.image_size
        self.side = int(size[0] if isinstance(size, tuple) else size)
        self.mean = tuple(self.model.visual.image_mean or ()) or None
        self.std = tuple(self.model.visual.image_std or ()) or None
        self.weights = parameters_sha256(self.model)
        self.logit_scale = float(self.model.logit_scale.detach())

    def pooled(self, resizer: Resizer = "clip_openai") -> ClipTower:
        return ClipTower(self, resizer)

    def project(self, pooled: NDArray[Any]) -> NDArray[np.float64]:
        """open_clip projects inside its tower; nothing is left to do."""
        return pooled.astype(np.float64)

    def images(self, frames: NDArray[np.uint8], resizer: Resizer) -> NDArray[np.float32]:
        import torch

        from eval.resize import CLIP_MEAN, CLIP_STD, normalise, resize

        with torch.inference_mode():
            images = resize(frames, resizer, self.side)
            images = normalise(images, self.mean or CLIP_MEAN, self.std or CLIP_STD)
            return np.asarray(self.model.encode_image(images.to(self.device)).float().cpu().numpy())

    def texts(self, texts: Sequence[str]) -> Texts:
        import torch

        tokens = self.tokenizer(list(texts))  # cuts, and keeps the end-of-text token
        with torch.inference_mode():
            features = self.model.encode_text(tokens.to(self.device)).float().cpu().numpy()
        whole = [len(self.tokenizer.encode(text)) + 2 for text in texts]
        return Texts(features.astype(np.float64), [length > self.context for length in whole])


Clip = ClipFolder | OpenClip


@dataclass(frozen=True)
class ClipTower:
    """The image tower of a CLIP with one resizer, as an extractor (eval.features)."""

    clip: Clip
    resizer: Resizer

    @property
    def key(self) -> dict[str, str]:
        return {
            "extractor": "clip-image-1",
            "weights": self.clip.weights,
            "resizer": f"{self.resizer}-{self.clip.side}",
            "normalised": f"{self.clip.mean} {self.clip.std}",
            "dtype": "float32",
        }

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        return self.clip.images(frames, self.resizer)


@dataclass
class Models:
    """Where each network is, and the opened ones.

    clip: `pocket` (the embedded one), a folder as transformers writes it, or `open_clip:ViT-L-14/openai`.
    lpips: a file with AlexNet's weights (torchvision's state_dict). dino_s16, dino_b8: folders of ViTModel
    as transformers writes them. pickscore: a folder of CLIPModel. aesthetic: the linear head's file; it
    reads features of `clip_l14`. tracker: `dis`.
    """

    clip: str = "pocket"
    lpips: Path | None = None
    dino_s16: Path | None = None
    dino_b8: Path | None = None
    clip_b32: str | None = None
    clip_l14: str | None = None
    pickscore: Path | None = None
    aesthetic: Path | None = None
    judge: Judge | None = None
    device: str = "cpu"
    opened: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def embedded(self) -> Path | None:
        """The folder of the pocket CLIP, where it is installed (found by path: nothing of `via` is
        imported)."""
        spec = importlib.util.find_spec("via")
        roots = list(spec.submodule_search_locations or []) if spec else []
        folders = [Path(root) / "backbones" / "pocket" / "weights" / "clip" for root in roots]
        return next((folder for folder in folders if (folder / "config.json").is_file()), None)

    def open_clip(self, name: str | None = None) -> Clip:
        """The CLIP of that name (see the class), by default `clip`; opened once. Raises Missing."""
        wanted = name or self.clip
        if wanted not in self.opened:
            if wanted == "pocket":
                if self.embedded is None:
                    raise Missing("the pocket CLIP is not here: name another with --clip")
                self.opened[wanted] = ClipFolder(self.embedded, self.device)
            elif wanted.startswith("open_clip:"):
                self.opened[wanted] = OpenClip(wanted.removeprefix("open_clip:"), self.device)
            else:
                self.opened[wanted] = ClipFolder(wanted, self.device)
        clip: Clip = self.opened[wanted]
        return clip


def file_sha256(path: Path) -> str:
    """The hex digest of a file. Raises Missing, naming it, when it is not there."""
    if not path.is_file():
        raise Missing(f"{path.parent}: {path.name} is missing")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters_sha256(model: Any) -> str:
    """A digest of a network's parameters by name, for weights that come in formats of their own."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def _statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the folder's preprocessor_config.json, by default CLIP's."""
    from eval.resize import CLIP_MEAN, CLIP_STD

    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return CLIP_MEAN, CLIP_STD
    read = json.loads(path.read_text(encoding="utf-8"))
    return tuple(read.get("image_mean", CLIP_MEAN)), tuple(read.get("image_std", CLIP_STD))
