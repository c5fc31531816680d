"""The pocket models keep the signatures of diffusers, and what is committed is what its card names."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from data.pocket.training import Sampler
from data.pocket.words import ARGUMENTS, KINDS, SUBJECTS, VOCABULARY
from data.types import UserError
from eval.models import ClipFolder
from via.backbones.pocket import weights
from via.backbones.pocket.backbone import PocketBackbone
from via.backbones.pocket.conditioner import PocketConditioner
from via.backbones.pocket.mask import PocketMask
from via.backbones.pocket.training.vae import to_pixels
from via.backbones.pocket.unet import PocketUNet
from via.backbones.pocket.vae import PocketVAE

torch.set_num_threads(1)
CPU = torch.device("cpu")
LOADS = {  # folder of a committed model -> how it is opened
    "vae": lambda folder: weights.load(PocketVAE, folder),
    "editor/conditioner": lambda folder: weights.load(PocketConditioner, folder),
    "editor/unet": lambda folder: weights.load(PocketUNet, folder),
    "mask": lambda folder: weights.load(PocketMask, folder),
    "clip": ClipFolder,
}


def acting(unet: PocketUNet) -> PocketUNet:
    """A U-Net whose output is not the source's latents, as it is before training."""
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    return unet.eval()


@pytest.fixture(scope="module")
def vae() -> PocketVAE:
    return weights.load(PocketVAE, weights.WEIGHTS / "vae")


@pytest.fixture(scope="module")
def backbone(vae: PocketVAE) -> PocketBackbone:
    torch.manual_seed(0)
    conditioner = PocketConditioner(len(VOCABULARY), len(KINDS), len(ARGUMENTS), len(SUBJECTS)).eval()
    return PocketBackbone(vae, conditioner, acting(PocketUNet()), CPU)


@pytest.fixture(scope="module")
def samples() -> list:
    sampler, rng = Sampler("dev", canvases=20), np.random.default_rng(1)
    return [sampler.draw(rng) for _ in range(4)]


@pytest.fixture(scope="module")
def frames(samples: list) -> torch.Tensor:
    """Sources (4, 3, 128, 128) in [0, 1]."""
    return to_pixels([s.source for s in samples], CPU) / 2 + 0.5


def in_double_precision(backbone: PocketBackbone) -> PocketBackbone:
    vae, conditioner, unet = (
        copy.deepcopy(model).double() for model in (backbone.vae, backbone.conditioner, backbone.unet)
    )
    return dataclasses.replace(backbone, vae=vae, conditioner=conditioner, unet=unet)


def test_instruct_pix2pix_pipeline_of_diffusers_gives_the_latents_of_the_plain_edit(backbone, frames):
    backbone, frames = in_double_precision(backbone), frames[:2].double()
    noise = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    condition = backbone.condition(frames, "turn the dog into a tiger")
    schedule, latents = backbone.scheduler(3), noise
    for t in schedule.timesteps:
        output = backbone.predict(latents, t, condition, 2.0, 1.2)
        latents = schedule.step(output, t, latents).prev_sample

    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=backbone.vae,
        text_encoder=None,
        tokenizer=None,
        unet=backbone.unet,
        scheduler=backbone.scheduler(3),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        image=frames,
        prompt_embeds=condition.tokens[0],
        negative_prompt_embeds=condition.tokens[1],
        latents=noise,
        num_inference_steps=3,
        guidance_scale=2.0,
        image_guidance_scale=1.2,
        output_type="latent",
    ).images
    assert (latents - noise).abs().mean() > 0.1
    torch.testing.assert_close(theirs, latents, rtol=0, atol=1e-10)


def test_noise_does_not_reach_the_output_where_it_is_all_there_is(backbone, frames):
    tokens = backbone.condition(frames, "make it sepia").tokens[0]
    source = backbone.encode(frames)
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(source.shape, generator=generator) for _ in range(2))

    def x0(noise: torch.Tensor, t: int) -> torch.Tensor:
        with torch.no_grad():
            return backbone.unet(torch.cat([noise, source], 1), t, tokens).sample

    torch.testing.assert_close(x0(first, 999), x0(second, 999), rtol=0, atol=1e-4)
    assert (x0(first, 500) - x0(second, 500)).abs().mean() > 1e-3


