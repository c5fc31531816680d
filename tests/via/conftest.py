"""A tiny InstructPix2Pix of the real classes with random weights, and a short clip."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from data.types import ArrayClip
from via.backbones import Condition
from via.backbones.ip2p import InstructPix2Pix

torch.set_num_threads(1)


def tiny_unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(16,),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    for name, parameter in unet.named_parameters():  # attention far from flat, so that what it sees matters
        if ".to_q." in name or ".to_k." in name:
            parameter.data *= 4
    return unet.eval()


def tiny_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.5,
    ).eval()


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12)


def tiny_text_encoder(vocabulary: int) -> CLIPTextModel:
    torch.manual_seed(2)
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        projection_dim=16,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config).eval()


def stable_schedule() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class FrameConditioned(InstructPix2Pix):
    """The tiny editor with a condition that depends on the frame, as MGIE's does."""

    name = "frame_conditioned"

    def condition(self, frames: torch.Tensor, instruction: str) -> Condition:
        plain = super().condition(frames, instruction)
        shade = frames.mean(dim=(2, 3)).repeat(1, 6)[:, :16]  # (n, 16)
        tokens = plain.tokens.clone()
        tokens[0] = tokens[0] * (1 + 4 * shade[:, None])
        return Condition(plain.image_latents, tokens)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return {
        "unet": tiny_unet(),
        "vae": tiny_vae(),
        "text_encoder": tiny_text_encoder(len(tokenizer)),
        "tokenizer": tokenizer,
        "noise_schedule": stable_schedule(),
    }


def small(backbone: InstructPix2Pix) -> InstructPix2Pix:
    backbone.default_side, backbone.counted_side = 16, "shorter"
    return backbone


@pytest.fixture
def backbone(parts: dict) -> InstructPix2Pix:
    """Condition equal for all frames."""
    return small(InstructPix2Pix(**parts))


@pytest.fixture
def frame_conditioned(parts: dict) -> InstructPix2Pix:
    """Condition different from frame to frame."""
    return small(FrameConditioned(**parts))


@pytest.fixture
def clip() -> ArrayClip:
    """Six frames of 16 x 20: a bright square moves to the right over a noisy ground."""
    rng = np.random.default_rng(0)
    frames = rng.integers(40, 120, (6, 16, 20, 3), dtype=np.uint8)
    for i, frame in enumerate(frames):
        frame[4:10, 2 * i : 2 * i + 6] = (230, 180 - 20 * i, 40)
    return ArrayClip(frames)


@pytest.fixture
def square() -> np.ndarray:
    """The true masks of `clip`, float32 (6, 16, 20)."""
    masks = np.zeros((6, 16, 20), np.float32)
    for i, mask in enumerate(masks):
        mask[4:10, 2 * i : 2 * i + 6] = 1
    return masks
