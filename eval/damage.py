"""Graded damage to an honest edit, for the validity study: what each breaks is known, and how much of it.

Clips are uint8 RGB (n, H, W, 3); masks bool (n, H, W), True where the edit may act. Every damage is a
function of the honest edit, what is known of the task (Known), and a grade; the same seed gives the same
clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
NOISE = 0.01  # standard deviation of the codec-like noise on every clip that is not flat
TINT = np.array([255, 64, 192], np.float32)


@dataclass(frozen=True)
class Known:
    """A task with all its answers, and the answer of another task to be wrong with."""

    source: Frames
    mask: NDArray[np.bool_]
    answers: Sequence[Frames]
    foreign: Frames
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


Damage = Callable[[Frames, Known, float], Frames]


def honest(known: Known) -> Frames:
    """The first answer, with noise, so that no metric is exactly 0."""
    return noisy(known.answers[0], known.rng)


def noisy(frames: Frames, rng: np.random.Generator) -> Frames:
    """Gaussian noise of standard deviation 0.01."""
    return _bytes(frames.astype(np.float32) + rng.normal(0, 255 * NOISE, frames.shape).astype(np.float32))


def wrong_answer(edit: Frames, known: Known, share: float) -> Frames:
    """That share of each frame's mask, from the top, shows another task's answer."""
    out = edit.copy()
    for t, mask in enumerate(known.mask):
        rows, columns = np.nonzero(mask)
        chosen = slice(round(share * len(rows)))
        out[t, rows[chosen], columns[chosen]] = known.foreign[t, rows[chosen], columns[chosen]]
    return out


def undone(edit: Frames, known: Known, share: float) -> Frames:
    """The edit blended with the source."""
    return _bytes((1 - share) * edit.astype(np.float32) + share * known.source)


def switching(edit: Frames, known: Known, every: float) -> Frames:
    """Answers 1 and 2 in turn, changing after so many frames (a smaller number is more damage)."""
    other = noisy(known.answers[1], np.random.default_rng(known.seed + 1))
    turns = (np.arange(len(edit)) // int(every)) % 2 == 1
    return np.where(turns[:, None, None, None], other, edit)


def flicker(edit: Frames, known: Known, amplitude: float) -> Frames:
    """Brightness of every frame up or down by the amplitude, at random."""
    signs = known.rng.choice([-1.0, 1.0], len(edit)).astype(np.float32)
    return _bytes(edit + 255 * amplitude * signs[:, None, None, None])


def jitter(edit: Frames, known: Known, pixels: float) -> Frames:
    """The edited region shifted by so many pixels, in a random direction every frame."""
    out = np.empty_like(edit)
    angles = known.rng.uniform(0, 2 * np.pi, len(edit))
    size = edit.shape[2], edit.shape[1]
    for t, angle in enumerate(angles):
        move = np.array([[1, 0, pixels * np.cos(angle)], [0, 1, pixels * np.sin(angle)]], np.float32)
        shifted = cv2.warpAffine(edit[t], move, size, borderMode=cv2.BORDER_REFLECT)
        region = cv2.warpAffine(known.mask[t].astype(np.float32), move, size)[..., None]
        out[t] = _bytes(region * shifted + (1 - region) * known.source[t])
    return noisy(out, np.random.default_rng(known.seed + 2))


def leak(edit: Frames, known: Known, amount: float) -> Frames:
    """A tint outside the mask."""
    tinted = (1 - amount) * edit.astype(np.float32) + amount * TINT
    return np.where(known.mask[..., None], edit, _bytes(tinted))


def blur(edit: Frames, known: Known, sigma: float) -> Frames:
    """A Gaussian of that sigma over the whole frame."""
    return np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), np.uint8) for frame in edit])


def low_contrast(edit: Frames, known: Known, factor: float) -> Frames:
    """Differences to the frame's mean times the factor (a smaller number is more damage)."""
    mean = edit.astype(np.float32).mean(axis=(1, 2), keepdims=True)
    return _bytes(mean + factor * (edit - mean))


def freeze(edit: Frames, known: Known, share: float) -> Frames:
    """The last share of the frames stands still."""
    last = min(len(edit) - 1, round((1 - share) * len(edit)))
    return np.asarray(edit[np.minimum(np.arange(len(edit)), last)])


def lag(edit: Frames, known: Known, frames: float) -> Frames:
    """The edit comes so many frames late."""
    return np.asarray(edit[np.maximum(np.arange(len(edit)) - int(frames), 0)])


def drift(edit: Frames, known: Known, amount: float) -> Frames:
    """Red rises and blue falls by that much over the clip."""
    ramp = np.linspace(0, 255 * amount, len(edit), dtype=np.float32)[:, None, None]
    out = edit.astype(np.float32)
    out[..., 0] += ramp
    out[..., 2] -= ramp
    return _bytes(out)


# name -> (damage, grades from least to most, what it breaks)
DAMAGES: dict[str, tuple[Damage, tuple[float, ...], str]] = {
    "wrong answer": (wrong_answer, (0.1, 0.25, 0.5, 0.75, 1), "instruction"),
    "undone": (undone, (0.2, 0.4, 0.6, 0.8, 1), "instruction"),
    "switching": (switching, (12, 6, 3, 2, 1), "consistency"),
    "flicker": (flicker, (0.01, 0.02, 0.04, 0.08, 0.16), "consistency"),
    "jitter": (jitter, (0.5, 1, 2, 4, 8), "consistency"),
    "leak": (leak, (0.02, 0.05, 0.1, 0.2, 0.3), "preservation"),
    "blur": (blur, (0.5, 1, 2, 4, 8), "quality"),
    "low contrast": (low_contrast, (0.9, 0.7, 0.5, 0.3, 0.1), "quality"),
    "freeze": (freeze, (0.1, 0.3, 0.5, 0.75, 1), "motion"),
    "lag": (lag, (1, 2, 3, 5, 8), "motion"),
    "drift": (drift, (0.02, 0.05, 0.1, 0.2, 0.3), "long-range consistency"),
}


def degenerate(edit: Frames, known: Known) -> dict[str, Frames]:
    """Clips that nobody wants, by name: do they beat the honest edit?"""
    return {
        "source copy": noisy(known.source, known.rng),
        "frozen": noisy(freeze(known.answers[0], known, 1), known.rng),
        "flat": np.full_like(edit, 128),
        "blurred": blur(edit, known, 8),
        "contrast 0.1": low_contrast(edit, known, 0.1),
        "still of another answer": noisy(freeze(known.answers[-1], known, 1), known.rng),
    }


def applies(name: str, known: Known) -> bool:
    """Whether a damage can be done to this task: switching needs two answers, leaking a background, lag
    enough frames."""
    if name == "switching":
        return len(known.answers) > 1
    if name == "leak":
        return not bool(known.mask.all())
    return name != "lag" or len(known.source) > 8


def _bytes(frames: NDArray[np.float32]) -> Frames:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)