def test_a_flat_source_is_edited_differently_from_place_to_place(backbone):
    flat = torch.zeros(1, 32, 16, 16)
    tokens = backbone.conditioner.null()
    with torch.no_grad():
        inside = backbone.unet(flat, 500, tokens).sample[0, :, 4:12, 4:12]  # no padding is seen from here
    assert inside.std(dim=(1, 2)).mean() > 1e-3


def test_vae_gives_the_same_bits_twice_and_its_mode_is_its_sample(vae, frames):
    pixels = frames * 2 - 1
    with torch.no_grad():
        posterior = vae.encode(pixels).latent_dist
        again = vae.encode(pixels).latent_dist.mode()
        assert torch.equal(posterior.mode(), again)
        assert torch.equal(posterior.sample(), again)
        assert torch.equal(vae.decode(again).sample, vae.decode(again).sample)


def test_latents_are_whitened(vae):
    sampler, rng = Sampler("train", seed=3, canvases=40), np.random.default_rng(4)
    with torch.no_grad():
        latents = vae.encode(to_pixels([sampler.frame(rng) for _ in range(60)], CPU)).latent_dist.mode()
    assert latents.mean((0, 2, 3)).abs().max() < 0.35
    deviations = latents.std((0, 2, 3))
    assert deviations.min() > 0.75
    assert deviations.max() < 1.3


def test_saved_and_loaded_models_agree_and_are_saved_as_the_same_bytes(tmp_path: Path):
    torch.manual_seed(5)
    model = PocketMask(len(VOCABULARY), width=32, layers=1)
    for folder in (tmp_path / "first", tmp_path / "second"):
        weights.save(model, {"vocabulary": len(VOCABULARY), "width": 32, "layers": 1}, folder)
        weights.write_card(folder, {"what": "a test"})
        model = weights.load(PocketMask, folder)
    assert weights.sha256(tmp_path / "first" / weights.FILE) == weights.sha256(
        tmp_path / "second" / weights.FILE
    )
    assert not any(p.requires_grad for p in model.parameters())
    assert sorted(p.name for p in (tmp_path / "first").iterdir()) == [
        "card.json",
        "config.json",
        weights.FILE,
    ]


def test_loading_refuses_a_changed_byte_in_one_line_that_names_file_and_fix(tmp_path: Path):
    folder = tmp_path / "vae"
    shutil.copytree(weights.WEIGHTS / "vae", folder)
    bytes_ = bytearray((folder / weights.FILE).read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    (folder / weights.FILE).write_bytes(bytes_)
    with pytest.raises(UserError) as refused:
        weights.load(PocketVAE, folder)
    assert str(folder / weights.FILE) in str(refused.value)
    assert "git checkout" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_loading_says_what_is_missing(tmp_path: Path):
    with pytest.raises(UserError, match="via models train vae"):
        weights.load(PocketVAE, tmp_path / "vae")
    shutil.copytree(weights.WEIGHTS / "vae", tmp_path / "vae")
    (tmp_path / "vae" / weights.FILE).unlink()
    with pytest.raises(UserError, match="missing; restore it with: git checkout"):
        weights.load(PocketVAE, tmp_path / "vae")


def committed() -> list[str]:
    """The folders with weights, and those that have to have some."""
    found = {str(p.parent.relative_to(weights.WEIGHTS)) for p in weights.WEIGHTS.rglob("*.safetensors")}
    return sorted(found | {"vae", "editor/conditioner", "editor/unet", "mask"})


@pytest.mark.parametrize("name", committed())
def test_every_committed_model_loads_and_is_the_one_its_card_names(name: str):
    folder = weights.WEIGHTS / name
    files = sorted(p.name for p in folder.glob("*.safetensors"))
    named = weights.read_card(folder)["sha256"]
    assert named == {file: weights.sha256(folder / file) for file in files}
    LOADS[name](folder)


def test_only_safetensors_and_json_are_committed_and_they_are_small():
    files = [p for p in weights.WEIGHTS.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".safetensors"}
    assert sum(p.stat().st_size for p in files) <= 45 * 2**20
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
