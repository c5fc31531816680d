"""What must hold of the whole method on any backbone: it changes what it may, the same way every time."""

import cv2
import numpy as np
import pytest
import torch

from data.types import ArrayClip, CannotEdit, Edit, UserError, silent
from via import attention, local
from via.attention import GroupStore
from via.config import ViaConfig
from via.edit import Via
from via.lock_step import lock_step
from via.stages import Stages

QUICK = {"steps": 2, "root_candidates": 2, "tuning_steps": 1, "tuning_pairs": 2, "tuning_batch": 1}
BLUE = Edit(instruction="make the dog blue")


def edited(backbone, clip, masks=None, seed=0, batch_size=8, shard=(0, 1), cache=None, edit=BLUE, **fields):
    config = ViaConfig(**{**QUICK, "masks": "given" if masks is not None else "none", **fields})
    editor = Via(backbone, config=config, batch_size=batch_size, shard=shard, cache=cache)
    return np.stack(list(editor.edit(clip, edit, masks=masks, seed=seed)))


def final_latents(backbone, clip, masks, **fields):
    """The latents that are decoded, and the region, read where the editor decodes them."""
    kept = {}

    class Peeking(Via):
        def decoded(self, job, latents, region):
            kept.update(latents=latents.clone(), region=region)
            return super().decoded(job, latents, region)

    config = ViaConfig(**{**QUICK, "masks": "given", **fields})
    list(Peeking(backbone, config=config).edit(clip, BLUE, masks=masks))
    return kept["latents"], kept["region"]


def source_latents(backbone, clip):
    editor = Via(backbone, config=ViaConfig(**QUICK))
    with Stages() as stages, torch.no_grad():
        job = editor.job(clip, BLUE, 0, stages, silent)
        return backbone.encode(editor.pixels(job, range(len(clip))))


def assert_within_a_grey_level(one, other):
    """The tolerance of a whole edit: 99.9 % of the pixels within one grey level."""
    difference = np.abs(one.astype(int) - other.astype(int))
    assert (difference <= 1).mean() >= 0.999


def test_the_same_seed_gives_the_same_bits(frame_conditioned, clip, square):
    one, two = (edited(frame_conditioned, clip, square, seed=3) for _ in range(2))
    assert np.array_equal(one, two)


@torch.no_grad()
def test_the_branch_that_cancels_out_of_the_guidance_is_not_needed(frame_conditioned, clip):
    backbone = frame_conditioned
    editor = Via(backbone, config=ViaConfig(**QUICK))
    with Stages() as stages:
        pixels = editor.pixels(editor.job(clip, BLUE, 0, stages, silent), range(2))
    condition = backbone.condition(pixels, BLUE.instruction)
    assert condition.branches == 3
    assert condition.acting(1.2) is condition
    latents = torch.randn(condition.image_latents.shape[1:], generator=torch.Generator().manual_seed(0))
    all_three = backbone.predict(latents, 500, condition, 2.0, 1.0)
    two = backbone.predict(latents, 500, condition.acting(1.0), 2.0, 1.0)
    torch.testing.assert_close(two, all_three, atol=1e-5, rtol=1e-4)
    assert (two - backbone.predict(latents, 500, condition, 2.0, 1.2)).abs().max() > 1e-3


def test_another_seed_gives_another_edit(frame_conditioned, clip, square):
    one, two = (edited(frame_conditioned, clip, square, seed=seed) for seed in (3, 4))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    "fields", [{}, {"blend": "constant"}, {"inversion": "noise"}, {"blend_area": "object"}]
)
def test_final_latents_outside_the_mask_are_the_sources_bit_for_bit(frame_conditioned, clip, square, fields):
    latents, region = final_latents(frame_conditioned, clip, square, **fields)
    outside = ~region.cells.expand_as(latents)
    source = source_latents(frame_conditioned, clip)
    assert outside.any()
    assert torch.equal(latents[outside], source[outside])
    assert not torch.isclose(latents[~outside], source[~outside], atol=1e-3).all()


def test_without_blending_the_background_is_edited(frame_conditioned, clip, square):
    latents, region = final_latents(frame_conditioned, clip, square, blend="off")
    outside = ~region.cells.expand_as(latents)
    assert (latents[outside] - source_latents(frame_conditioned, clip)[outside]).abs().mean() > 0.05


def test_paste_makes_pixels_outside_the_mask_equal_to_the_source(frame_conditioned, clip, square):
    frames = edited(frame_conditioned, clip, square, paste=True)
    outside = square < 0.5
    assert np.array_equal(frames[outside], clip.frames[outside])
    assert not np.array_equal(frames[~outside], clip.frames[~outside])
    plain = edited(frame_conditioned, clip, square)
    assert not np.array_equal(plain[outside], clip.frames[outside])  # the VAE's reconstruction otherwise


