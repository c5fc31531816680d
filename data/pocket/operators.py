"""What the edits do to pixels. Every style is a pair of operators, answer A (0) and answer B (1).

Pixel operators act on the composed frame and depend on nothing but a vertical gradient. Texture operators
have a grid, strokes or lines and act on one layer (a canvas, a sprite) in its own coordinates, so that a
whole edited clip moves as its source does. Colours are float32 RGB in [0, 1]; `k` is the frame's size over
128.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # RGB (h, w, 3) in [0, 1]
Plane = NDArray[np.float32]  # (h, w)
Colours = tuple[tuple[float, float, float], ...]

PIXEL_STYLES = ("black and white", "sepia", "sunset", "night", "snow")
TEXTURE_STYLES = ("pencil sketch", "low poly", "japanese woodblock print", "watercolor", "van gogh")

SEPIA: tuple[Colours, Colours] = (
    ((0.22, 0.15, 0.08), (0.66, 0.52, 0.34), (1, 0.95, 0.80)),
    ((0.05, 0.02, 0.02), (0.36, 0.14, 0.07), (0.78, 0.50, 0.30)),
)
WOODBLOCK: tuple[Colours, Colours] = (
    ((0.07, 0.10, 0.25), (0.16, 0.27, 0.48), (0.47, 0.60, 0.68), (0.87, 0.82, 0.66), (0.97, 0.94, 0.84)),
    ((0.22, 0.06, 0.05), (0.62, 0.17, 0.10), (0.85, 0.47, 0.20), (0.74, 0.72, 0.38), (0.98, 0.90, 0.66)),
)
VAN_GOGH: tuple[Colours, Colours] = (
    ((0.05, 0.07, 0.25), (0.12, 0.22, 0.55), (0.25, 0.48, 0.72), (0.62, 0.74, 0.62), (0.98, 0.88, 0.40)),
    ((0.25, 0.12, 0.03), (0.55, 0.33, 0.06), (0.86, 0.60, 0.08), (0.96, 0.80, 0.28), (0.80, 0.86, 0.62)),
)
PAPER: Colours = ((0.97, 0.97, 0.95), (0.80, 0.62, 0.42))
PEN: Colours = ((0.12, 0.12, 0.14), (0.38, 0.10, 0.06))
KEY_LINE = (0.06, 0.05, 0.08)  # the woodblock's outline
RECOLOUR: dict[str, tuple[Colours, Colours]] = {  # deep, pastel
    "red": (
        ((0.30, 0.02, 0.04), (0.62, 0.05, 0.07), (0.86, 0.22, 0.20)),
        ((0.75, 0.22, 0.28), (0.98, 0.55, 0.55), (1, 0.86, 0.84)),
    ),
    "blue": (
        ((0.02, 0.05, 0.28), (0.06, 0.16, 0.55), (0.25, 0.40, 0.80)),
        ((0.25, 0.50, 0.85), (0.55, 0.78, 0.98), (0.86, 0.95, 1)),
    ),
    "green": (
        ((0.02, 0.16, 0.05), (0.06, 0.38, 0.12), (0.25, 0.60, 0.25)),
        ((0.30, 0.65, 0.25), (0.62, 0.90, 0.50), (0.90, 1, 0.80)),
    ),
    "purple": (
        ((0.15, 0.02, 0.25), (0.36, 0.08, 0.50), (0.58, 0.28, 0.72)),
        ((0.55, 0.35, 0.78), (0.80, 0.66, 0.95), (0.96, 0.90, 1)),
    ),
}
AMBER: Colours = ((0.75, 0.08, 0.05), (1, 0.45, 0.1), (1, 0.75, 0.2))


def _rgb(*colour: float) -> Image:
    return np.asarray(colour, np.float32)


def luma(x: Image) -> Plane:
    return x @ np.asarray((0.299, 0.587, 0.114), np.float32)


def saturate(x: Image, amount: float) -> Image:
    y = luma(x)[..., None]
    return y + (x - y) * np.float32(amount)


@lru_cache(maxsize=64)
def _ramp_table(colours: Colours) -> Image:
    knots = np.linspace(0, 1, len(colours))
    at = np.linspace(0, 1, 1025)
    channels = [np.interp(at, knots, [c[i] for c in colours]) for i in range(3)]
    return np.stack(channels, -1).astype(np.float32)


def ramp(value: Plane, colours: Colours) -> Image:
    """Colours at evenly spaced knots, interpolated at `value` clipped to [0, 1] (in 1024 steps)."""
    index = np.clip(value * 1024 + 0.5, 0, 1024).astype(np.int32)
    return _ramp_table(colours)[index]


def blur(x: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def edge(y: Plane, fine: float, coarse: float, gain: float, k: float) -> Plane:
    """Dark lines on lighter ground, in [0, 1]: where the fine blur is darker than the coarse one."""
    return np.clip(gain * (blur(y, coarse * k) - blur(y, fine * k)), 0, 1)


def recoloured(x: Image, colour: str, answer: int) -> Image:
    return ramp(0.06 + 0.88 * luma(x), RECOLOUR[colour][answer])


def pixel_style(name: str, x: Image, answer: int) -> Image:
    """One of `PIXEL_STYLES` on a composed frame, clipped to [0, 1]."""
    y = luma(x)
    t = ((np.arange(x.shape[0], dtype=np.float32)) / x.shape[0])[:, None, None]
    g = 1 - t
    if name == "black and white":
        tone = 0.12 + 0.80 * y if answer == 0 else 1 / (1 + np.exp(-14 * (y - 0.52)))
        out = np.repeat(tone[..., None], 3, axis=-1)
    elif name == "sepia":
        out = ramp(y, SEPIA[answer])
    elif name == "sunset":
        if answer == 0:
            out = x * _rgb(1, 0.66, 0.38) + g * _rgb(0.22, 0.08, 0)
        else:
            out = x * _rgb(0.66, 0.44, 0.72) + g * _rgb(0.16, 0.02, 0.20)
    elif name == "night":
        dull = saturate(x, 0.5)
        if answer == 0:
            out = dull * _rgb(0.16, 0.22, 0.45)
        else:
            out = dull * _rgb(0.36, 0.62, 0.60) + _rgb(0.06, 0.12, 0.13)
    elif name == "snow":
        dull = saturate(x, 0.45)
        if answer == 0:
            w = 0.85 * np.clip((t - 0.25) / 0.5, 0, 1)
            white = _rgb(0.96, 0.97, 1) * (0.72 + 0.28 * y[..., None])
            out = (0.8 * dull + 0.12) * (1 - w) + white * w
        else:
            out = 0.42 * dull * _rgb(0.8, 0.95, 1.1) + _rgb(0.30, 0.42, 0.56)
    else:
        raise ValueError(f"no pixel style is called {name}")
    return np.clip(out, 0, 1).astype(np.float32)


@lru_cache(maxsize=16)
def _hatching(height: int, width: int, k: float) -> Plane:
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (xx + yy) / np.float32(5 * k))


@lru_cache(maxsize=16)
def _grain(height: int, width: int, k: float) -> Plane:
    """Unit-variance noise blurred by 3 px, the same for every layer of this size."""
    noise = blur(np.random.default_rng(3).standard_normal((height, width)).astype(np.float32), 3 * k)
    return noise / noise.std()


@lru_cache(maxsize=16)
def _strokes(height: int, width: int, k: float) -> Plane:
    """Unit-variance line integral of noise along a smooth field of angles, equal for layers of one size."""
    noise = blur(np.random.default_rng(7).standard_normal((height, width)).astype(np.float32), 0.8 * k)
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    total = noise.copy()
    for direction in (-1, 1):
        px, py = xx.copy(), yy.copy()
        for _ in range(7):
            ux, uy = px / k, py / k
            angle = 1.3 * np.sin(ux / 23) + 1.1 * np.cos(uy / 19) + 0.6 * np.sin((ux + uy) / 31)
            px = (px + direction * k * np.cos(angle)).astype(np.float32)
            py = (py + direction * k * np.sin(angle)).astype(np.float32)
            total += cv2.remap(noise, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return (total - total.mean()) / total.std()


@lru_cache(maxsize=16)
def _triangles(height: int, width: int, cell: float) -> tuple[NDArray[np.int64], NDArray[np.float32], Plane]:
    """Labels of right triangles, their areas, and +1 on upper, -1 on lower ones."""
    yy, xx = np.mgrid[:height, :width]
    column, row = xx / cell, yy / cell
    upper = (column % 1) + (row % 1) < 1
    columns = int(np.ceil(width / cell))
    label = (np.floor(row) * columns + np.floor(column)).astype(np.int64) * 2 + upper
    area = np.maximum(np.bincount(label.ravel()), 1).astype(np.float32)
    return label, area, np.where(upper, 1, -1).astype(np.float32)


def texture_style(name: str, x: Image, answer: int, k: float) -> Image:
    """One of `TEXTURE_STYLES` on one opaque layer, clipped to [0, 1]; grids start at the layer's corner."""
    height, width = x.shape[:2]
    if name == "pencil sketch":
        y = luma(x)
        shade = 0.75 * np.clip(1.6 * (0.55 - blur(y, k)), 0, 1) * (0.55 + 0.45 * _hatching(height, width, k))
        ink = np.clip(edge(y, 0.8, 2, 14, k) + shade, 0, 1)[..., None]
        out = _rgb(*PAPER[answer]) * (1 - ink) + _rgb(*PEN[answer]) * ink
    elif name == "low poly":
        label, area, side = _triangles(height, width, (8, 14)[answer] * k)
        flat = label.ravel()
        means = np.stack([np.bincount(flat, x[..., c].ravel()) / area for c in range(3)], -1).astype(
            np.float32
        )
        m = means[label]
        if answer == 0:
            out = 0.55 * saturate(m, 0.8) + 0.42 + 0.04 * side[..., None]
        else:
            out = 0.68 * saturate(m, 1.7) + 0.07 * side[..., None]
    elif name == "japanese woodblock print":
        y = luma(x)
        tone = np.clip(blur(y, 1.2 * k), 0, 1) * 4
        base = np.floor(tone)
        steps = base + np.clip((tone - base - 0.5) * 6 + 0.5, 0, 1)
        line = 0.85 * edge(y, 0.8, 1.8, 12, k)[..., None]
        out = ramp(steps / 4, WOODBLOCK[answer]) * (1 - line) + _rgb(*KEY_LINE) * line
    elif name == "watercolor":
        smoothed = cv2.bilateralFilter(np.ascontiguousarray(x, np.float32), round(7 * k) | 1, 0.25, 3 * k)
        wash = blur(np.asarray(smoothed, np.float32), 1.2 * k)
        line = edge(luma(x), 1.2, 3, 5, k)[..., None]
        grain = _grain(height, width, k)[..., None]
        if answer == 0:
            out = 0.40 * wash + _rgb(0.56, 0.60, 0.64) + 0.035 * grain - 0.18 * line
        else:
            tint = 0.9 * saturate(wash, 1.35) * _rgb(0.95, 0.72, 0.42) + _rgb(0.06, 0.02, 0)
            out = tint + 0.03 * grain - 0.22 * line
    elif name == "van gogh":
        tone = 0.95 * blur(luma(x), 1.5 * k) + 0.075 * _strokes(height, width, k)
        out = 0.85 * ramp(tone, VAN_GOGH[answer]) + 0.15 * x
    else:
        raise ValueError(f"no texture style is called {name}")
    return np.clip(out, 0, 1).astype(np.float32)


