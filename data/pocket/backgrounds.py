"""Canvases that the camera cuts frames from, and the backdrops that a background edit puts behind the
subject.

A background is named "KIND/NUMBER" and belongs to one split: drawn ones because the split is part of their
seed, photographs one by one, and stills of the film by their time. The canvas is 1.75 x 1.25 frames; the room
around the frame is for the camera.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from data.pocket.operators import Image, blur

Canvas = NDArray[np.uint8]  # RGB (1.25 size, 1.75 size, 3)

DRAWN = ("field", "desert", "forest", "sea", "city", "street", "room")
PHOTOGRAPHS = {  # whole photographs belong to a split; Big Buck Bunny's stills are split in time
    "train": ("chelsea", "coffee", "china", "flower"),
    "dev": ("hubble",),
    "report": ("rocket",),
}
STILLS = {
    "train": ("bunny_000", "bunny_012", "bunny_024", "bunny_036", "bunny_048", "bunny_060"),
    "dev": ("bunny_078", "bunny_086", "bunny_094"),
    "report": ("bunny_112", "bunny_120", "bunny_128"),
}
SPLITS = ("train", "dev", "report")
CAMERA_HOME = (48, 16)  # where the cut-out starts on the canvas (x, y), for frames of 128


def kinds(split: str) -> tuple[str, ...]:
    """All kinds of background that the split has."""
    return DRAWN + PHOTOGRAPHS[split] + STILLS[split]


def place(background: str) -> str:
    """The word for where a background is: one of DRAWN, "photo" or "film"."""
    kind = background.split("/")[0]
    if kind in DRAWN:
        return kind
    return "film" if kind.startswith("bunny") else "photo"


def canvas_shape(size: int) -> tuple[int, int]:
    return round(1.25 * size), round(1.75 * size)


def stream(*names: object) -> np.random.Generator:
    """A generator seeded by names, the same in every process."""
    return np.random.default_rng(zlib.crc32("/".join(str(name) for name in names).encode()))


def make_canvas(split: str, background: str, size: int) -> Canvas:
    """The canvas called `background` in `split`, for frames of `size` pixels.

    Raises:
        ValueError: the split has no such kind.
    """
    kind, _, number = background.partition("/")
    if kind not in kinds(split):
        raise ValueError(f"{background} is not a background of the split {split}")
    rng = stream("background", split, kind, number)
    image = _DRAW[kind](rng, size) if kind in DRAWN else _crop(kind, rng, size)
    canvas = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    canvas.setflags(write=False)
    return canvas


@lru_cache(maxsize=32)
def _picture(name: str) -> NDArray[np.uint8]:
    data = files("data.pocket").joinpath("media", f"{name}.jpg").read_bytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def _crop(kind: str, rng: np.random.Generator, size: int) -> Image:
    picture = _picture(kind)
    height, width = canvas_shape(size)
    rows, columns = picture.shape[:2]
    zoom = rng.uniform(0.62, 1) * min(rows / height, columns / width)
    h, w = int(height * zoom), int(width * zoom)
    top, left = int(rng.integers(rows - h + 1)), int(rng.integers(columns - w + 1))
    crop = picture[top : top + h, left : left + w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    method = cv2.INTER_AREA if zoom > 1 else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=method)
    return resized.astype(np.float32) / np.float32(255)


Colour = tuple[float, float, float]


def _jitter(rng: np.random.Generator, colour: Colour, amount: float = 0.07) -> Image:
    return np.clip(np.asarray(colour) + rng.uniform(-amount, amount, 3), 0, 1).astype(np.float32)


def _gradient(height: int, width: int, top: Image, bottom: Image) -> Image:
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(top * (1 - t) + bottom * t, (height, width, 3)), np.float32)


def _sky(rng: np.random.Generator, size: int, top: Colour, bottom: Colour) -> tuple[Image, float]:
    """A sky over the whole canvas, and the horizon in (0, 1)."""
    height, width = canvas_shape(size)
    horizon = float(rng.uniform(0.42, 0.60))
    image = _gradient(height, width, _jitter(rng, top), _jitter(rng, bottom))
    return image, horizon


def _hills(rng: np.random.Generator, image: Image, horizon: float, colours: tuple[Colour, ...]) -> None:
    """Three hill lines f(x) = horizon + d + .04 sum_k a_k / k sin(2 pi (k x f_k + phase_k)), filled below."""
    height, width = image.shape[:2]
    x = np.linspace(0, 1, width, dtype=np.float32)
    yy = np.arange(height, dtype=np.float32)[:, None]
    for d, colour in zip((-0.06, 0.0, 0.22), colours):
        line = np.full(width, horizon + d, np.float32)
        for k in (1, 2, 3):
            amplitude, pace, phase = rng.uniform(0.3, 1), rng.uniform(0.6, 1.4), rng.random()
            line = line + 0.04 * amplitude / k * np.sin(2 * np.pi * (k * x * pace + phase))
        below = np.clip(yy - line[None] * height + 0.5, 0, 1)[..., None]
        near = _jitter(rng, colour, 0.05)
        fill = _gradient(height, width, np.clip(near * 1.12, 0, 1), near * 0.78)
        image[:] = image * (1 - below) + fill * below


def _finish(rng: np.random.Generator, image: Image, size: int) -> Image:
    """A trace of texture. More than .006 makes line styles draw speckles all over the sky."""
    k = size / 128
    noise = blur(rng.standard_normal(image.shape[:2]).astype(np.float32), 2 * k)
    image = image + (0.006 * noise / noise.std())[..., None]
    return blur(image, 0.5 * k)


def _field(rng: np.random.Generator, size: int) -> Image:
    image, horizon = _sky(rng, size, (0.42, 0.66, 0.95), (0.78, 0.88, 0.98))
    _hills(rng, image, horizon, ((0.45, 0.66, 0.42), (0.36, 0.62, 0.28), (0.26, 0.52, 0.18)))
    height, width = image.shape[:2]
    k = size / 128
    for _ in range(int(rng.integers(10, 41))):
        centre = int(rng.random() * width), int((horizon + 0.08 + rng.random() * (0.9 - horizon)) * height)
        colour = ((1.0, 0.95, 0.5), (1.0, 1.0, 1.0), (0.95, 0.55, 0.65))[int(rng.integers(3))]
        cv2.circle(image, centre, round(int(rng.integers(1, 3)) * k), colour, -1)
    return _finish(rng, image, size)


def _desert(rng: np.random.Generator, size: int) -> Image:
    image, horizon = _sky(rng, size, (0.50, 0.70, 0.92), (0.93, 0.88, 0.78))
    _hills(rng, image, horizon, ((0.86, 0.73, 0.50), (0.83, 0.66, 0.40), (0.70, 0.50, 0.28)))
    return _finish(rng, image, size)


def _forest(rng: np.random.Generator, size: int) -> Image:
    image, horizon = _sky(rng, size, (0.58, 0.74, 0.84), (0.86, 0.92, 0.90))
    _hills(rng, image, horizon, ((0.34, 0.50, 0.42), (0.24, 0.44, 0.30), (0.18, 0.34, 0.20)))
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(5, 11))):
        foot = rng.random() * width, (horizon + rng.uniform(0.04, 0.30)) * height
        tall = rng.uniform(0.16, 0.34) * height
        green = _jitter(rng, (0.10, 0.30, 0.18), 0.06)
        half = 0.24 * tall
        corners = [(foot[0] - half, foot[1]), (foot[0] + half, foot[1]), (foot[0], foot[1] - tall)]
        cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], green.tolist())
    return _finish(rng, image, size)


def _sea(rng: np.random.Generator, size: int) -> Image:
    image, horizon = _sky(rng, size, (0.38, 0.62, 0.92), (0.90, 0.90, 0.92))
    height, width = image.shape[:2]
    k = size / 128
    top = round(horizon * height)
    far, near = _jitter(rng, (0.22, 0.52, 0.72)), _jitter(rng, (0.05, 0.24, 0.46))
    image[top:] = _gradient(height - top, width, far, near)
    for _ in range(int(rng.integers(20, 51))):
        depth = rng.random()
        y, x = round(top + 2 + depth * (height - top - 4)), rng.random() * width
        length = (3 + 12 * depth) * k
        start, end = (round(x), y), (round(x + length), y)
        cv2.line(image, start, end, (0.72, 0.86, 0.94), max(1, round(k)))
    return _finish(rng, image, size)


def _buildings(rng: np.random.Generator, size: int) -> tuple[Image, float]:
    image, horizon = _sky(rng, size, (0.55, 0.70, 0.88), (0.90, 0.88, 0.84))
    height, width = image.shape[:2]
    k = size / 128
    ground = horizon + 0.16
    x = -rng.random() * 10 * k
    while x < width:
        wide, tall = rng.uniform(16, 40) * k, rng.uniform(0.25, 0.62) * height
        colour = rng.uniform(0.35, 0.75, 3).astype(np.float32)
        left, right, top = (
            max(0, round(x)),
            min(width, round(x + wide)),
            max(0, round(ground * height - tall)),
        )
        image[top : round(ground * height), left:right] = colour
        lit = np.clip(colour + 0.25, 0, 1) if rng.random() < 0.5 else colour * 0.55
        for wy in np.arange(top + 4 * k, ground * height - 6 * k, 9 * k):
            for wx in np.arange(x + 3 * k, x + wide - 5 * k, 8 * k):
                if wx >= 0:
                    image[round(wy) : round(wy + 4 * k), round(wx) : round(wx + 3 * k)] = lit
        x += wide
    floor = round(ground * height)
    image[floor:] = _gradient(
        height - floor, width, _jitter(rng, (0.62, 0.62, 0.62)), _jitter(rng, (0.42, 0.42, 0.44))
    )
    return image, ground


def _city(rng: np.random.Generator, size: int) -> Image:
    image, _ = _buildings(rng, size)
    return _finish(rng, image, size)


def _street(rng: np.random.Generator, size: int) -> Image:
    image, ground = _buildings(rng, size)
    height, width = image.shape[:2]
    k = size / 128
    y = round((ground + (1 - ground) * 0.45) * height)
    start = rng.random() * 34
    for x in np.arange(-start * k, width, 34 * k):
        if x + 16 * k > 0:
            image[y : y + max(1, round(3 * k)), max(0, round(x)) : round(x + 16 * k)] = (0.95, 0.93, 0.80)
    return _finish(rng, image, size)


def _room(rng: np.random.Generator, size: int) -> Image:
    height, width = canvas_shape(size)
    k = size / 128
    wall = rng.uniform(0.55, 0.9, 3).astype(np.float32)
    image = np.ascontiguousarray(np.broadcast_to(wall, (height, width, 3)))
    if rng.random() < 0.5:
        stripes = (np.arange(width) // max(1, round(12 * k))) % 2 == 1
        image[:, stripes] = np.clip(wall * 0.93, 0, 1)
    floor = round(rng.uniform(0.62, 0.74) * height)
    wood = _jitter(rng, (0.56, 0.38, 0.26))
    for i, y in enumerate(np.arange(floor, height, 9 * k)):
        image[round(y) : round(y + 9 * k)] = wood * (1.0 if i % 2 else 0.88)
        image[round(y) : round(y) + max(1, round(k))] = wood * 0.7
    for _ in range(int(rng.integers(1, 4))):
        wide, tall = rng.uniform(20, 40) * k, rng.uniform(18, 30) * k
        x, y = rng.random() * (width - wide), rng.uniform(0.06, 0.30) * height
        border, inside = _jitter(rng, (0.35, 0.25, 0.16)), rng.uniform(0.2, 0.9, 3).astype(np.float32)
        image[round(y) : round(y + tall), round(x) : round(x + wide)] = border
        b = max(1, round(3 * k))
        image[round(y) + b : round(y + tall) - b, round(x) + b : round(x + wide) - b] = inside
    return _finish(rng, image, size)


_DRAW: dict[str, Callable[[np.random.Generator, int], Image]] = {
    "field": _field,
    "desert": _desert,
    "forest": _forest,
    "sea": _sea,
    "city": _city,
    "street": _street,
    "room": _room,
}

BACKDROPS = ("beach", "snowy mountain", "monet water lilies")


@lru_cache(maxsize=32)
def backdrop(name: str, answer: int, size: int) -> Canvas:
    """A replaced background, RGB (size, size, 3), anchored to the screen: what a moving camera shows is not
    known to an editor that sees one frame."""
    image = {"beach": _beach, "snowy mountain": _mountain, "monet water lilies": _lilies}[name](answer, size)
    out = np.rint(np.clip(blur(image, 0.6 * size / 128), 0, 1) * 255).astype(np.uint8)
    out.setflags(write=False)
    return out


def _colour(*c: float) -> Image:
    return np.asarray(c, np.float32)


def _fill_below(image: Image, line: NDArray[np.float32], top: Image, bottom: Image) -> None:
    size = len(image)
    yy = np.arange(size, dtype=np.float32)[:, None]
    below = np.clip(yy - line[None] * size + 0.5, 0, 1)[..., None]
    image[:] = image * (1 - below) + _gradient(size, size, top, bottom) * below


def _beach(answer: int, size: int) -> Image:
    x = np.linspace(0, 1, size, dtype=np.float32)
    day = answer == 0
    sky = (
        (_colour(0.33, 0.66, 0.96), _colour(0.80, 0.93, 0.99))
        if day
        else (_colour(0.50, 0.16, 0.30), _colour(1, 0.62, 0.20))
    )
    image = _gradient(size, size, *sky)
    yy, xx = np.mgrid[:size, :size].astype(np.float32) / size
    if day:
        for cx, cy, r in ((0.25, 0.14, 0.10), (0.36, 0.16, 0.08), (0.78, 0.22, 0.11)):
            image[((xx - cx) / (1.9 * r)) ** 2 + ((yy - cy) / (0.55 * r)) ** 2 < 1] = 1
    else:
        image[(xx - 0.3) ** 2 + (yy - 0.36) ** 2 < 0.11**2] = (1, 0.88, 0.55)
    sea = (
        (_colour(0.10, 0.66, 0.74), _colour(0.30, 0.85, 0.84))
        if day
        else (_colour(0.62, 0.24, 0.26), _colour(0.34, 0.12, 0.26))
    )
    _fill_below(image, np.full_like(x, 0.42), *sea)
    _fill_below(
        image,
        (0.66 + 0.018 * np.sin(2 * np.pi * (2.2 * x + 0.1))).astype(np.float32),
        *(2 * [_colour(0.95, 0.98, 0.97) if day else _colour(0.86, 0.46, 0.34)]),
    )
    sand = (
        (_colour(0.94, 0.82, 0.60), _colour(0.98, 0.90, 0.70))
        if day
        else (_colour(0.40, 0.20, 0.18), _colour(0.26, 0.12, 0.14))
    )
    _fill_below(image, (0.69 + 0.018 * np.sin(2 * np.pi * (2.2 * x + 0.1))).astype(np.float32), *sand)
    return image


def _mountain(answer: int, size: int) -> Image:
    day = answer == 0
    sky = (
        (_colour(0.62, 0.80, 0.97), _colour(0.93, 0.97, 1))
        if day
        else (_colour(0.03, 0.04, 0.14), _colour(0.12, 0.17, 0.40))
    )
    image = _gradient(size, size, *sky)
    rock, snow = ((0.72, 0.79, 0.88), (1.0, 1.0, 1.0)) if day else ((0.10, 0.14, 0.30), (0.26, 0.32, 0.54))
    for cx, top, half in ((0.22, 0.22, 0.34), (0.62, 0.12, 0.42), (0.95, 0.26, 0.30)):
        peak = np.array([(cx - half, 0.68), (cx + half, 0.68), (cx, top)]) * size
        cap = (
            np.array(
                [
                    (cx - 0.34 * half, top + 0.34 * (0.68 - top)),
                    (cx + 0.34 * half, top + 0.34 * (0.68 - top)),
                    (cx, top),
                ]
            )
            * size
        )
        cv2.fillPoly(image, [np.rint(peak).astype(np.int32)], rock)
        cv2.fillPoly(image, [np.rint(cap).astype(np.int32)], snow)
    x = np.linspace(0, 1, size, dtype=np.float32)
    ground = (
        (_colour(0.92, 0.95, 1), _colour(1, 1, 1))
        if day
        else (_colour(0.20, 0.26, 0.46), _colour(0.30, 0.36, 0.58))
    )
    _fill_below(image, (0.62 + 0.02 * np.sin(2 * np.pi * (1.3 * x + 0.2))).astype(np.float32), *ground)
    green = (0.16, 0.42, 0.36) if day else (0.02, 0.06, 0.14)
    for cx, foot, tall in (
        (0.06, 0.70, 0.26),
        (0.18, 0.66, 0.20),
        (0.36, 0.65, 0.16),
        (0.70, 0.66, 0.19),
        (0.83, 0.70, 0.25),
        (0.95, 0.74, 0.30),
    ):
        tree = np.array([(cx - 0.26 * tall, foot), (cx + 0.26 * tall, foot), (cx, foot - tall)]) * size
        cv2.fillPoly(image, [np.rint(tree).astype(np.int32)], green)
    return image


def _lilies(answer: int, size: int) -> Image:
    """Flat patches of water and leaves, wider than high, with dots of flowers."""
    rng = np.random.default_rng(11 + answer)
    base = rng.standard_normal((128, 128)).astype(np.float32)
    broad = cv2.GaussianBlur(base, (0, 0), sigmaX=14, sigmaY=5, borderType=cv2.BORDER_REFLECT)
    broad = cv2.resize(broad / broad.std(), (size, size), interpolation=cv2.INTER_CUBIC)
    green = ((0.20, 0.42, 0.40), (0.34, 0.56, 0.42), (0.46, 0.68, 0.44), (0.24, 0.50, 0.56))
    violet = ((0.28, 0.16, 0.44), (0.46, 0.28, 0.60), (0.86, 0.52, 0.36), (0.60, 0.40, 0.72))
    colours = green if answer == 0 else violet
    image = np.empty((size, size, 3), np.float32)
    image[:] = colours[0]
    for level, colour in zip((-0.4, 0.4, 1.1), (colours[3], colours[1], colours[2])):
        image[broad > level] = colour
    for _ in range(26):
        centre = rng.random(2)
        flower = (
            (1.0, 0.92, 0.90)
            if rng.random() < 0.6
            else ((0.95, 0.60, 0.72) if answer == 0 else (1.0, 0.85, 0.40))
        )
        axes = (max(1, round(0.018 * size)), max(1, round(0.010 * size)))
        cv2.ellipse(image, (round(centre[0] * size), round(centre[1] * size)), axes, 0, 0, 360, flower, -1)
    return image