@pytest.mark.parametrize("fields", [{}, {"scheduler": "euler_ancestral", "noise": "per_frame"}])
def test_batch_size_changes_rounding_only(frame_conditioned, clip, square, fields):
    assert_within_a_grey_level(
        edited(frame_conditioned, clip, square, batch_size=1, **fields),
        edited(frame_conditioned, clip, square, batch_size=4, **fields),
    )


def test_an_ancestral_step_adds_the_same_noise_to_every_frame_of_shared_noise(frame_conditioned, clip):
    still = ArrayClip(clip.frames[[0, 0, 0]])
    fields = {"scheduler": "euler_ancestral", "region": "whole", "spatiotemporal": False, "tuning": "off"}
    shared = edited(frame_conditioned, still, **fields)
    assert_within_a_grey_level(shared[0], shared[1])
    apart = edited(frame_conditioned, still, noise="per_frame", **fields)
    assert not np.array_equal(apart[0], apart[1])


def test_shards_of_a_clip_together_are_the_whole_edit(frame_conditioned, clip, square):
    parts = [edited(frame_conditioned, clip, square, shard=(k, 2)) for k in range(2)]
    assert [len(part) for part in parts] == [3, 3]
    assert_within_a_grey_level(np.concatenate(parts), edited(frame_conditioned, clip, square))


@pytest.mark.parametrize(
    "fields",
    [{}, {"swap_own": True, "gather": False, "swap_cross": False}, {"swap_steps": 1}, {"blend_group": False}],
)
def test_lock_step_equals_group_first_bit_for_bit(frame_conditioned, clip, square, fields):
    """Gathering the group through all steps before any frame is edited gives the same bits."""
    backbone = frame_conditioned
    config = ViaConfig(**{**QUICK, "masks": "given", "tuning": "off", **fields})
    editor = Via(backbone, config=config)
    layers = attention.Layers(config.swap_self, config.swap_cross)
    with Stages() as stages, torch.no_grad():
        job = editor.job(clip, BLUE, 0, stages, silent)
        region, group = editor.region(job, square), editor.group(job)
        condition, group_condition = editor.condition(job, job.frames), editor.condition(job, group)
        with editor.trajectory(job, region, group) as trajectory:
            start = editor.start(job, trajectory, job.frames, condition)
            group_start = editor.start(job, trajectory, group, condition)

            def blended(latents, frames, done):
                source = trajectory.read(done, frames)
                return local.blend(latents, source, region.cells[list(frames)], done, config.steps)

            parts = [(job.frames, condition)]
            locked = lock_step(backbone, job, start, parts, (group, group_start, group_condition), blended)

            stores: list[GroupStore] = []
            latents = group_start
            for i, timestep in enumerate(job.scheduler.timesteps):

                def predict(j, timestep=timestep, latents=latents):
                    return backbone.predict(
                        latents[j : j + 1], timestep, group_condition[j : j + 1], *job.guidance
                    )

                output, store = attention.gather(
                    backbone.unet, predict, len(group), 3, layers, chained=config.gather
                )
                stores.append(store)
                latents = job.scheduler.step(output, timestep, latents).prev_sample
                if config.blend_group:
                    latents = blended(latents, group, i + 1)

            latents = start
            for i, timestep in enumerate(job.scheduler.timesteps):
                if config.swap_steps is None or i < config.swap_steps:
                    with attention.swapped(backbone.unet, stores[i], 3, layers, own=config.swap_own):
                        output = backbone.predict(latents, timestep, condition, *job.guidance)
                else:
                    output = backbone.predict(latents, timestep, condition, *job.guidance)
                latents = job.scheduler.step(output, timestep, latents).prev_sample
                latents = blended(latents, job.frames, i + 1)
    assert torch.equal(locked, latents)


def test_variants_that_differ_give_different_frames(frame_conditioned, clip, square, tmp_path):
    variants = {
        "full": {},
        "b": {"blend": "off"},
        "c": {"tuning": "off"},
        "d": {"gather": False, "swap_own": True, "swap_cross": False},
        "e": {"swap_cross": False},
        "fig11": {"gather": False},
        "d0": {"spatiotemporal": False},
        "preceding": {"gather_context": "preceding"},
        "group of two": {"group_size": 2},
        "first step": {"swap_steps": 1},
        "one block": {"swap_layers": (0,)},
        "text branch": {"swap_branches": (0,)},
        "per frame": {"noise": "per_frame"},
        "inverted": {"noise": "inverted"},
        "ancestral": {"scheduler": "euler_ancestral"},
    }
    results = {
        name: edited(frame_conditioned, clip, square, cache=tmp_path, **fields).tobytes()
        for name, fields in variants.items()
    }
    assert len(set(results.values())) == len(variants)


