"""`pickscore`, `aesthetic`: learned taste. Both ignore the source: a beautiful other video wins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eval.clip import normalised, text_alignment
from eval.features import Features
from eval.metric import Card
from eval.models import file_sha256
from eval.score import Missing, Pair, Score, missing, ok


class Pickscore(Card):
    """exp(logit_scale) e_t . b on PickScore's own CLIP-H, b the target caption, mean over frames (about 18
    to 23). Source: Kirstain et al. 2023.

    Fooled by: a beautiful other video. Long captions are cut keeping the end-of-text token.
    """

    id, version, direction, range = "pickscore", 1, "up", (-100.0, 100.0)
    suite, needs, resizer = "quality", ("pickscore", "captions"), "clip_openai"
    cost = "one CLIP-H pass a frame"

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.edit is None or not pair.edit.target_caption:
            return missing("skipped", "the task has no target caption")
        folder = features.models.pickscore
        if folder is None:
            raise Missing("needs PickScore v1: a folder of CLIPModel as transformers writes it (pickscore)")
        clip = features.models.open_clip(str(folder))
        texts = clip.texts([pair.edit.target_caption])
        embedded = clip.project(features.embed(pair.edited, clip.pooled()))
        frames = np.exp(clip.logit_scale) * text_alignment(embedded, texts.features[0])
        return ok(float(frames.mean()), frames=frames, truncated=texts.truncated[0], model=clip.name)


class Aesthetic(Card):
    """LAION's linear head on normalised CLIP-L/14 features, mean over frames, about 0 to 10 (VBench
    divides by 10).

    Fooled by: a beautiful other video.
    """

    id, version, direction, range = "aesthetic", 1, "up", (0.0, 10.0)
    suite, needs, resizer = "quality", ("clip_l14", "aesthetic"), "clip_openai"
    cost = "one CLIP-L/14 pass a frame"

    def __call__(self, pair: Pair, features: Features) -> Score:
        models = features.models
        if models.clip_l14 is None or models.aesthetic is None:
            raise Missing("needs CLIP ViT-L/14 (clip_l14) and LAION's linear head (aesthetic)")
        weight, bias = linear_head(models.aesthetic)
        clip = models.open_clip(models.clip_l14)
        embedded = normalised(clip.project(features.embed(pair.edited, clip.pooled())))
        if embedded.shape[1] != len(weight):
            return missing(
                "refused", f"the head reads {len(weight)} features, {clip.name} has {embedded.shape[1]}"
            )
        frames = embedded @ weight + bias
        return ok(float(frames.mean()), frames=frames, model=clip.name, head=file_sha256(models.aesthetic))


def linear_head(path: Path) -> tuple[np.ndarray, float]:
    """(weight (d,), bias) of a torch.nn.Linear(d, 1) kept as a state_dict. Raises Missing."""
    if not path.is_file():
        raise Missing(f"{path} is missing: the linear head of the aesthetic predictor")
    state = torch.load(path, map_location="cpu", weights_only=True)
    weight = state["weight"].double().numpy().ravel()
    return weight, float(state["bias"].double().ravel()[0])
