import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from data.types import ArrayClip
from eval import contrast, histogram, sharpness, structure
from eval.features import Features
from eval.frames import luma, samples
from eval.score import Pair


def scored(metric, source, edited):
    return metric(Pair(ArrayClip(source), ArrayClip(edited)), Features())


def test_golden_values_of_structure_guards_and_histogram(golden):
    a = golden.arrays("guards")
    s, e = a["source"], a["edited"]
    gradient = structure.StructureGradient()
    sharp, contrasted, drift = (
        sharpness.SharpnessRatio(),
        contrast.ContrastRatio(),
        histogram.HistogramDrift(),
    )
    plain = scored(gradient, s, e)
    still = np.zeros_like(a["quarter_half"])
    drifted = scored(drift, s, e)
    golden.check(
        "guards",
        {
            "structure_gradient": plain.value,
            "structure_frames": plain.details["frames"],
            "structure_negative": scored(gradient, s, 255 - s).value,
            "structure_copy": scored(gradient, s, s).value,
            "structure_disjoint": scored(gradient, a["edges_left"], a["edges_right"]).value,
            "structure_flat": scored(gradient, s, np.zeros_like(s)).value,
            "sharpness_ratio": scored(sharp, s, e).value,
            "contrast_ratio": scored(contrasted, s, e).value,
            "sharpness_half": scored(sharp, a["even"], a["even"] // 2).value,
            "contrast_half": scored(contrasted, a["even"], a["even"] // 2).value,
            "sharpness_flat_source": scored(sharp, np.zeros_like(s), e).value,
            "contrast_flat_source": scored(contrasted, np.zeros_like(s), e).value,
            "laplacian_variance_dot": sharpness.laplacian_variance(luma(samples(a["dot"][0]))),
            "contrast_half_half": contrast.deviation(luma(samples(a["half_half"][0]))),
            "histogram_drift": drifted.value,
            "histogram_edited": drifted.details["edited"],
            "histogram_source": drifted.details["source"],
            "histogram_quarter_to_half": scored(drift, still, a["quarter_half"]).value,
            "histogram_permuted": scored(drift, np.zeros_like(a["permuted"]), a["permuted"]).value,
            "histogram_calm": scored(drift, e, s).value,
        },
    )


def test_histogram_distance_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (12, 13, 3), dtype=np.uint8)
    b = (a // 2 + 30).astype(np.uint8)
    bins = [np.floor(x.astype(float) / 4) / 64 for x in (a, b)]
    expected = np.mean(
        [wasserstein_distance(bins[0][..., c].ravel(), bins[1][..., c].ravel()) for c in range(3)]
    )
    got = histogram.earth_mover(histogram.cumulative(a), histogram.cumulative(b))
    assert got == pytest.approx(expected, rel=1e-9)


def test_structure_is_blind_to_contrast_and_sharpness_is_not(moving):
    half = moving.frames // 2 + 64
    assert scored(structure.StructureGradient(), moving.frames, half).value < 0.01
    assert scored(sharpness.SharpnessRatio(), moving.frames, half).value == pytest.approx(0.25, rel=0.05)


def test_structure_is_symmetric(moving):
    other = np.roll(moving.frames, 5, axis=2)
    metric = structure.StructureGradient()
    backward = scored(metric, other, moving.frames).value
    assert scored(metric, moving.frames, other).value == pytest.approx(backward, rel=1e-8)


def test_one_frame_has_no_drift():
    one = np.zeros((1, 20, 20, 3), np.uint8)
    assert scored(histogram.HistogramDrift(), one, one).status == "undefined"