@pytest.mark.parametrize("scheduler", ["ddim", "euler_ancestral"])
def test_everything_off_is_frame_by_frame_editing(frame_conditioned, clip, scheduler):
    """With no component left, every frame is the plain edit of that frame alone."""
    from baselines.frame_by_frame import FrameByFrame, FrameByFrameConfig

    fields = {"steps": QUICK["steps"], "scheduler": scheduler}
    off = edited(frame_conditioned, clip, spatiotemporal=False, tuning="off", region="whole", **fields)
    plain = FrameByFrame(frame_conditioned, FrameByFrameConfig(**fields)).edit(clip, BLUE, seed=0)
    assert np.array_equal(off, np.stack(list(plain)))


def test_the_editor_is_left_as_found_also_after_an_exception(frame_conditioned, clip, square):
    unet = frame_conditioned.unet
    weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    processors = [module.processor for module in unet.modules() if hasattr(module, "processor")]
    modules = [id(module) for module in unet.modules()]

    def stop(stage, done, total):
        if stage == "edit" and done > 6:
            raise KeyboardInterrupt

    editor = Via(frame_conditioned, config=ViaConfig(**QUICK, masks="given"))
    with pytest.raises(KeyboardInterrupt):
        list(editor.edit(clip, BLUE, masks=square, report=stop))
    edited(frame_conditioned, clip, square)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in unet.state_dict().items())
    assert [m.processor for m in unet.modules() if hasattr(m, "processor")] == processors
    assert [id(module) for module in unet.modules()] == modules


def test_every_mask_mode_acts_where_it_says_and_edits_otherwise(frame_conditioned, clip, square, tmp_path):
    """Given, grown by three cells of two pixels, moved by half the width, none; predicted is the masker's."""

    class Corner:
        name = "corner"

        def region(self, frame, instruction):
            return "the corner"

        def masks(self, clip, phrase):
            masks = np.zeros((len(clip), *clip.size), np.float32)
            masks[:, :6, :6] = 1
            return masks

    grown = np.stack([cv2.dilate(mask, np.ones((13, 13), np.uint8)) for mask in square]) > 0.5
    expected = {
        "given": square > 0.5,
        "dilated": grown,
        "wrong": np.roll(square, 10, axis=2) > 0.5,
        "none": None,
        "predicted": Corner().masks(clip, "") > 0.5,
    }
    results = set()
    for mode, pixels in expected.items():
        editor = Via(frame_conditioned, Corner(), ViaConfig(**QUICK, masks=mode), cache=tmp_path)
        masks = square if editor.config.needs_given_masks else None
        results.add(np.stack(list(editor.edit(clip, BLUE, masks=masks))).tobytes())
        region = editor.trace.region
        if pixels is None:
            assert region is None
        else:
            assert np.array_equal(region.pixels(list(range(len(clip)))), pixels), mode
    assert len(results) == len(expected)


def test_one_frame_is_a_clip_too(frame_conditioned, clip, square):
    assert edited(frame_conditioned, ArrayClip(clip.frames[:1]), square[:1]).shape == (1, 16, 20, 3)


@pytest.mark.parametrize("size", [(17, 23), (9, 40), (64, 33)])
def test_any_size_comes_back_at_its_size(frame_conditioned, size):
    frames = np.random.default_rng(1).integers(0, 255, (3, *size, 3), dtype=np.uint8)
    assert edited(frame_conditioned, ArrayClip(frames)).shape == frames.shape


def test_frames_are_decoded_as_they_are_asked_for(frame_conditioned, clip):
    decoded = []
    stream = Via(frame_conditioned, config=ViaConfig(**QUICK, masks="none"), batch_size=2).edit(
        clip, BLUE, report=lambda stage, done, total: decoded.append(done) if stage == "decode" else None
    )
    next(stream)
    assert decoded == []
    next(stream)
    next(stream)
    assert decoded == [2]


