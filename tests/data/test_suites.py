"""Suites: they hold what they promise, they stay in their split, and they are as they were frozen."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.pocket.backgrounds import kinds
from data.pocket.coupling import COUPLING
from data.pocket.edits import KINDS
from data.pocket.motion import MOTIONS, split_of_pose
from data.pocket.words import tokenize
from data.suites import current, frozen, load, manifest, names, suite_hash
from data.suites.__main__ import main
from data.types import UserError

ALL = ("pocket", "pocket-dev", "pocket-long", "pocket-mini")


def test_rules_and_suites_are_as_they_were_frozen() -> None:
    """If this fails on purpose: read data/suites/__main__.py."""
    assert current() == frozen()
    assert main([]) == 0


def test_the_four_suites_are_there() -> None:
    assert tuple(names()) == ALL


@pytest.mark.parametrize("name", ALL)
def test_tasks_have_clips_words_masks_and_answers(name: str) -> None:
    tasks = load(name)
    assert len({task.id for task in tasks}) == len({task.source for task in tasks}) == len(tasks)
    for task in tasks:
        assert 1 not in tokenize(task.edit.instruction)
        assert task.edit.source_caption
        assert (task.edit.region is None) == (task.edit.kind == "global")
        assert task.clip[0].shape == (128, 128, 3)
        assert task.answers is not None
        answers = task.answers()
        assert len(answers) == (1 if task.conditions["coupling"] == "single" else 2)
        assert all(len(answer) == len(task.clip) and answer.fps == task.clip.fps for answer in answers)


@pytest.mark.parametrize("name", ["pocket-mini", "pocket-dev"])
def test_masks_are_whole_and_in_range(name: str) -> None:
    for task in load(name):
        assert task.masks is not None
        masks = task.masks()
        assert masks.shape == (len(task.clip), 128, 128)
        assert masks.dtype == np.float32
        assert 0 <= masks.min() <= masks.max() <= 1


@pytest.mark.parametrize("name", ALL)
def test_scenes_poses_and_backgrounds_are_of_the_suites_split(name: str) -> None:
    suite = manifest(name)
    assert suite.split == ("dev" if name == "pocket-dev" else "report")
    for line, task in zip(suite.tasks, load(name)):
        assert line.scene.split == suite.split
        assert all(b.split("/")[0] in kinds(suite.split) for b in line.scene.backgrounds)
        path = task.clip.take.path  # type: ignore[attr-defined]
        assert split_of_pose(path.s0, path.th0, path.y0) == suite.split


@pytest.mark.parametrize("name", ALL)
def test_expected_signs_follow_the_rule_of_the_docs(name: str) -> None:
    for line in manifest(name).tasks:
        drifts = COUPLING[line.edit] in ("strong", "weak")
        assert line.expected == ("+" if drifts and line.condition == "plain" else "0")


def test_pocket_has_every_kind_motion_and_condition() -> None:
    suite = manifest("pocket")
    assert len(suite.tasks) == 24
    assert Counter(line.frames for line in suite.tasks) == {24: 22, 48: 2}
    assert {line.edit.split("/")[0] for line in suite.tasks} == set(KINDS)
    assert {line.scene.motion for line in suite.tasks} == set(MOTIONS)
    assert {line.condition for line in suite.tasks} == {"plain", "late entry", "two subjects", "cut"}
    assert {COUPLING[line.edit] for line in suite.tasks} == {"strong", "weak", "none", "single"}


def test_mini_and_dev_are_eight_clips_of_twelve_frames_six_local_and_two_global() -> None:
    for name in ("pocket-mini", "pocket-dev"):
        tasks = load(name)
        assert [len(task.clip) for task in tasks] == [12] * 8
        assert Counter(task.edit.region is None for task in tasks) == {False: 6, True: 2}
    said = {task.edit.instruction for task in load("pocket-mini")}
    assert {"Change into a tiger", "Make it Japanese woodblock print"} <= said


def test_long_clips_are_twenty_seconds_and_a_minute() -> None:
    assert [len(task.clip) / task.clip.fps for task in load("pocket-long")] == [20, 60]


def test_the_hash_reads_content_and_not_layout(tmp_path: Path) -> None:
    text = manifest("pocket-mini").model_dump_json()
    same, other = tmp_path / "same.json", tmp_path / "other.json"
    same.write_text(text)
    other.write_text(text.replace('"seed":100', '"seed":101'))
    assert suite_hash(same) == suite_hash("pocket-mini")
    assert suite_hash(other) != suite_hash("pocket-mini")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 3}', "\x00"])
def test_a_file_that_is_no_manifest_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a suite manifest") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_an_unknown_suite_and_other_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose from pocket, pocket-dev"):
        load("poket")
    newer = tmp_path / "newer.json"
    newer.write_text(manifest("pocket-mini").model_copy(update={"rules": 99}).model_dump_json())
    with pytest.raises(UserError, match="rules 99"):
        load(newer)
