import numpy as np
import pytest

from data.types import ArrayClip
from eval import flicker, tof
from eval.features import Features
from eval.score import Pair


def clips(source, edited):
    return Pair(ArrayClip(source), ArrayClip(edited))


def test_golden_values_of_tof(golden):
    a = golden.arrays("tof")

    def rows(edited, source):
        return np.array([tof.flow_distance(e, s) for e, s in zip(edited, source)])

    plain = rows(a["flow_edited"], a["flow_source"])
    doubled = rows(2 * a["half_edited"], 2 * a["half_source"])
    golden.check(
        "tof",
        {
            "tof": plain[:, 0].mean(),
            "tof_pairs": plain[:, 0],
            "tof_relative": plain[:, 0].sum() / plain[:, 1].sum(),
            "tof_half": doubled[:, 0].mean(),
            "tof_same": rows(a["flow_edited"], a["flow_edited"])[:, 0].mean(),
            "tof_3_4": rows(a["known_edited"], a["known_source"])[0, 0],
        },
    )


def test_published_direction_of_flows_is_the_golden_one_and_calls_two_still_clips_perpendicular(golden):
    a = golden.arrays("tof")
    beta = [tof.direction_distance(e, s) for e, s in zip(a["flow_edited"], a["flow_source"])]
    still = np.zeros((4, 5, 2), np.float32)
    golden.check_compat(
        "tof",
        {"editboard_beta": np.mean(beta), "editboard_beta_still": tof.direction_distance(still, still)},
    )


def test_tof_of_a_copy_is_zero_and_of_a_moved_texture_its_motion():
    texture = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    still = np.stack([texture] * 4)
    moving = np.stack([np.roll(texture, 2 * t, axis=1) for t in range(4)])
    assert tof.Tof()(clips(still, still), Features()).value == 0
    assert tof.Tof()(clips(still, moving), Features()).value == pytest.approx(2, rel=0.15)
    assert tof.Tof("v2vbench")(clips(still, moving), Features()).value < 0


def test_golden_values_of_flicker(golden):
    a = golden.arrays("flicker")
    metric = flicker.Flicker()
    plain = metric(clips(a["source"], a["edited"]), Features())

    def alone(frames):
        return metric(clips(np.zeros_like(frames), frames), Features()).value

    golden.check(
        "flicker",
        {
            "flicker": plain.value,
            "flicker_edited": plain.details["edited"],
            "flicker_source": plain.details["source"],
            "global_edited": plain.details["global_edited"],
            "global_source": plain.details["global_source"],
            "flicker_calm": metric(clips(a["edited"], a["source"]), Features()).value,
            "flicker_alternating": alone(a["alternating"]),
            "flicker_ramp": alone(a["ramp"]),
            "flicker_flash": alone(a["flash"]),
            "flicker_two_frames": metric(clips(a["source"][:2], a["edited"][:2]), Features()).value,
            "flicker_three_frames": metric(clips(a["source"][:3], a["edited"][:3]), Features()).value,
        },
    )
    vbench = flicker.Flicker("vbench")
    golden.check_compat(
        "flicker",
        {
            "vbench": vbench(clips(a["source"], a["edited"]), Features()).value,
            "vbench_source": vbench(clips(a["edited"], a["source"]), Features()).value,
            "ivebench": flicker.Flicker("ivebench")(clips(a["source"], a["edited"]), Features()).value,
        },
    )


def test_exchanging_red_and_blue_changes_flicker(golden):
    a = golden.arrays("flicker")
    metric = flicker.Flicker()
    plain = metric(clips(a["source"], a["edited"]), Features()).value
    assert metric(clips(a["source"][..., ::-1], a["edited"][..., ::-1]), Features()).value != plain
