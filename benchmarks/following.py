"""Which root candidate follows the instruction best, as CLIP sees it: what `root_choice=clip` asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from data.types import CannotEdit, Edit
from eval.clip import text_alignment


@dataclass(frozen=True)
class Following:
    """Cosine between candidate and target caption, by a model of `eval.models`."""

    clip: Any

    @property
    def name(self) -> str:
        return str(self.clip.name)

    def __call__(self, candidates: torch.Tensor, edit: Edit) -> torch.Tensor:
        if not edit.target_caption:
            raise CannotEdit("root_choice=clip needs a target caption: add target_caption to the task")
        frames = (candidates * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        features = self.clip.project(self.clip.pooled()(frames))
        caption = self.clip.texts([edit.target_caption]).features[0]
        return torch.from_numpy(text_alignment(features, caption)).float()
