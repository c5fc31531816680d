from fractions import Fraction

import cv2
import numpy as np
import pytest

from data.types import ArrayClip, Edit, UserError
from eval import suite
from eval.features import Features
from eval.score import Pair

DEFAULT = suite.suite("default")


def scored(source, edited, **known):
    return suite.score(Pair(source, edited, **known), DEFAULT, Features())


def test_every_metric_of_the_table_loads_and_prints_a_card():
    for name in suite.METRICS:
        metric = suite.load(name)
        assert metric.id == name
        assert metric.direction in ("up", "down", "none")
        assert name in suite.SUITES[metric.suite]
        card = " ".join(metric.card().split())
        for part in (metric.name, f"direction: {metric.direction}", "range: ", "needs: ", "cost: "):
            assert part in card
        assert len((type(metric).__doc__ or "").split()) >= 8, f"{name}: its card has no formula"
        assert " ".join((type(metric).__doc__ or "").split())[:60] in card
        for variant in metric.compat:
            assert suite.load(f"{name}:{variant}").name.endswith(f":{variant}")


@pytest.mark.parametrize(
    "name", ["nothing", "flicker:nobody", "flicker@9", "numpy:nothing", "no.such:Metric"]
)
def test_unknown_metrics_are_refused_in_one_line(name):
    with pytest.raises(UserError) as caught:
        suite.load(name)
    assert "\n" not in str(caught.value)


def test_a_metric_of_ones_own_is_named_by_its_class():
    assert suite.load("eval.flicker:Flicker").id == "flicker"


def test_a_copy_has_a_value_from_every_default_metric(moving):
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    scores = scored(moving, moving, mask=mask)
    assert {score.status for score in scores.values()} == {"ok"}
    for name in ("tof", "flicker", "background_mse", "structure_gradient", "histogram_drift"):
        assert scores[f"{name}@1"].value == pytest.approx(0, abs=1e-12)
    for name in ("sharpness_ratio", "contrast_ratio", "background_ssim_luma"):
        assert scores[f"{name}@1"].value == 1
    assert scores["background_psnr@1"].value == 100


def test_scoring_alone_and_scoring_together_agree(moving):
    edited = ArrayClip(255 - moving.frames, moving.fps)
    pair = Pair(moving, edited)
    together = suite.score(pair, DEFAULT, Features())
    for metric in DEFAULT:
        alone = metric(Pair(moving, edited), Features()).value
        expected = together[metric.name].value
        assert alone == (None if expected is None else pytest.approx(expected, rel=1e-8))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_have_a_value_or_a_reason(frames, moving):
    clip = ArrayClip(moving.frames[:frames], moving.fps)
    for score in scored(clip, clip).values():
        assert score.status in ("ok", "undefined", "skipped")


def test_black_and_flat_clips_have_a_value_or_a_reason(moving):
    black = ArrayClip(np.zeros_like(moving.frames), moving.fps)
    scores = scored(moving, black)
    assert scores["warp_error_short@1"].value == 0
    assert "flat" in scores["warp_error_short_normalised@1"].reason
    assert "flat" in scores["structure_gradient@1"].reason
    assert scores["contrast_ratio@1"].details["flag"] == "flat"
    assert scored(black, moving)["contrast_ratio@1"].status == "undefined"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda clip: ArrayClip(clip.frames[:-1], clip.fps), "frames"),
        (lambda clip: ArrayClip(clip.frames[:, 2:], clip.fps), "--resize"),
        (lambda clip: ArrayClip(clip.frames, Fraction(30)), "--align"),
    ],
)
def test_edits_that_do_not_match_the_source_are_refused_with_the_option_that_helps(change, word, moving):
    for score in scored(moving, change(moving)).values():
        assert score.status == "refused"
        assert word in score.reason


class Torn:
    """A clip whose file ends early."""

    def __init__(self, clip):
        self.name, self.fps, self.size, self._frames = "torn.mp4", clip.fps, clip.size, clip.frames

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, index):
        if index > 4:
            raise UserError("torn.mp4: the file ends in frame 5: encode it again")
        return self._frames[index]


def test_a_truncated_file_is_refused_by_name_and_not_scored_in_part(moving):
    for score in scored(moving, Torn(moving)).values():
        assert (score.status, score.reason[:8]) == ("refused", "torn.mp4")


def test_frames_that_are_not_uint8_are_refused_by_number(moving):
    class Floats:
        name, fps, size = "floats", moving.fps, moving.size

        def __len__(self):
            return len(moving)

        def __getitem__(self, index):
            return moving.frames[index].astype(np.float32)

    score = scored(moving, Floats())["flicker@1"]
    assert score.status == "refused"
    assert "floats: frame 0" in score.reason


def test_one_metrics_failure_is_its_own(moving):
    class Broken(type(suite.load("flicker"))):
        id = "broken"

        def __call__(self, pair, features):
            raise ZeroDivisionError("division by zero")

    scores = suite.score(Pair(moving, moving), [Broken(), *DEFAULT], Features())
    assert scores["broken@1"].status == "error"
    assert scores["broken@1"].reason == "ZeroDivisionError: division by zero"
    assert scores["flicker@1"].value == 0


