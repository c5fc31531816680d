"""Compositing: a `Look` is what one version of a clip wears (the source, or one answer), `paint` is one frame
of it.

Layers back to front: canvas or backdrop, clouds, second subject, subject, accessory, post. They are
composited in sRGB values as SVG does, out = below (1 - a) + premultiplied, in float32 until the final
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from data.pocket.backgrounds import CAMERA_HOME, Canvas
from data.pocket.motion import Instant, Path, Pose
from data.pocket.operators import Image, Plane
from data.pocket.sprites import CONTENT, Texture

CLOUD = (247, 249, 252)
CLOUD_ALPHA = 0.88


@dataclass(frozen=True)
class Accessory:
    """A texture that rides on the subject: centre (dx, dy) and size in units of the subject's size."""

    texture: Texture
    dx: float
    dy: float
    size: float


@dataclass(frozen=True)
class Look:
    """The textures of one version of a clip."""

    canvases: tuple[Canvas, ...]  # one per shot
    subject: Texture
    backdrop: Canvas | None = None  # replaces canvas and clouds, anchored to the screen
    other: Texture | None = None
    accessory: Accessory | None = None
    cloud: tuple[float, float, float] = CLOUD
    post: Canvas | None = None  # (size, post's width, 3)
    finish: Callable[[Image], Image] | None = None


@dataclass(frozen=True)
class Painted:
    """One frame, and the alpha of what stands in it, float32 (size, size) in [0, 1], before the post."""

    frame: NDArray[np.uint8]
    subject: Plane
    other: Plane
    accessory: Plane | None


def _matrix(
    pose: Pose, side: int, size: int, dx: float = 0, dy: float = 0, scale: float = 1
) -> NDArray[np.float64]:
    """Texture to frame, (2, 3): scale, mirror, rotate, place, offset by (dx, dy) in the subject's axes."""
    content = round(CONTENT * size / 128)
    factor = pose.s * size / content * scale
    c, s = cos(radians(pose.th)), sin(radians(pose.th))
    mirror = -1 if pose.flip else 1
    linear = factor * np.array([[c * mirror, -s], [s * mirror, c]])
    offset = np.array([[c * mirror, -s], [s * mirror, c]]) @ np.array([dx, dy]) * pose.s * size
    centre = np.array([pose.x, pose.y]) * size - 0.5 + offset
    middle = (side - 1) / 2
    return np.concatenate([linear, (centre - linear @ np.array([middle, middle]))[:, None]], 1)


def warp_subject(texture: Texture, pose: Pose, size: int) -> NDArray[np.float32]:
    """Premultiplied RGBA (size, size, 4) in 0..255 of a subject in the frame."""
    matrix = _matrix(pose, len(texture), size)
    return cv2.warpAffine(texture, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32)


def warp_accessory(accessory: Accessory, pose: Pose, size: int) -> NDArray[np.float32]:
    matrix = _matrix(pose, len(accessory.texture), size, accessory.dx, accessory.dy, accessory.size)
    return cv2.warpAffine(accessory.texture, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32)


def cut_out(canvas: Canvas, camera: tuple[float, float], size: int) -> NDArray[np.float32]:
    """What the camera sees of a canvas, float32 (size, size, 3) in 0..255."""
    k = size / 128
    x, y = (CAMERA_HOME[0] + camera[0]) * k, (CAMERA_HOME[1] + camera[1]) * k
    if x == int(x) and y == int(y):
        return canvas[int(y) : int(y) + size, int(x) : int(x) + size].astype(np.float32)
    shift = np.array([[1, 0, -x], [0, 1, -y]])
    return cv2.warpAffine(
        canvas, shift, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)


def cloud_alpha(clouds: tuple[tuple[float, float, float], ...], size: int) -> Plane:
    """Three soft ellipses, twice as wide as high."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    alpha = np.zeros((size, size), np.float32)
    for x, y, half in clouds:
        field = 1 - ((grid[None] - x) / (2 * half)) ** 2 - ((grid[:, None] - y) / half) ** 2
        np.maximum(alpha, np.clip(field * half * size * 0.5, 0, 1), out=alpha)
    return alpha * np.float32(CLOUD_ALPHA)


def post_span(path: Path, size: int) -> tuple[int, int]:
    """Columns [left, right) that the post hides; it is in front of everything in the motion "occlusion"."""
    left = round((path.post_x - path.post_width / 2) * size)
    return left, left + max(2, round(path.post_width * size))


def post_layer(path: Path, size: int) -> Canvas:
    """The post, uint8 (size, width, 3), its colour shaded to half at the edges."""
    left, right = post_span(path, size)
    u = np.linspace(-1, 1, right - left, dtype=np.float32)
    colour = np.asarray(path.post_colour, np.float32) * 255
    row = (1 - 0.5 * u**2)[:, None] * colour
    return np.repeat(np.rint(np.clip(row, 0, 255)).astype(np.uint8)[None], size, axis=0)


def _over(frame: NDArray[np.float32], rgba: NDArray[np.float32]) -> None:
    rows = np.flatnonzero(rgba[..., 3].any(1))
    columns = np.flatnonzero(rgba[..., 3].any(0))
    if not len(rows):
        return
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    part = rgba[box]
    frame[box] = frame[box] * (1 - part[..., 3:] * np.float32(1 / 255)) + part[..., :3]


def paint(look: Look, path: Path, at: Instant, size: int) -> Painted:
    """One frame of a look."""
    if look.backdrop is not None:
        frame = look.backdrop.astype(np.float32)
    else:
        frame = cut_out(look.canvases[at.shot], at.camera, size)
        if at.clouds:
            alpha = cloud_alpha(at.clouds, size)[..., None]
            frame = frame * (1 - alpha) + alpha * np.asarray(look.cloud, np.float32)
    other = np.zeros((size, size), np.float32)
    if look.other is not None and at.other is not None:
        second = warp_subject(look.other, at.other, size)
        _over(frame, second)
        other = second[..., 3] * np.float32(1 / 255)
    subject = warp_subject(look.subject, at.subject, size)
    _over(frame, subject)
    accessory = None
    if look.accessory is not None:
        worn = warp_accessory(look.accessory, at.subject, size)
        _over(frame, worn)
        accessory = worn[..., 3] * np.float32(1 / 255)
    if look.post is not None:
        left, right = post_span(path, size)
        frame[:, left:right] = look.post
    if look.finish is not None:
        frame = look.finish(frame * np.float32(1 / 255)) * 255
    out = np.clip(frame + 0.5, 0, 255).astype(np.uint8)
    return Painted(out, subject[..., 3] * np.float32(1 / 255), other, accessory)
