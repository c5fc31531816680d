"""The region of an edit over a whole clip (section 4.1, Fig. 3): masks made stable over time, on the latent
grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data.types import ArrayClip, Clip, Frames, UserError
from via.framing import Framing
from via.local import latent_mask
from via.masks import Masker

CLEAR = 0.005  # share of the frame that a subject must fill for the question about it to be asked there


@dataclass(frozen=True)
class Region:
    """Where an edit acts in each of n frames.

    `cells` is bool (n, 1, h, w) on the latent grid; `packed` holds the binary masks of the clip's own size,
    eight pixels a byte. `phrase` is None where the masks were given.
    """

    phrase: str | None
    cells: torch.Tensor
    packed: NDArray[np.uint8]
    size: tuple[int, int]

    def pixels(self, frames: list[int]) -> NDArray[np.bool_]:
        """Binary masks (n, H, W) of these frames."""
        height, width = self.size
        bits = np.unpackbits(self.packed[frames], axis=1, count=height * width)
        return bits.reshape(len(frames), height, width).astype(bool)

    @property
    def areas(self) -> list[float]:
        """Edit cells in each frame."""
        return [float(area) for area in self.cells.sum(dim=(1, 2, 3))]

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(
                file,
                phrase=np.array(self.phrase or ""),
                cells=self.cells.numpy(),
                packed=self.packed,
                size=np.array(self.size),
            )

    @classmethod
    def load(cls, path: Path) -> Region:
        with np.load(path, allow_pickle=False) as file:
            height, width = file["size"].tolist()
            phrase = str(file["phrase"]) or None
            return cls(phrase, torch.from_numpy(file["cells"]), file["packed"], (height, width))


def ask(clip: Clip, masker: Masker, instruction: str) -> str | None:
    """The region's phrase, asked once, on the first of eight spread frames where what it names is clear.

    None is the whole frame. Raises UserError when no frame shows what the instruction names.
    """
    phrase: str | None = None
    for number in dict.fromkeys(np.linspace(0, len(clip) - 1, 8).round().astype(int).tolist()):
        frame = clip[number]
        phrase = masker.region(frame, instruction)
        if phrase is None:
            return None
        if float((masker.masks(ArrayClip(frame[None]), phrase) > 0.5).mean()) >= CLEAR:
            return phrase
    raise nothing_found(phrase)


def nothing_found(phrase: str | None) -> UserError:
    return UserError(
        f"no frame shows {phrase or 'a masked pixel'}: name what to edit with --region, give --mask, "
        "or edit the whole frame with --region whole"
    )


def soft_masks(
    clip: Clip,
    masker: Masker,
    phrase_of: Callable[[NDArray[np.uint8]], str | None],
    per_frame: bool,
    batch: int,
) -> Iterator[NDArray[np.float32]]:
    """Soft masks (H, W) in order; `phrase_of(frame)` names the region, in each frame if `per_frame`."""
    phrase = None if per_frame else phrase_of(clip[0])
    for start in range(0, len(clip), batch):
        frames: Frames = clip[start : start + batch]
        if not per_frame:
            yield from masker.masks(ArrayClip(frames), phrase or "")
            continue
        for frame in frames:
            phrase = phrase_of(frame)
            whole = np.ones(frame.shape[:2], np.float32)
            yield whole if phrase is None else masker.masks(ArrayClip(frame[None]), phrase)[0]


def smoothed(masks: Iterable[NDArray[np.float32]], window: int) -> Iterator[NDArray[np.float32]]:
    """Centred running mean over `window` frames (odd); at the ends over the frames there are."""
    radius = window // 2
    held: deque[NDArray[np.float32]] = deque()
    ahead = 0  # frames in `held` that are not yet given out
    for mask in masks:
        held.append(mask)
        ahead += 1
        if ahead > radius:
            yield np.mean(held, axis=0)
            ahead -= 1
            if len(held) > 2 * radius:
                held.popleft()
    while ahead:
        while len(held) > radius + ahead:
            held.popleft()
        yield np.mean(held, axis=0)
        ahead -= 1


def dilated(
    masks: Iterable[NDArray[np.float32]], framing: Framing, pixels: int
) -> Iterator[NDArray[np.float32]]:
    """Masks (H, W) of the clip's size, larger on all sides by `pixels` of the model's frame."""
    reach = [round(pixels * source / scaled) for source, scaled in zip(framing.source, framing.scaled)]
    element = np.ones([2 * length + 1 for length in reach], np.uint8)
    for mask in masks:
        yield np.asarray(cv2.dilate(mask, element), dtype=np.float32)


def gathered_region(
    masks: Iterable[NDArray[np.float32]], phrase: str | None, framing: Framing, factor: int, grow: int
) -> Region:
    """The region from soft masks (H, W) of the clip's size, cut at 0.5; UserError when all are empty."""
    cells, packed = [], []
    for mask in masks:
        binary = mask > 0.5
        cells.append(latent_mask(framing.masks_in(binary[None]), factor, grow))
        packed.append(np.packbits(binary.reshape(-1)))
    region = Region(phrase, torch.cat(cells), np.stack(packed), framing.source)
    if not region.cells.any():
        raise nothing_found(phrase)
    return region
