"""The plain edit against diffusers' own pipeline, and against recorded values of the official code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file

from via.backbones import IMAGE_ONLY, guided
from via.backbones.ip2p import InstructPix2Pix, dropped, load
from via.sampling import denoise, stepped

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_plain_edit_of_one_frame_equals_diffusers_pipeline(backbone, spacing):
    """Same U-Net, VAE, embeddings and noise; an oracle that nobody here wrote."""
    frame = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    text, null = backbone.text_tokens(["make it blue", ""])
    scheduler = backbone.scheduler(5, spacing)
    with torch.no_grad():
        condition = backbone.condition(frame, "make it blue")
        latents = denoise(backbone, noise, condition, scheduler, 7.5, 1.5)
        ours = backbone.decode(latents)

    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=backbone.vae,
        text_encoder=backbone.text_encoder,
        tokenizer=backbone.tokenizer,
        unet=backbone.unet,
        scheduler=backbone.scheduler(5, spacing),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        prompt_embeds=text[None],
        negative_prompt_embeds=null[None],
        image=frame,
        num_inference_steps=5,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        latents=noise,
        output_type="pt",
    ).images
    assert (ours - ours.mean()).abs().max() > 0.05  # not a blank picture
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def recorded():
    case = json.loads((GOLDEN / "instructpix2pix.json").read_text())
    tensors = load_file(GOLDEN / "instructpix2pix.safetensors")
    unet = UNet2DConditionModel(**case["unet_config"])
    unet.load_state_dict({k.removeprefix("unet."): v for k, v in tensors.items() if k.startswith("unet.")})
    vae = AutoencoderKL(**case["vae_config"])
    vae.load_state_dict({k.removeprefix("vae."): v for k, v in tensors.items() if k.startswith("vae.")})
    return unet.eval(), vae.eval(), tensors


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_condition_and_guidance_equal_the_official_code(recorded, parts):
    """One denoising call on the recorded input; limits as recorded with the values."""
    unet, vae, tensors = recorded
    backbone = InstructPix2Pix(unet, vae, parts["text_encoder"], parts["tokenizer"], parts["noise_schedule"])
    with torch.no_grad():
        # pixels.model_input is in [-1, 1]; frames are in [0, 1]
        condition = backbone.condition(tensors["pixels.model_input"] / 2 + 0.5, "make it blue")
        assert relative(condition.image_latents[1], tensors["cond.image_latents"]) < 6e-6
        assert condition.image_latents[2].abs().max() == 0
        rows = unet(
            tensors["step0.unet_in"], tensors["step0.t"], tensors["cond.text_rows"], return_dict=False
        )[0]
    assert relative(rows, tensors["step0.eps_rows"]) < 8e-6
    eps = guided(rows, 3, 7.5, 1.5)
    denoised = tensors["step0.z"] - tensors["step0.sigma"] * eps
    assert relative(denoised, tensors["step0.denoised"]) < 8e-6


def test_dropout_equals_the_official_code(recorded):
    _, _, tensors = recorded
    text, image = dropped(tensors["train.uniform"].flatten())
    assert torch.equal(text, tensors["train.text_dropped"].flatten().bool())
    assert torch.equal(image, tensors["train.image_dropped"].flatten().bool())


def test_a_single_branch_is_predicted_without_guidance(backbone):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        condition = backbone.condition(torch.rand(2, 3, 16, 16), "make it blue").branch(IMAGE_ONLY)
        one = backbone.predict(latents, 500, condition, 7.5, 1.5)
        rows = torch.cat([latents, condition.image_latents[0]], dim=1)
        torch.testing.assert_close(one, backbone.unet(rows, 500, condition.tokens[0]).sample)


def test_a_checkpoint_folder_is_opened_whole(backbone, tmp_path):
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        getattr(backbone, part).save_pretrained(tmp_path / part)
    backbone.noise_schedule.save_pretrained(tmp_path / "scheduler")
    opened = load(str(tmp_path))
    frames = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (one.condition(frames, "make it blue") for one in (opened, backbone))
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.equal(ours.image_latents, theirs.image_latents)
    assert np.array_equal(opened.scheduler(7).timesteps, backbone.scheduler(7).timesteps)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers' own code
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_the_ancestral_step_is_that_of_diffusers_euler_ancestral(backbone, spacing):
    """In sigmas x / sqrt(alpha); every step but the last, where ours and theirs end at different levels."""
    steps = 5
    ours = backbone.scheduler(steps, spacing)
    theirs = EulerAncestralDiscreteScheduler.from_config(ours.config, timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    assert theirs.timesteps.tolist() == ours.timesteps.tolist()
    draws = torch.Generator().manual_seed(0)
    for i, timestep in enumerate(theirs.timesteps[:-1]):
        latents, output = torch.randn(2, 2, 4, 8, 8, generator=draws)
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(i))
        before, after = ((1 + sigma**2).sqrt() for sigma in theirs.sigmas[i : i + 2])
        theirs.scale_model_input(latents * before, timestep)
        expected = theirs.step(
            output, timestep, latents * before, generator=torch.Generator().manual_seed(i)
        ).prev_sample
        found = stepped(ours, output, ours.timesteps[i], latents, noise)
        torch.testing.assert_close(found * after, expected, rtol=1e-4, atol=1e-4)
        plain = stepped(ours, output, ours.timesteps[i], latents)
        assert not torch.allclose(plain * after, expected, atol=0.1)
