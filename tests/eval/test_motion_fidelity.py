import numpy as np
import pytest

from data.types import ArrayClip
from eval import motion, suite
from eval.features import Features
from eval.score import Pair


def seen(tracks):
    return np.ones(tracks.shape[:2], bool)


def fidelity(a, b):
    return motion.motion_fidelity(motion.similarity(a, seen(a), b, seen(b)))


def test_golden_values_of_motion_fidelity(golden):
    a = golden.arrays("motion_tracks")
    source, edited, moving = a["tracks_source"], a["tracks_edited"], a["moving"]
    vs, ve = a["visible_source"], a["visible_edited"]
    c = motion.similarity(source, vs, edited, ve)
    reversed_ = moving[:, ::-1]
    frozen = np.repeat(moving[:, :1], moving.shape[1], axis=1)
    right, left, up = (a["known"][i : i + 1] for i in range(3))
    fewer = motion.similarity(source, vs, edited[:-5], ve[:-5])
    golden.check(
        "motion_tracks",
        {
            "motion_fidelity": motion.motion_fidelity(c),
            "motion_fidelity_paired": motion.motion_fidelity_paired(c),
            "same": motion.motion_fidelity(motion.similarity(source, vs, source, vs)),
            "moving_same": fidelity(moving, moving),
            "moving_reversed": fidelity(moving, reversed_),
            "moving_reversed_paired": motion.motion_fidelity_paired(
                motion.similarity(moving, seen(moving), reversed_, seen(moving))
            ),
            "moving_frozen": fidelity(moving, frozen),
            "still_still": fidelity(frozen, frozen),
            "right_right": fidelity(right, right),
            "right_left": fidelity(right, left),
            "right_up": fidelity(right, up),
            "right_and_left_right": fidelity(np.concatenate([right, left]), right),
            "fewer_tracks": motion.motion_fidelity(fewer),
        },
    )
    golden.check_compat(
        "motion_tracks",
        {
            "dmt_moving_same": motion.without_itself(moving, moving),
            "dmt_moving_reversed": motion.without_itself(moving, reversed_),
            "dmt_with_still": motion.without_itself(source, edited),
        },
    )


def test_motion_fidelity_is_symmetric(golden):
    a = golden.arrays("motion_tracks")
    assert fidelity(a["moving"], a["moving"][:, ::-1]) == pytest.approx(
        fidelity(a["moving"][:, ::-1], a["moving"]), rel=1e-12
    )


def test_paired_tracks_of_different_number_are_refused():
    with pytest.raises(ValueError, match="same points"):
        motion.motion_fidelity_paired(np.zeros((3, 2)))


def test_tracks_follow_the_picture_of_each_clip(moving):
    metrics = suite.suite("motion")
    copy = suite.score(Pair(moving, moving), metrics, Features())
    backwards = ArrayClip(moving.frames[::-1].copy(), moving.fps)
    turned = suite.score(Pair(moving, backwards), metrics, Features())
    assert copy["motion_fidelity@1"].value == pytest.approx(1)
    assert copy["motion_fidelity_paired@1"].value == pytest.approx(1)
    assert turned["motion_fidelity_paired@1"].value < -0.5
