"""Held-out figures of the pocket models, recomputed on scenes of the dev split, beside the bars they are meant to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.pocket.backgrounds import kinds
from data.pocket.coupling import COUPLING
from data.pocket.edits import ARGUMENTS, KINDS, SUBJECTS, fits, kind_of
from data.pocket.motion import MOTIONS
from data.pocket.scenes import Scene, Take, candidates, render
from data.types import Frame
from eval.truth import boolean, rmse
from via.backbones.pocket.backbone import PocketBackbone

FRAMES = 24  # of a scene, of which a few are edited
LEAST = 150  # mask pixels of a frame that is judged


@dataclass(frozen=True)
class Case:
    """A frame of a dev scene with everything it is judged by. Distances are RMSE in [0, 1]."""

    edit: str
    instruction: str
    source: Frame
    answers: list[Frame]
    others: list[Frame]  # answers of other edits of the same kind on the same scene
    mask: NDArray[np.bool_]


def draw_take(rng: np.random.Generator, edit: str, split: str = "dev") -> Take:
    """A scene of the split that the edit can be asked of, with one subject and one shot."""
    motions = [m for m in MOTIONS if m not in ("cut", "pair")]
    while True:
        subject, family = SUBJECTS[int(rng.integers(len(SUBJECTS)))], int(rng.integers(2))
        if fits(edit, subject, family):
            break
    backgrounds = kinds(split)
    background = f"{backgrounds[int(rng.integers(len(backgrounds)))]}/{int(rng.integers(1000))}"
    scene = Scene(
        split=split,  # type: ignore[arg-type]
        subject=subject,
        family=family,  # type: ignore[arg-type]
        motion=motions[int(rng.integers(len(motions)))],
        backgrounds=(background,),
    )
    return render(scene, FRAMES, seed=int(rng.integers(2**31)))


def cases(kind: str, count: int, rng: np.random.Generator, per_scene: int = 2) -> Iterator[Case]:
    """`count` cases of one kind, `per_scene` frames a scene."""
    edits = [edit for edit in ARGUMENTS if kind_of(edit) == kind]
    drawn = 0
    while drawn < count:
        edit = edits[int(rng.integers(len(edits)))]
        take = draw_take(rng, edit)
        answers, masks = take.answers(edit), take.masks(edit)
        others = candidates(take.source, edit, rng, 8)
        phrasings = take.edit(edit).instruction
        for i in rng.choice(FRAMES, per_scene, replace=False):
            mask = boolean(masks[i])
            if mask.sum() >= LEAST and drawn < count:
                drawn += 1
                yield Case(edit, phrasings, take.source[int(i)], [a[int(i)] for a in answers], [o[int(i)] for o in others], mask)


def edit_plainly(backbone: PocketBackbone, batch: list[Case], seed: int, steps: int = 10) -> NDArray[np.uint8]:
    """The frames of a batch of cases edited on their own, with one noise draw for all: uint8 (n, H, W, 3)."""
    frames = tensor([case.source for case in batch])
    conditions = [backbone.condition(frame[None], case.instruction) for frame, case in zip(frames, batch)]
    condition = type(conditions[0])(
        torch.cat([c.image_latents for c in conditions], dim=1), torch.cat([c.tokens for c in conditions], dim=1)
    )
    shape = condition.image_latents.shape[2:]
    latents = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)).expand(len(batch), *shape)
    schedule = backbone.scheduler(steps)
    for t in schedule.timesteps:
        output = backbone.predict(latents, t, condition, backbone.guidance_text, backbone.guidance_image)
        latents = schedule.step(output, t, latents).prev_sample
    return array(backbone.decode(latents))


def tensor(frames: list[Frame]) -> torch.Tensor:
    """Frames uint8 (H, W, 3) as float (n, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def array(frames: torch.Tensor) -> NDArray[np.uint8]:
    """Float (n, 3, H, W) in [0, 1] as uint8 (n, H, W, 3)."""
    return (frames * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def decibels(distances: list[float]) -> float:
    """PSNR of the mean square of RMSEs in [0, 1]."""
    return float(-20 * np.log10(max(1e-6, np.sqrt(np.mean(np.square(distances))))))


def judge(case: Case, frame: Frame) -> dict[str, float]:
    """One edited frame against everything its case knows."""
    true = [rmse(frame, answer, case.mask) for answer in case.answers]
    wrong = [rmse(frame, other, case.mask) for other in (case.source, *case.others)]
    figures = {
        "valid": float(min(true) < min(wrong)),
        "chance": len(true) / (len(true) + len(wrong)),
        "error": min(true),
        "copy": min(rmse(case.source, answer, case.mask) for answer in case.answers),
    }
    if not case.mask.all():
        figures["outside"] = rmse(frame, case.source, ~case.mask)
    return figures


def editor_figures(
    backbone: PocketBackbone, count: int = 100, seed: int = 0, report: Callable[[str, int, int], None] | None = None
) -> dict[str, dict[str, float]]:
    """Per kind of edit, on `count` dev frames edited on their own: the share that is a valid answer with its chance, PSNR in
    dB to the nearest answer inside the mask and to the source outside, and both for a copy of the source and for the
    nearest answer through the VAE."""
    table = {}
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, number])
        drawn = list(cases(kind, count, rng))
        rows = []
        for at in range(0, count, 20):
            batch = drawn[at : at + 20]
            edited = edit_plainly(backbone, batch, seed=number)
            through = array(backbone.decode(backbone.encode(tensor([case.answers[0] for case in batch]))))
            for case, frame, oracle in zip(batch, edited, through):
                rows.append({**judge(case, frame), "oracle": rmse(oracle, case.answers[0], case.mask)})
            if report:
                report(kind, at + len(batch), count)
        table[kind] = {
            "frames": len(rows),
            "valid": float(np.mean([row["valid"] for row in rows])),
            "chance": float(np.mean([row["chance"] for row in rows])),
            "answer_db": decibels([row["error"] for row in rows]),
            "copy_db": decibels([row["copy"] for row in rows]),
            "oracle_db": decibels([row["oracle"] for row in rows]),
        }
        outside = [row["outside"] for row in rows if "outside" in row]
        if outside:
            table[kind]["outside_db"] = decibels(outside)
    return table


def global_figures(backbone: PocketBackbone, count: int = 20, seed: int = 1) -> dict[str, dict[str, float]]:
    """PSNR in dB to the nearest answer and of a copy, for each global edit on `count` dev frames."""
    table = {}
    for edit in (e for e in ARGUMENTS if kind_of(e) == "global"):
        rng = np.random.default_rng([seed, ARGUMENTS.index(edit)])
        batch = []
        while len(batch) < count:
            take = draw_take(rng, edit)
            i = int(rng.integers(FRAMES))
            mask = np.ones(take.source.size, dtype=bool)
            answers = [answer[i] for answer in take.answers(edit)]
            batch.append(Case(edit, take.edit(edit).instruction, take.source[i], answers, [], mask))
        rows = [judge(case, frame) for case, frame in zip(batch, edit_plainly(backbone, batch, seed=7))]
        table[edit] = {
            "coupling": COUPLING[edit],  # type: ignore[dict-item]
            "answer_db": decibels([row["error"] for row in rows]),
            "copy_db": decibels([row["copy"] for row in rows]),
        }
    return table
