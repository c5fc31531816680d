"""The condition comes from image and instruction, token by token, and the U-Net obeys it."""

import pytest
import torch

from data.pocket.words import ARGUMENTS, KINDS, SUBJECTS, VOCABULARY, tokenize
from via.backbones.pocket.conditioner import PocketConditioner, sine_positions
from via.backbones.pocket.unet import PocketUNet

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def conditioner() -> PocketConditioner:
    torch.manual_seed(0)
    return PocketConditioner(len(VOCABULARY), len(KINDS), len(ARGUMENTS), len(SUBJECTS)).eval()


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(3, 16, 16, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def tokens_of(conditioner: PocketConditioner, latents: torch.Tensor, instruction: str) -> torch.Tensor:
    return conditioner(latents, torch.tensor([tokenize(instruction)] * len(latents)))[0]


def spread(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().mean())


def test_tokens_differ_across_frames_instructions_and_positions(conditioner, latents):
    sepia, night = (tokens_of(conditioner, latents, text) for text in ("make it sepia", "make it night"))
    assert sepia.shape == (3, 17, 128)
    assert spread(sepia[0], sepia[1]) > 1e-3
    assert spread(sepia, night) > 1e-3
    assert sepia[:, 1:].std(dim=1).mean() > 0.1


def test_a_frame_has_the_tokens_it_has_alone(conditioner, latents):
    together = tokens_of(conditioner, latents, "make it sepia")
    alone = torch.cat([tokens_of(conditioner, one[None], "make it sepia") for one in latents])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_exchanging_the_tokens_of_frames_changes_the_output(conditioner, latents):
    unet = PocketUNet()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    tokens = tokens_of(conditioner, latents, "turn the dog into a tiger")
    rows = torch.cat([latents, latents], dim=1)
    with torch.no_grad():
        own, foreign = (unet.eval()(rows, 500, t).sample for t in (tokens, tokens.flip(0)))
    assert spread(own[0], foreign[0]) > 1e-4  # the first frame was given the last one's
    torch.testing.assert_close(own[1], foreign[1], rtol=0, atol=1e-5)  # the middle one kept its own


def test_null_is_no_instruction_and_sees_no_frame(conditioner, latents):
    with torch.no_grad():
        null = conditioner.null()
    assert null.shape == (1, 17, 128)
    assert not null[:, 0].any()
    for text in ("make it sepia", "", "turn the dog into a tiger"):
        assert spread(tokens_of(conditioner, latents, text), null) > 1e-2


def test_sine_positions_are_of_unit_scale_apart_and_span_the_grid_whatever_its_size():
    small, large = sine_positions(2, 2, 128), sine_positions(6, 6, 128).view(6, 6, 128)
    assert small.square().mean() == pytest.approx(1, abs=1e-5)
    # cell 0 of two has its centre at a quarter of the side, as cell 1 of six; cell 1 of two as cell 4 of six
    torch.testing.assert_close(small.view(2, 2, 128), large[1::3, 1::3], rtol=0, atol=1e-4)
    flat = sine_positions(8, 8, 128)
    distances = torch.cdist(flat, flat) + 100 * torch.eye(64)
    assert distances.min() > 1


def test_the_region_and_names_are_read_from_words_and_picture(conditioner, latents):
    words = torch.tensor([tokenize("make it sepia")] * 3)
    with torch.no_grad():
        _, named = conditioner(latents, words)
    assert named.kind.shape == (3, len(KINDS))
    assert named.argument.shape == (3, len(ARGUMENTS))
    assert named.subject.shape == (3, len(SUBJECTS))
    assert named.answer.shape == (3, 2)
    assert named.region.shape == (3, 8, 8)
