"""The whole method: Fig. 2 of the paper from top to bottom.

    region and masks -> encode -> invert -> root edit -> tune -> gather and swap in lock step with blending ->
    decode

All frames advance together, one denoising step at a time: at each step the group's frames go first and fill a
store of keys and values, then every frame of the clip is advanced against it, then the store is dropped. So
memory does not grow with the number of steps, and hardly with the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from data.types import CannotEdit, Clip, Edit, Frame, Report, UserError, silent
from via import inversion, local, root, tuning
from via.backbones import IMAGE_ONLY, Backbone, Condition
from via.config import ViaConfig
from via.framing import Framing, read
from via.group import group_numbers, shot_starts
from via.inversion import Trajectory
from via.lock_step import Blended, Job, lock_step
from via.masks import Masker
from via.masks.given import checked
from via.region import Region, ask, dilated, gathered_region, smoothed, soft_masks
from via.root import Root
from via.sampling import added_noise, batches, denoise, generator, place, start_noise
from via.stages import Stages, array_digest, clip_digest, save_tensors, weights_digest

Choose = Callable[
    [NDArray[np.uint8], list[float]], int
]  # candidates (k, H, W, 3) and scores -> the chosen one

DILATED = 3  # latent cells by which masks=dilated grows a given mask


class Follow(Protocol):
    """How well each candidate (k, 3, H, W) in [0, 1] follows the instruction (k,), higher is better; `name`
    says by what, weights included. Raises CannotEdit where it cannot say."""

    name: str

    def __call__(self, candidates: torch.Tensor, edit: Edit) -> torch.Tensor: ...


@dataclass
class Trace:
    """What the last edit decided: region (None is the whole frame), group and root; and the seconds of each
    stage as if it had run alone.
    """

    region: Region | None = None
    group: list[int] = field(default_factory=list)
    root: Root | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Via:
    """The editor. `cache` is a folder through which edits share stages; `shard=(k, n)` edits the k-th of n
    parts of a clip.

    `choose` is the person of `root_choice: person`, `follow` the CLIP of `root_choice: clip`. `batch_size`
    frames go through the U-Net together: it changes rounding and speed only. After an edit `trace` holds
    what was decided and how long each stage took.
    """

    name = "via"

    def __init__(
        self,
        backbone: Backbone,
        masker: Masker | None = None,
        config: ViaConfig | None = None,
        *,
        batch_size: int = 8,
        cache: Path | None = None,
        choose: Choose | None = None,
        follow: Follow | None = None,
        shard: tuple[int, int] = (0, 1),
    ):
        self.backbone, self.masker, self.config = backbone, masker, config or ViaConfig()
        self.batch_size, self.cache, self.choose, self.follow, self.shard = (
            batch_size,
            cache,
            choose,
            follow,
            shard,
        )
        self.trace = Trace()

    def edit(
        self,
        clip: Clip,
        edit: Edit,
        *,
        masks: NDArray[np.float32] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Iterator[Frame]:
        """Edited frames in order, uint8 RGB of the clip's size, decoded as they are asked for.

        Raises UserError before the first frame when the config or the masks do not fit the clip.
        """
        config = self.config
        if not edit.instruction.strip():
            raise UserError("the instruction is empty: say what to change")
        if config.needs_given_masks:
            if masks is None:
                raise CannotEdit(
                    f"masks={config.masks} needs masks: give --mask FILE, or use --set masks=predicted"
                )
            checked(masks, clip)
        elif config.masks == "predicted" and config.region != "whole" and self.masker is None:
            raise CannotEdit("no model for masks is loaded: give --mask FILE, or use --region whole")
        if config.root_choice == "person" and config.root_edit is None and self.choose is None:
            raise CannotEdit(
                "root_choice=person needs somebody to ask: use --choose-root or --root-edit FILE"
            )
        elif (
            config.root_choice == "clip"
            and config.tuning != "off"
            and config.root_edit is None
            and self.follow is None
        ):
            raise CannotEdit(
                "root_choice=clip needs a CLIP and a target caption, as the tasks of a suite have "
                "(via ablate --set root_choice=clip): use root_choice=score here"
            )
        return self._edited(clip, edit, masks, seed, report)

    @torch.no_grad()
    def _edited(
        self, clip: Clip, edit: Edit, masks: NDArray[np.float32] | None, seed: int, report: Report
    ) -> Iterator[Frame]:
        config, backbone = self.config, self.backbone
        with Stages(self.cache) as stages:
            job = self.job(clip, edit, seed, stages, report)

            # 1  Where the edit acts: a phrase, then a mask in every frame (4.1, Fig. 3).
            region = self.region(job, masks)

            # 2  Encode the source: what the editor is conditioned on, frame by frame.
            group = self.group(job)
            with stages.timed("encode"):
                conditions = [self.condition(job, part) for part in self.progress(job, "encode", job.frames)]
                group_condition = self.condition(job, group)

            # 3  Invert the source, for blending and for starting from it.
            with self.trajectory(job, region, group) as trajectory:

                def blended(latents: torch.Tensor, frames: Sequence[int], done: int) -> torch.Tensor:
                    if region is None or trajectory is None or config.blend == "off":
                        return latents
                    source = trajectory.read(done, frames).to(latents)
                    cells = region.cells[list(frames)].to(latents.device)
                    return local.blend(
                        latents, source, cells, done, config.steps, config.blend, config.blend_area
                    )

                # 4  Choose the root edit (4.1) and tune the editor on affine copies of it (Eq. 5).
                adapter = None
                if config.tuning != "off":
                    chosen = self.root(job, edit, region, blended)
                    adapter = self.adapter(job, chosen)
                    self.trace.root = chosen

                # 5  All frames in lock step: gather (Eq. 7, 8), swap (Eq. 9), blend (Eq. 6).
                start = self.start(job, trajectory, job.frames, conditions[0])
                group_start = self.start(job, trajectory, group, conditions[0])
                with stages.timed("edit"), _adapted(backbone, adapter):
                    latents = lock_step(
                        backbone,
                        job,
                        start,
                        list(zip(batches(job.frames, self.batch_size), conditions)),
                        (group, group_start, group_condition) if config.spatiotemporal else None,
                        blended,
                    )

            # 6  Decode as a stream.
            self.trace.region = region
            self.trace.group = group if config.spatiotemporal else []
            self.trace.seconds = stages.seconds
            yield from self.decoded(job, latents, region)

    def job(self, clip: Clip, edit: Edit, seed: int, stages: Stages, report: Report) -> Job:
        """The edit's frame: sizes, schedule, guidance, and the hash of what every stage depends on."""
        config, backbone = self.config, self.backbone
        self.trace = Trace()
        text = backbone.guidance_text if config.guidance_text is None else config.guidance_text
        image = backbone.guidance_image if config.guidance_image is None else config.guidance_image
        framing = Framing.of(backbone, clip.size, config.size)
        number, shards = self.shard
        bounds = np.linspace(0, len(clip), shards + 1).round().astype(int)
        depends: dict[str, Any] = {
            "instruction": edit.instruction,
            "size": framing.padded,
            "sampling": [config.steps, text, image, config.timestep_spacing, config.scheduler],
        }
        if stages.shared:
            depends["clip"] = clip_digest(clip)
            depends["backbone"] = [backbone.name, weights_digest(backbone)]
        return Job(
            clip,
            edit,
            seed,
            config,
            framing,
            backbone.scheduler(config.steps, config.timestep_spacing),
            (text, image),
            stages,
            report,
            range(int(bounds[number]), int(bounds[number + 1])),
            depends,
        )

    def progress(self, job: Job, stage: str, frames: Sequence[int]) -> Iterator[Sequence[int]]:
        """Batches of `frames`, each reported when it is done."""
        done = 0
        for part in batches(frames, self.batch_size):
            yield part
            done += len(part)
            job.report(stage, done, len(frames))

    def region(self, job: Job, masks: NDArray[np.float32] | None) -> Region | None:
        """Step 1: the edit's region, or None when it is the whole frame."""
        config, clip, masker = job.config, job.clip, self.masker
        if config.region == "whole" or config.masks == "none":
            return None
        depends = {
            **job.depends,
            "region": [config.region, config.masks, config.mask_grow, config.mask_smooth],
        }
        phrase: str | None = None
        soft: Iterator[NDArray[np.float32]]
        grow = config.mask_grow
        if config.needs_given_masks:
            assert masks is not None
            if masks.min() > 0.5:
                return None
            depends["masks"] = array_digest([masks]) if job.stages.shared else ""
            shift = clip.size[1] // 2 if config.masks == "wrong" else 0
            soft = (np.roll(mask, shift, axis=1) for mask in masks)
            if config.masks == "dilated":
                soft = dilated(soft, job.framing, DILATED * self.backbone.latent_factor)
            grow = 0  # a given mask is taken at its word
        else:
            assert masker is not None
            per_frame = config.region == "per_frame"
            depends["masker"] = [masker.name, weights_digest(masker) if job.stages.shared else ""]
            if config.region not in ("auto", "per_frame"):
                phrase = config.region
            else:
                phrase = ask(clip, masker, job.edit.instruction)
                if phrase is None:
                    return None

            def phrase_of(frame: Frame) -> str | None:
                return masker.region(frame, job.edit.instruction) if per_frame else phrase

            predicted = soft_masks(clip, masker, phrase_of, per_frame, self.batch_size)
            soft = smoothed(_counted(predicted, job.report, "masks", len(clip)), config.mask_smooth)

        def make(path: Path) -> None:
            gathered_region(soft, phrase, job.framing, self.backbone.latent_factor, grow).save(path)

        return Region.load(job.stages.file("masks", depends, make))

    def group(self, job: Job) -> list[int]:
        """Frame numbers of the attention group."""
        config = job.config
        shots = shot_starts(job.clip) if config.group_frames == "shots" and config.spatiotemporal else [0]
        return group_numbers(config.group_frames, config.group_size, len(job.clip), shots)

    def pixels(self, job: Job, frames: Sequence[int]) -> torch.Tensor:
        """Source frames as the model takes them, (n, 3, H, W) in [0, 1]."""
        device, dtype = place(self.backbone)
        return job.framing.frames_in(read(job.clip, frames)).to(device, dtype)

    def condition(self, job: Job, frames: Sequence[int]) -> Condition:
        """Step 2 for these frames."""
        condition = self.backbone.condition(self.pixels(job, frames), job.edit.instruction)
        return condition.acting(job.guidance[1])

    def trajectory(
        self, job: Job, region: Region | None, group: Sequence[int]
    ) -> AbstractContextManager[Trajectory | None]:
        """Step 3: the inverted source of the frames that need it, by the editor before tuning."""
        config, backbone = job.config, self.backbone
        blending = region is not None and (config.blend != "off" or config.root_local)
        if not blending and config.noise != "inverted":
            return nullcontext()
        shape = tuple(self.condition(job, [0]).image_latents.shape[2:])
        levels = config.steps + 1
        whole = len(job.frames) == len(job.clip)
        frames = job.frames if whole else sorted({*job.frames, *group})
        branch = IMAGE_ONLY if config.inversion_condition == "null" else 0

        def make(path: Path) -> None:
            with Trajectory(path, levels, len(job.clip), shape, new=True) as trajectory:
                for part in self.progress(job, "inversion", frames):
                    source = backbone.encode(self.pixels(job, part))
                    if config.inversion == "ddim":
                        condition = self.condition(job, part).branch(branch)
                        inversion.invert(backbone, source, condition, job.scheduler, trajectory, part)
                    else:
                        noise = self.drawn_noise(job, part, shape).to(source)
                        inversion.add_noise(source, noise, job.scheduler, trajectory, part)

        depends = {k: v for k, v in job.depends.items() if k != "instruction" or branch == 0}
        depends["sampling"] = [config.steps, config.timestep_spacing]
        depends["inversion"] = [config.inversion, config.inversion_condition, None if whole else list(frames)]
        if config.inversion == "noise":
            depends["noise"] = [config.noise, job.seed]
        path = job.stages.file("inversion", depends, make)
        return Trajectory(path, levels, len(job.clip), shape)

    def drawn_noise(self, job: Job, frames: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
        return start_noise(job.noise_kind, frames, shape, job.seed)

    def start(
        self, job: Job, trajectory: Trajectory | None, frames: Sequence[int], condition: Condition
    ) -> torch.Tensor:
        """Where denoising starts (n, c, h, w): drawn noise, or the noisiest latents of the source."""
        device, dtype = place(self.backbone)
        if trajectory is not None and job.config.noise == "inverted":
            return trajectory.read(0, frames).to(device, dtype)
        return self.drawn_noise(job, frames, tuple(condition.image_latents.shape[2:])).to(device, dtype)

    def root(
        self,
        job: Job,
        edit: Edit,
        region: Region | None,
        blended: Blended,
    ) -> Root:
        """Step 4, first half: a random frame edited with different seeds, and the best edit chosen."""
        config, clip = job.config, job.clip
        if config.root_frame == "drawn":
            frame = root.root_frame(
                region.areas if region else None, len(clip), generator(job.seed, "root frame")
            )
        elif config.root_frame < len(clip):
            frame = config.root_frame
        else:
            raise UserError(f"root_frame={config.root_frame}: the clip has frames 0 to {len(clip) - 1}")

        follow = self.follow if config.root_choice == "clip" else None

        def make(path: Path) -> None:
            source = self.pixels(job, [frame])[0].float().cpu()
            if config.root_edit is not None:
                candidates = root.from_file(Path(config.root_edit), job.framing)[None]
            else:
                candidates = self.candidates(job, frame, blended)
            inside = None
            if region is not None:
                inside = job.framing.masks_in(region.pixels([frame]))[0] > 0.5
            following = follow(candidates, edit) if follow and config.root_edit is None else None
            scored = root.scores(candidates, source, inside, following)
            best = scored.best if config.root_choice in ("score", "clip") else 0
            stored = (candidates * 255).round().byte()
            if config.root_choice == "person" and config.root_edit is None:
                assert self.choose is not None
                best = self.choose(job.framing.frames_out(candidates), scored.total.tolist())
            save_tensors(
                path,
                {
                    "candidates": stored.contiguous(),
                    "agreement": scored.agreement,
                    "preservation": scored.preservation,
                    "following": scored.following,
                    "total": scored.total,
                    "chosen": torch.tensor(best),
                },
            )

        depends = {
            **job.depends,
            "seed": job.seed,
            "frame": frame,
            "root": [config.root_candidates, config.root_choice, config.root_local],
            "follow": follow.name if follow else None,
            "region": array_digest([region.packed[frame]]) if region else None,
            "file": _file_digest(config.root_edit),
        }
        if config.root_local:
            depends["blend"] = [config.blend, config.blend_area, config.inversion, config.inversion_condition]
        kept = load_file(job.stages.file("root", depends, make))
        names = ("agreement", "preservation", "following", "total")
        return Root(
            frame, kept["candidates"], {name: kept[name].tolist() for name in names}, int(kept["chosen"])
        )

    def candidates(self, job: Job, frame: int, blended: Blended) -> torch.Tensor:
        """Edits (k, 3, H, W) of one frame in [0, 1], each from noise of its own, never that of the clip."""
        device, dtype = place(self.backbone)
        condition = self.condition(job, [frame])
        shape = tuple(condition.image_latents.shape[2:])
        edits = []
        for part in self.progress(job, "root", range(job.config.root_candidates)):
            draws = start_noise("per_frame", part, shape, job.seed, "root")

            def after_step(i: int, latents: torch.Tensor) -> torch.Tensor:
                return blended(latents, [frame] * len(latents), i + 1) if job.config.root_local else latents

            def noise(i: int, part: Sequence[int] = part) -> torch.Tensor | None:
                solver, steps = job.config.scheduler, job.config.steps
                return added_noise(solver, "per_frame", part, shape, job.seed, i, steps, "root")

            latents = denoise(
                self.backbone,
                draws.to(device, dtype),
                condition[[0] * len(part)],
                job.scheduler,
                *job.guidance,
                after_step,
                noise,
            )
            edits.append(self.backbone.decode(latents).float().cpu())
        return torch.cat(edits).clamp(0, 1)

    def adapter(self, job: Job, chosen: Root) -> tuning.Adapter:
        """Step 4, second half: the editor's weights after tuning on the affine copies of the root pair."""
        config = job.config
        assert config.tuning != "off"
        method = config.tuning

        def make(path: Path) -> None:
            draws = generator(job.seed, "tuning")
            adapter = tuning.tune(
                self.backbone,
                self.pairs(job, chosen, draws),
                job.edit.instruction,
                draws,
                method=method,
                rank=config.tuning_rank,
                steps=config.tuning_steps,
                lr=config.tuning_lr,
                batch=config.tuning_batch,
                dropout=config.tuning_dropout,
                report=lambda done, total: job.report("tuning", done, total),
            )
            adapter.save(path)

        depends = {
            **job.depends,
            "seed": job.seed,
            "root": [chosen.frame, array_digest([chosen.candidates[chosen.chosen].numpy()])],
            "tuning": {k: v for k, v in config if k.startswith(("tuning", "affine"))},
        }
        return tuning.Adapter.load(job.stages.file("tuning", depends, make))

    def pairs(self, job: Job, chosen: Root, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """The tuning set of Eq. 5: affine copies of the root frame and of its edit, (n, 3, H, W) each."""
        config = job.config
        ranges = tuning.AffineRanges(
            config.affine_rotation,
            config.affine_translation,
            config.affine_crop,
            config.affine_shear,
            config.affine_fill,
        )
        source = self.pixels(job, [chosen.frame])[0]
        return tuning.affine_pairs(source, chosen.edited.to(source), config.tuning_pairs, draws, ranges)

    def decoded(self, job: Job, latents: torch.Tensor, region: Region | None) -> Iterator[Frame]:
        """Step 6: frames of the clip's size, batch by batch; with `paste` the source's pixels outside the
        region.
        """
        first = job.frames[0] if len(job.frames) else 0
        for part in self.progress(job, "decode", job.frames):
            with job.stages.timed("decode"):
                rows = slice(part[0] - first, part[-1] + 1 - first)
                frames = job.framing.frames_out(self.backbone.decode(latents[rows]))
                if job.config.paste and region is not None:
                    inside = region.pixels(list(part))[..., None]
                    frames = np.where(inside, frames, read(job.clip, part))
            yield from frames


def _counted(
    items: Iterator[NDArray[np.float32]], report: Report, stage: str, total: int
) -> Iterator[NDArray[np.float32]]:
    for done, item in enumerate(items, start=1):
        yield item
        report(stage, done, total)


def _file_digest(path: str | None) -> str | None:
    return array_digest([np.fromfile(path, np.uint8)]) if path and Path(path).is_file() else None


def _adapted(backbone: Backbone, adapter: tuning.Adapter | None) -> AbstractContextManager[None]:
    return nullcontext() if adapter is None else tuning.adapted(backbone.unet, adapter)
