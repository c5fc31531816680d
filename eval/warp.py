"""Warp error: does the edit stay the same along the source's motion? `warp_error_short`, `warp_error_long`,
and their contrast-normalised twins.

Lai et al. 2018 (short and long), with the flow of the *source*, the occlusion test of Sundaram et al. 2010,
and what flow and sampling cost anyway (the floor, from the source itself) in the details.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eval import flow
from eval.features import Features
from eval.frames import bands, four_channels
from eval.metric import Card, mean_of, per_pair
from eval.score import Pair, Score, missing, ok
from eval.walk import Mask, Measurement, Moment, Result
from eval.warp_published import VARIANTS, PublishedWarp

LOWEST_COVERAGE = 0.05
FLAT_VARIANCE = 1e-4
LONG_PAIRS = 4


@dataclass(frozen=True)
class PairError:
    """One pair of frames along the flow. NaN where it has no value.

    error: mean over valid pixels and channels of (pull(E_b) - E_a)^2; l1 likewise; floor: the error of the
    source; variance: of E_a over the valid pixels, per channel, averaged; coverage: share of valid pixels.
    """

    error: float
    l1: float
    floor: float
    variance: float
    coverage: float


def pair_error(
    source: tuple[NDArray[Any], NDArray[Any]],
    edited: tuple[NDArray[Any], NDArray[Any]],
    to: flow.Flow,
    valid: Mask,
) -> PairError:
    """Frames a and b of both clips, (H, W, 3) uint8 or float in [0, 1]; `to` and `valid` on the grid of a
    (eval.flow).
    """
    count = cv2.countNonZero(valid)
    if (coverage := count / valid.size) < LOWEST_COVERAGE:
        return PairError(np.nan, np.nan, np.nan, np.nan, coverage)
    floor, _ = _mean_differences(*source, to, valid)
    error, l1 = _mean_differences(*edited, to, valid)
    return PairError(error, l1, floor, variance_over(edited[0], valid), coverage)


def _mean_differences(a: NDArray[Any], b: NDArray[Any], to: flow.Flow, valid: Mask) -> tuple[float, float]:
    """Means over valid pixels and channels of (pull(b) - a)^2 and |pull(b) - a|, of frames as in
    `pair_error`.
    """
    squares = absolute = 0.0
    hidden = cv2.bitwise_not(valid)
    later = four_channels(b)
    pulled = flow.NOTHING  # its memory is used again for every band, while it is in cache
    for rows, _ in bands(*valid.shape):
        own = four_channels(a[rows])  # made in cache: to read floats from memory would take longer
        pulled = flow.pull(later, to[rows], pulled)
        # what is hidden is made not to differ, as the fourth channel does not: sums then need no mask
        cv2.copyTo(own, hidden[rows], pulled)
        squares += cv2.norm(own, pulled, cv2.NORM_L2SQR)
        absolute += cv2.norm(own, pulled, cv2.NORM_L1)
    values = 3 * cv2.countNonZero(valid)
    one = 255 if a.dtype == np.uint8 else 1
    return squares / values / one**2, absolute / values / one


def variance_over(frame: NDArray[Any], region: Mask) -> float:
    """Variance over a region of a frame as in `pair_error`, per channel, averaged over channels."""
    _, deviation = cv2.meanStdDev(frame, mask=region)
    return float((deviation**2).mean()) / (255**2 if frame.dtype == np.uint8 else 1)


def moment_error(a: Moment, b: Moment, to: flow.Flow, valid: Mask) -> PairError:
    """`pair_error` of two moments of a walk."""
    return pair_error((a.source, b.source), (a.edited, b.edited), to, valid)


def lag(fps: float) -> int:
    """One second in frames, at least 2."""
    return max(2, round(fps))


def starts(frames: int, step: int) -> list[int]:
    """The earlier frames of at most 4 long pairs, evenly over the clip; none when it is shorter than step +
    1.
    """
    if frames < step + 1:
        return []
    return [int(t) for t in np.unique(np.round(np.linspace(0, frames - 1 - step, LONG_PAIRS)))]


class WarpShort:
    """`pair_error` of every two neighbours."""

    def __init__(self, pair: Pair) -> None:
        self.pairs: list[PairError] = []

    def update(self, moment: Moment) -> None:
        if (a := moment.before) is not None:
            self.pairs.append(moment_error(a, moment, moment.target, moment.valid))

    def result(self) -> Result:
        return per_pair([asdict(pair) for pair in self.pairs])


class WarpLong:
    """`pair_error` of 4 pairs a second apart, with flow computed directly between their frames."""

    def __init__(self, pair: Pair) -> None:
        self.lag = lag(float(pair.source.fps))
        self.starts = self.choose(len(pair.source), self.lag)
        self.waiting: dict[int, Moment] = {}  # a moment of the window: frames in uint8 and their luma
        self.pairs: list[PairError] = []

    @staticmethod
    def choose(frames: int, step: int) -> list[int]:
        return starts(frames, step)

    def update(self, moment: Moment) -> None:
        if (a := self.waiting.pop(moment.t - self.lag, None)) is not None:
            forward, backward = moment.flows_from(a)
            to = flow.target(forward)
            self.pairs.append(moment_error(a, moment, to, flow.valid(forward, backward, to)))
        if moment.t in self.starts:
            self.waiting[moment.t] = moment.bare()

    def result(self) -> Result:
        return {**per_pair([asdict(pair) for pair in self.pairs]), "starts": self.starts, "lag": self.lag}


class WarpLongExact(WarpLong):
    """All pairs a second apart."""

    @staticmethod
    def choose(frames: int, step: int) -> list[int]:
        return list(range(max(0, frames - step)))


def score_pairs(result: Result, normalised: bool) -> Score:
    """The clip's warp error: the mean over pairs with a coverage of at least 0.05, or why there is none.

    Normalised: the mean of W / variance over pairs that are not flat (variance at least 1e-4).
    """
    errors, variance = result.get("error", np.empty(0)), result.get("variance", np.empty(0))
    details: dict[str, Any] = {name: values for name, values in result.items() if name != "error"}
    if len(errors) == 0:
        needed = result["lag"] + 1 if "lag" in result else 2
        return missing("undefined", f"too few frames: {needed} are needed")
    details |= {
        "pairs": errors,
        "excess": np.maximum(0, errors - result["floor"]),
        "coverage_mean": result["coverage"].mean(),
    }
    scored = np.isfinite(errors)
    details["floor_mean"] = result["floor"][scored].mean() if scored.any() else np.nan
    details["l1_mean"] = result["l1"][scored].mean() if scored.any() else np.nan
    if scored.sum() < 0.5 * len(errors):
        return missing("undefined", f"low coverage: {scored.sum()} of {len(errors)} pairs scored", **details)
    if not normalised:
        value = float(errors[scored].mean())
        if details["floor_mean"] > 0.5 * value:
            details["warning"] = "the floor (flow and sampling errors) is above half of the value"
        return ok(value, **details)
    steady = scored & (variance >= FLAT_VARIANCE)
    ratios = np.full(len(errors), np.nan)
    ratios[steady] = errors[steady] / variance[steady]
    details["pairs"] = ratios
    if steady.sum() < 0.5 * len(errors):
        return missing("undefined", f"flat: {steady.sum()} of {len(errors)} pairs have contrast", **details)
    return ok(float(ratios[steady].mean()), **details)


class WarpErrorShort(Card):
    """W_t = mean over valid pixels and channels of (pull(E_{t+1}, f) - E_t)^2, f and the valid pixels from
    the source (DIS medium; Sundaram's test); mean over pairs with coverage >= 0.05. Shown times 1000.
    Source: Lai et al. 2018.

    Fooled by: low contrast, blur, a flat clip (0); a frozen clip where the source stands still. A floor
    above half of the value makes it meaningless. Known: constants 0.2 and 0.5 give 0.09; edit = source
    gives the floor.
    """

    id, version, direction, range = "warp_error_short", 1, "down", (0.0, 1.0)
    measures: tuple[type[Measurement], ...] = (WarpShort,)
    cost = "DIS flow in both directions, shared"
    compat: tuple[str, ...] = ("pixel_mse", "fbvc", "evalcrafter", "streamv2v")
    normalised = False

    def __init__(self, compat: str | None = None) -> None:
        super().__init__(compat)
        if compat in VARIANTS:
            self.measures = (PublishedWarp,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        if self.variant in VARIANTS:
            pairs = features.measured(pair, PublishedWarp)[self.variant]
            value = mean_of(pairs)
            if value is None:
                return missing("undefined", "too few frames: 2 are needed")
            return ok(value, pairs=pairs)
        return score_pairs(features.measured(pair, self.measures[0]), self.normalised)


class WarpErrorShortNormalised(WarpErrorShort):
    """N_t = W_t / variance of E_t over the valid pixels (per channel, averaged); pairs with variance < 1e-4
    are flat; mean over the rest, undefined when that is fewer than half. About 2 for unrelated frames.

    Fooled by: strong added texture that moves with the source. Not by contrast: N(aE + b) = N(E). It
    punishes low contrast that was asked for: read it beside the contrast guard.
    """

    id, range, compat = "warp_error_short_normalised", (0.0, float("inf")), ()
    normalised = True


class WarpErrorLong(WarpErrorShort):
    """As warp_error_short on 4 pairs (t, t + L), L one second and at least 2 frames, t evenly over the
    clip, flow computed directly between those frames. Coverage under 0.3 belongs in brackets beside it.

    Fooled by: what fools warp_error_short; slow drift smaller than the flow's error. Known: a ramp of r per
    frame gives (L r)^2.
    """

    id, compat = "warp_error_long", ("exact",)
    measures = (WarpLong,)
    cost = "8 flows per clip"

    def __init__(self, compat: str | None = None) -> None:
        super().__init__(compat)
        if compat == "exact":
            self.measures = (WarpLongExact,)


class WarpErrorLongNormalised(WarpErrorLong):
    """warp_error_long divided by the edit's variance, as warp_error_short_normalised."""

    id, range = "warp_error_long_normalised", (0.0, float("inf"))
    normalised = True
