"""A folder of images as a clip, in the natural order of their names."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.types import Frame, UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


class FolderClip:
    """Images of one size, read when they are asked for, turned as their EXIF says."""

    def __init__(self, path: Path, fps: Fraction) -> None:
        self.path = path
        self.name = path.name
        self.fps = fps
        self._files = sorted((f for f in path.iterdir() if f.suffix.lower() in SUFFIXES), key=_natural)
        if not self._files:
            raise UserError(
                f"{path}: holds no images ({', '.join(SUFFIXES)}); give a folder of frames or a video"
            )
        self.size = (0, 0)
        self.size = self._read(self._files[0]).shape[:2]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return self._read(self._files[chosen])
        frames = [self._read(self._files[i]) for i in chosen]
        return np.stack(frames) if frames else np.empty((0, *self.size, 3), np.uint8)

    def _read(self, file: Path) -> Frame:
        try:
            with Image.open(file) as image:
                if image.mode in ("F", "I"):  # of which `convert` would make black frames
                    raise UserError(f"{file}: holds {image.mode}-mode values; save it as 8-bit RGB")
                frame = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read as an image; remove or replace it") from error
        if self.size != (0, 0) and frame.shape[:2] != self.size:
            found, first = frame.shape[:2], self.size
            raise UserError(
                f"{file}: is {found[1]}x{found[0]}, the first image {first[1]}x{first[0]}; make them equal"
            )
        return frame


def open_folder(path: Path, fps: Fraction = Fraction(6)) -> FolderClip:
    """The images of a folder as a clip of `fps` frames a second.

    Raises:
        UserError: it holds no images, one cannot be read, or their sizes differ (found when that one is
            read).
    """
    return FolderClip(path, fps)
