import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from data.types import ArrayClip, UserError
from eval.commands import app, read_mask, score_files
from eval.suite import METRICS


def write(folder, frames):
    folder.mkdir()
    for t, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{t:04d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(name="source")
def _source(moving, tmp_path):
    return write(tmp_path / "source", moving.frames)


def test_list_names_every_metric_with_its_direction():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    lines = {line.split("@")[0]: line for line in result.stdout.splitlines()}
    assert set(lines) == set(METRICS)
    assert " down " in lines["warp_error_short"]
    assert "needs mask" in lines["background_psnr"]


def test_card_of_a_metric_tells_formula_range_and_what_fools_it():
    result = CliRunner().invoke(app, ["show", "warp_error_short"])
    assert result.exit_code == 0
    for words in ("mean over valid pixels", "Fooled by", "direction: down", "range: 0 to 1", "compat: "):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("control", "flag"),
    [
        (lambda frames: frames, "source copy"),
        (lambda frames: np.repeat(frames[:1], len(frames), axis=0), "frozen"),
        (lambda frames: np.full_like(frames, 128), "flat"),
    ],
)
def test_copied_frozen_and_flat_files_are_flagged(control, flag, source, moving, tmp_path, capsys):
    edited = write(tmp_path / "edited", control(moving.frames))
    score_files(source, edited, "make it a negative", out=tmp_path / "scores.json")
    assert flag in capsys.readouterr().out.splitlines()[-1].removeprefix("flagged: ").split(", ")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert flag in written["flags"]
    assert written["instruction"] == "make it a negative"


def test_files_that_differ_in_length_are_refused_or_trimmed_on_request(source, moving, tmp_path):
    edited = write(tmp_path / "edited", moving.frames[:7])
    with pytest.raises(UserError, match="--align=trim"):
        score_files(source, edited)
    scores = score_files(source, edited, align="trim", out=tmp_path / "scores.json")
    assert scores["tof@1"].value == 0
    assert json.loads((tmp_path / "scores.json").read_text())["trimmed"] == [10, 7, 7]


def test_files_that_differ_in_size_are_refused_or_resized_on_request(source, moving, tmp_path):
    small = np.stack([cv2.resize(frame, (36, 30), interpolation=cv2.INTER_AREA) for frame in moving.frames])
    edited = write(tmp_path / "edited", small)
    with pytest.raises(UserError, match="--resize=edited"):
        score_files(source, edited)
    scores = score_files(source, edited, resize="edited")
    assert scores["structure_gradient@1"].value < 0.2


def test_edit_at_twice_the_rate_is_resampled_to_the_sources_times(moving):
    from eval.frames import aligned

    doubled = ArrayClip(np.repeat(moving.frames, 2, axis=0), 2 * moving.fps)
    source, edited, record = aligned(moving, doubled, "resample")
    assert record["resampled"] == list(range(0, 20, 2))
    assert np.array_equal(edited[0 : len(edited)], moving.frames)
    with pytest.raises(UserError, match="ends early"):
        aligned(moving, ArrayClip(doubled.frames[:8], doubled.fps), "resample")
    assert len(source) == len(moving)


def test_mask_is_one_picture_or_one_for_each_frame(source, moving, tmp_path):
    white = np.zeros((60, 72, 3), np.uint8)
    white[10:20, 30:40] = 255
    one = write(tmp_path / "one", [white])
    mask = read_mask(one, moving)
    assert mask.shape == (10, 60, 72)
    assert mask.sum() == 10 * 100
    with pytest.raises(UserError, match="one frame or 10"):
        read_mask(write(tmp_path / "three", [white] * 3), moving)
    edited = moving.frames.copy()
    edited[:, 12:18, 32:38] = 0
    scores = score_files(source, write(tmp_path / "edited", edited), mask=one)
    assert scores["background_mse@1"].value == 0
    assert scores["background_mse@1"].details["mask"] == "given"


def test_quick_form_of_the_study_writes_its_table(tmp_path):
    arguments = ["validate", "--suite", "pocket-mini", "--tasks", "1", "--metrics", "pocket,contrast_ratio"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    study = json.loads((tmp_path / "validity.json").read_text())
    assert study["tasks"] == 1
    assert study["suite"] == "pocket-mini"


def test_front_door_scores_two_files_or_a_run_but_not_both(source, moving, tmp_path, capsys):
    from via.cli import main

    edited = write(tmp_path / "edited", 255 - moving.frames)
    files = ["--source", str(source), "--edited", str(edited), "--metrics", "contrast_ratio"]
    with pytest.raises(SystemExit) as left:
        main(["score", *files])
    assert not left.value.code
    assert "contrast_ratio@1" in capsys.readouterr().out
    for wrong in (
        ["score"],
        ["score", "runs/x", *files],
        ["score", *files[:2]],
        ["score", *files, "--align=x"],
    ):
        with pytest.raises(SystemExit) as left:
            main(wrong)
        assert left.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
