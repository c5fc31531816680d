"""`subject_consistency` and `background_consistency`: VBench's scores, by its formula and resizers, one
clip at a time.

Neither separates subject and background: both see the whole frame. With a mask, the details have what lies
inside and outside, and only then do the names say what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.types import ArrayClip, Clip
from eval.clip import frame_consistency
from eval.dino import Vit, vit
from eval.features import Extractor, Features
from eval.metric import Card
from eval.score import Missing, Pair, Score, missing, ok
from eval.walk import frame_mask


@dataclass(frozen=True)
class DinoToken:
    """The class token of DINO ViT-S/16 (n, d), by VBench's resizer: shorter side 224, bilinear, no
    antialias, no crop."""

    network: Vit

    @property
    def key(self) -> dict[str, str]:
        return {"extractor": "dino-token-1", "weights": self.network.weights, "resizer": "dino_vbench-224"}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        return self.network.tokens(frames, "dino_vbench", 224)[:, 0]


class SubjectConsistency(Card):
    """Mean over frames t >= 1 of half the clamped cosine to the previous frame plus half the one to the
    first, on DINO ViT-S/16. Source: Huang et al. 2024 (VBench); per clip, then over clips.

    Fooled by: freezing (1). details.inside, outside: the same on frames in which the rest is grey, where a
    mask is given.
    """

    id, version, direction, range = "subject_consistency", 1, "up", (0.0, 1.0)
    suite, needs, resizer = "vbench", ("dino_s16",), "dino_vbench"
    cost = "one ViT-S/16 pass a frame"

    def __call__(self, pair: Pair, features: Features) -> Score:
        extractor = self.extractor(features)

        def consistency(clip: Clip) -> float | None:
            return frame_consistency(features.embed(clip, extractor), "vbench")

        value = consistency(pair.edited)
        if value is None:
            return missing("undefined", "too few frames: 2 are needed")
        details: dict[str, Any] = {"source": consistency(pair.source)}
        if pair.mask is not None:
            details |= {part: consistency(masked(pair, part)) for part in ("inside", "outside")}
        return ok(value, **details)

    def extractor(self, features: Features) -> Extractor:
        return DinoToken(vit(features, "dino_s16"))


class BackgroundConsistency(SubjectConsistency):
    """VBench's background consistency: the formula of subject_consistency on CLIP ViT-B/32 features of the
    whole frame.

    Fooled by: freezing (1). Nothing in it separates the background: read details.outside, where a mask is
    given.
    """

    id, needs, resizer = "background_consistency", ("clip_b32",), "clip_vbench"
    cost = "one CLIP B/32 pass a frame"

    def extractor(self, features: Features) -> Extractor:
        if features.models.clip_b32 is None:
            raise Missing("needs CLIP ViT-B/32: name a folder or open_clip:ViT-B-32/openai (clip_b32)")
        clip = features.models.open_clip(features.models.clip_b32)
        return Projected(clip, clip.pooled("clip_vbench"))


@dataclass(frozen=True)
class Projected:
    """A CLIP's projected features as an extractor."""

    clip: Any
    tower: Any

    @property
    def key(self) -> dict[str, str]:
        return {**self.tower.key, "projected": "yes"}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        return np.asarray(self.clip.project(self.tower(frames)))


def masked(pair: Pair, part: str) -> ArrayClip:
    """The edit with everything but the part inside (or outside) the mask set to mid grey."""
    frames = np.array(pair.edited[0 : len(pair.edited)])
    for t, frame in enumerate(frames):
        mask = frame_mask(pair.mask, t, pair.source.size)
        assert mask is not None
        frame[(mask == 0) if part == "inside" else (mask > 0)] = 128
    return ArrayClip(frames, pair.edited.fps, f"{pair.edited.name} {part}")