def controls(moving):
    """The rows that stand in every table: what they do to the honest edit's numbers is stated below."""
    frames = moving.frames
    return {
        "copy": frames,
        "frozen": np.repeat(frames[:1], len(frames), axis=0),
        "flat": np.full_like(frames, 128),
        "blur": np.stack([cv2.GaussianBlur(frame, (0, 0), 8) for frame in frames]),
    }


@pytest.fixture(scope="module", name="table")
def _table(moving):
    """Scores of the four controls and of an honest edit (the negative, with a little noise)."""
    noise = np.random.default_rng(0).normal(0, 3, moving.frames.shape)
    honest = np.clip(255 - moving.frames + noise, 0, 255).astype(np.uint8)
    rows = {**controls(moving), "honest": honest}
    return {name: scored(moving, ArrayClip(frames, moving.fps)) for name, frames in rows.items()}


@pytest.mark.parametrize(
    ("control", "fooled"),
    [
        ("copy", ["tof", "structure_gradient", "warp_error_short"]),
        ("frozen", ["flicker", "histogram_drift"]),
        ("flat", ["warp_error_short", "warp_error_long", "flicker", "histogram_drift"]),
        ("blur", ["warp_error_short", "warp_error_long", "flicker"]),
    ],
)
def test_each_control_fools_the_metrics_whose_cards_say_so(control, fooled, table):
    for name in fooled:
        assert table[control][f"{name}@1"].value <= table["honest"][f"{name}@1"].value


def test_frozen_clip_does_not_win_along_the_sources_motion(table):
    for name in ("warp_error_short", "warp_error_short_normalised", "warp_error_long", "tof"):
        assert table["frozen"][f"{name}@1"].value > table["honest"][f"{name}@1"].value


def test_flat_clip_is_undefined_where_contrast_is_normalised(table):
    for name in ("warp_error_short_normalised", "warp_error_long_normalised"):
        assert table["flat"][f"{name}@1"].status == "undefined"


@pytest.mark.parametrize(
    ("control", "flag"),
    [("copy", "source copy"), ("frozen", "frozen"), ("flat", "flat"), ("blur", "blurred")],
)
def test_guards_flag_each_control_and_no_honest_edit(control, flag, table):
    assert flag in suite.flags(table[control])
    assert suite.flags(table["honest"]) == []


def test_exchanging_red_and_blue_changes_what_is_sensitive_to_colour_only(moving):
    edited = ArrayClip(np.roll(moving.frames, 1, axis=2) // 2, moving.fps)
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    rgb = scored(moving, edited, mask=mask)
    swapped = [ArrayClip(np.ascontiguousarray(clip.frames[..., ::-1]), clip.fps) for clip in (moving, edited)]
    bgr = scored(*swapped, mask=mask)
    for name in ("tof", "structure_gradient", "background_ssim_luma", "sharpness_ratio"):
        assert rgb[f"{name}@1"].value != bgr[f"{name}@1"].value
    for name in ("background_mse", "histogram_drift"):
        assert rgb[f"{name}@1"].value == pytest.approx(bgr[f"{name}@1"].value, rel=1e-9)


def test_red_and_blue_are_different_colours_to_every_colour_metric():
    red, blue = (np.zeros((4, 32, 32, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 255, 255
    mask = np.zeros((4, 32, 32), bool)
    scores = scored(ArrayClip(red), ArrayClip(blue), mask=mask)
    assert scores["background_mse@1"].value == pytest.approx(2 / 3)
    assert scores["background_ssim_luma@1"].value < 1


def test_transposed_clips_score_alike(moving):
    edited = ArrayClip(moving.frames // 2, moving.fps)
    turned = [ArrayClip(np.ascontiguousarray(c.frames.swapaxes(1, 2)), c.fps) for c in (moving, edited)]
    upright, lying = scored(moving, edited), scored(*turned)
    for name in ("flicker", "structure_gradient", "sharpness_ratio", "contrast_ratio", "histogram_drift"):
        assert upright[f"{name}@1"].value == pytest.approx(lying[f"{name}@1"].value, rel=1e-4, abs=1e-7)
    for name in ("tof", "warp_error_short"):
        assert upright[f"{name}@1"].value == pytest.approx(lying[f"{name}@1"].value, rel=0.3)


def test_pocket_metrics_are_skipped_without_answers_and_exact_with_them(moving):
    pocket = suite.suite("pocket")
    without = suite.score(Pair(moving, moving), pocket, Features())
    assert {score.status for score in without.values()} == {"skipped"}
    answers = [ArrayClip(np.roll(moving.frames, k, axis=3), moving.fps) for k in (1, 2)]
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    edited = moving.frames.copy()
    edited[mask] = answers[1].frames[mask]
    pair = Pair(
        moving,
        ArrayClip(edited, moving.fps),
        edit=Edit(instruction="x"),
        mask=mask,
        predicted_mask=mask,
        answers=answers,
        root=(3, edited[3]),
    )
    values = {name: score.value for name, score in suite.score(pair, pocket, Features()).items()}
    assert values == {
        "answer_error@1": 0,
        "answer_error_outside@1": 0,
        "answer_switches@1": 0,
        "edited_share@1": 1,
        "root_agreement@1": 1,
        "mask_iou@1": 1,
    }
