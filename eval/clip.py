"""The CLIP metrics: `clip_direction`, `clip_image_similarity`, `clip_direction_consistency`,
`clip_text_alignment`, `clip_frame_consistency` (five published variants by name), `clip_frame_accuracy`.

Features are projected embeddings, (n, d) of frames and (d,) of captions, normalised here. The image tower
runs once per frame for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok

Floats = NDArray[np.float64]
STILL = 1e-6  # a shorter difference of normalised embeddings has no direction


def normalised(features: ArrayLike) -> Floats:
    """Rows of length 1, float64."""
    rows = np.asarray(features, dtype=np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


def cosines(a: Floats, b: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(cosine of each row of a with the one of b, whether either is shorter than 1e-6: its cosine counts
    0)."""
    lengths = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    still = (lengths[0] < STILL) | (lengths[1] < STILL)
    product = np.where(still, 1.0, lengths[0] * lengths[1])
    return np.where(still, 0.0, (a * b).sum(axis=-1) / product), still


def direction(edited: ArrayLike, source: ArrayLike, target: ArrayLike, caption: ArrayLike) -> Score:
    """mean_t cos(e_t - s_t, b - a), differences of normalised embeddings; undefined when the captions are
    equal."""
    e, s, b, a = (normalised(x) for x in (edited, source, target, caption))
    if np.linalg.norm(b - a) < STILL:
        return missing("undefined", "captions are equal")
    values, still = cosines(e - s, np.broadcast_to(b - a, e.shape))
    moved = np.linalg.norm(e - s, axis=-1)
    return ok(float(values.mean()), frames=values, zero_frames=int(still.sum()), distances=moved)


def image_similarity(edited: ArrayLike, source: ArrayLike) -> Floats:
    """e_t . s_t per frame (n,)."""
    return np.asarray((normalised(edited) * normalised(source)).sum(axis=-1))


def direction_consistency(edited: ArrayLike, source: ArrayLike) -> Score:
    """mean_t cos(e_{t+1} - e_t, s_{t+1} - s_t): does the edit's embedding move as the source's does?"""
    e, s = normalised(edited), normalised(source)
    if len(e) < 2:
        return missing("undefined", "too few frames: 2 are needed")
    values, still = cosines(np.diff(e, axis=0), np.diff(s, axis=0))
    return ok(float(values.mean()), steps=values, zero_steps=int(still.sum()))


def text_alignment(edited: ArrayLike, target: ArrayLike) -> Floats:
    """e_t . b per frame (n,)."""
    return np.asarray(normalised(edited) @ normalised(target))


def frame_consistency(features: ArrayLike, variant: str = "consecutive") -> float | None:
    """How alike the frames of a clip are, by the published variant's name; None for one frame.

    consecutive: mean e_t . e_{t+1}; all_pairs: mean over t < u; first: mean e_0 . e_t; vbench: mean of the
    clamped cosines to the previous and to the first; v2vbench: consecutive, clamped (on unprojected
    features).
    """
    e = normalised(features)
    if len(e) < 2:
        return None
    previous, first = (e[1:] * e[:-1]).sum(axis=-1), e[1:] @ e[0]
    if variant == "consecutive":
        return float(previous.mean())
    if variant == "all_pairs":
        return float((e @ e.T)[np.triu_indices(len(e), 1)].mean())
    if variant == "first":
        return float(first.mean())
    if variant == "vbench":
        return float((np.maximum(previous, 0) + np.maximum(first, 0)).mean() / 2)
    if variant == "v2vbench":
        return float(np.maximum(previous, 0).mean())
    raise ValueError(f"no frame consistency is called {variant!r}")


def frame_accuracy(
    edited: ArrayLike, target: ArrayLike, caption: ArrayLike, ties_count: bool = False
) -> float:
    """Share of frames with e . b > e . a, strictly; with ties counted as FateZero has it."""
    b, a = text_alignment(edited, target), text_alignment(edited, caption)
    return float((b >= a).mean() if ties_count else (b > a).mean())


@dataclass(frozen=True)
class Embedded:
    """What the CLIP metrics of a pair need. Captions are None where the task has none."""

    edited: Floats
    source: Floats
    edited_unprojected: Floats | None
    target: Floats | None
    caption: Floats | None
    truncated: bool
    model: str
    logit_scale: float


class ClipMetric(Card):
    """Frames by the named resizer, through the model that the record names; captions as given."""

    suite = "clip"
    needs: tuple[str, ...] = ("clip", "captions")
    cost = "one image tower pass a frame, shared by all CLIP metrics"
    resizer = "clip_openai"

    def __call__(self, pair: Pair, features: Features) -> Score:
        edit = pair.edit
        if "captions" in self.needs and (edit is None or not edit.target_caption or not edit.source_caption):
            return missing("skipped", "the task has no source and target caption")
        embedded = self.embedded(pair, features)
        score = self.of(embedded)
        extra = {"model": embedded.model, "truncated": embedded.truncated}
        return score.model_copy(update={"details": {**score.details, **extra}})

    def of(self, embedded: Embedded) -> Score:
        raise NotImplementedError

    def embedded(self, pair: Pair, features: Features) -> Embedded:
        clip = features.models.open_clip()
        tower = clip.pooled("clip_ip2p" if self.variant == "ip2p" else "clip_openai")
        pooled = [features.embed(one, tower) for one in (pair.edited, pair.source)]
        captions: list[Any] = [None, None]
        truncated = False
        if "captions" in self.needs and pair.edit is not None:
            texts = clip.texts([pair.edit.target_caption or "", pair.edit.source_caption or ""])
            captions, truncated = list(texts.features), any(texts.truncated)
        unprojected = pooled[0].astype(np.float64) if hasattr(clip, "folder") else None
        return Embedded(
            edited=clip.project(pooled[0]),
            source=clip.project(pooled[1]),
            edited_unprojected=unprojected,
            target=captions[0],
            caption=captions[1],
            truncated=truncated,
            model=clip.name,
            logit_scale=clip.logit_scale,
        )


