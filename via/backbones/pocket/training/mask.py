"""Training of text to mask: each frame is asked for everything in it that has a phrase, and for things that
are not there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from data.pocket.training import REGIONS, Sampler
from data.pocket.words import VOCABULARY, tokenize
from via.backbones.pocket import weights
from via.backbones.pocket.mask import PocketMask, answer
from via.backbones.pocket.training.loop import Plan
from via.backbones.pocket.training.vae import to_pixels

PHRASES = 8  # a frame; at most seven name something
ASKED = ("name", "class", "background", "head", "absent")
WORDS = torch.tensor([tokenize(phrase) for phrase in REGIONS])


def asks_for(phrase: str) -> str:
    """Which of ASKED (but "absent") a phrase of REGIONS is."""
    if phrase.startswith("the head of "):
        return "head"
    return {"the background": "background", "the animal": "class", "the vehicle": "class"}.get(phrase, "name")


def draw_phrase(
    sampler: Sampler, rng: np.random.Generator, ask: str
) -> tuple[NDArray[np.uint8], str, NDArray[np.uint8]]:
    """A frame, a phrase, and its mask, where `ask` is one of ASKED; the absent are subjects."""
    while True:
        frame, regions = sampler.draw_regions(rng)
        if ask == "absent":
            fitting = [p for p in REGIONS if asks_for(p) == "name" and p not in regions]
        else:
            fitting = [p for p in regions if asks_for(p) == ask]
        if fitting:
            phrase = fitting[int(rng.integers(len(fitting)))]
            return frame, phrase, regions.get(phrase, np.zeros(frame.shape[:2], np.uint8))


def intersection_over_union(predicted: np.ndarray, true: np.ndarray) -> float:
    """IoU of two boolean masks; 1 where both are empty."""
    union = np.logical_or(predicted, true).sum()
    return float(np.logical_and(predicted, true).sum() / union) if union else 1.0


class Asked(NamedTuple):
    """Frames uint8 (H, W, 3), for each frame k phrases as indices into REGIONS, their masks 0..255 (n, k, H,
    W)."""

    frames: list[NDArray[np.uint8]]
    phrases: list[list[int]]
    masks: NDArray[np.uint8]


class MaskTraining:
    """See `loop.Training`."""

    plan = Plan(samples=40_000, batch=16, learning_rate=2e-3, hold=0.3)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = self.open_sampler()
        self.model = PocketMask(len(VOCABULARY)).to(device)
        held_out, rng = Sampler("dev"), np.random.default_rng(1)
        self.held_out = {ask: [draw_phrase(held_out, rng, ask) for _ in range(40)] for ask in ASKED}

    @staticmethod
    def open_sampler() -> Sampler:
        return Sampler("train")

    @staticmethod
    def draw(sampler: Sampler, count: int, rng: np.random.Generator) -> Asked:
        frames, asked, wanted = [], [], []
        for _ in range(count):
            frame, regions = sampler.draw_regions(rng)
            absent = [phrase for phrase in REGIONS if phrase not in regions]
            phrases = [*regions, *rng.permutation(absent)[: PHRASES - len(regions)]]
            frames.append(frame)
            asked.append([REGIONS.index(phrase) for phrase in phrases])
            wanted.append(np.stack([regions.get(p, np.zeros(frame.shape[:2], np.uint8)) for p in phrases]))
        return Asked(frames, asked, np.stack(wanted))

    def loss(
        self, batch: Asked, rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        masks = torch.from_numpy(batch.masks).to(self.device).float() / 255
        features = self.model.features(to_pixels(batch.frames, self.device).to(precision))
        filters = self.model.filters(WORDS.to(self.device))[torch.tensor(batch.phrases, device=self.device)]
        logits = answer(features, filters).float()
        crossentropy = F.binary_cross_entropy_with_logits(logits, masks)
        share = logits.sigmoid()
        overlap = (2 * (share * masks).sum((2, 3)) + 1) / ((share + masks).sum((2, 3)) + 1)
        there = masks.amax((2, 3)) > 0.5
        figures = {
            "bce": float(crossentropy.detach()),
            "dice": float(overlap.detach()[there].mean()),
            "empty": float(overlap.detach()[~there].mean()),
        }
        return crossentropy + 0.3 * (1 - overlap).mean(), figures

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        figures, columns = {}, []
        for ask, drawn in self.held_out.items():
            frames = to_pixels([frame for frame, *_ in drawn], self.device)
            words = torch.tensor([tokenize(phrase) for _, phrase, _ in drawn], device=self.device)
            predicted = torch.cat([self.model(f, w) for f, w in zip(frames.split(20), words.split(20))]) > 0
            pairs = [(p.cpu().numpy(), mask > 127) for p, (*_, mask) in zip(predicted, drawn)]
            if ask == "absent":  # right when under a thousandth of the frame is marked
                figures[ask] = float(np.mean([p.mean() < 1e-3 for p, _ in pairs]))
            else:
                figures[ask] = float(np.mean([intersection_over_union(p, t) for p, t in pairs]))
            for (frame, *_), (p, t) in list(zip(drawn, pairs))[::10]:
                grey = [np.repeat(mask[..., None] * np.uint8(255), 3, axis=2) for mask in (t, p)]
                columns.append(np.concatenate([frame, *grey]))
        return figures, np.concatenate(columns, axis=1)

    def finish(self, log: list[dict[str, float]], hours: float) -> Path:
        folder = weights.WEIGHTS / "mask"
        weights.save(self.model, {"vocabulary": len(VOCABULARY)}, folder)
        weights.write_card(
            folder,
            {
                "what": "text to mask of the pocket world: the region a phrase names",
                "recipe": vars(self.plan),
                "samples": int(log[-1]["samples"]),
                "hours": round(hours, 2),
                "held_out": self.evaluate()[0],
                "curve": log,
            },
        )
        return folder
