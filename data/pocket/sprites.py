"""Subjects and accessories as premultiplied RGBA textures, equal in size and centre in both art families."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray

Texture = NDArray[np.uint8]  # premultiplied RGBA (T, T, 4), T = texture_side(size)

ICONS = {
    "dog": "dog-face",
    "tiger": "tiger-face",
    "monkey": "monkey-face",
    "wolf": "wolf",
    "lion": "lion",
    "cat": "cat-face",
    "cow": "cow-face",
    "pig": "pig-face",
    "bear": "bear",
    "fox": "fox",
    "rabbit": "rabbit-face",
    "panda": "panda",
    "car": "automobile",
    "bus": "bus",
    "tractor": "tractor",
    "train": "locomotive",
}
VEHICLES = ("car", "bus", "tractor", "train")
FAMILIES = ("noto", "fluent")
ACCESSORY_ICONS = {"top hat": (0, "top-hat"), "sun hat": (1, "womans-hat"), "dark glasses": (0, "sunglasses")}

CONTENT = 88  # pixels of a texture that the drawing fills, of 96, for frames of 128


def class_of(subject: str) -> str:
    """ "animal" or "vehicle"."""
    return "vehicle" if subject in VEHICLES else "animal"


def texture_side(size: int) -> int:
    """Side in pixels of the textures used for frames of `size` pixels."""
    return round(96 * size / 128)


@lru_cache(maxsize=1)
def _collection() -> list[dict[str, Any]]:
    text = files("data.pocket").joinpath("sprites.json").read_text()
    return json.loads(text)["families"]


def _rasterise(family: int, icon: str, size: int) -> Texture:
    """The icon cropped to its opaque box, centred in a square and padded, so that families agree in size.

    The rasteriser answers with straight alpha; colour is multiplied once, here, because interpolating
    straight alpha draws dark fringes.
    """
    drawing = _collection()[family]["icons"][icon]
    box = " ".join(str(v) for v in drawing["viewBox"])
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{drawing["body"]}</svg>'
    side, content = texture_side(size), round(CONTENT * size / 128)
    raster = max(256, 2 * content)
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=raster, height=raster))
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    rgba = decoded[..., (2, 1, 0, 3)]
    image = rgba.astype(np.float32) / 255
    image[..., :3] *= image[..., 3:]
    rows, columns = np.where(rgba[..., 3] > 8)
    image = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = image.shape[:2]
    square = np.zeros((max(height, width),) * 2 + (4,), np.float32)
    top, left = (len(square) - height) // 2, (len(square) - width) // 2
    square[top : top + height, left : left + width] = image
    content_image = cv2.resize(square, (content, content), interpolation=cv2.INTER_AREA)
    before = (side - content) // 2
    after = side - content - before
    padded = np.pad(content_image, ((before, after), (before, after), (0, 0)))
    return np.rint(padded * 255).astype(np.uint8)


@lru_cache(maxsize=256)
def subject_texture(subject: str, family: int, size: int) -> Texture:
    """The subject as drawn by art family 0 (Noto) or 1 (Fluent flat)."""
    texture = _rasterise(family, ICONS[subject], size)
    texture.setflags(write=False)
    return texture


@lru_cache(maxsize=64)
def accessory_texture(name: str, size: int) -> Texture:
    """One of `ACCESSORY_ICONS`, drawn at the resolution of a subject's texture."""
    family, icon = ACCESSORY_ICONS[name]
    texture = _rasterise(family, icon, size)
    texture.setflags(write=False)
    return texture
