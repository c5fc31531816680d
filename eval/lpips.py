"""LPIPS v0.1 (Zhang et al. 2018) between frames, and three metrics of time and place built on it:
`lpips_to_source`, `tlp`, `lpips_warped`, `lpips_background`.

The trunk is torchvision's AlexNet, whose weights are not part of this project: where they are missing the
metrics are skipped and `gabor_distance`, which needs none, stands in. The linear heads come with the lpips
package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eval import flow
from eval.background import eroded
from eval.features import Features
from eval.metric import Card, mean_of
from eval.models import file_sha256
from eval.score import Missing, Pair, Score, missing, ok
from eval.walk import Mask, frame_mask, moments

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
SMALLEST_SIDE = 32  # AlexNet's strides
ERODE = 16
SLICES = ((0, 2), (2, 5), (5, 8), (8, 10), (10, 12))  # of AlexNet's features, after each ReLU

Layers = list[torch.Tensor]  # one (1, c, h, w) per layer


@dataclass(frozen=True)
class Lpips:
    """trunk: images (n, 3, H, W), shifted and scaled -> one (n, c, h, w) per layer; heads: one (c,) per
    layer."""

    trunk: Callable[[torch.Tensor], Layers]
    heads: Sequence[torch.Tensor]

    def layers(self, frame: NDArray[Any]) -> Layers:
        """The trunk's layers of one RGB frame (H, W, 3), uint8 or float in [0, 1]."""
        values = np.ascontiguousarray(frame).astype(np.float32) / (255 if frame.dtype == np.uint8 else 1)
        image = torch.from_numpy(values).permute(2, 0, 1)[None] * 2 - 1
        shift, scale = (torch.tensor(x).view(1, 3, 1, 1) for x in (SHIFT, SCALE))
        with torch.inference_mode():
            return self.trunk((image - shift) / scale)

    def distance(self, a: Layers, b: Layers, published: str | None = None) -> float:
        """The sum over layers of the spatial mean of `layer_maps`."""
        return sum(float(one.double().mean()) for one in self.layer_maps(a, b, published))

    def layer_maps(self, a: Layers, b: Layers, published: str | None = None) -> Layers:
        """w . (a/(|a| + 1e-10) - b/(|b| + 1e-10))^2 per layer, (1, 1, h, w)."""
        maps = []
        for x, y, head in zip(a, b, self.heads):
            difference = (unit(x, published) - unit(y, published)) ** 2
            maps.append((difference * head.view(1, -1, 1, 1)).sum(dim=1, keepdim=True))
        return maps

    def spatial(self, a: Layers, b: Layers, size: tuple[int, int]) -> NDArray[np.float32]:
        """The distance at every pixel (H, W): layers resized to the frame, bilinear, corners not aligned."""
        resized = [
            torch.nn.functional.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for one in self.layer_maps(a, b)
        ]
        return np.asarray(torch.stack(resized).sum(dim=0)[0, 0].numpy(), dtype=np.float32)


def unit(features: torch.Tensor, published: str | None = None) -> torch.Tensor:
    """Features (n, c, h, w) of norm 1 along c; torchmetrics has its 1e-8 inside the root."""
    if published == "torchmetrics":
        return features / torch.sqrt(1e-8 + (features**2).sum(dim=1, keepdim=True))
    return features / (torch.sqrt((features**2).sum(dim=1, keepdim=True)) + 1e-10)


