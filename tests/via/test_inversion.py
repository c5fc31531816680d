"""DDIM inversion: its round trip, its noise levels, and the trajectory on disk."""

import copy

import pytest
import torch
from diffusers import DDIMScheduler

from via.backbones import IMAGE_ONLY
from via.inversion import Trajectory, add_noise, epsilon, invert, inverted_step, noise_levels


def zero_snr(prediction_type):
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        prediction_type=prediction_type,
    )
    scheduler.set_timesteps(10)
    return scheduler


def model_output(prediction_type, clean, noise, alpha):
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return clean
    return alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_an_inverted_step_is_undone_by_the_scheduler(prediction_type):
    """With the same noise estimate on both ways the scheduler returns where inversion began."""
    scheduler = zero_snr(prediction_type)
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
    for i, (noisier, cleaner) in list(enumerate(noise_levels(scheduler)))[1:]:
        up = inverted_step(noise, latents, cleaner, noisier, "epsilon")
        clean = (latents - (1 - cleaner) ** 0.5 * noise) / cleaner**0.5
        output = model_output(prediction_type, clean, noise, noisier)
        down = scheduler.step(output, scheduler.timesteps[i], up).prev_sample
        torch.testing.assert_close(down, latents, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_epsilon_of_every_prediction_type_is_the_noise(prediction_type):
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
    alpha = 0.3
    noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
    output = model_output(prediction_type, clean, noise, alpha)
    torch.testing.assert_close(epsilon(output, noisy, alpha, prediction_type), noise)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_inversion_is_finite_with_zero_terminal_signal(backbone, tmp_path, prediction_type):
    scheduler = zero_snr(prediction_type)
    condition = backbone.condition(torch.rand(2, 3, 16, 16), "make it blue").branch(IMAGE_ONLY)
    with torch.no_grad(), Trajectory(tmp_path / "t", 11, 2, (4, 8, 8), new=True) as trajectory:
        invert(backbone, torch.randn(2, 4, 8, 8), condition, scheduler, trajectory, [0, 1])
        for level in range(11):
            assert trajectory.read(level, [0, 1]).isfinite().all()


def test_inverting_and_sampling_returns_the_source_better_with_more_steps(backbone, tmp_path):
    """Round trip through a network whose output is gentle (a random one is far from a diffusion model's)."""
    backbone.unet = copy.deepcopy(backbone.unet)
    backbone.unet.conv_out.weight.data *= 0.1
    source = 0.5 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    condition = backbone.condition(picture, "").branch(IMAGE_ONLY)
    errors = []
    for steps in (10, 40):
        scheduler = backbone.scheduler(steps)
        path = tmp_path / str(steps)
        with torch.no_grad(), Trajectory(path, steps + 1, 1, (4, 8, 8), new=True) as trajectory:
            invert(backbone, source, condition, scheduler, trajectory, [0])
            latents = trajectory.read(0, [0])
            moved = float((latents - source).norm() / source.norm())
            for timestep in scheduler.timesteps:
                output = backbone.predict(latents, timestep, condition, 1.0, 1.0)
                latents = scheduler.step(output, timestep, latents).prev_sample
        errors.append(float((latents - source).norm() / source.norm()) / moved)
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1


def test_the_network_sees_the_noisier_time_with_the_cleaner_latents(backbone, tmp_path):
    seen = []
    handle = backbone.unet.register_forward_pre_hook(
        lambda module, args: seen.append((int(args[1]), args[0][:, :4].clone()))
    )
    scheduler = backbone.scheduler(4)
    source = torch.randn(1, 4, 8, 8)
    condition = backbone.condition(torch.rand(1, 3, 16, 16), "").branch(IMAGE_ONLY)
    with torch.no_grad(), Trajectory(tmp_path / "t", 5, 1, (4, 8, 8), new=True) as trajectory:
        invert(backbone, source, condition, scheduler, trajectory, [0])
        levels = [trajectory.read(level, [0]) for level in range(5)]
    handle.remove()
    assert [time for time, _ in seen] == scheduler.timesteps.tolist()[::-1]
    for (_, latents), cleaner in zip(seen, [levels[4], levels[3], levels[2], levels[1]]):
        assert torch.equal(latents, cleaner)


@pytest.mark.parametrize("steps", [7, 10, 12])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_noise_levels_are_those_that_the_scheduler_steps_between(steps, spacing):
    scheduler = DDIMScheduler(
        clip_sample=False, timestep_spacing=spacing, set_alpha_to_one=False, steps_offset=1
    )
    scheduler.set_timesteps(steps)
    for timestep, (_, after) in zip(scheduler.timesteps, noise_levels(scheduler)):
        stepped = scheduler.step(torch.zeros(1), timestep, torch.ones(1)).prev_sample
        before = scheduler.alphas_cumprod[timestep]
        assert float(stepped) == pytest.approx((after / float(before)) ** 0.5, rel=1e-5)


def test_a_trajectory_reads_back_what_was_written_in_any_order(tmp_path):
    blocks = torch.randn(3, 4, 2, 2, 2)
    with Trajectory(tmp_path / "t", 3, 4, (2, 2, 2), new=True) as trajectory:
        for level in (2, 0, 1):
            trajectory.write(level, [2, 3], blocks[level, 2:])
            trajectory.write(level, [0, 1], blocks[level, :2])
        assert torch.equal(trajectory.read(1, [3, 0, 0]), blocks[1, [3, 0, 0]])
    assert (tmp_path / "t").stat().st_size == blocks.numel() * 4


def test_added_noise_ends_at_the_clean_source_and_starts_at_the_schedule(backbone, tmp_path):
    scheduler = backbone.scheduler(5)
    source, noise = torch.randn(2, 1, 4, 8, 8)
    with Trajectory(tmp_path / "t", 6, 1, (4, 8, 8), new=True) as trajectory:
        add_noise(source, noise, scheduler, trajectory, [0])
        assert torch.equal(trajectory.read(5, [0]), source)
        expected = scheduler.add_noise(source, noise, scheduler.timesteps[:1])
        torch.testing.assert_close(trajectory.read(0, [0]), expected)
