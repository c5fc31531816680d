from fractions import Fraction

import numpy as np
import pytest
import torch

from data.types import ArrayClip
from eval import flow, suite, warp, warp_published
from eval.features import Features
from eval.metric import per_pair
from eval.score import Pair


def errors(source, edited, forward, backward, pairs):
    """The measurement of the given pairs (a, b), with flows that are given rather than estimated."""
    rows = []
    for i, (a, b) in enumerate(pairs):
        to = flow.target(forward[i])
        valid = flow.valid(forward[i], backward[i], to)
        rows.append(vars(warp.pair_error((source[a], source[b]), (edited[a], edited[b]), to, valid)))
    return per_pair(rows)


def test_golden_values_of_the_short_warp_error(golden):
    a = golden.arrays("warp_short")
    pairs = [(t, t + 1) for t in range(5)]

    def both(edited, backward=a["flow_bwd"]):
        result = errors(a["source"], edited, a["flow_fwd"], backward, pairs)
        return warp.score_pairs(result, normalised=False), warp.score_pairs(result, normalised=True)

    plain, normalised = both(a["edited"])
    low, low_normalised = both(a["edited_low"])
    flat, flat_normalised = both(np.full_like(a["edited"], 128))
    golden.check(
        "warp_short",
        {
            "warp_error_short": plain.value,
            "warp_error_short_pairs": plain.details["pairs"],
            "coverage_pairs": plain.details["coverage"],
            "l1_pairs": plain.details["l1"],
            "l1": plain.details["l1_mean"],
            "floor_pairs": plain.details["floor"],
            "floor": plain.details["floor_mean"],
            "excess_pairs": plain.details["excess"],
            "variance_pairs": plain.details["variance"],
            "warp_error_short_normalised": normalised.value,
            "normalised_pairs": normalised.details["pairs"],
            "warp_error_short_low": low.value,
            "warp_error_short_normalised_low": low_normalised.value,
            "warp_error_short_flat": flat.value,
            "warp_error_short_normalised_flat": flat_normalised.value,
            "warp_error_short_copy": both(a["source"])[0].value,
            "warp_error_short_cut": both(a["edited"], a["flow_bwd_cut"])[0].value,
        },
    )
    assert "flat" in flat_normalised.reason
    assert "low coverage" in both(a["edited"], a["flow_bwd_cut"])[0].reason


def test_golden_values_of_the_long_warp_error(golden):
    a = golden.arrays("warp_long")
    lag = warp.lag(float(a["fps"]))
    starts = warp.starts(14, lag)

    def both(chosen, source=a["source"], edited=a["edited"], forward=a["flow_fwd"], backward=a["flow_bwd"]):
        pairs = [(t, t + lag) for t in chosen]
        result = errors(source, edited, [forward[t] for t in chosen], [backward[t] for t in chosen], pairs)
        return warp.score_pairs(result, normalised=False), warp.score_pairs(result, normalised=True)

    plain, normalised = both(starts)
    exact, exact_normalised = both(range(10))
    still = np.zeros((10, 6, 8, 2), np.float32)
    golden.check(
        "warp_long",
        {
            "lag": lag,
            "starts": starts,
            "warp_error_long": plain.value,
            "warp_error_long_pairs": plain.details["pairs"],
            "coverage_pairs": plain.details["coverage"],
            "coverage": plain.details["coverage_mean"],
            "floor": plain.details["floor_mean"],
            "warp_error_long_normalised": normalised.value,
            "warp_error_long_exact": exact.value,
            "warp_error_long_normalised_exact": exact_normalised.value,
            "warp_error_long_ramp": both(starts, a["ramp"], a["ramp"], still, still)[0].value,
            "warp_error_long_too_short": warp.score_pairs({"lag": lag}, normalised=False).value,
        },
    )
    assert warp.starts(lag, lag) == []