def on_layer(name: str, layer: NDArray[np.uint8], answer: int, k: float) -> NDArray[np.uint8]:
    """A texture style on an opaque uint8 layer (h, w, 3)."""
    return np.rint(texture_style(name, layer.astype(np.float32) / np.float32(255), answer, k) * 255).astype(
        np.uint8
    )


def _filled(texture: NDArray[np.uint8], k: float) -> tuple[Image, Plane]:
    """Straight colour of a premultiplied texture, continued under its transparent pixels, and its alpha."""
    rgba = texture.astype(np.float32) / np.float32(255)
    alpha = rgba[..., 3]
    rgb = rgba[..., :3] / np.maximum(alpha, 1e-3)[..., None]
    weight = (alpha > 0.5).astype(np.float32)
    spread = blur(weight, 6 * k)
    around = blur(rgb * weight[..., None], 6 * k) / np.maximum(spread, 1e-4)[..., None]
    return np.clip(np.where(weight[..., None] > 0, rgb, around), 0, 1).astype(np.float32), alpha


def _premultiplied(rgb: Image, alpha: Plane) -> NDArray[np.uint8]:
    rgba = np.concatenate([rgb * alpha[..., None], alpha[..., None]], -1)
    return np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)


def on_sprite(name: str, texture: NDArray[np.uint8], answer: int, k: float) -> NDArray[np.uint8]:
    """A texture style on a sprite, its alpha unchanged; line styles also draw the silhouette, 2 px wide."""
    rgb, alpha = _filled(texture, k)
    out = texture_style(name, rgb, answer, k)
    if name in ("pencil sketch", "japanese woodblock print"):
        reach = 2 * max(1, round(2 * k)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        line = np.clip(alpha - cv2.erode(alpha, kernel), 0, 1)[..., None]
        colour = PEN[answer] if name == "pencil sketch" else KEY_LINE
        out = out * (1 - line) + _rgb(*colour) * line
    return _premultiplied(out, alpha)


def recoloured_sprite(texture: NDArray[np.uint8], colour: str, answer: int) -> NDArray[np.uint8]:
    rgb, alpha = _filled(texture, 1)
    return _premultiplied(recoloured(rgb, colour, answer), alpha)


def amber_glasses(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Red frames, amber glass: the second answer to "sunglasses"."""
    rgb, alpha = _filled(texture, 1)
    return _premultiplied(ramp(luma(rgb), AMBER), np.clip(1.5 * alpha, 0, 1))


def dark_glasses(texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb, alpha = _filled(texture, 1)
    return _premultiplied(0.55 * rgb, alpha)