class ClipDirection(ClipMetric):
    """mean_t cos(e_t - s_t, b - a) of normalised embeddings of frames and captions; a frame that did not
    move counts 0. Sources: Gal et al. 2022, Brooks et al. 2023 (InstructPix2Pix).

    Always read beside clip_image_similarity: a high direction with a low similarity is a new picture.
    Fooled by: adversarial texture, text painted into the frame; codec noise gives a copy a random
    direction (details.distances). compat ip2p: straight to a square, bicubic without antialias.
    """

    id, direction, range, compat = "clip_direction", "up", (-1.0, 1.0), ("ip2p",)

    def of(self, embedded: Embedded) -> Score:
        assert embedded.target is not None
        assert embedded.caption is not None
        score = direction(embedded.edited, embedded.source, embedded.target, embedded.caption)
        similarity = float(image_similarity(embedded.edited, embedded.source).mean())
        return score.model_copy(update={"details": {**score.details, "image_similarity": similarity}})


class ClipImageSimilarity(ClipMetric):
    """mean_t e_t . s_t. Context: 1 is a copy, low is a new picture."""

    id, direction, range, compat = "clip_image_similarity", "none", (-1.0, 1.0), ("ip2p",)
    needs = ("clip",)

    def of(self, embedded: Embedded) -> Score:
        frames = image_similarity(embedded.edited, embedded.source)
        return ok(float(frames.mean()), frames=frames)


class ClipDirectionConsistency(ClipMetric):
    """mean_t cos(e_{t+1} - e_t, s_{t+1} - s_t); steps where either stands still count 0. Source: Haque et
    al. 2023, without the typo of its appendix.

    Fooled by: a source copy (1).
    """

    id, direction, range = "clip_direction_consistency", "up", (-1.0, 1.0)
    needs = ("clip",)

    def of(self, embedded: Embedded) -> Score:
        return direction_consistency(embedded.edited, embedded.source)


class ClipTextAlignment(ClipMetric):
    """mean_t e_t . b with the target caption. details.gain subtracts the source's own alignment: read
    that. Long captions are cut keeping the end-of-text token (details.truncated).

    Fooled by: style words painted over, keyword pictures; says nothing about the source. compat tgve (times
    exp(logit_scale)), torchmetrics (max(100 mean, 0)), clipscore (2.5 max(., 0) per frame).
    """

    id, direction, range = "clip_text_alignment", "up", (-1.0, 1.0)
    compat = ("tgve", "torchmetrics", "clipscore")

    def of(self, embedded: Embedded) -> Score:
        assert embedded.target is not None
        frames = text_alignment(embedded.edited, embedded.target)
        gain = float((frames - text_alignment(embedded.source, embedded.target)).mean())
        published = {
            "tgve": lambda: np.exp(embedded.logit_scale) * frames.mean(),
            "torchmetrics": lambda: max(100 * frames.mean(), 0.0),
            "clipscore": lambda: 2.5 * np.maximum(frames, 0).mean(),
        }
        value = published[self.variant]() if self.variant else frames.mean()
        return ok(float(value), frames=frames, gain=gain)


class ClipFrameConsistency(ClipMetric):
    """mean_t e_t . e_{t+1} by default. Five published scores go by this name: consecutive (FateZero,
    Rerender, StreamV2V), all_pairs (TGVE, RAVE), first (EvalCrafter), vbench (VBench, EditBoard,
    IVEBench), v2vbench.

    Saturates near 1: details.thousandths is 1000 (1 - x). Fooled by: freezing (1.0), blur, any loss of
    content.
    """

    id, direction, range = "clip_frame_consistency", "up", (-1.0, 1.0)
    compat = ("consecutive", "all_pairs", "first", "vbench", "v2vbench")
    needs = ("clip",)

    def of(self, embedded: Embedded) -> Score:
        variant = self.variant or "consecutive"
        features = embedded.edited_unprojected if variant == "v2vbench" else embedded.edited
        if features is None:
            return missing(
                "skipped", "open_clip does not give unprojected features: use a transformers folder"
            )
        value = frame_consistency(features, variant)
        if value is None:
            return missing("undefined", "too few frames: 2 are needed")
        source = frame_consistency(embedded.source, "consecutive")
        return ok(value, thousandths=1000 * (1 - value), source=source)


class ClipFrameAccuracy(ClipMetric):
    """Share of frames with e . b > e . a, strictly. details.source: the source's own share.

    Fooled by: a source whose frames already prefer the target caption. compat fatezero: a tie counts.
    """

    id, direction, range, compat = "clip_frame_accuracy", "up", (0.0, 1.0), ("fatezero",)

    def of(self, embedded: Embedded) -> Score:
        assert embedded.target is not None
        assert embedded.caption is not None
        ties = self.variant == "fatezero"
        share, before = (
            frame_accuracy(x, embedded.target, embedded.caption, ties)
            for x in (embedded.edited, embedded.source)
        )
        return ok(share, source=before)
