"""A study made from a run: blind, balanced, normalised, reproducible."""

import os
import stat
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from study_folders import COLOURS, FRAMES, SIZE, make_run, make_study, numbered

from data.types import ArrayClip, UserError
from human_eval.media import GAP, brought_together, captioned, degraded, panels, read_clip, tiled, write_h264
from human_eval.study import Settings, read_key, read_settings, read_study

METHODS_OF_TWO = ("copy", "viamethod", "tokenmethod")
METHODS = [name for name in COLOURS if name != "copy"]


def test_a_study_holds_no_method_outside_private(made_study):
    for path in made_study.rglob("*"):
        if path.is_file() and "private" not in path.parts:
            content = path.read_bytes()
            assert not any(name.encode() in content for name in METHODS), path
            assert not any(name in path.name for name in METHODS)


def test_the_key_is_readable_by_its_owner_only(made_study):
    assert stat.S_IMODE(os.stat(made_study / "private" / "key.json").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(made_study / "private").st_mode) == 0o700


def test_every_session_is_balanced_and_shows_no_source_twice(made_study):
    study, key = read_study(made_study), read_key(made_study)
    for session in study.sessions.values():
        tasks = [(name, study.tasks[name]) for name in session.tasks]
        real = [(name, task) for name, task in tasks if task.kind == "real"]
        assert Counter(task.kind for _, task in tasks) == {
            "real": 4, "identical": 1, "degraded": 2, "repeat": 1, "instructed": 1,
        }  # fmt: skip
        seen = Counter(task.source for _, task in tasks if task.kind != "repeat")
        assert max(seen.values()) == 1
        assert sum(key.methods[name]["left"] == "viamethod" for name, _ in real) == 2
        assert set(Counter(task.pair for _, task in real).values()) == {2}


def test_checks_expect_what_the_key_says(made_study):
    study, key = read_study(made_study), read_key(made_study)
    for name, task in study.tasks.items():
        shown = key.methods[name]
        if task.kind == "identical":
            assert (shown["left"], key.expected[name]) == (shown["right"], "tie")
        elif task.kind == "repeat":
            assert key.methods[key.repeats[name]] == {"left": shown["right"], "right": shown["left"]}
            assert study.tasks[key.repeats[name]].clip == task.clip
        elif task.kind == "real":
            assert name not in key.expected
        else:
            assert key.expected[name] in ("left", "right", "tie")


def test_training_and_checks_use_clips_outside_the_study(made_study):
    study = read_study(made_study)
    real = {task.source for task in study.tasks.values() if task.kind == "real"}
    other = {task.source for task in study.tasks.values() if task.kind not in ("real", "repeat")}
    assert other
    assert not real & other


