"""One walk over a pair of clips: each frame is decoded once, and what several metrics need is computed once.

A measurement sees every moment in order (`update`) and ends with arrays per frame or pair (`result`), of
which the metrics make numbers. Only a window of frames is held, whatever the length of the clip.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from eval import flow
from eval.features import Features
from eval.frames import check_frame, frame_luma
from eval.score import Pair
from eval.truth import boolean

Result = dict[str, Any]  # arrays (n,) or (n - 1,), NaN where a frame or pair has no value
Mask = NDArray[np.uint8]  # (H, W), 255 inside, 0 outside, as OpenCV has it


class Moment:
    """Frame t of both clips, uint8 RGB (H, W, 3), the moment before it, and what is computed from them on
    demand.
    """

    def __init__(
        self, t: int, source: Any, edited: Any, mask: Mask | None, before: Moment | None, features: Features
    ):
        self.t, self.source, self.edited, self.mask, self.before = t, source, edited, mask, before
        self._features = features

    @cached_property
    def source_grey(self) -> NDArray[np.uint8]:
        """8-bit luma (H, W), on which flow is estimated."""
        return np.asarray(cv2.cvtColor(self.source, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def edited_grey(self) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(self.edited, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def difference(self) -> NDArray[np.uint8]:
        """|edited - source| of every value, uint8 (H, W, 3)."""
        return np.asarray(cv2.absdiff(self.source, self.edited), dtype=np.uint8)

    @cached_property
    def source_luma(self) -> NDArray[np.float32]:
        """Luma (H, W) in [0, 1]."""
        return frame_luma(self.source)

    @cached_property
    def edited_luma(self) -> NDArray[np.float32]:
        return frame_luma(self.edited)

    @cached_property
    def flows(self) -> tuple[flow.Flow, flow.Flow]:
        """The source's flow from the frame before to this one, and back."""
        assert self.before is not None
        return self.flows_from(self.before)

    def flows_from(self, earlier: Moment) -> tuple[flow.Flow, flow.Flow]:
        """The source's flow from an earlier moment to this one, and back."""
        return self._features.flows(earlier.source_grey, self.source_grey)

    def bare(self) -> Moment:
        """This moment with its frames alone, to be held for longer than the window."""
        return Moment(self.t, self.source, self.edited, self.mask, None, self._features)

    @cached_property
    def target(self) -> flow.Flow:
        """Where the pixels of the frame before are now."""
        return flow.target(self.flows[0])

    @cached_property
    def valid(self) -> Mask:
        """Pixels of the frame before that are seen now."""
        return flow.valid(*self.flows, self.target)


class Measurement(Protocol):
    """Made for one pair, fed with each of its moments in order."""

    def __init__(self, pair: Pair) -> None: ...
    def update(self, moment: Moment) -> None: ...
    def result(self) -> Result: ...


def moments(pair: Pair, features: Features) -> Iterator[Moment]:
    """Every moment of a pair of equal length and size, in order; two moments before the present one are
    kept.
    """
    before: Moment | None = None
    for t in range(len(pair.source)):
        source = check_frame(pair.source[t], pair.source.size, pair.source.name, t)
        edited = check_frame(pair.edited[t], pair.source.size, pair.edited.name, t)
        moment = Moment(t, source, edited, frame_mask(pair.mask, t, pair.source.size), before, features)
        if before is not None and before.before is not None:
            before.before.before = None
        yield moment
        before = moment


def frame_mask(mask: NDArray[Any] | None, t: int, size: tuple[int, int]) -> Mask | None:
    """The edit region of frame t as an OpenCV mask at frame size (nearest); soft masks are cut at 0.5."""
    if mask is None:
        return None
    region = boolean(mask[t]).astype(np.uint8) * np.uint8(255)
    if region.shape != size:
        rows = np.minimum((np.arange(size[0]) * region.shape[0]) // size[0], region.shape[0] - 1)
        columns = np.minimum((np.arange(size[1]) * region.shape[1]) // size[1], region.shape[1] - 1)
        region = region[np.ix_(rows, columns)]
    return np.ascontiguousarray(region)


def walk(
    pair: Pair, kinds: Sequence[type[Measurement]], features: Features
) -> dict[type[Measurement], tuple[Result, float]]:
    """Each measurement's result and the seconds it took; what is shared counts for the first that asks for
    it.
    """
    running = {kind: kind(pair) for kind in kinds}
    seconds = dict.fromkeys(kinds, 0.0)
    for moment in moments(pair, features):
        for kind, measurement in running.items():
            started = time.perf_counter()
            measurement.update(moment)
            seconds[kind] += time.perf_counter() - started
    return {kind: (measurement.result(), seconds[kind]) for kind, measurement in running.items()}