def test_a_shared_cache_changes_no_bit_and_is_used(frame_conditioned, clip, square, tmp_path):
    alone = edited(frame_conditioned, clip, square)
    first = edited(frame_conditioned, clip, square, cache=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = edited(frame_conditioned, clip, square, cache=tmp_path)
    assert np.array_equal(alone, first)
    assert np.array_equal(alone, second)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    stages = sorted({path.name.split("-")[0] for path in files})
    assert stages == ["inversion", "masks", "root", "tuning"]


def test_variants_share_root_adapter_masks_and_trajectory(frame_conditioned, clip, square, tmp_path):
    edited(frame_conditioned, clip, square, cache=tmp_path)
    files = set(tmp_path.iterdir())
    for fields in ({"swap_cross": False}, {"gather": False}, {"tuning": "off"}, {"blend": "constant"}):
        edited(frame_conditioned, clip, square, cache=tmp_path, **fields)
    assert set(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"tuning_lr": 0.1}, {"root_candidates": 3}, {"steps": 3}, {"affine_rotation": 1}],
)
def test_what_a_stage_depends_on_makes_a_new_one(frame_conditioned, clip, square, tmp_path, change):
    edited(frame_conditioned, clip, square, cache=tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    alone = edited(frame_conditioned, clip, square, **change)
    assert np.array_equal(edited(frame_conditioned, clip, square, cache=tmp_path, **change), alone)
    assert {path.name for path in tmp_path.iterdir()} - before


def test_a_cached_stage_counts_with_the_seconds_it_took(frame_conditioned, clip, square, tmp_path):
    seconds = []
    for _ in range(2):
        editor = Via(frame_conditioned, config=ViaConfig(**QUICK, masks="given"), cache=tmp_path)
        list(editor.edit(clip, BLUE, masks=square))
        seconds.append(editor.trace.seconds)
    for stage in ("masks", "inversion", "root", "tuning"):
        assert seconds[0][stage] == seconds[1][stage] > 0


def test_a_chosen_root_from_a_file_is_the_one_tuned_on(frame_conditioned, clip, square, tmp_path):
    from PIL import Image

    Image.fromarray(255 - clip.frames[2]).save(tmp_path / "root.png")
    config = ViaConfig(**QUICK, masks="given", root_edit=str(tmp_path / "root.png"), root_frame=2)
    editor = Via(frame_conditioned, config=config)
    list(editor.edit(clip, BLUE, masks=square))
    assert editor.trace.root.frame == 2
    shown = editor.trace.root.edited.permute(1, 2, 0).numpy() * 255
    assert np.array_equal(shown.round().astype(np.uint8), 255 - clip.frames[2])


def test_a_person_may_choose_the_root(frame_conditioned, clip, square):
    asked = []

    def choose(candidates, scores):
        asked.append((candidates.shape, len(scores)))
        return 1

    config = ViaConfig(**QUICK, masks="given", root_choice="person")
    editor = Via(frame_conditioned, config=config, choose=choose)
    list(editor.edit(clip, BLUE, masks=square))
    assert asked == [((2, 16, 20, 3), 2)]
    assert editor.trace.root.chosen == 1


class LastFollows:
    """Says of the last candidate that it follows best; counts how often it is asked."""

    name = "last"
    asked = 0

    def __call__(self, candidates, edit):
        self.asked += 1
        return torch.arange(len(candidates)).float()


@pytest.mark.parametrize(("choice", "chosen", "asked"), [("clip", 1, 1), ("first", 0, 0)])
def test_clip_has_its_say_only_where_it_is_asked(frame_conditioned, clip, square, choice, chosen, asked):
    config = ViaConfig(**QUICK, masks="given", root_choice=choice)
    follow = LastFollows()
    editor = Via(frame_conditioned, config=config, follow=follow)
    list(editor.edit(clip, BLUE, masks=square))
    assert editor.trace.root.chosen == chosen
    assert follow.asked == asked


@pytest.mark.parametrize(
    ("fields", "masks", "message"),
    [
        ({"masks": "given"}, None, "--mask"),
        ({"masks": "predicted"}, None, "--region whole"),
        ({"masks": "none", "root_choice": "person"}, None, "--choose-root"),
        ({"masks": "none", "root_choice": "clip"}, None, "root_choice=score"),
        ({"masks": "none", "root_frame": 6}, None, "frames 0 to 5"),
        ({"masks": "none", "group_frames": (0, 9)}, None, "frames 0 to 5"),
        ({"masks": "none", "root_edit": "nowhere.png"}, None, "nowhere.png"),
        ({"masks": "given"}, np.zeros((6, 16, 20), np.float32), "--region"),
        ({"masks": "given"}, np.ones((6, 16, 21), np.float32), "6 x 16 x 21"),
        ({"masks": "given"}, np.full((6, 16, 20), 2, np.float32), "outside 0 to 1"),
    ],
)
def test_what_the_user_can_mend_is_said_in_one_line(backbone, clip, fields, masks, message):
    editor = Via(backbone, config=ViaConfig(**{**QUICK, **fields}))
    with pytest.raises(UserError, match=message) as error:
        list(editor.edit(clip, BLUE, masks=masks))
    assert "\n" not in str(error.value)


def test_what_is_missing_is_said_before_the_first_frame(backbone, clip):
    with pytest.raises(CannotEdit):
        Via(backbone, config=ViaConfig(masks="given")).edit(clip, BLUE)
    with pytest.raises(UserError, match="empty"):
        Via(backbone).edit(clip, Edit(instruction="  "))
