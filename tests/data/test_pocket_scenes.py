"""Scenes: equal arguments, equal frames; answers differ from the source only where their mask says."""

import cv2
import numpy as np
import pytest

from data.pocket.backgrounds import kinds
from data.pocket.coupling import COUPLING
from data.pocket.edits import ARGUMENTS, KINDS, MARGIN_ANSWERS, MARGIN_SOURCE, SUBJECTS, fits, kind_of
from data.pocket.motion import MOTIONS
from data.pocket.scenes import Scene, Take, candidates, render
from data.types import ArrayClip, UserError


def scene_for(edit: str, motion: str, number: int, split: str = "dev") -> Scene:
    """A scene that `edit` can be asked of."""
    fitting = [(s, f) for s in SUBJECTS for f in (0, 1) if fits(edit, s, f)]
    subject, family = fitting[number % len(fitting)]
    choice = kinds(split)
    behind = [f"{choice[(number + i) % len(choice)]}/{number}" for i in range(2 if motion == "cut" else 1)]
    other = SUBJECTS[(SUBJECTS.index(subject) + 3) % len(SUBJECTS)] if motion == "pair" else None
    return Scene.model_validate(
        dict(split=split, subject=subject, family=family, motion=motion, backgrounds=behind, other=other)
    )


def film(edit: str, number: int, motion: str | None = None, size: int = 128) -> Take:
    chosen = motion or MOTIONS[number % len(MOTIONS)]
    return render(scene_for(edit, chosen, number), frames=6, size=size, seed=number)


@pytest.mark.parametrize("motion", MOTIONS)
def test_equal_arguments_give_equal_frames_and_another_seed_does_not(motion: str) -> None:
    scene = scene_for("replace/tiger", motion, 3)
    first, again, other = (render(scene, 6, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.source[:], again.source[:])
    assert np.array_equal(first.subject_masks(), again.subject_masks())
    for a, b in zip(first.answers("replace/tiger"), again.answers("replace/tiger")):
        assert np.array_equal(a[:], b[:])
    assert not np.array_equal(first.source[:], other.source[:])


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_changes_the_picture_over_time(motion: str) -> None:
    take = render(scene_for("replace/tiger", motion, 4), 24, seed=1)
    first, at = take.source[0], take.source[19]
    assert np.abs(first.astype(int) - at).max() > 50


@pytest.mark.parametrize("edit", ARGUMENTS)
def test_answers_differ_from_the_source_only_where_the_mask_says(edit: str) -> None:
    for number in (ARGUMENTS.index(edit), ARGUMENTS.index(edit) + 5):
        take = film(edit, number)
        source, masks = take.source[:], take.masks(edit)
        assert masks.dtype == np.float32
        assert masks.min() >= 0
        assert masks.max() <= 1
        for answer in take.answers(edit):
            difference = np.abs(answer[:].astype(int) - source).max(-1)
            assert difference[masks == 0].max(initial=0) == 0
            # two layers of alpha a each move a pixel by at most 255 a
            assert difference[masks <= 0.02].max(initial=0) <= 2 * 0.02 * 255 + 1


@pytest.mark.parametrize("edit", ARGUMENTS)
def test_answers_are_apart_from_each_other_and_from_the_source(edit: str) -> None:
    """The margins are those of edits.py. A nearly grey photograph may be nearer to black and white: 20."""
    take = render(scene_for(edit, "translate", ARGUMENTS.index(edit)), 6, seed=2)
    inside = take.masks(edit) > 0.5
    clips = [take.source[:], *(answer[:] for answer in take.answers(edit))]

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a[inside].astype(float) - b[inside]) ** 2)))

    for answer in clips[1:]:
        assert distance(clips[0], answer) >= (20 if edit == "global/black and white" else MARGIN_SOURCE)
    if len(clips) == 3:
        assert distance(clips[1], clips[2]) >= MARGIN_ANSWERS
    assert len(clips) == (2 if COUPLING[edit] == "single" else 3)


def test_the_subject_mask_is_where_removing_the_subject_changes_the_picture() -> None:
    """An independent look at the mask: two scenes that differ in nothing but the subject's family."""
    scene = scene_for("replace/tiger", "occlusion", 2)
    takes = [render(scene.model_copy(update={"family": f}), 6, seed=3) for f in (0, 1)]
    union = np.maximum(*(take.subject_masks() for take in takes))
    difference = np.abs(takes[0].source[:].astype(int) - takes[1].source[:]).max(-1)
    assert difference[union == 0].max(initial=0) == 0
    assert (difference[union > 0.9] > 8).mean() > 0.5


