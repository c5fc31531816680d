"""Held-out figures of the pocket models on scenes of the dev split; `benchmarks.models` sets the bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data.pocket.backgrounds import DRAWN, kinds, make_canvas
from data.pocket.coupling import COUPLING, ORDER
from data.pocket.edits import ARGUMENTS, KINDS, SUBJECTS, fits, kind_of
from data.pocket.motion import MOTIONS
from data.pocket.scenes import Scene, Take, candidates, render
from data.pocket.training import Sampler
from data.pocket.words import instructions, tokenize
from data.types import Frame
from eval import truth
from eval.models import ClipFolder
from eval.truth import boolean, rmse
from via.backbones import Condition
from via.backbones.pocket.backbone import PocketBackbone
from via.backbones.pocket.mask import PocketMask
from via.backbones.pocket.training.clip import ATTRIBUTES, draw, prompts, zero_shot
from via.backbones.pocket.training.mask import ASKED, draw_phrase, intersection_over_union
from via.backbones.pocket.vae import PocketVAE

FRAMES = 12  # of a scene
LEAST = 150  # mask pixels of a frame that is judged
BATCH = 20  # frames edited together
GLOBAL_EDITS = tuple(edit for edit in ARGUMENTS if kind_of(edit) == "global")

Figures = dict[str, float]


# Scenes


def draw_take(rng: np.random.Generator, edit: str, motion: str | None = None) -> Take:
    """A dev scene that the edit can be asked of, with one subject and one shot; draws the motion if None."""
    motions = [m for m in MOTIONS if m not in ("cut", "pair")]
    while True:
        subject, family = SUBJECTS[int(rng.integers(len(SUBJECTS)))], int(rng.integers(2))
        if fits(edit, subject, family):
            break
    backgrounds = kinds("dev")
    background = f"{backgrounds[int(rng.integers(len(backgrounds)))]}/{int(rng.integers(1000))}"
    scene = Scene(
        split="dev",
        subject=subject,
        family=1 if family else 0,
        motion=motion or motions[int(rng.integers(len(motions)))],
        backgrounds=(background,),
    )
    return render(scene, FRAMES, seed=int(rng.integers(2**31)))


@dataclass(frozen=True)
class Case:
    """A frame of a dev scene with everything it is judged by."""

    edit: str
    instruction: str
    source: Frame
    answers: list[Frame]
    others: list[Frame]  # answers of other edits of the same kind on the same scene
    mask: NDArray[np.bool_]


def cases(kind: str, count: int, rng: np.random.Generator, per_scene: int = 2) -> Iterator[Case]:
    """`count` cases of one kind, `per_scene` frames a scene, its edits in turn."""
    edits = [edit for edit in ARGUMENTS if kind_of(edit) == kind]
    drawn = scenes = 0
    while drawn < count:
        edit = edits[scenes % len(edits)]
        take = draw_take(rng, edit)
        answers, masks = take.answers(edit), take.masks(edit)
        others = candidates(take.source, edit, rng, 8)
        frames = [i for i in map(int, rng.permutation(FRAMES)) if boolean(masks[i]).sum() >= LEAST]
        for i in frames[: min(per_scene, count - drawn)]:
            yield Case(
                edit=edit,
                instruction=take.edit(edit).instruction,
                source=take.source[i],
                answers=[answer[i] for answer in answers],
                others=[other[i] for other in others],
                mask=boolean(masks[i]),
            )
            drawn += 1
        scenes += bool(frames)


# Frames and tensors


def tensor(frames: list[Frame]) -> torch.Tensor:
    """Frames uint8 (H, W, 3) as float (n, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def array(frames: torch.Tensor) -> NDArray[np.uint8]:
    """Float (n, 3, H, W) in [0, 1] as uint8 (n, H, W, 3)."""
    return (frames * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def decibels(distances: list[float]) -> float:
    """PSNR of the mean square of RMSEs in [0, 1]."""
    return float(-20 * np.log10(max(1e-6, np.sqrt(np.mean(np.square(distances))))))


# The editor


def conditions(backbone: PocketBackbone, sources: list[Frame], asked: list[str]) -> Condition:
    """The condition of frames with an instruction each."""
    each = [backbone.condition(frame[None], text) for frame, text in zip(tensor(sources), asked)]
    return Condition(
        torch.cat([c.image_latents for c in each], dim=1), torch.cat([c.tokens for c in each], dim=1)
    )


@torch.no_grad()
def edit_plainly(
    backbone: PocketBackbone, condition: Condition, seed: int, steps: int = 10
) -> NDArray[np.uint8]:
    """Frames edited on their own, with one noise draw for all: uint8 (n, H, W, 3)."""
    condition = condition.acting(backbone.guidance_image)
    shape = condition.image_latents.shape[1:]
    latents = torch.randn(1, *shape[1:], generator=torch.Generator().manual_seed(seed)).expand(shape)
    schedule = backbone.scheduler(steps)
    for t in schedule.timesteps:
        output = backbone.predict(latents, t, condition, backbone.guidance_text, backbone.guidance_image)
        latents = schedule.step(output, t, latents).prev_sample
    return array(backbone.decode(latents))


def judge(case: Case, frame: Frame) -> dict[str, float]:
    """One edited frame against everything its case knows; distances are RMSE in [0, 1]."""
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


def summary(rows: list[dict[str, float]]) -> Figures:
    """Judged frames as one line of the table."""
    line = {
        "frames": len(rows),
        "valid": float(np.mean([row["valid"] for row in rows])),
        "chance": float(np.mean([row["chance"] for row in rows])),
        "answer_db": decibels([row["error"] for row in rows]),
        "copy_db": decibels([row["copy"] for row in rows]),
        "vae_db": decibels([row["vae"] for row in rows]),
    }
    outside = [row["outside"] for row in rows if "outside" in row]
    return {**line, "outside_db": decibels(outside)} if outside else line


def kind_figures(backbone: PocketBackbone, kind: str, count: int = 100, seed: int = 0) -> dict[str, Figures]:
    """How well frames edited on their own hit a valid answer, for one kind: a line for the kind, and of the
    kind "global" a line for each edit.

    On `count` dev frames: the share that is a valid answer, with its chance (the nearest, inside the mask,
    of the valid answers, the source, and all answers of 8 other edits of the kind on the same scene); PSNR
    in dB to the nearest answer inside the mask and to the source outside; the first also for a copy of the
    source and for the answer through the VAE.
    """
    number = KINDS.index(kind)
    drawn = list(cases(kind, count, np.random.default_rng([seed, number])))
    rows = []
    for at in range(0, count, BATCH):
        batch = drawn[at : at + BATCH]
        condition = conditions(backbone, [c.source for c in batch], [c.instruction for c in batch])
        edited = edit_plainly(backbone, condition, seed=number)
        through = array(backbone.decode(backbone.encode(tensor([case.answers[0] for case in batch]))))
        for case, frame, restored in zip(batch, edited, through):
            rows.append({**judge(case, frame), "vae": rmse(restored, case.answers[0], case.mask)})
    table = {kind: summary(rows)}
    for edit in GLOBAL_EDITS if kind == "global" else ():
        of = [row for case, row in zip(drawn, rows) if case.edit == edit]
        if of:
            table[edit] = summary(of)
    return table


def drift_figures(backbone: PocketBackbone, strength: str, clips: int = 4, seed: int = 0) -> Figures:
    """What a fixed seed leaves of agreement, frame by frame, for edits of one coupling strength.

    On `clips` dev clips of 12 frames, one noise draw a clip: the share of frames that are an answer (nearest
    by a clear lead), and, among those, minority share and adjacent switches, means over clips; the same two
    by nearest answer, whatever its distance.
    """
    rng = np.random.default_rng([seed, ORDER.index(strength)])
    edits = [edit for edit in ARGUMENTS if COUPLING[edit] == strength]
    lines = []
    for i in range(clips):
        edit = edits[int(rng.integers(len(edits)))]
        take = draw_take(rng, edit)
        frames = list(take.source[:])
        condition = conditions(backbone, frames, [take.edit(edit).instruction] * len(frames))
        edited = edit_plainly(backbone, condition, seed=i)
        known = truth.pocket_truth(edited, take.source, take.answers(edit), take.masks(edit))
        closest = truth.nearest(known.errors)
        lines.append(
            {
                "edited_share": truth.edited_share(known.states),
                "minority_share": truth.minority_share(known.states),
                "switches": truth.answer_switches(known.states),
                "nearest_minority_share": truth.minority_share(closest),
                "nearest_switches": truth.nearest_switches(known.errors),
            }
        )
    figures: Figures = {"clips": clips}
    for name in lines[0]:
        values = [line[name] for line in lines if line[name] is not None]
        if values:
            figures[name] = float(np.mean(values))
    return figures


@torch.no_grad()
def token_figures(backbone: PocketBackbone, clips: int = 1, seed: int = 0) -> Figures:
    """How much the edit tokens vary, and what they do.

    Standard deviations across the tokens of one condition, over the frames of a clip (one instruction), and
    over 38 instructions (one frame), means over everything else; and RMSE (0-255, over the frame) between
    edits of a clip and the same edits when its frames are given each other's tokens, in reverse order.
    """
    rng = np.random.default_rng([seed, 9])
    strong = [edit for edit in ARGUMENTS if COUPLING[edit] == "strong"]
    across, over_frames, over_instructions, change = [], [], [], []
    for i in range(clips):
        edit = strong[int(rng.integers(len(strong)))]
        take = draw_take(rng, edit, motion="translate")
        frames = list(take.source[:])
        condition = conditions(backbone, frames, [take.edit(edit).instruction] * len(frames))
        tokens = condition.tokens[0, :, 1:]  # (n, 16, d); the first token names the argument
        subject = take.scene.subject
        asked = [instructions(e, subject)[0] for e in ARGUMENTS]
        varied = conditions(backbone, [frames[0]] * len(asked), asked).tokens[0, :, 1:]
        across.append(float(tokens.std(dim=1).mean()))
        over_frames.append(float(tokens.std(dim=0).mean()))
        over_instructions.append(float(varied.std(dim=0).mean()))
        exchanged = Condition(condition.image_latents, condition.tokens.flip(1))
        own, foreign = (edit_plainly(backbone, c, seed=i).astype(np.float64) for c in (condition, exchanged))
        change.append(float(np.sqrt(np.mean((own - foreign) ** 2))))
    return {
        "std_across_tokens": float(np.mean(across)),
        "std_over_frames": float(np.mean(over_frames)),
        "std_over_instructions": float(np.mean(over_instructions)),
        "exchange_rmse": float(np.mean(change)),
    }


# The other models


@torch.no_grad()
def vae_figures(vae: PocketVAE, count: int = 2 * len(ARGUMENTS), seed: int = 3) -> Figures:
    """PSNR in dB of the mean square over dev frames: sources, edited frames, and stills of Big Buck Bunny."""
    rng = np.random.default_rng(seed)
    sources, edited = [], []
    for number in range(count):  # all edits in turn
        edit = ARGUMENTS[number % len(ARGUMENTS)]
        take, i = draw_take(rng, edit), int(rng.integers(FRAMES))
        answers = take.answers(edit)
        sources.append(take.source[i])
        edited.append(answers[int(rng.integers(len(answers)))][i])
    stills = [kind for kind in kinds("dev")[len(DRAWN) :] if kind.startswith("bunny")]
    frames = {
        "source_db": sources,
        "edited_db": edited,
        "bunny_db": [
            make_canvas("dev", f"{stills[i % len(stills)]}/{i}", 128)[16:144, 48:176]
            for i in range(count // 2)
        ],
    }
    figures = {}
    for name, of in frames.items():
        square = []
        for at in range(0, len(of), 16):
            pixels = tensor(of[at : at + 16])
            restored = (vae(pixels * 2 - 1) / 2 + 0.5).clamp(0, 1)
            square.extend((restored - pixels).square().mean((1, 2, 3)).tolist())
        figures[name] = float(-10 * np.log10(np.mean(square)))
    return figures


@torch.no_grad()
def regions(model: PocketMask, frames: list[Frame], phrases: list[str]) -> NDArray[np.bool_]:
    """What the phrases name in the frames, (n, H, W)."""
    words = torch.tensor([tokenize(phrase) for phrase in phrases])
    rows = [model(tensor(frames[i : i + 16]) * 2 - 1, words[i : i + 16]) for i in range(0, len(frames), 16)]
    return (torch.cat(rows) > 0).numpy()


def occluded(rng: np.random.Generator, count: int) -> list[tuple[Frame, dict[str, NDArray[np.bool_]]]]:
    """Frames whose subject is partly behind the post, with the masks of subject and background."""
    found: list[tuple[Frame, dict[str, NDArray[np.bool_]]]] = []
    while len(found) < count:
        take = draw_take(rng, "background/beach", motion="occlusion")
        for i in map(int, rng.permutation(FRAMES)[:4]):
            subject, background = boolean(take.subject_masks()[i]), boolean(take.masks("background/beach")[i])
            post = np.flatnonzero(~(subject | background).any(axis=0))
            if len(post) and subject.sum() >= LEAST and subject[:, _beside(post, subject.shape[1])].any():
                found.append((take.source[i], {take.scene.subject: subject, "background": background}))
    return found[:count]


def _beside(columns: NDArray[np.intp], width: int) -> list[int]:
    """The columns at both sides of a stripe, inside the frame."""
    return [c for c in (int(columns[0]) - 2, int(columns[-1]) + 2) if 0 <= c < width]


def mask_figures(model: PocketMask, count: int = 40, seed: int = 3) -> Figures:
    """Mean IoU on dev frames, by what the phrase asks for; of absent subjects, the share marked nowhere.

    `occluded_name`, `occluded_background`: the subject is partly behind a post. `pair`: two subjects are
    visible and each is asked for by name; `pair_named` is the share that is nearer to the one named.
    """
    sampler, rng = Sampler("dev"), np.random.default_rng(seed)
    figures: Figures = {}
    for ask in ASKED:
        frames, phrases, masks = zip(*(draw_phrase(sampler, rng, ask) for _ in range(count)))
        predicted = regions(model, list(frames), list(phrases))
        if ask == "absent":
            figures[ask] = float(np.mean(predicted.mean(axis=(1, 2)) < 1e-3))
        else:
            figures[ask] = mean_iou(predicted, [mask > 127 for mask in masks])
    hidden = occluded(rng, count)
    for name, phrase in (("name", None), ("background", "background")):
        asked = [phrase or next(iter(masks)) for _, masks in hidden]
        predicted = regions(model, [frame for frame, _ in hidden], [f"the {word}" for word in asked])
        figures[f"occluded_{name}"] = mean_iou(predicted, [m[word] for (_, m), word in zip(hidden, asked)])
    pairs = []
    while len(pairs) < count:
        sample = sampler.draw(rng)
        one, two = sample.subject_mask > 127, sample.other_mask > 127
        if sample.other_subject is not None and min(one.sum(), two.sum()) >= LEAST:
            names = (SUBJECTS[sample.subject], SUBJECTS[sample.other_subject])
            pairs += [(sample.source, names[0], one, two), (sample.source, names[1], two, one)]
    predicted = regions(model, [frame for frame, *_ in pairs], [f"the {name}" for _, name, *_ in pairs])
    named = np.array([intersection_over_union(p, mask) for p, (_, _, mask, _) in zip(predicted, pairs)])
    other = np.array([intersection_over_union(p, mask) for p, (*_, mask) in zip(predicted, pairs)])
    return {**figures, "pair": float(named.mean()), "pair_named": float((named > other).mean())}


def mean_iou(predicted: NDArray[np.bool_], true: list[NDArray[np.bool_]]) -> float:
    return float(np.mean([intersection_over_union(p, t) for p, t in zip(predicted, true)]))


def clip_figures(clip: ClipFolder, count: int = 300, seed: int = 3) -> Figures:
    """Zero-shot accuracy on dev frames with one visible subject, by subject, place and style, and among how
    many classes.

    The model is read as the metrics read any CLIP.
    """
    sampler, rng = Sampler("dev"), np.random.default_rng(seed)
    frames = [draw(sampler, rng) for _ in range(count)]
    pooled = [
        clip.images(np.stack([one.frame for one in frames[i : i + 50]]), "clip_openai")
        for i in range(0, count, 50)
    ]
    captions, classes = prompts()
    right = zero_shot(clip.project(np.concatenate(pooled)), clip.texts(captions).features, classes, frames)
    counts = {f"{name}_classes": float(len(of)) for name, of in ATTRIBUTES.items()}
    return {**{name: float(hits.mean()) for name, hits in right.items()}, **counts}
