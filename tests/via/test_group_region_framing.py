"""The group, the region over time, and the way to the model's size and back."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.types import ArrayClip, UserError
from via.framing import Framing, read
from via.group import group_numbers, shot_starts
from via.masks.given import checked, from_clip, from_image
from via.region import Region, ask, gathered_region, smoothed, soft_masks


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 200))
def test_an_even_group_spans_the_clip_with_equal_gaps(size, frames):
    numbers = group_numbers("even", size, frames)
    assert len(numbers) == min(size, frames)
    assert numbers == sorted(set(numbers))
    assert all(0 <= n < frames for n in numbers)
    if size > 1 and frames > 1:
        assert (numbers[0], numbers[-1]) == (0, frames - 1)
        gaps = np.diff(numbers)
        assert gaps.max() - gaps.min() <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 4))
def test_every_shot_has_a_share_of_the_group(lengths, more):
    starts = np.cumsum([0, *lengths])
    size = len(lengths) + more
    numbers = group_numbers("shots", size, int(starts[-1]), starts[:-1].tolist())
    assert len(numbers) <= size
    for start, end in pairwise(starts):
        assert any(start <= n < end for n in numbers)


def test_more_shots_than_group_frames_is_an_error_that_names_the_fix():
    with pytest.raises(UserError, match="group_size=3"):
        group_numbers("shots", 2, 30, [0, 10, 20])


def moving(colour, frames, rng):
    block = np.full((frames, 32, 32, 3), colour, np.uint8)
    block += rng.integers(0, 20, block.shape, dtype=np.uint8)
    for i, frame in enumerate(block):
        frame[8:16, i : i + 8] = 250
    return block


def test_cuts_are_found_and_motion_is_none():
    rng = np.random.default_rng(0)
    shots = [moving((20, 90, 160), 9, rng), moving((200, 120, 30), 7, rng), moving((10, 10, 10), 8, rng)]
    assert shot_starts(ArrayClip(np.concatenate(shots))) == [0, 9, 16]
    assert shot_starts(ArrayClip(shots[0])) == [0]
    assert shot_starts(ArrayClip(shots[0][:1])) == [0]


def test_a_slow_fade_is_no_cut():
    fade = np.linspace(0, 200, 30)[:, None, None, None] * np.ones((1, 16, 16, 3))
    assert shot_starts(ArrayClip(fade.astype(np.uint8))) == [0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 3))
def test_smoothing_is_the_centred_mean_over_the_frames_there_are(frames, radius):
    masks = np.random.default_rng(frames).random((frames, 2, 2)).astype(np.float32)
    expected = [masks[max(0, i - radius) : i + radius + 1].mean(axis=0) for i in range(frames)]
    result = list(smoothed(masks, 2 * radius + 1))
    assert len(result) == frames
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_smoothing_removes_a_mask_that_flickers_for_one_frame():
    masks = np.zeros((5, 1, 1), np.float32)
    masks[2] = 1
    assert max(float(mask.max()) for mask in smoothed(masks, 3)) < 0.5


class TwoWords:
    """A masker by rule: the phrase names the left or the right half; it counts what it is asked."""

    name = "two words"

    def __init__(self, clear_from=0):
        self.asked, self.clear_from = [], clear_from

    def region(self, frame, instruction):
        self.asked.append(int(frame[0, 0, 0]))
        return None if instruction == "whole" else instruction

    def masks(self, clip, phrase):
        masks = np.zeros((len(clip), *clip.size), np.float32)
        half = clip.size[1] // 2
        for mask, frame in zip(masks, clip[:]):
            if frame[0, 0, 0] >= self.clear_from:
                mask[:, slice(None, half) if phrase == "the left" else slice(half, None)] = 1
        return masks


@pytest.fixture
def numbered():
    """Ten frames whose pixels are their number."""
    return ArrayClip(np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8))


def test_the_region_is_asked_once_where_the_subject_is_clear(numbered):
    masker = TwoWords(clear_from=3)
    assert ask(numbered, masker, "the left") == "the left"
    assert masker.asked == [0, 1, 3]
    assert ask(numbered, TwoWords(), "whole") is None


def test_an_instruction_that_names_nothing_in_the_clip_is_an_error(numbered):
    with pytest.raises(UserError, match=r"no frame shows the left.*--region"):
        ask(numbered, TwoWords(clear_from=99), "the left")


def test_per_frame_regions_ask_in_every_frame(numbered):
    masker = TwoWords()

    def phrase_of(frame):
        return masker.region(frame, "the left" if frame[0, 0, 0] < 5 else "the right")

    masks = np.stack(list(soft_masks(numbered, masker, phrase_of, per_frame=True, batch=4)))
    assert masker.asked == list(range(10))
    assert masks[4, :, :4].all()
    assert not masks[4, :, 4:].any()
    assert masks[5, :, 4:].all()


def test_a_region_is_saved_whole_and_gives_back_its_pixels(tmp_path):
    rng = np.random.default_rng(0)
    masks = (rng.random((5, 13, 11)) > 0.7).astype(np.float32)
    region = gathered_region(masks, "the dog", Framing.fit((13, 11), 11, 4), factor=2, grow=0)
    region.save(tmp_path / "region")
    again = Region.load(tmp_path / "region")
    assert again.phrase == "the dog"
    assert torch.equal(again.cells, region.cells)
    assert np.array_equal(again.pixels([4, 0]), masks[[4, 0]] > 0.5)


def test_a_masked_pixel_survives_any_scaling():
    masks = np.zeros((1, 100, 80), np.float32)
    masks[0, 57, 3] = 1
    region = gathered_region(masks, None, Framing.fit((100, 80), 8, 4), factor=2, grow=0)
    assert int(region.cells.sum()) >= 1


def test_given_masks_come_from_an_image_or_a_clip(numbered, tmp_path):
    from PIL import Image

    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "mask.png")
    masks = from_image(tmp_path / "mask.png", numbered)
    assert masks.shape == (10, 8, 8)
    assert masks.min() == 1
    assert from_clip(numbered, numbered)[9, 0, 0] == pytest.approx(9 / 255)
    with pytest.raises(UserError, match="one mask a frame"):
        from_clip(ArrayClip(numbered.frames[:3]), numbered)
    with pytest.raises(UserError, match="not a readable image"):
        from_image(tmp_path / "nowhere.png", numbered)
    with pytest.raises(UserError, match="outside 0 to 1"):
        checked(np.full((10, 8, 8), np.nan, np.float32), numbered)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_padding_reaches_the_multiple_and_the_aspect_ratio_is_kept(height, width):
    framing = Framing.fit((height, width), 32, 8)
    assert min(framing.scaled) == 32
    assert all(side % 8 == 0 and 0 <= side - inner < 8 for side, inner in zip(framing.padded, framing.scaled))
    assert abs(framing.scaled[0] / 32 - height / min(height, width)) <= 1 / 32


@pytest.mark.parametrize("size", [(32, 32), (32, 45), (40, 32)])
def test_frames_of_the_models_size_come_back_bit_for_bit(size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    framing = Framing.fit(size, 32, 8)
    assert np.array_equal(framing.frames_out(framing.frames_in(frames)), frames)


def test_smooth_pictures_survive_scaling_there_and_back():
    rows, columns = np.mgrid[0:90, 0:130]
    frame = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    framing = Framing.fit((90, 130), 45, 8)
    back = framing.frames_out(framing.frames_in(frame[None]))[0]
    assert back.shape == frame.shape
    assert np.abs(back.astype(int) - frame).max() <= 3


def test_scattered_frames_are_read_in_the_order_asked(numbered):
    assert read(numbered, [7, 2])[:, 0, 0, 0].tolist() == [7, 2]
    assert read(numbered, range(3, 6))[:, 0, 0, 0].tolist() == [3, 4, 5]
