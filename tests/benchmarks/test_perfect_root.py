"""A row that is told its root edit: which frame, and which picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.methods import named, with_settings
from benchmarks.perfect_root import perfect_root
from data.suites import load
from data.types import ArrayClip, CannotEdit, Edit, Task, silent
from via.config import ViaConfig


def told(task: Task, folder: Path, seed: int = 0) -> ViaConfig:
    """The config with which the editor is made."""
    configs = []

    def make(config):
        configs.append(config)
        return lambda task, seed, report: iter(task.clip[:])

    list(perfect_root(make, ViaConfig(tuning_steps=3), folder)(task, seed, silent))
    return configs[0]


def test_the_root_edit_is_the_first_answer_in_a_frame_that_shows_the_subject(tmp_path: Path) -> None:
    task = next(task for task in load("pocket-mini") if task.edit.region)
    sizes = task.masks().sum(axis=(1, 2))
    for seed in range(3):
        config = told(task, tmp_path, seed)
        assert sizes[config.root_frame] >= np.median(sizes[sizes > 0]) / 2
        shown = np.asarray(Image.open(config.root_edit))
        assert np.array_equal(shown, task.answers()[0][config.root_frame])
        assert config.tuning_steps == 3


def test_without_known_answers_it_cannot_edit(tmp_path: Path) -> None:
    clip = ArrayClip(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(CannotEdit, match="answers of t are not known"):
        told(Task("t", clip, Edit(instruction="x"), "s"), tmp_path)


def test_settings_reach_the_row() -> None:
    (row,) = with_settings([named("perfect_root_strong")], ["steps=2"])
    assert row.overrides == {"steps": "2", "tuning_lr": "1e-3", "tuning_steps": "120", "tuning_pairs": "64"}
