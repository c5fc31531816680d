"""Masks that somebody else made: a video or an image of the clip's size, white where the edit may act."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.types import Clip, UserError


def checked(masks: NDArray[np.float32], clip: Clip) -> NDArray[np.float32]:
    """`masks` if they fit the clip: (n, H, W) in [0, 1]. Raises UserError otherwise."""
    expected = (len(clip), *clip.size)
    if masks.shape != expected:
        raise UserError(
            f"the masks are {_times(masks.shape)}, the clip is {_times(expected)} "
            "(frames x height x width): give one mask a frame, of the clip's size"
        )
    if not (np.isfinite(masks).all() and masks.min() >= 0 and masks.max() <= 1):
        raise UserError(
            "the masks have values outside 0 to 1: give 0 where nothing may change and 1 where it may"
        )
    return masks


def from_image(path: Path, clip: Clip) -> NDArray[np.float32]:
    """One image as the mask of every frame, a view without copies, (n, H, W) in [0, 1]."""
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L"), np.float32) / 255
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: not a readable image ({error}); give a mask as PNG or video") from None
    return checked(np.broadcast_to(mask, (len(clip), *mask.shape)), clip)


def from_clip(mask_clip: Clip, clip: Clip) -> NDArray[np.float32]:
    """A video of masks, read whole, (n, H, W) in [0, 1]; its brightness counts."""
    if len(mask_clip) != len(clip):
        raise UserError(
            f"the masks have {len(mask_clip)} frames, the clip has {len(clip)}: give one mask a frame"
        )
    grey = [np.asarray(mask_clip[i], np.float32).mean(axis=-1) / 255 for i in range(len(mask_clip))]
    return checked(np.stack(grey), clip)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
