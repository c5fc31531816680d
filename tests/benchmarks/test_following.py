"""CLIP's word on root candidates."""

import numpy as np
import pytest
import torch

from benchmarks.following import Following
from data.types import CannotEdit, Edit


class RedTower:
    """A CLIP of two dimensions, redness and blueness."""

    name = "red"

    def pooled(self):
        return lambda frames: frames.mean(axis=(1, 2))[:, [0, 2]] / 255

    def project(self, pooled):
        return pooled

    def texts(self, texts):
        return type(
            "Texts", (), {"features": np.array([[1.0, 0.0] if "red" in one else [0.0, 1.0] for one in texts])}
        )


def test_the_candidate_nearest_to_the_target_caption_follows_best():
    candidates = torch.zeros(3, 3, 4, 4)
    candidates[0, 2], candidates[1, 0], candidates[2, 0], candidates[2, 2] = 1, 1, 1, 1
    followed = Following(RedTower())(candidates, Edit(instruction="x", target_caption="red"))
    assert followed.tolist() == pytest.approx([0, 1, 0.5**0.5])


def test_without_a_caption_it_says_what_is_missing():
    with pytest.raises(CannotEdit, match="target_caption"):
        Following(RedTower())(torch.zeros(1, 3, 4, 4), Edit(instruction="x"))