def test_a_replaced_background_keeps_both_subjects() -> None:
    take = render(scene_for("background/beach", "pair", 2), 6, seed=1)
    masks = take.masks("background/beach")
    assert (masks < 0.5).sum() > 1.3 * (take.subject_masks() > 0.5).sum()
    for answer in take.answers("background/beach"):
        assert np.array_equal(answer[:][masks == 0], take.source[:][masks == 0])


def test_the_late_subject_is_in_no_frame_of_an_even_group_of_four() -> None:
    for seed in range(5):
        masks = render(scene_for("replace/dog", "late", seed), 24, seed=seed).subject_masks()
        area = (masks > 0.5).sum((1, 2))
        assert area[np.linspace(0, 23, 4).round().astype(int)].sum() == 0
        assert (area >= 150).sum() >= 5


def test_the_leaving_subject_is_gone_at_the_end() -> None:
    masks = render(scene_for("replace/lion", "exit", 1), 24, seed=1).subject_masks()
    assert masks[0].sum() > 500
    assert masks[-1].sum() == 0


@pytest.mark.parametrize("edit", ["replace/tiger", "global/low poly", "global/night", "accessory/hat"])
def test_size_changes_the_resolution_and_nothing_else(edit: str) -> None:
    small, large = (film(edit, 7, "translate", size) for size in (128, 256))
    for a, b in zip((small.source, *small.answers(edit)), (large.source, *large.answers(edit))):
        shrunk = cv2.resize(b[2], (128, 128), interpolation=cv2.INTER_AREA)
        error = np.mean((shrunk.astype(float) - a[2]) ** 2)
        assert 10 * np.log10(255**2 / error) > 22
    shrunk_mask = cv2.resize(large.masks(edit)[2], (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk_mask - small.masks(edit)[2]).mean() < 0.01


def test_a_clip_reads_like_a_list_of_frames() -> None:
    clip = film("replace/tiger", 1).source
    assert len(clip) == 6
    assert clip.size == (128, 128)
    assert np.array_equal(clip[-1], clip[5])
    assert np.array_equal(clip[1:6:2], np.stack([clip[1], clip[3], clip[5]]))
    assert clip[6:].shape == (0, 128, 128, 3)
    with pytest.raises(IndexError):
        clip[6]


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_answers_of_other_edits_of_the_kind(kind: str) -> None:
    edit = next(e for e in ARGUMENTS if kind_of(e) == kind)
    take = film(edit, 2, "translate")
    clips = candidates(take.source, edit, np.random.default_rng(0), n=8)
    siblings = take.siblings(edit)
    assert 0 < len(clips) <= 16
    own = [answer[0] for answer in take.answers(edit)]
    inside = take.masks(edit)[0] > 0.5
    for clip in clips:
        assert not any(np.array_equal(clip[0][inside], frame[inside]) for frame in own)
    assert len(siblings) == len(set(siblings))
    assert edit not in siblings


def test_candidates_of_a_clip_that_is_no_scene_are_refused() -> None:
    with pytest.raises(UserError, match="only pocket scenes"):
        candidates(ArrayClip(np.zeros((2, 8, 8, 3), np.uint8)), "replace/tiger", np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "unicorn"},
        {"motion": "fly"},
        {"backgrounds": ["coffee/1"]},  # a photograph of another split
        {"backgrounds": ["field/1", "sea/1"]},  # two shots without a cut
        {"backgrounds": []},
        {"motion": "pair"},
        {"split": "test"},
    ],
)
def test_an_impossible_scene_is_refused(wrong: dict) -> None:
    good = {"split": "dev", "subject": "dog", "motion": "translate", "backgrounds": ["field/1"]}
    Scene.model_validate(good)
    with pytest.raises(ValueError):
        Scene.model_validate(good | wrong)


def test_edits_that_do_not_fit_are_refused_in_one_line() -> None:
    take = render(Scene(split="dev", subject="car", motion="translate", backgrounds=("field/1",)), 2)
    for edit in ("accessory/hat", "replace/tiger", "replace/car", "replace/unicorn"):
        with pytest.raises(UserError, match=edit) as error:
            take.answers(edit)
        assert "\n" not in str(error.value)
    for arguments in ({"frames": 0}, {"frames": 2, "size": 1024}):
        with pytest.raises(UserError):
            render(take.scene, **arguments)
