"""How long editing takes and how much memory, as ratios inside one run: `nox -s throughput`.

pytest-benchmark cases on the embedded editor; ratios and counts stand in each case's `extra_info`. No figure
is a bar that a test fails on: speed is measured, not tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from data.types import Edit
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


class MovingSquare:
    """A clip of the editor's own size, drawn when it is read: a bright square crosses a noisy ground."""

    fps, size = Fraction(12), (128, 128)

    def __init__(self, frames: int) -> None:
        self.frames, self.name = frames, f"square-{frames}"
        self.ground = np.random.default_rng(0).integers(60, 120, (128, 128, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: Any) -> Any:
        chosen = range(self.frames)[index]
        if isinstance(chosen, range):
            return np.stack([self[i] for i in chosen])
        picture = self.ground.copy()
        picture[self.square(chosen)] = (220, 160, 60)
        return picture

    def square(self, frame: int) -> tuple[slice, slice]:
        """Rows and columns of the square."""
        left = 4 + frame * 80 // max(self.frames - 1, 1)
        return slice(40, 80), slice(left, left + 40)

    def masks(self) -> np.ndarray:
        """The true masks, float32 (n, H, W)."""
        masks = np.zeros((self.frames, *self.size), np.float32)
        for frame, mask in enumerate(masks):
            mask[self.square(frame)] = 1
        return masks

    def path(self) -> np.ndarray:
        """One mask of everywhere the square comes, the same memory for every frame, float32 (n, H, W)."""
        mask = np.zeros(self.size, np.float32)
        mask[40:80, 4:124] = 1
        return np.broadcast_to(mask, (self.frames, *self.size))

    def pixels(self) -> torch.Tensor:
        """All frames as an editor takes them, (n, 3, H, W) in [0, 1]."""
        return torch.from_numpy(self[:]).permute(0, 3, 1, 2).float() / 255


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.mark.parametrize("stage", ["encode", "decode", "mask cells"])
def test_what_a_batch_costs_besides_the_network(benchmark: Any, backbone: Backbone, stage: str) -> None:
    """VAE and masks for one batch of frames."""
    pixels = MovingSquare(BATCH).pixels()
    with torch.no_grad():
        latents = backbone.encode(pixels)
        masks = torch.from_numpy(MovingSquare(BATCH).masks())[:, None]
        work: dict[str, Callable[[], Any]] = {
            "encode": lambda: backbone.encode(pixels),
            "decode": lambda: backbone.decode(latents),
            "mask cells": lambda: latent_mask(masks, backbone.latent_factor, 1),
        }
        benchmark.pedantic(work[stage], rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["frames"] = BATCH


@torch.no_grad()
def test_swap_steps_against_plain_editing(benchmark: Any, backbone: Backbone) -> None:
    """`time_ratio` should follow `flop_ratio`: one step of all frames, swapped and plain in turn."""
    side = backbone.default_side // backbone.latent_factor
    pixels = MovingSquare(BATCH).pixels()
    condition = backbone.condition(pixels, GLOBAL.instruction).acting(backbone.guidance_image)
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
from benchmarks.throughput import LOCAL, MovingSquare
from via.backbones import load
from via.config import ViaConfig
from via.edit import Via

clip = MovingSquare(int(sys.argv[1]))
config = ViaConfig(masks="given", steps=2, tuning_steps=1, root_candidates=1)
editor = Via(load("pocket"), config=config)
count = sum(1 for _ in editor.edit(clip, LOCAL, masks=clip.path()))
print(json.dumps({"frames": count, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def peak_memory(frames: int) -> int:
    """Peak resident memory in KiB of a process of its own that edits this many frames, drawn as they are
    read."""
    command = [sys.executable, "-c", MEMORY, str(frames)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
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
    clip = MovingSquare(MINUTE)
    masks = clip.masks()

    def edit() -> float:
        started = time.perf_counter()
        assert sum(1 for _ in editor.edit(clip, LOCAL, masks=masks)) == MINUTE
        return time.perf_counter() - started

    benchmark.extra_info |= {
        "minute_clip_seconds": benchmark.pedantic(edit, rounds=1),
        **{f"seconds_{stage}": value for stage, value in editor.trace.seconds.items()},
    }
