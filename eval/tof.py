"""`tof`: does the edit move as the source does? The distance between their optical flows."""

from __future__ import annotations

import cv2
import numpy as np

from eval import flow
from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Measurement, Moment, Result


def flow_distance(edited: flow.Flow, source: flow.Flow) -> tuple[float, float]:
    """(mean over pixels of |f_E - f_S|_2, mean of |f_S|_2) of two flows (H, W, 2), in their unit."""
    return _mean_length(np.subtract(edited, source, dtype=np.float32)), _mean_length(source)


def direction_distance(edited: flow.Flow, source: flow.Flow) -> float:
    """EditBoard's beta (Samchen2003/EditBoard 089075a): mean of 1 - cosine of the two flows (H, W, 2), its
    fault included: where either stands still the cosine counts 0, so two still clips are 1 apart."""
    lengths = np.linalg.norm(edited, axis=-1) * np.linalg.norm(source, axis=-1)
    products = (edited.astype(np.float64) * source).sum(axis=-1)
    return float((1 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)).mean())


def _mean_length(vectors: flow.Flow) -> float:
    lengths = np.abs(np.ascontiguousarray(vectors, dtype=np.float32).view(np.complex64))  # of dx + i dy
    return float(cv2.norm(lengths[..., 0], cv2.NORM_L1)) / lengths.size


def both_flows(before: Moment, moment: Moment) -> tuple[flow.Flow, flow.Flow]:
    """The edit's and the source's flow between two moments: DIS fast at half resolution, in pixels of the
    frame."""
    edited = flow.estimate(before.edited_grey, moment.edited_grey, "fast", 0.5)
    return edited, flow.estimate(before.source_grey, moment.source_grey, "fast", 0.5)


class FlowDistance:
    """Both clips' flows between neighbours by one estimator: DIS fast at half resolution, in pixels of the
    frame.
    """

    def __init__(self, pair: Pair) -> None:
        self.rows: list[tuple[float, float]] = []

    def update(self, moment: Moment) -> None:
        if (a := moment.before) is not None:
            self.rows.append(flow_distance(*both_flows(a, moment)))

    def result(self) -> Result:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 2)
        return {"distance": table[:, 0], "source": table[:, 1]}


class FlowDirection:
    """`direction_distance` of both clips' flows between neighbours."""

    def __init__(self, pair: Pair) -> None:
        self.rows: list[float] = []

    def update(self, moment: Moment) -> None:
        if (a := moment.before) is not None:
            self.rows.append(direction_distance(*both_flows(a, moment)))

    def result(self) -> Result:
        return {"distance": np.array(self.rows, dtype=np.float64)}


class Tof(Card):
    """Mean over pairs and pixels of |f^E_{t,t+1} - f^S_{t,t+1}|_2 in pixels, both flows by DIS fast at half
    resolution, vectors doubled. details.relative: sum of distances over sum of source magnitudes. Source:
    Chu et al. 2020 (TecoGAN).

    Fooled by: a flat edit where the source stands still; a style without texture raises it without a
    visible fault; a copy is perfect. Known: flows (3, 4) against (0, 0) give 5.

    compat v2vbench: minus the mean; editboard_beta: mean of 1 - cosine, 1 where either stands still.
    """

    id, version, direction, range = "tof", 1, "down", (0.0, float("inf"))
    measures: tuple[type[Measurement], ...] = (FlowDistance,)
    cost = "DIS fast at half resolution on both clips"
    compat = ("v2vbench", "editboard_beta")

    def __init__(self, compat: str | None = None) -> None:
        super().__init__(compat)
        if compat == "editboard_beta":
            self.measures = (FlowDirection,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        if self.variant == "editboard_beta":
            pairs = features.measured(pair, FlowDirection)["distance"]
            if len(pairs) == 0:
                return missing("undefined", "too few frames: 2 are needed")
            return ok(float(pairs.mean()), pairs=pairs)
        result = features.measured(pair, FlowDistance)
        distance, source = result["distance"], result["source"]
        if len(distance) == 0:
            return missing("undefined", "too few frames: 2 are needed")
        relative = distance.sum() / source.sum() if source.sum() > 0 else np.nan
        value = float(distance.mean())
        return ok(-value if self.variant == "v2vbench" else value, pairs=distance, relative=relative)