def load(weights: Path | None) -> Lpips:
    """LPIPS on the AlexNet whose state_dict is in a file, torchvision's alexnet-owt-*.pth. Raises Missing."""
    if weights is None or not weights.is_file():
        named = weights or "alexnet-owt-7be5be79.pth (torchvision's AlexNet)"
        raise Missing(f"LPIPS needs the trunk's weights: {named} is missing; gabor_distance needs none")
    try:
        import lpips
        from torchvision.models import alexnet
    except ImportError as error:
        raise Missing("lpips is not installed: pip install 'via-bench[metrics]'") from error
    with torch.device("meta"):  # only the convolutions are filled
        features = alexnet(weights=None).features.eval()
    state = torch.load(weights, map_location="cpu", weights_only=True)
    own = {name.removeprefix("features."): x for name, x in state.items() if name.startswith("features.")}
    features.load_state_dict(own, assign=True)

    def trunk(images: torch.Tensor) -> Layers:
        layers = []
        for start, stop in SLICES:
            images = features[start:stop](images)
            layers.append(images)
        return layers

    file = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    return Lpips(trunk, [heads[f"lin{i}.model.1.weight"].flatten() for i in range(len(SLICES))])


def tlp_pairs(source: ArrayLike, edited: ArrayLike) -> NDArray[np.float64]:
    """|d(S_t, S_{t+1}) - d(E_t, E_{t+1})| per pair."""
    return np.abs(np.asarray(source, dtype=np.float64) - np.asarray(edited, dtype=np.float64))


def warped_distance(
    network: Lpips,
    a: NDArray[Any],
    b: NDArray[Any],
    to: flow.Flow,
    valid: Mask,
    layers_a: Layers | None = None,
) -> float:
    """LPIPS of frame a against frame b pulled onto it, over valid pixels; NaN where none is. What is not
    valid is filled from a, so that nothing outside leaks into the valid part through the trunk's receptive
    field."""
    if not cv2.countNonZero(valid):
        return float("nan")
    peak = 255 if a.dtype == np.uint8 else 1
    own = a.astype(np.float32) / peak
    pulled = np.where((valid > 0)[..., None], flow.pull(b, to) / np.float32(peak), own)
    layers = network.layers(own) if layers_a is None else layers_a
    return _mean(network.spatial(layers, network.layers(pulled), a.shape[:2]), valid)


def background_distance(network: Lpips, source: Layers, edited: Layers, region: Mask) -> tuple[float, bool]:
    """(LPIPS over a region (H, W) eroded by 16 px, False), or over the region itself, True, where nothing
    is left."""
    distances = network.spatial(source, edited, region.shape[:2])
    inner = _eroded_from_edit(region)
    if cv2.countNonZero(inner):
        return _mean(distances, inner), False
    return (_mean(distances, region), True) if cv2.countNonZero(region) else (float("nan"), True)


def _eroded_from_edit(region: Mask) -> Mask:
    """The region without what lies within 16 px of the edit; the frame's border does not erode."""
    padded = cv2.copyMakeBorder(region, ERODE, ERODE, ERODE, ERODE, cv2.BORDER_CONSTANT, value=(255,))
    return eroded(np.asarray(padded, dtype=np.uint8), ERODE)[ERODE:-ERODE, ERODE:-ERODE]


def _mean(image: NDArray[np.float32], region: Mask) -> float:
    return float(image[region > 0].astype(np.float64).mean())


class LpipsMetric(Card):
    """LPIPS v0.1, AlexNet, frames at their own size."""

    suite = "lpips"
    needs: tuple[str, ...] = ("lpips",)
    resizer = "lpips_native"
    cost = "one AlexNet pass a frame"
    range = (0.0, float("inf"))

    def __call__(self, pair: Pair, features: Features) -> Score:
        network = network_of(features)
        if min(pair.source.size) < SMALLEST_SIDE:
            return missing("refused", f"frames are under {SMALLEST_SIDE} px: AlexNet cannot see them")
        return self.of(network, pair, features)

    def of(self, network: Lpips, pair: Pair, features: Features) -> Score:
        raise NotImplementedError


def network_of(features: Features) -> Lpips:
    """The LPIPS of the models in use, opened once."""
    opened = features.models.opened
    if "lpips" not in opened:
        opened["lpips"] = load(features.models.lpips)
        if features.models.lpips is not None:
            opened["lpips_sha256"] = file_sha256(features.models.lpips)
    network: Lpips = opened["lpips"]
    return network