def test_golden_occlusion_masks_and_their_errors(golden):
    a = golden.arrays("occlusion_square")
    masks, coverage, error = [], [], []
    for i in range(3):
        to = flow.target(a["flow_ab"][i])
        valid = flow.valid(a["flow_ab"][i], a["flow_ba"][i], to)
        frames = (a["frame_a"][i], a["frame_b"][i])
        pair = warp.pair_error(frames, frames, to, valid)
        masks.append((valid > 0).astype(int))
        coverage.append(pair.coverage)
        error.append(pair.error)
    golden.check("occlusion_square", {"valid": masks, "coverage_pairs": coverage, "warp_error_pairs": error})


def test_published_masks_and_errors_are_those_of_the_published_code(golden):
    a = golden.arrays("warp_short")
    values = {name: [] for name in warp_published.VARIANTS}
    for t in range(5):
        for name, (error, factor) in warp_published.VARIANTS.items():
            flows = a["flow_fwd"][t], a["flow_bwd"][t]
            values[name].append(factor * error(a["edited"][t], a["edited"][t + 1], *flows))
    golden.check_compat(
        "warp_short",
        {
            "fbvc": np.mean(values["fbvc"]),
            "fbvc_pairs": values["fbvc"],
            "evalcrafter": np.mean(values["evalcrafter"]),
            "streamv2v": np.mean(values["streamv2v"]),
        },
    )
    o = golden.arrays("occlusion_square")
    flows = list(zip(o["flow_ab"], o["flow_ba"]))
    fbvc = [warp_published.fbvc_valid(*both).astype(int) for both in flows]
    gmflow = [warp_published.gmflow_valid(*both).astype(int) for both in flows]
    golden.check_compat(
        "occlusion_square",
        {
            "valid_fbvc": fbvc,
            "coverage_fbvc": [mask.mean() for mask in fbvc],
            "valid_gmflow": gmflow,
            "coverage_gmflow": [mask.mean() for mask in gmflow],
        },
    )


def test_published_variants_have_names_and_values_of_their_own(moving):
    pair = Pair(moving, ArrayClip(255 - moving.frames, moving.fps))
    names = ["warp_error_short", *(f"warp_error_short:{name}" for name in warp_published.VARIANTS)]
    scores = suite.score(pair, [suite.load(name) for name in names], Features())
    assert len({score.value for score in scores.values()}) == len(names)
    assert scores["warp_error_short@1:evalcrafter"].value == pytest.approx(
        3 * scores["warp_error_short@1:fbvc"].value
    )


def test_pulling_agrees_with_torch_grid_sample():
    rng = np.random.default_rng(0)
    image = rng.random((11, 17, 3)).astype(np.float32)
    motion = (rng.integers(-64, 64, (11, 17, 2)) / 32).astype(
        np.float32
    )  # whole 1/32 px: exact in fixed point
    to = flow.target(motion)
    scale = 2 / (np.array([17, 11], np.float32) - 1)
    expected = torch.nn.functional.grid_sample(
        torch.tensor(image).permute(2, 0, 1)[None],
        torch.tensor(to * scale - 1)[None],
        align_corners=True,
        padding_mode="border",
    )
    got = torch.tensor(flow.pull(image, to)).permute(2, 0, 1)[None]
    assert torch.allclose(got, expected, atol=2e-5)


def test_later_frame_is_pulled_back_by_whole_pixel_motion():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    b = np.roll(a, 1, axis=1)
    forward = np.tile(np.array([1, 0], np.float32), (9, 12, 1))
    to = flow.target(forward)
    valid = flow.valid(forward, -forward, to)
    got = warp.pair_error((a, b), (a, b), to, valid)
    assert got.error == 0
    assert got.coverage == pytest.approx(11 / 12)


def test_constants_a_step_apart_have_the_squared_step_as_error():
    a, b = np.full((8, 8, 3), 51, np.uint8), np.full((8, 8, 3), 128, np.uint8)
    still = np.zeros((8, 8, 2), np.float32)
    got = warp.pair_error((a, a), (a, b), flow.target(still), flow.valid(still, still))
    assert got.error == pytest.approx(((128 - 51) / 255) ** 2, rel=1e-6)


