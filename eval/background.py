"""`background_mse`, `background_psnr`, `background_ssim`, `background_ssim_luma`: is everything outside the
mask kept?

All are computed over the region itself: a blacked-out picture averaged over the whole frame
(`compat="pie"`) gains 5 dB on a background of 30 %, and its SSIM counts the black as perfect.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.features import Features
from eval.frames import bands
from eval.metric import Card, mean_of
from eval.score import Direction, Pair, Score, missing, ok
from eval.walk import Mask, Measurement, Moment, Result

ERODE = 5  # pixels: half of the SSIM window
RING = 9  # pixels around the mask in which a seam would show
LOWEST_MSE = 1e-10
WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
WINDOW /= WINDOW.sum()
C1, C2 = 0.01**2, 0.03**2


def squared_error(difference: NDArray[np.uint8], region: Mask) -> tuple[float, int]:
    """Of the difference of two frames, uint8 (H, W, 3), over a region: (sum of squares in [0, 1], number of
    values).
    """
    values = cv2.countNonZero(region) * difference.shape[2]
    return float(cv2.norm(difference, cv2.NORM_L2SQR, region)) / 255**2 if values else 0.0, values


def psnr(mse: float) -> float:
    """10 log10(1 / mse), at most 100 dB."""
    return float(10 * np.log10(1 / max(mse, LOWEST_MSE)))


def ssim_over(a: NDArray[np.float32], b: NDArray[np.float32], region: Mask) -> float:
    """Mean SSIM (Wang et al. 2004) of two channels (H, W) in [0, 1] over a region eroded by 5 px; NaN if
    none is left.

    Gaussian 11x11 of sigma 1.5, population covariance, K 0.01 and 0.03, L = 1. Exactly 1 where they are
    equal.
    """
    inner = eroded(region, ERODE)
    if not cv2.countNonZero(inner):
        return float("nan")

    total = 0.0
    height, width = region.shape
    for rows, own in bands(height, width, ERODE):
        seen = inner[rows][own]
        if count := cv2.countNonZero(seen):
            total += count * cv2.mean(_similarity(a[rows], b[rows])[own], mask=seen)[0]
    return total / cv2.countNonZero(inner)


def _similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """SSIM of every window. Of the sum s and the difference d of the two:

    mean_a^2 + mean_b^2 = (mean_s^2 + mean_d^2) / 2 and 2 mean_a mean_b = (mean_s^2 - mean_d^2) / 2, and
    the same of variances: four filters instead of five.
    """
    mean_s, var_s = _squared_mean_and_variance(a, b, 1, 2 * C1, 2 * C2)
    mean_d, var_d = _squared_mean_and_variance(a, b, -1)
    top = cv2.multiply(cv2.subtract(mean_s, mean_d), cv2.subtract(var_s, var_d))
    bottom = cv2.multiply(cv2.add(mean_s, mean_d, dst=mean_s), cv2.add(var_s, var_d, dst=var_s), dst=mean_s)
    return np.asarray(cv2.divide(top, bottom, dst=top), dtype=np.float32)


def _squared_mean_and_variance(
    a: NDArray[np.float32], b: NDArray[np.float32], sign: int, c1: float = 0, c2: float = 0
) -> tuple[Any, Any]:
    """Of x = a + sign * b in every window: the squared mean plus c1, the variance plus c2.

    Variances are differences of small numbers once the frame's mean is taken off: float32 then suffices.
    """

    def smooth(x: Any) -> Any:
        return cv2.sepFilter2D(x, cv2.CV_32F, WINDOW, WINDOW, borderType=cv2.BORDER_REFLECT)

    level = cv2.mean(a)[0] + sign * cv2.mean(b)[0]
    x = cv2.addWeighted(a, 1, b, sign, -level)
    mean = smooth(x)
    square = smooth(cv2.multiply(x, x, dst=x))
    mean_squared = cv2.multiply(mean, mean, dst=x)
    variance = cv2.addWeighted(square, 1, mean_squared, -1, c2, dst=square)
    # (mean + level)^2
    return cv2.addWeighted(mean_squared, 1, mean, 2 * level, level**2 + c1, dst=mean), variance


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8], region: Mask | None = None) -> float:
    """`ssim_over` of two uint8 RGB frames, averaged over channels; without a region over the whole frame."""
    where = np.full(a.shape[:2], 255, np.uint8) if region is None else region
    x, y = (np.float32(1 / 255) * frame.astype(np.float32) for frame in (a, b))
    channels = [(np.ascontiguousarray(x[..., c]), np.ascontiguousarray(y[..., c])) for c in range(3)]
    return float(np.mean([ssim_over(*channel, where) for channel in channels]))


def eroded(region: Mask, pixels: int) -> Mask:
    """The region without what lies within `pixels` (square) of its outside; the frame's border counts as
    outside.
    """
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.asarray(
        cv2.erode(region, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), dtype=np.uint8
    )


def ring(mask: Mask) -> Mask:
    """The pixels outside the mask within 9 px of it (square neighbourhood)."""
    around = cv2.dilate(mask, np.ones((2 * RING + 1, 2 * RING + 1), np.uint8))
    return np.asarray(cv2.bitwise_and(around, cv2.bitwise_not(mask)), dtype=np.uint8)


class Outside:
    """Squared errors outside, inside and in the ring around the mask, per frame."""

    def __init__(self, pair: Pair) -> None:
        self.rows: dict[str, list[float]] = {name: [] for name in ("share", *self._names())}

    @staticmethod
    def _names() -> list[str]:
        return [f"{part}_{what}" for part in ("outside", "inside", "ring") for what in ("sum", "values")]

    def update(self, moment: Moment) -> None:
        mask = moment.mask
        if mask is None:
            return
        self.rows["share"].append(cv2.countNonZero(mask) / mask.size)
        parts = {"outside": cv2.bitwise_not(mask), "inside": mask, "ring": ring(mask)}
        for part, region in parts.items():
            total, values = squared_error(moment.difference, np.asarray(region, dtype=np.uint8))
            self.rows[f"{part}_sum"].append(total)
            self.rows[f"{part}_values"].append(values)

    def result(self) -> Result:
        return {name: np.array(values, dtype=np.float64) for name, values in self.rows.items()}


class LumaSimilarity:
    """Mean SSIM of luma over the eroded outside, per frame."""

    def __init__(self, pair: Pair) -> None:
        self.frames: list[float] = []

    def update(self, moment: Moment) -> None:
        if moment.mask is None:
            return
        self.frames.append(self.similarity(moment, np.asarray(cv2.bitwise_not(moment.mask), dtype=np.uint8)))

    @staticmethod
    def similarity(moment: Moment, region: Mask) -> float:
        return ssim_over(moment.source_luma, moment.edited_luma, region)

    def result(self) -> Result:
        return {"frames": np.array(self.frames, dtype=np.float64)}


class ColourSimilarity(LumaSimilarity):
    """The same, averaged over the RGB channels."""

    @staticmethod
    def similarity(moment: Moment, region: Mask) -> float:
        return ssim(moment.source, moment.edited, region)


class BlackedOut:
    """PIE-Bench's arithmetic: both frames multiplied by the background, averaged over the whole frame, per
    frame.

    With the border ring, one pixel of the frame's border counts as edited, as in its evaluation script.
    """

    border = True

    def __init__(self, pair: Pair) -> None:
        self.rows: dict[str, list[float]] = {"mse": [], "ssim": []}

    def update(self, moment: Moment) -> None:
        if moment.mask is None:
            return
        keep = cv2.bitwise_not(moment.mask)
        if self.border:
            keep[[0, -1], :] = 0
            keep[:, [0, -1]] = 0
        a, b = (x.astype(np.float64) / 255 * (keep > 0)[..., None] for x in (moment.source, moment.edited))
        self.rows["mse"].append(float(((a - b) ** 2).mean()))
        self.rows["ssim"].append(_mirrored_ssim(a, b))

    def result(self) -> Result:
        return {name: np.array(values, dtype=np.float64) for name, values in self.rows.items()}


class BlackedOutNoBorder(BlackedOut):
    border = False


def _mirrored_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """SSIM as torchmetrics 1.9 has it: averaged over the whole frame, borders mirrored."""

    def smooth(x: Any) -> Any:
        return cv2.sepFilter2D(x, cv2.CV_64F, WINDOW, WINDOW, borderType=cv2.BORDER_REFLECT_101)

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b, cov = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2, smooth(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * cov + C2)
    values = top / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))
    return float(values.mean())


class BackgroundMse(Card):
    """Squared differences to the source over the region R (outside the edit mask) and channels, pooled over
    frames.

    details: inside_*, ring_mse (within 9 px of the mask, outside it: a seam), the mask's share and whose
    mask it is. Fooled by: doing nothing (0), a mask that grows with the damage, the source pasted outside
    with a visible seam. compat pie, pie_noborder (PnPInversion 07f97f4): blacked out, averaged over the
    whole frame, mean of frames.
    """

    id, version, range = "background_mse", 1, (0.0, 1.0)
    direction: ClassVar[Direction] = "down"
    needs = ("mask",)
    measures: tuple[type[Measurement], ...] = (Outside,)
    compat = ("pie", "pie_noborder")

    def __init__(self, compat: str | None = None) -> None:
        super().__init__(compat)
        if compat:
            self.measures = (BlackedOut if compat == "pie" else BlackedOutNoBorder,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.mask is None:
            return missing("skipped", "no mask is given")
        result = features.measured(pair, self.measures[0])
        if self.variant:
            return self.published(result)
        if result["outside_values"].sum() == 0:
            return missing("undefined", "no background: the mask is the whole frame")
        mse = _pooled(result, "outside")
        inside = _pooled(result, "inside")
        return ok(
            self.of(mse),
            inside_mse=inside,
            inside_psnr=psnr(inside) if np.isfinite(inside) else None,
            ring_mse=_pooled(result, "ring"),
            mask_share=float(result["share"].mean()),
            mask=pair.mask_origin,
            frames=_divided(result["outside_sum"], result["outside_values"]),
        )

    @staticmethod
    def of(mse: float) -> float:
        return mse

    def published(self, result: Result) -> Score:
        return ok(float(result["mse"].mean()), frames=result["mse"])


class BackgroundPsnr(BackgroundMse):
    """10 log10(1 / max(mse, 1e-10)) of background_mse (pooled over frames), in dB, at most 100.

    The mean of per-frame PSNRs is another number: one untouched frame of four lifts it by 17 dB. Known: a
    constant difference of 0.1 on R gives 20 dB, whatever happens inside; `pie` with R half of the frame
    says 23.01 dB.
    """

    id, direction, range = "background_psnr", "up", (0.0, 100.0)

    @staticmethod
    def of(mse: float) -> float:
        return psnr(mse)

    def published(self, result: Result) -> Score:
        frames = np.array([-10 * np.log10(mse) if mse > 0 else np.nan for mse in result["mse"]])
        value = mean_of(frames)
        if value is None:
            return missing("undefined", "infinite in every frame: nothing differs")
        return ok(value, frames=frames)


class BackgroundSsimLuma(Card):
    """SSIM (Gaussian 11x11, sigma 1.5, population covariance, K 0.01 and 0.03) of luma, averaged over the
    region eroded by 5 px, so that no window touches the edit; mean over frames that have such pixels.
    Source: Wang et al. 2004.

    Fooled by: doing nothing (1), a growing mask. Known: untouched background: exactly 1.
    """

    id, version, direction, range = "background_ssim_luma", 1, "up", (-1.0, 1.0)
    needs = ("mask",)
    measures: tuple[type[Measurement], ...] = (LumaSimilarity,)
    cost = "five Gaussian filters a frame"

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.mask is None:
            return missing("skipped", "no mask is given")
        frames = features.measured(pair, self.measures[0])[self.column]
        value = mean_of(frames)
        if value is None:
            return missing("undefined", "no background: the mask leaves no pixel 5 px away from it")
        return ok(value, frames=frames, mask=pair.mask_origin)

    @property
    def column(self) -> str:
        return "ssim" if self.variant else "frames"


class BackgroundSsim(BackgroundSsimLuma):
    """background_ssim_luma per RGB channel, averaged over channels. Known: two constants 0.4, 0.6 give
    0.92309.

    compat pie, pie_noborder (PnPInversion 07f97f4): blacked out, averaged over the whole frame.
    """

    id, suite = "background_ssim", "exact"
    measures: tuple[type[Measurement], ...] = (ColourSimilarity,)
    cost = "fifteen Gaussian filters a frame"
    compat = ("pie", "pie_noborder")

    def __init__(self, compat: str | None = None) -> None:
        super().__init__(compat)
        if compat:
            self.measures = (BlackedOut if compat == "pie" else BlackedOutNoBorder,)


def _pooled(result: Result, part: str) -> float:
    values = result[f"{part}_values"].sum()
    return float(result[f"{part}_sum"].sum() / values) if values else float("nan")


def _divided(sums: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, sums / np.maximum(values, 1), np.nan)