MAKE = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from study_folders import make_study
make_study(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_same_secret_and_settings_make_the_same_files(tmp_path, run_folder):
    """Each in a process of its own, as the command runs."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        arguments = [str(Path(__file__).parent), str(folder), str(run_folder)]
        subprocess.run([sys.executable, "-c", MAKE, *arguments], check=True)
        made.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert made[0] == made[1]


def test_public_names_differ_where_the_clip_is_the_same(made_study):
    study, key = read_study(made_study), read_key(made_study)
    by_file = Counter(key.files.values())
    assert by_file.most_common(1)[0][1] > 1
    assert len({task.media for task in study.tasks.values()}) == len(study.tasks)
    assert all(len(task.media) == 20 for task in study.tasks.values())


def test_tiled_clips_hold_the_three_panels_frame_by_frame(made_study, run_folder):
    study, key = read_study(made_study), read_key(made_study)
    name = next(n for n, t in study.tasks.items() if t.kind == "real")
    task = study.tasks[name]
    clip = read_clip(made_study / "clips" / key.files[name])
    assert (len(clip), clip.fps) == (FRAMES, Fraction(12))
    assert clip.size == (2 * SIZE[0] + GAP, 2 * SIZE[1] + GAP)
    number = int(task.clip[4:6])
    for panel, method in (
        ("source", "copy"),
        ("left", key.methods[name]["left"]),
        ("right", key.methods[name]["right"]),
    ):
        x, y = panels(task.panel)[panel]
        shown = clip.frames[:, y : y + SIZE[0], x : x + SIZE[1]].astype(int)
        assert np.abs(shown - numbered(number, COLOURS[method])).mean() < 3


def test_files_carry_no_notes_of_their_making(made_study):
    path = next((made_study / "clips").glob("*.mp4"))
    content = path.read_bytes()
    assert b"x264" not in content
    assert b"Lavf" not in content
    assert path.stat().st_mtime == 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.profile == "High"
        assert not container.streams.audio
        keys = [
            i for i, packet in enumerate(p for p in container.demux(stream) if p.size) if packet.is_keyframe
        ]
    assert keys == list(range(0, FRAMES, 12))
    assert content.index(b"moov") < content.index(b"mdat")


def test_other_rates_and_lengths_are_brought_to_the_lowest_and_shortest():
    source = ArrayClip(numbered(0, (9, 9, 9), 24), Fraction(24))
    slow = ArrayClip(numbered(0, (200, 9, 9), 8), Fraction(8))
    small = ArrayClip(numbered(0, (9, 200, 9), 20, (48, 64)), Fraction(24))
    triple = brought_together(source, slow, small, 384)
    assert triple.source.shape == triple.left.shape == triple.right.shape == (6, 48, 64, 3)
    assert triple.fps == 8
    assert np.abs(triple.source[1].astype(int) - numbered(0, (9, 9, 9), 24)[3][::2, ::2]).mean() < 12
    assert "6 of 24 frames" in triple.rule


def test_other_aspect_ratios_are_refused_not_stretched():
    wide = ArrayClip(np.zeros((4, 64, 128, 3), np.uint8), name="wide")
    square = ArrayClip(np.zeros((4, 64, 66, 3), np.uint8), name="square")
    with pytest.raises(UserError, match="square"):
        brought_together(wide, wide, square, 384)
    near = ArrayClip(np.zeros((4, 64, 126, 3), np.uint8))
    assert brought_together(wide, wide, near, 384).right.shape == (4, 64, 128, 3)


def test_degraded_and_captioned_copies_look_so():
    frames = numbered(1, (10, 200, 90))
    assert np.abs(degraded(frames).astype(int) - frames).mean() > 4
    words = captioned(frames, "Answer A")
    assert (words[:, -12:] != frames[:, -12:]).any()
    assert (words[:, : SIZE[0] // 2] == frames[:, : SIZE[0] // 2]).all()


def test_odd_rates_survive(tmp_path):
    fps = Fraction(30000, 1001)
    write_h264(tmp_path / "x.mp4", tiled_example(), fps)
    assert read_clip(tmp_path / "x.mp4").fps == fps


def tiled_example():
    clip = ArrayClip(numbered(0, (9, 9, 9)), Fraction(30000, 1001))
    return tiled(brought_together(clip, clip, clip, 384))


def test_several_instructions_of_a_source_are_dealt_into_different_sessions(tmp_path):
    run = make_run(tmp_path / "run", METHODS_OF_TWO, sources=8, per_source=3, frames=3, size=(32, 48))
    study = make_study(tmp_path / "study", run, votes=1, clips=8, training=0)
    for session in study.sessions.values():
        sources = Counter(study.tasks[t].source for t in session.tasks if study.tasks[t].kind != "repeat")
        assert max(sources.values()) == 1
    assert study.numbers["sources_repeat"] == 1


def test_round_robin_compares_every_pair(tmp_path, small_run):
    study = make_study(
        tmp_path / "rr",
        small_run,
        design="round_robin",
        ours=None,
        session_length=3,
        clips=3,
        checks=("repeat",),
    )
    key = read_key(tmp_path / "rr")
    pairs = Counter(frozenset(key.methods[n].values()) for n, t in study.tasks.items() if t.kind == "real")
    assert len(pairs) == 3
    assert set(pairs.values()) == {3 * 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ours": "nobody"}, "nobody"),
        ({"session_length": 5}, "multiple of 4"),
        ({"session_length": 40}, "add clips"),
        ({"clips": 400}, "at most"),
        ({"methods": ("viamethod",)}, "at least two"),
    ],
)
def test_impossible_studies_are_refused_with_the_fix_and_leave_nothing(
    tmp_path, small_run, settings, message
):
    with pytest.raises(UserError, match=message):
        make_study(tmp_path / "s", small_run, **settings)
    assert not (tmp_path / "s").exists()


def test_a_changed_study_is_noticed(study_folder):
    path = study_folder / "study.json"
    path.write_text(path.read_text().replace("make number 1", "make number one", 1))
    with pytest.raises(UserError, match="hash"):
        read_study(study_folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("votes: 0", "votes"),
        ("vote: 3", "vote"),
        ("{", "not YAML"),
        ("aspects: [{name: A b, question: x}]", "aspects.0.name"),
        ("aspects: [{name: session, question: x}]", "'session' is taken"),
        ("aspects: [{name: a, question: x}, {name: a, question: y}]", "'a' is taken"),
        ("aspects: []", "aspects"),
        ("comprehension: [{question: x, options: [a, b], answer: 2}]", "there are 2 options"),
        ("exclusions: {failed_checks: 0}", "exclusions.failed_checks"),
        ("session_length: 0", "session_length"),
        ("- a list", "field: value"),
    ],
)
def test_wrong_study_files_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_settings(path)
    assert "\n" not in str(error.value)


def test_an_empty_study_file_is_the_defaults(tmp_path):
    (tmp_path / "s.yaml").write_text("")
    assert read_settings(tmp_path / "s.yaml") == Settings()
