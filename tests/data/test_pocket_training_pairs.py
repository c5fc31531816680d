"""Training pairs: labels tell the truth about pictures, and splits never mix."""

import numpy as np
import pytest

from data.pocket.backgrounds import PHOTOGRAPHS, SPLITS, STILLS, backdrop, kinds
from data.pocket.edits import ARGUMENTS, KINDS, SUBJECTS, kind_of
from data.pocket.motion import MOTIONS, draw_path, pose_cell, split_of_pose
from data.pocket.sprites import class_of
from data.pocket.training import Sample, Sampler
from data.pocket.words import tokenize


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler("train", canvases=62)


@pytest.fixture(scope="module")
def samples(sampler: Sampler) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [sampler.draw(rng) for _ in range(250)]


def test_equal_generators_give_equal_pairs(sampler: Sampler) -> None:
    a, b = (sampler.draw(np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(a.source, b.source)
    assert np.array_equal(a.edited, b.edited)
    assert (a.instruction, a.answer, a.argument) == (b.instruction, b.answer, b.argument)
    assert np.array_equal(sampler.frame(np.random.default_rng(2)), sampler.frame(np.random.default_rng(2)))


def test_pairs_differ_only_inside_their_mask(samples: list[Sample]) -> None:
    for sample in samples:
        difference = np.abs(sample.edited.astype(int) - sample.source).max(-1)
        # a mask below half a grey level is zero in eight bits; such alpha moves a pixel by two levels at most
        assert difference[sample.mask == 0].max(initial=0) <= 2
        if kind_of(ARGUMENTS[sample.argument]) == "global":
            assert sample.mask.min() == 255


def test_labels_agree_with_each_other(samples: list[Sample]) -> None:
    assert {sample.kind for sample in samples} == set(range(len(KINDS)))
    for sample in samples:
        edit, subject = ARGUMENTS[sample.argument], SUBJECTS[sample.subject]
        assert KINDS[sample.kind] == kind_of(edit)
        assert sample.caption.startswith(f"a {subject} ")
        assert 1 not in tokenize(sample.instruction)
        if KINDS[sample.kind] == "replace":
            target = edit.split("/")[1]
            assert target in sample.instruction
            assert class_of(target) == class_of(subject)
        if sample.other_subject is None:
            assert sample.other_mask.max() == 0


def test_the_answer_label_names_the_picture_shown() -> None:
    sampler = Sampler("train", canvases=10, edits=["background/beach"])
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        sample = sampler.draw(rng)
        shown = backdrop("beach", sample.answer, 128)
        where = sample.mask == 255
        assert np.array_equal(sample.edited[where], shown[where])
        seen.add(sample.answer)
    assert seen == {0, 1}


def test_edits_can_be_narrowed_by_name_and_kind() -> None:
    sampler = Sampler("train", canvases=5, edits=["global", "replace/tiger"])
    rng = np.random.default_rng(0)
    drawn = {ARGUMENTS[sampler.draw(rng).argument] for _ in range(120)}
    assert "replace/tiger" in drawn
    assert all(edit == "replace/tiger" or kind_of(edit) == "global" for edit in drawn)
    with pytest.raises(ValueError, match="levitate"):
        Sampler(edits=["levitate"])


def test_photographs_and_stills_belong_to_one_split_and_film_is_split_in_time() -> None:
    for table in (PHOTOGRAPHS, STILLS):
        listed = [name for split in SPLITS for name in table[split]]
        assert len(listed) == len(set(listed))
    times = [[int(name.split("_")[1]) for name in STILLS[split]] for split in SPLITS]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])


def test_no_canvas_is_in_two_splits() -> None:
    canvases = {split: {c.tobytes() for c in Sampler(split, canvases=40).canvases} for split in SPLITS}
    assert all(len(made) == 40 for made in canvases.values())
    assert not canvases["train"] & canvases["dev"]
    assert not canvases["train"] & canvases["report"]
    assert not canvases["dev"] & canvases["report"]
    assert set(kinds("train")) - set(kinds("dev"))


def test_no_pose_is_in_two_splits() -> None:
    cells: dict[str, set] = {}
    for split in SPLITS:
        rng = np.random.default_rng(5)
        paths = [draw_path(MOTIONS[i % len(MOTIONS)], split, rng) for i in range(300)]
        assert all(split_of_pose(p.s0, p.th0, p.y0) == split for p in paths)
        cells[split] = {pose_cell(p.s0, p.th0, p.y0) for p in paths}
    assert not cells["train"] & cells["dev"]
    assert not cells["train"] & cells["report"]
    assert not cells["dev"] & cells["report"]
