"""Training of text to mask: names, classes, backgrounds, heads, and subjects that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from data.pocket.sprites import class_of
from data.pocket.training import Sample, Sampler
from data.pocket.words import KINDS, SUBJECTS, VOCABULARY, tokenize
from via.backbones.pocket import weights
from via.backbones.pocket.mask import PocketMask
from via.backbones.pocket.training.loop import Plan
from via.backbones.pocket.training.vae import to_pixels

GLOBAL = KINDS.index("global")
SHARES = {"name": 0.36, "class": 0.16, "background": 0.14, "head": 0.10, "absent": 0.24}


class PhraseSampler:
    """Draws a frame, a phrase, and the mask of what the phrase names in it."""

    def __init__(self, split: str) -> None:
        self.any = Sampler(split)
        self.background = Sampler(split, edits=["background"])
        self.accessory = Sampler(split, edits=["accessory"])

    def draw(
        self, rng: np.random.Generator, ask: str | None = None
    ) -> tuple[np.ndarray, str, np.ndarray, str]:
        """Frame uint8 (H, W, 3), phrase, mask uint8 (H, W), and which kind of phrase it is (of SHARES)."""
        ask = ask or str(rng.choice(list(SHARES), p=list(SHARES.values())))
        sample: Sample = (
            self.background if ask == "background" else self.accessory if ask == "head" else self.any
        ).draw(rng)
        frame = sample.edited if sample.kind == GLOBAL and rng.random() < 0.7 else sample.source
        name = SUBJECTS[sample.subject]
        other = None if sample.other_subject is None else SUBJECTS[sample.other_subject]
        if ask == "background":
            return frame, "the background", sample.mask, ask
        if ask == "head":
            return frame, f"the head of the {name}", sample.mask, ask
        if ask == "class":
            same = other is not None and class_of(other) == class_of(name)
            mask = np.maximum(sample.subject_mask, sample.other_mask) if same else sample.subject_mask
            return frame, f"the {class_of(name)}", mask, ask
        if ask == "absent":
            absent = [s for s in SUBJECTS if s not in (name, other)]
            return frame, f"the {absent[int(rng.integers(len(absent)))]}", np.zeros_like(sample.mask), ask
        if other is not None and rng.random() < 0.5:
            return frame, f"the {other}", sample.other_mask, ask
        return frame, f"the {name}", sample.subject_mask, ask


def intersection_over_union(predicted: np.ndarray, true: np.ndarray) -> float:
    """IoU of two boolean masks; 1 where both are empty."""
    union = np.logical_or(predicted, true).sum()
    return float(np.logical_and(predicted, true).sum() / union) if union else 1.0


class MaskTraining:
    """See `loop.Training`."""

    plan = Plan(samples=40_000, batch=32, learning_rate=1.5e-3, hold=0.2)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = PhraseSampler("train")
        self.model = PocketMask(len(VOCABULARY)).to(device)
        held_out, rng = PhraseSampler("dev"), np.random.default_rng(1)
        self.held_out = [held_out.draw(rng, ask) for ask in SHARES for _ in range(40)]

    def _tensors(self, drawn: list[tuple[np.ndarray, str, np.ndarray, str]]) -> tuple[torch.Tensor, ...]:
        frames = to_pixels([frame for frame, *_ in drawn], self.device)
        words = torch.tensor([tokenize(phrase) for _, phrase, *_ in drawn], device=self.device)
        masks = torch.from_numpy(np.stack([mask for *_, mask, _ in drawn])).to(self.device).float() / 255
        return frames, words, masks

    def loss(
        self, count: int, rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        frames, words, masks = self._tensors([self.sampler.draw(rng) for _ in range(count)])
        logits = self.model(frames.to(precision), words).float()
        crossentropy = F.binary_cross_entropy_with_logits(logits, masks)
        share = logits.sigmoid()
        overlap = (2 * (share * masks).sum((1, 2)) + 1) / ((share + masks).sum((1, 2)) + 1)
        loss = crossentropy + 0.3 * (1 - overlap).mean()
        return loss, {"bce": float(crossentropy.detach()), "dice": float(overlap.detach().mean())}

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        frames, words, masks = self._tensors(self.held_out)
        predicted = torch.cat([self.model(f, w) for f, w in zip(frames.split(20), words.split(20))]) > 0
        figures = {}
        for ask in SHARES:
            chosen = [i for i, drawn in enumerate(self.held_out) if drawn[3] == ask]
            pairs = [(predicted[i].cpu().numpy(), masks[i].cpu().numpy() > 0.5) for i in chosen]
            if ask == "absent":  # right when under a thousandth of the frame is marked
                figures[ask] = float(np.mean([p.mean() < 1e-3 for p, _ in pairs]))
            else:
                figures[ask] = float(np.mean([intersection_over_union(p, t) for p, t in pairs]))
        rows = [frames[::10], masks[::10, None].expand(-1, 3, -1, -1) * 2 - 1]
        rows.append(predicted[::10, None].expand(-1, 3, -1, -1).float() * 2 - 1)
        picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        return figures, ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

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
