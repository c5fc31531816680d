"""Models on disk: a folder with config.json, safetensors in half precision, and a card that holds their
sha256."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file

from data.types import UserError

WEIGHTS = Path(__file__).parent / "weights"
FILE = "diffusion_pytorch_model.safetensors"
DATA = (
    "frames of data.pocket, split train, rendered while it trained: drawings of Noto Emoji (Apache 2.0) and "
    "Fluent Emoji (MIT), photographs (CC0, CC BY 2.0), stills of Big Buck Bunny (CC BY 3.0); see NOTICE"
)
M = TypeVar("M", bound=torch.nn.Module)


def sha256(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it there."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text)
    os.replace(beside, path)


def save(model: torch.nn.Module, config: dict[str, Any], folder: Path, file: str = FILE) -> None:
    """Write a model's weights as float16 and the arguments of its class; the card is written by
    `write_card`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    beside = folder / (file + ".part")
    save_file(tensors, beside)
    os.replace(beside, folder / file)
    write(
        folder / "config.json", json.dumps({"_class_name": type(model).__name__, **config}, indent=2) + "\n"
    )


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write card.json: what is known of the model, what it was trained on, and the sha256 of every weights
    file in the folder."""
    digests = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    write(folder / "card.json", json.dumps({**card, "data": DATA, "sha256": digests}, indent=2) + "\n")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a model's folder. Raises UserError when there is none."""
    try:
        return dict(json.loads((folder / "card.json").read_text()))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no model here (no card.json); train it with: via models train {folder.name}"
        ) from None


def check(folder: Path, file: str = FILE) -> None:
    """Compare a weights file with the sha256 in its card.

    Raises UserError, naming file and fix, when they differ.
    """
    path, expected = folder / file, read_card(folder)["sha256"].get(file)
    fix = f"restore it with: git checkout -- {path}"
    if not path.is_file():
        raise UserError(f"{path}: missing; {fix}")
    if sha256(path) != expected:
        raise UserError(f"{path}: not the file its card names (sha256 differs); {fix}")


def load(kind: type[M], folder: Path, file: str = FILE) -> M:
    """The model of a folder in float32, ready for inference. Raises UserError when the file is not the
    card's."""
    check(folder, file)
    config = json.loads((folder / "config.json").read_text())
    config.pop("_class_name")
    model = kind(**config)
    model.load_state_dict(load_file(folder / file))
    return model.float().eval().requires_grad_(False)


def load_into(model: torch.nn.Module, folder: Path) -> None:
    """Give a model that is to be trained on the weights of a folder: each file under it goes to the child
    that its own folder is named after, or, where there is none, to the model itself.

    Raises UserError when a file is not its card's, or belongs to a model of another shape.
    """
    read_card(folder)
    parts = dict(model.named_children())
    for path in sorted(folder.rglob("*.safetensors")):
        check(path.parent, path.name)
        try:
            parts.get(path.parent.name, model).load_state_dict(load_file(path))
        except RuntimeError:
            raise UserError(
                f"{path}: weights of a model of another shape; train without --from-committed"
            ) from None
