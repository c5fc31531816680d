import numpy as np
import pytest
import torch
import torchmetrics.functional.image as oracle
from skimage.metrics import structural_similarity

from data.types import ArrayClip
from eval import background
from eval.features import Features
from eval.score import Pair


def scored(metric, source, edited, mask):
    return metric(Pair(ArrayClip(source), ArrayClip(edited), mask=mask), Features())


def test_golden_values_of_background_preservation(golden):
    a = golden.arrays("masked_region")
    source, edited, mask = a["source"], a["edited"], a["mask"]
    mse, psnr = background.BackgroundMse(), background.BackgroundPsnr()
    ssim, ssim_luma = background.BackgroundSsim(), background.BackgroundSsimLuma()
    plain = scored(mse, source, edited, mask)
    everywhere = np.ones_like(mask)
    golden.check(
        "masked_region",
        {
            "background_mse": plain.value,
            "background_psnr": scored(psnr, source, edited, mask).value,
            "background_ssim": scored(ssim, source, edited, mask).value,
            "background_ssim_luma": scored(ssim_luma, source, edited, mask).value,
            "inside_mse": plain.details["inside_mse"],
            "inside_psnr": plain.details["inside_psnr"],
            "ring_mse": plain.details["ring_mse"],
            "mask_share": plain.details["mask_share"],
            "background_mse_soft_mask": scored(mse, source, edited, a["soft_mask"]).value,
            "background_mse_small_mask": scored(mse, source, edited, a["small_mask"]).value,
            "copy_mse": scored(mse, source, source, mask).value,
            "copy_psnr": scored(psnr, source, source, mask).value,
            "copy_ssim": scored(ssim, source, source, mask).value,
            "copy_ssim_luma": scored(ssim_luma, source, source, mask).value,
            "no_background_mse": scored(mse, source, edited, everywhere).value,
            "no_background_psnr": scored(psnr, source, edited, everywhere).value,
            "no_background_ssim": scored(ssim, source, edited, everywhere).value,
            "no_background_ssim_luma": scored(ssim_luma, source, edited, everywhere).value,
            "ssim_two_constants": background.ssim(a["grey_a"][0], a["grey_b"][0]),
            "ssim_faint": background.ssim(a["faint_a"][0], a["faint_b"][0]),
            "psnr_constant": scored(
                psnr, a["constant_source"], a["constant_edited"], a["constant_mask"]
            ).value,
        },
    )


def test_blacked_out_variants_are_those_of_pie_bench(golden):
    a = golden.arrays("masked_region")
    values = {}
    for variant in ("pie", "pie_noborder"):
        for name, metric in (
            ("mse", background.BackgroundMse),
            ("psnr", background.BackgroundPsnr),
            ("ssim", background.BackgroundSsim),
        ):
            got = scored(metric(variant), a["source"], a["edited"], a["mask"])
            values[f"{variant}_{name}_frames"] = got.details["frames"]
    golden.check_compat("masked_region", values)


def test_constant_difference_has_its_psnr_whatever_the_mask_hides():
    source = np.full((2, 20, 20, 3), 100, np.uint8)
    edited = source + np.uint8(51)
    mask = np.zeros((2, 20, 20), bool)
    mask[:, :, 10:] = True
    edited[mask] = 255
    value = scored(background.BackgroundPsnr(), source, edited, mask).value
    assert value == pytest.approx(10 * np.log10(1 / 0.2**2))
    edited[mask] = source[mask]
    pie = scored(background.BackgroundPsnr("pie_noborder"), source, edited, mask).value
    assert pie == pytest.approx(value + 10 * np.log10(2))  # the blacked-out half counts as perfect


def test_ssim_agrees_with_scikit_image_and_torchmetrics():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-40, 40, a.shape), 0, 255).astype(np.uint8)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = structural_similarity(a / 255, b / 255, channel_axis=2, **options)
    got = background.ssim(a, b)
    assert got == pytest.approx(expected, abs=2e-6)
    tensors = [torch.tensor(x / 255).permute(2, 0, 1)[None].float() for x in (a, b)]
    _, full = oracle.structural_similarity_index_measure(*tensors, data_range=1.0, return_full_image=True)
    assert got == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=1e-5)


def test_psnr_agrees_with_torchmetrics_without_a_mask():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 3, 16, 18, 3), dtype=np.uint8)
    got = scored(background.BackgroundPsnr(), a, b, np.zeros((3, 16, 18), bool)).value
    expected = oracle.peak_signal_noise_ratio(torch.tensor(b / 255), torch.tensor(a / 255), data_range=1.0)
    assert got == pytest.approx(float(expected), rel=1e-5)


def test_edits_inside_the_mask_do_not_touch_the_background(moving):
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    edited = moving.frames.copy()
    edited[mask] = 255 - edited[mask]
    assert scored(background.BackgroundMse(), moving.frames, edited, mask).value == 0
    assert scored(background.BackgroundPsnr(), moving.frames, edited, mask).value == 100
    assert scored(background.BackgroundSsimLuma(), moving.frames, edited, mask).value == 1
    assert scored(background.BackgroundSsim(), moving.frames, edited, mask).value == 1


def test_a_visible_seam_shows_in_the_ring(moving):
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    edited = moving.frames.copy()
    edited[:, 18:42, 18:42] = 255
    got = scored(background.BackgroundMse(), moving.frames, edited, mask)
    assert got.details["ring_mse"] > 3 * got.value


@pytest.mark.parametrize(
    "metric", [background.BackgroundMse, background.BackgroundPsnr, background.BackgroundSsimLuma]
)
def test_without_a_mask_the_background_is_skipped_with_a_reason(metric, moving):
    got = metric()(Pair(moving, moving), Features())
    assert (got.value, got.status, got.reason) == (None, "skipped", "no mask is given")


def test_whose_mask_it_is_stands_in_the_record(moving):
    mask = np.zeros((len(moving), *moving.size), bool)
    pair = Pair(moving, moving, mask=mask, mask_origin="predicted")
    assert background.BackgroundMse()(pair, Features()).details["mask"] == "predicted"
