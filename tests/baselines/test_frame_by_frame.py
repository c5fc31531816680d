"""Frame-by-frame editing: what it shares with every other method, and what it does not."""

import numpy as np
import pytest

from baselines.frame_by_frame import FrameByFrame, FrameByFrameConfig
from data.types import ArrayClip, Edit, UserError
from via.backbones import load

SEPIA = Edit(instruction="turn it sepia")


@pytest.fixture(scope="module")
def pocket():
    return load("pocket")


def edited(pocket, frames, seed=0, batch_size=8, **fields):
    config = FrameByFrameConfig(steps=2, size=32, **fields)
    editor = FrameByFrame(pocket, config, batch_size=batch_size)
    return np.stack(list(editor.edit(ArrayClip(frames), SEPIA, seed=seed)))


@pytest.fixture
def still():
    """Three equal frames."""
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return np.repeat(picture[None], 3, axis=0)


def test_equal_frames_from_shared_noise_are_edited_alike_and_from_noise_of_their_own_differently(
    pocket, still
):
    shared, own = edited(pocket, still), edited(pocket, still, noise="per_frame")
    assert np.abs(shared[0].astype(int) - shared[2]).max() <= 1
    assert np.abs(own[0].astype(int) - own[2]).max() > 1


def test_a_frame_does_not_depend_on_its_neighbours_or_the_batch(pocket, still):
    changed = still.copy()
    changed[1] = 255 - changed[1]
    one, other = edited(pocket, still, batch_size=1), edited(pocket, changed, batch_size=1)
    assert np.array_equal(one[[0, 2]], other[[0, 2]])
    assert (np.abs(edited(pocket, still).astype(int) - one) <= 1).mean() >= 0.999


def test_one_seed_one_result(pocket, still):
    assert np.array_equal(edited(pocket, still, seed=4), edited(pocket, still, seed=4))
    assert not np.array_equal(edited(pocket, still, seed=4), edited(pocket, still, seed=5))


def test_an_empty_instruction_is_refused_before_the_first_frame(pocket, still):
    with pytest.raises(UserError, match="empty"):
        FrameByFrame(pocket).edit(ArrayClip(still), Edit(instruction=" "))
