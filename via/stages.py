"""The stages of an edit: each is made once into a file, timed, and kept under the hash of everything it
depends on.

Variants of the method that differ in one part share the rest through one folder; a stage found there counts
with the seconds that it took when it was made, so that an edit's times are those of the edit alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import save

from data.types import Clip


class Stages:
    """Files of one edit's stages, in `folder` for others to share, or in a scratch folder that goes with the
    edit.
    """

    def __init__(self, folder: Path | None = None):
        self.shared = folder is not None
        self.seconds: dict[str, float] = {}
        self._scratch = None if folder else tempfile.TemporaryDirectory(prefix="via-")
        self.folder = folder or Path(self._scratch.name if self._scratch else "")
        self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch:
            self._scratch.cleanup()

    def file(self, stage: str, depends: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The file of a stage: found under the hash of `depends`, or made by `make(path)` and then put in
        place.
        """
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode()).hexdigest()[:24]
        path = self.folder / f"{stage}-{digest}"
        card = path.with_suffix(".json")
        if not (path.exists() and card.exists()):
            started = time.perf_counter()
            with beside(path) as part:
                make(part)
                seconds = time.perf_counter() - started
                with beside(card) as part_of_card:
                    part_of_card.write_text(
                        json.dumps({"seconds": seconds, "depends": depends}, default=str, indent=1)
                    )
        self.seconds[stage] = self.seconds.get(stage, 0.0) + json.loads(card.read_text())["seconds"]
        return path

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of the block to a stage that is not kept."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path beside `path`, renamed to it when the block ends, removed when it fails."""
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_tensors(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file by a plain write: the library's own answers a full disk with an error that is
    no OSError.
    """
    path.write_bytes(save(tensors, metadata))


def clip_digest(clip: Clip, batch: int = 16) -> str:
    """sha256 of a clip's frames."""
    digest = hashlib.sha256(repr((len(clip), clip.size)).encode())
    for start in range(0, len(clip), batch):
        digest.update(clip[start : start + batch].tobytes())
    return digest.hexdigest()


def weights_digest(owner: object) -> str:
    """sha256 over the weights of every network among an object's attributes (a backbone's U-Net, VAE,
    encoders).
    """
    digest = hashlib.sha256(type(owner).__qualname__.encode())
    for name, value in sorted(vars(owner).items()):
        if isinstance(value, torch.nn.Module):
            for key, tensor in value.state_dict().items():
                digest.update(f"{name}.{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def array_digest(parts: Sequence[Any]) -> str:
    """sha256 of numpy arrays, in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr((part.shape, part.dtype)).encode() + part.tobytes())
    return digest.hexdigest()
