"""`gabor_distance`: a perceptual distance that needs no weights, by a bank of oriented filters at three
scales."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, ok
from eval.walk import Moment, Result

ORIENTATIONS, WAVELENGTH, SIGMA, RADIUS, LEVELS, EPSILON = 8, 4.0, 2.0, 4, 3, 0.05
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def _bank() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(even, odd) 9x9 kernels of 8 orientations, each minus its mean and of norm 1."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1].astype(np.float64)
    window = np.exp(-(x**2 + y**2) / (2 * SIGMA**2))
    kernels = []
    for k in range(ORIENTATIONS):
        angle = k * np.pi / ORIENTATIONS
        phase = 2 * np.pi / WAVELENGTH * (x * np.cos(angle) + y * np.sin(angle))
        centred = [wave - wave.mean() for wave in (window * np.cos(phase), window * np.sin(phase))]
        even, odd = ((kernel / np.linalg.norm(kernel)).astype(np.float32) for kernel in centred)
        kernels.append((even, odd))
    return kernels


BANK = _bank()


def opponent(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Y, R - Y, B - Y of an RGB frame (H, W, 3) in [0, 1]."""
    luma = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    return np.stack([luma, frame[..., 0] - luma, frame[..., 2] - luma], axis=-1)


def responses(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """24 magnitudes (H, W, 24) at every pixel, divided by their norm + 0.05. Borders mirrored, the edge not
    repeated."""
    magnitudes = []
    for c in range(3):
        channel = np.ascontiguousarray(channels[..., c])
        for even, odd in BANK:
            parts = [
                cv2.filter2D(channel, cv2.CV_32F, k, borderType=cv2.BORDER_REFLECT_101) for k in (even, odd)
            ]
            magnitudes.append(cv2.magnitude(parts[0], parts[1]))
    stack = np.stack(magnitudes, axis=-1)
    return np.asarray(stack / (np.linalg.norm(stack, axis=-1, keepdims=True) + EPSILON), dtype=np.float32)


def halved(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The next level: a 5-tap binomial filter, every second sample from the first."""
    smooth = cv2.sepFilter2D(channels, cv2.CV_32F, BINOMIAL, BINOMIAL, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(smooth[::2, ::2], dtype=np.float32)


def gabor_levels(source: NDArray[np.float32], edited: NDArray[np.float32]) -> NDArray[np.float64]:
    """(3,) squared distance of the responses of two frames (H, W, 3) in [0, 1], summed over channels, mean
    over positions, at each level; their mean is the distance."""
    a, b = opponent(source), opponent(edited)
    values = []
    for level in range(LEVELS):
        if level:
            a, b = halved(a), halved(b)
        values.append(float(((responses(a) - responses(b)) ** 2).sum(axis=-1, dtype=np.float64).mean()))
    return np.array(values)


class Oriented:
    """`gabor_levels` of every frame."""

    def __init__(self, pair: Pair) -> None:
        self.frames: list[NDArray[np.float64]] = []

    def update(self, moment: Moment) -> None:
        source, edited = (frame.astype(np.float32) / 255 for frame in (moment.source, moment.edited))
        self.frames.append(gabor_levels(source, edited))

    def result(self) -> Result:
        return {"levels": np.array(self.frames)}


class GaborDistance(Card):
    """Channels Y, R-Y, B-Y at three scales through 8 orientations (even and odd Gabor filters, magnitudes
    normalised over the 24 channels); squared difference summed over channels, averaged over positions,
    levels and frames.

    Context: 0 is a copy. A deep-feature distance that needs no weights. Blind to negation and smooth shading.
    """

    id, version, direction, range = "gabor_distance", 1, "none", (0.0, 2.0)
    suite = "deep"
    measures = (Oriented,)
    cost = "144 small filters a frame and clip"

    def __call__(self, pair: Pair, features: Features) -> Score:
        levels = features.measured(pair, Oriented)["levels"]
        frames = levels.mean(axis=1)
        return ok(float(frames.mean()), frames=frames, levels=levels.mean(axis=0))