def test_floats_and_bytes_of_the_same_values_agree(golden):
    a = golden.arrays("warp_short")
    to = flow.target(a["flow_fwd"][0])
    valid = flow.valid(a["flow_fwd"][0], a["flow_bwd"][0], to)
    as_bytes = warp.pair_error(tuple(a["source"][:2]), tuple(a["edited"][:2]), to, valid)
    source, edited = (a[name][:2].astype(np.float32) / 255 for name in ("source", "edited"))
    as_floats = warp.pair_error(tuple(source), tuple(edited), to, valid)
    assert vars(as_floats) == pytest.approx(vars(as_bytes), rel=1e-5)


def test_alternating_edit_of_a_still_clip_has_four_times_the_squared_amplitude():
    texture = np.random.default_rng(2).integers(60, 180, (32, 40, 3), dtype=np.uint8)
    source = ArrayClip(np.stack([texture] * 6))
    edited = ArrayClip(np.stack([texture + 10 if t % 2 else texture - 10 for t in range(6)]))
    score = warp.WarpErrorShort()(Pair(source, edited), Features())
    assert score.value == pytest.approx(4 * (10 / 255) ** 2, rel=1e-5)
    normalised = warp.WarpErrorShortNormalised()(Pair(source, edited), Features())
    variance = np.mean([texture[..., c].astype(float).var() for c in range(3)]) / 255**2
    assert normalised.value == pytest.approx(4 * (10 / 255) ** 2 / variance, rel=1e-4)


def test_edit_equal_to_the_source_scores_the_floor(moving):
    score = warp.WarpErrorShort()(Pair(moving, moving), Features())
    assert score.value == score.details["floor_mean"]
    assert "floor" in score.details["warning"]


def test_contrast_and_brightness_leave_the_normalised_error_alone(moving):
    half = ArrayClip((moving.frames // 2 * 2) // 2 + 40, moving.fps)
    even = ArrayClip(moving.frames // 2 * 2, moving.fps)
    metric = warp.WarpErrorShortNormalised()
    washed, plain = (metric(Pair(moving, clip), Features()).value for clip in (half, even))
    assert washed == pytest.approx(plain, rel=1e-5)


def test_order_of_frames_matters_to_the_warp_error(moving):
    order = np.random.default_rng(0).permutation(len(moving))
    shuffled = ArrayClip(moving.frames[order], moving.fps)
    metric = warp.WarpErrorShort()
    straight = metric(Pair(moving, moving), Features()).value
    assert metric(Pair(moving, shuffled), Features()).value > 4 * straight


def test_clips_shorter_than_a_second_have_no_long_warp_error():
    clip = ArrayClip(np.zeros((6, 32, 32, 3), np.uint8), Fraction(6))
    score = warp.WarpErrorLong()(Pair(clip, clip), Features())
    assert score.status == "undefined"
    assert "7 are needed" in score.reason


def test_every_pair_is_used_where_exactness_is_asked_for(moving):
    score = warp.WarpErrorLong("exact")(Pair(moving, moving), Features())
    assert score.details["starts"] == list(range(len(moving) - score.details["lag"]))


def test_flow_of_large_frames_is_estimated_small_and_given_in_their_pixels():
    rng = np.random.default_rng(3)
    import cv2

    small = cv2.GaussianBlur(rng.integers(0, 256, (64, 320), dtype=np.uint8), (0, 0), 2)
    big = cv2.resize(
        cv2.normalize(small, None, 0, 255, cv2.NORM_MINMAX), (1280, 256), interpolation=cv2.INTER_CUBIC
    )
    moved = np.roll(big, 10, axis=1)
    estimated = flow.estimate(big, moved)
    assert estimated.shape == (102, 512, 2)
    full = flow.enlarged(estimated, (256, 1280))
    assert np.median(full[40:-40, 100:-100, 0]) == pytest.approx(10, abs=0.5)
    assert np.median(full[40:-40, 100:-100, 1]) == pytest.approx(0, abs=0.5)