class LpipsToSource(LpipsMetric):
    """Mean over frames of LPIPS between source and edit. Context: 0 is a copy. compat torchmetrics: 1e-8 in
    the root."""

    id, direction, compat = "lpips_to_source", "none", ("torchmetrics",)

    def of(self, network: Lpips, pair: Pair, features: Features) -> Score:
        frames = np.array(
            [
                network.distance(network.layers(pair.source[t]), network.layers(pair.edited[t]), self.variant)
                for t in range(len(pair.source))
            ]
        )
        return ok(float(frames.mean()), frames=frames)


class Tlp(LpipsMetric):
    """mean_t |d(S_t, S_{t+1}) - d(E_t, E_{t+1})|, d = LPIPS: too still and too restless both cost. Source:
    Chu et al. 2020 (TecoGAN). Fooled by: a copy (0). compat tecogan: times 100, without the outer two
    pairs at either end."""

    id, direction, compat = "tlp", "down", ("tecogan",)

    def of(self, network: Lpips, pair: Pair, features: Features) -> Score:
        if len(pair.source) < 2:
            return missing("undefined", "too few frames: 2 are needed")
        steps: list[list[float]] = [[], []]
        for distances, clip in zip(steps, (pair.source, pair.edited)):
            before = network.layers(clip[0])
            for t in range(1, len(clip)):
                now = network.layers(clip[t])
                distances.append(network.distance(before, now))
                before = now
        return tlp(np.array(steps[0]), np.array(steps[1]), self.variant)


def tlp(source: NDArray[np.float64], edited: NDArray[np.float64], variant: str | None = None) -> Score:
    """The score of the distances between neighbours (n - 1,) of both clips."""
    pairs = tlp_pairs(source, edited)
    if variant == "tecogan":
        inner = pairs[2:-2]
        if len(inner) == 0:
            return missing("undefined", "too few frames: 6 are needed")
        return ok(100 * float(inner.mean()), pairs=pairs)
    return ok(float(pairs.mean()), pairs=pairs, source=source, edited=edited)


class LpipsWarped(LpipsMetric):
    """The later frame pulled onto the earlier along the source's flow, LPIPS over valid pixels, mean over
    pairs; floor: the same with the source. Less blind to blur than the warp error; flat clips still win
    (guards)."""

    id, direction = "lpips_warped", "down"
    cost = "two AlexNet passes a frame and clip, flow shared"

    def of(self, network: Lpips, pair: Pair, features: Features) -> Score:
        edited: list[float] = []
        source: list[float] = []
        for moment in moments(pair, features):
            if (a := moment.before) is not None:
                for values, frames in (
                    (edited, (a.edited, moment.edited)),
                    (source, (a.source, moment.source)),
                ):
                    values.append(warped_distance(network, *frames, moment.target, moment.valid))
        value = mean_of(edited)
        if value is None:
            return missing("undefined", "no pair of frames has valid pixels")
        return ok(value, pairs=edited, floor=mean_of(source))


class LpipsBackground(LpipsMetric):
    """The spatial LPIPS map over the region outside the mask, eroded by 16 px where that leaves pixels
    (flagged where not); mean over frames. Fooled by: doing nothing."""

    id, direction = "lpips_background", "down"
    needs = ("lpips", "mask")

    def of(self, network: Lpips, pair: Pair, features: Features) -> Score:
        if pair.mask is None:
            return missing("skipped", "no mask is given")
        frames, not_eroded = [], []
        for t in range(len(pair.source)):
            mask = frame_mask(pair.mask, t, pair.source.size)
            assert mask is not None
            region = np.asarray(cv2.bitwise_not(mask), dtype=np.uint8)
            layers = network.layers(pair.source[t]), network.layers(pair.edited[t])
            distance, whole = background_distance(network, *layers, region)
            frames.append(distance)
            not_eroded.append(int(whole))
        value = mean_of(frames)
        if value is None:
            return missing("undefined", "no background: the mask is the whole frame")
        return ok(value, frames=frames, not_eroded=not_eroded, mask=pair.mask_origin)
