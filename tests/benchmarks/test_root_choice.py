"""The choice of the root edit, judged by answers that are known."""

from fractions import Fraction

import numpy as np
import pytest

from benchmarks.root_choice import candidate_errors, spoken
from data.types import ArrayClip, Edit, Task


def task(masks: np.ndarray) -> Task:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    answers = [ArrayClip(np.full_like(frames, level), Fraction(6), "answer") for level in (100, 200)]
    clip, edit = ArrayClip(frames, Fraction(6), "clip"), Edit(instruction="x")
    return Task("t", clip, edit, "s", masks=lambda: masks, answers=lambda: answers)


def test_a_candidate_is_as_far_as_its_nearest_answer_inside_the_mask() -> None:
    masks = np.zeros((3, 4, 4), np.float32)
    masks[1, :2] = 1
    candidates = np.full((3, 4, 4, 3), 7, np.uint8)
    for candidate, level in zip(candidates, (100, 151, 190)):
        candidate[:2] = level
    assert candidate_errors(task(masks), 1, candidates) == pytest.approx([0, 49 / 255, 10 / 255])
    assert candidate_errors(task(masks), 0, candidates) is None


def test_a_choice_is_said_to_close_the_share_of_the_gap_that_it_closes() -> None:
    clips = [f"clip{i}" for i in range(8)]
    noise = np.linspace(0, 0.01, 8)
    errors = np.stack([0.4 + noise, 0.22 + noise, 0.2 + noise], axis=1)
    assert "closes 90% of the gap, more than half of it" in spoken(errors, clips)
    errors[:, 1] = 0.38 + noise
    assert "closes 10% of the gap, less than half of it" in spoken(errors, clips)
    errors[:, 1] = 0.3 + noise * np.array([1, -1] * 4)
    assert "not decidedly half of it" in spoken(errors, clips)


def test_equal_candidates_leave_nothing_to_choose() -> None:
    assert spoken(np.full((6, 3), 0.1), list("abcdef")).endswith("there is nothing to choose.")
