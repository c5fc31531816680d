import numpy as np
import pytest

from eval import truth


def measured(a, edited, mask=None):
    return truth.pocket_truth(edited, a["source"], a["answers"], a["mask"] if mask is None else mask)


def test_golden_values_of_the_pocket_truth(golden):
    a = golden.arrays("pocket_truth")
    plain, mixed = measured(a, a["edited"]), measured(a, a["edited_mixed"])
    two = measured(a, a["answers"][1])
    alternating = measured(a, np.stack([a["answers"][t % 2, t] for t in range(9)]))
    one_frame = truth.pocket_truth(a["edited"][:1], a["source"][:1], a["answers"][:, :1], a["mask"][:1])
    iou = truth.mask_iou(a["mask_predicted"], a["mask_true"])
    golden.check(
        "pocket_truth",
        {
            "answer_error": truth.answer_error(plain.errors),
            "nearest": truth.nearest(plain.errors),
            "ties": truth.ties(plain.errors),
            "one_answer": truth.one_answer(plain.errors),
            "margins": truth.margins(plain.errors),
            "answer_error_outside": truth.answer_error_outside(plain.outside),
            "mask_iou": iou.mean(),
            "mask_iou_frames": iou,
            "answer_two_error": truth.answer_error(two.errors),
            "answer_two_switches": truth.answer_switches(two.states),
            "alternating_error": truth.answer_error(alternating.errors),
            "alternating_switches": truth.answer_switches(alternating.states),
            "alternating_one_answer": truth.one_answer(alternating.errors),
            "copy_error": truth.answer_error(measured(a, a["source"]).errors),
            "one_frame_switches": truth.answer_switches(one_frame.states),
            "iou_two_squares": truth.mask_iou(a["square_a"], a["square_b"])[0],
            "iou_both_empty": truth.mask_iou(a["empty"], a["empty"])[0],
            "iou_one_empty": truth.mask_iou(a["square_a"], a["empty"])[0],
            "nearest_switches": truth.nearest_switches(plain.errors),
            "states": plain.states,
            "answer_switches": truth.answer_switches(plain.states),
            "edited_share": truth.edited_share(plain.states),
            "undone_share": truth.undone_share(plain.states),
            "undecided_share": truth.undecided_share(plain.states),
            "minority_share": truth.minority_share(plain.states),
            "mixed_states": mixed.states,
            "mixed_answer_switches": truth.answer_switches(mixed.states),
            "mixed_edited_share": truth.edited_share(mixed.states),
            "mixed_undone_share": truth.undone_share(mixed.states),
            "mixed_undecided_share": truth.undecided_share(mixed.states),
            "mixed_minority_share": truth.minority_share(mixed.states),
        },
    )


def test_distance_is_the_root_mean_square_of_values_in_zero_to_one():
    a, b = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 51, np.uint8)
    region = np.zeros((4, 6), bool)
    region[1, 2:4] = True
    assert truth.rmse(a, b, region) == pytest.approx(0.2, rel=1e-12)
    b[~region] = 255
    assert truth.rmse(a, b, region) == pytest.approx(0.2, rel=1e-12)


def test_distance_of_large_frames_does_not_overflow():
    a, b = np.zeros((700, 900, 3), np.uint8), np.full((700, 900, 3), 255, np.uint8)
    assert truth.rmse(a, b, np.ones((700, 900), bool)) == pytest.approx(1.0, rel=1e-12)


def test_unedited_clip_never_switches_and_has_no_edited_share(golden):
    a = golden.arrays("pocket_truth")
    states = measured(a, a["source"]).states
    assert truth.answer_switches(states) is None
    assert truth.edited_share(states) == 0
    assert truth.undone_share(states) == 1
    assert truth.minority_share(states) is None


def test_half_source_half_answer_is_undecided(golden):
    a = golden.arrays("pocket_truth")
    blend = ((a["source"].astype(int) + a["answers"][1]) // 2).astype(np.uint8)
    assert set(measured(a, blend).states) == {truth.UNDECIDED}


def test_order_of_answers_changes_names_but_no_number(golden):
    a = golden.arrays("pocket_truth")
    forward = truth.pocket_truth(a["edited_mixed"], a["source"], a["answers"], a["mask"])
    backward = truth.pocket_truth(a["edited_mixed"], a["source"], a["answers"][::-1], a["mask"])
    assert truth.answer_error(forward.errors) == truth.answer_error(backward.errors)
    assert truth.answer_switches(forward.states) == truth.answer_switches(backward.states)
    assert np.array_equal(np.where(forward.states >= 0, 2 - forward.states, forward.states), backward.states)


def test_frames_without_a_mask_are_left_out_of_every_share(golden):
    a = golden.arrays("pocket_truth")
    mask = a["mask"].copy()
    mask[:3] = False
    got = measured(a, a["answers"][1], mask)
    assert set(got.states[:3]) == {truth.ABSENT}
    assert truth.edited_share(got.states) == measured(a, a["answers"][1]).states[3:].__ge__(0).mean()
    assert truth.answer_error(got.errors) == 0
    assert truth.nearest(got.errors)[0] == truth.ABSENT


def test_whole_frame_mask_has_no_outside(golden):
    a = golden.arrays("pocket_truth")
    got = measured(a, a["edited"], np.ones_like(a["mask"]))
    assert truth.answer_error_outside(got.outside) is None


def test_soft_masks_are_cut_at_one_half(golden):
    a = golden.arrays("pocket_truth")
    soft = np.where(a["mask"], 0.6, 0.5).astype(np.float32)
    assert np.array_equal(measured(a, a["edited"], soft).errors, measured(a, a["edited"]).errors)


def test_root_agreement_compares_the_majority_with_the_root():
    states = np.array([1, 1, 0, truth.UNDECIDED])
    assert truth.root_agreement(states, 1) == 1
    assert truth.root_agreement(states, 0) == 0
    assert truth.root_agreement(states, truth.UNDONE) is None
    assert truth.root_agreement(np.array([truth.UNDONE]), 1) is None


def test_one_answer_has_no_margin_and_no_switch(golden):
    a = golden.arrays("pocket_truth")
    got = truth.pocket_truth(a["edited"], a["source"], a["answers"][:1], a["mask"])
    assert truth.margins(got.errors) is None
    assert truth.nearest_switches(got.errors) == 0


def test_clips_of_other_length_or_size_are_refused(golden):
    a = golden.arrays("pocket_truth")
    with pytest.raises(ValueError, match="same length"):
        truth.pocket_truth(a["edited"][:-1], a["source"], a["answers"], a["mask"])
    with pytest.raises(ValueError, match="same length"):
        truth.pocket_truth(a["edited"], a["source"], [], a["mask"])
    with pytest.raises(ValueError, match="one size"):
        truth.pocket_truth(a["edited"][:, 1:], a["source"], a["answers"], a["mask"])
