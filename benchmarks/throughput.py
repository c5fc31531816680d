"""How long editing takes and how much memory, as ratios inside one run: `nox -s throughput`.

pytest-benchmark cases on the embedded editor; ratios and counts stand in each case's `extra_info`. No figure
is a bar that a test fails on: speed is measured, not tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from data.types import ArrayClip, Edit
from via.attention import Layers, gather, swapped
from via.config import ViaConfig
from via.edit import Via
from via.flops import swap_cost
from via.local import latent_mask

if TYPE_CHECKING:
    from via.backbones import Backbone

FRAMES = 96  # of the swap against plain editing
BATCH = 8
GROUP = 4
ROUNDS = 3
MINUTE = 720  # frames of a minute at the pocket world's 12 frames a second
GLOBAL = Edit(instruction="make it black and white")
LOCAL = Edit(instruction="make the dog blue")


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    from via.backbones import load

    return load("pocket")


def moving_square(frames: int) -> ArrayClip:
    """A clip of the editor's own size: a bright square crosses a noisy ground."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (128, 128, 3), dtype=np.uint8)
    pictures = np.repeat(ground[None], frames, axis=0)
    for i, picture in enumerate(pictures):
        left = 4 + i * 80 // max(frames - 1, 1)
        picture[40:80, left : left + 40] = (220, 160, 60)
    return ArrayClip(pictures, name=f"square-{frames}")


def square_masks(frames: int) -> np.ndarray:
    masks = np.zeros((frames, 128, 128), np.float32)
    for i, mask in enumerate(masks):
        left = 4 + i * 80 // max(frames - 1, 1)
        mask[40:80, left : left + 40] = 1
    return masks


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@torch.no_grad()
def test_swap_steps_against_plain_editing(benchmark: Any, backbone: Backbone) -> None:
    """`time_ratio` should follow `flop_ratio`: one step of all frames, swapped and plain in turn."""
    side = backbone.default_side // backbone.latent_factor
    pixels = torch.from_numpy(moving_square(BATCH).frames).permute(0, 3, 1, 2).float() / 255
    condition = backbone.condition(pixels, GLOBAL.instruction)
    latents = torch.randn(
        BATCH, *condition.image_latents.shape[2:], generator=torch.Generator().manual_seed(0)
    )
    timestep = backbone.scheduler(10).timesteps[4]
    guidance = (backbone.guidance_text, backbone.guidance_image)

    def one(j: int) -> torch.Tensor:
        return backbone.predict(latents[j : j + 1], timestep, condition[j : j + 1], *guidance)

    _, store = gather(backbone.unet, one, GROUP, condition.branches)

    def step_of_all_frames() -> None:
        for _ in range(FRAMES // BATCH):
            backbone.predict(latents, timestep, condition, *guidance)

    def swapped_step_of_all_frames() -> None:
        with swapped(backbone.unet, store, condition.branches):
            step_of_all_frames()

    step_of_all_frames()
    pairs = [(seconds(step_of_all_frames), seconds(swapped_step_of_all_frames)) for _ in range(ROUNDS)]
    benchmark.pedantic(swapped_step_of_all_frames, rounds=1)
    tokens = (condition.tokens.shape[2], condition.tokens.shape[3])
    cost = swap_cost(backbone.unet, (side, side), tokens, GROUP, layers=Layers())
    plain, against = (min(times) for times in zip(*pairs))
    benchmark.extra_info |= {
        "flop_ratio": cost.ratio,
        "time_ratio": against / plain,
        "plain_ms_a_frame": 1000 * plain / FRAMES,
        "swapped_ms_a_frame": 1000 * against / FRAMES,
        "gflop_a_frame_and_branch": cost.plain.total / 1e9,
        "threads": torch.get_num_threads(),
    }


MEMORY = """
import json, resource, sys
from benchmarks.throughput import LOCAL, moving_square, square_masks
from via.backbones import load
from via.config import ViaConfig
from via.edit import Via

frames, steps = int(sys.argv[1]), 2
config = ViaConfig(masks="given", steps=steps, tuning_steps=1, root_candidates=1)
editor = Via(load("pocket"), config=config)
count = sum(1 for _ in editor.edit(moving_square(frames), LOCAL, masks=square_masks(frames)))
print(json.dumps({"frames": count, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def peak_memory(frames: int) -> int:
    """Peak resident memory in KiB of a process of its own that edits this many frames, input included."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(frames)],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["frames"] == frames
    peak: int = figures["peak"]
    return peak


def test_memory_of_a_long_clip_against_a_short_one(benchmark: Any) -> None:
    """`memory_ratio_720_96`: a local edit with inversion; the trajectory lies in a scratch file."""
    short = peak_memory(96)
    long = benchmark.pedantic(peak_memory, (MINUTE,), rounds=1)
    benchmark.extra_info |= {"memory_ratio_720_96": long / short, "peak_720_mib": long / 1024}


def test_a_minute_edited_whole(benchmark: Any, backbone: Backbone) -> None:
    """`minute_clip_seconds`: 720 frames, local, every stage of the method at its defaults, true masks."""
    editor = Via(backbone, config=ViaConfig(masks="given"))
    clip, masks = moving_square(MINUTE), square_masks(MINUTE)

    def edit() -> int:
        return sum(1 for _ in editor.edit(clip, LOCAL, masks=masks))

    assert benchmark.pedantic(edit, rounds=1) == MINUTE
    benchmark.extra_info |= {
        "minute_clip_seconds": sum(editor.trace.seconds.values()),
        **{f"seconds_{stage}": value for stage, value in editor.trace.seconds.items()},
    }


@pytest.mark.parametrize("stage", ["encode", "decode", "mask cells"])
def test_what_a_batch_costs_besides_the_network(benchmark: Any, backbone: Backbone, stage: str) -> None:
    """VAE and masks for one batch of frames."""
    pixels = torch.from_numpy(moving_square(BATCH).frames).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        latents = backbone.encode(pixels)
        masks = torch.from_numpy(square_masks(BATCH))[:, None]
        work: dict[str, Callable[[], Any]] = {
            "encode": lambda: backbone.encode(pixels),
            "decode": lambda: backbone.decode(latents),
            "mask cells": lambda: latent_mask(masks, backbone.latent_factor, 1),
        }
        benchmark.pedantic(work[stage], rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["frames"] = BATCH
