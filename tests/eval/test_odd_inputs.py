"""What people hand to `via score`: each odd file or clip has a clear outcome: a value, a reason, one line."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from data.types import ArrayClip, UserError
from data.video import write_lossless, write_mp4
from eval import suite
from eval.commands import score_files
from eval.features import Features
from eval.score import Pair

DEFAULT = suite.suite("default")


def clear(scores):
    """Whether every score is a value, or none with a reason, and none the failure of a computation."""
    return all(
        np.isfinite(one.value) if one.status == "ok" else one.reason and one.status != "error"
        for one in scores.values()
    )


def pictures(folder, frames):
    folder.mkdir()
    for t, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{t}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(name="source")
def _source(moving, tmp_path):
    path = tmp_path / "source.mkv"
    write_lossless(path, moving.frames, moving.fps)
    return path


def test_a_truncated_edit_is_answered_in_one_line_that_names_it(source, moving, tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_mp4(whole, moving.frames, moving.fps)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert clear(score_files(source, whole))
    with pytest.raises(UserError, match=r"cut\.mp4: ") as caught:
        score_files(source, cut)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", [0, 255])
def test_a_black_or_white_edit_is_flagged_and_has_no_value_where_contrast_is_needed(
    level, source, moving, tmp_path, capsys
):
    edited = tmp_path / "plain.mkv"
    write_lossless(edited, np.full_like(moving.frames, level), moving.fps)
    scores = score_files(source, edited)
    assert clear(scores)
    assert scores["warp_error_short_normalised@1"].status == "undefined"
    assert "flat" in capsys.readouterr().out.splitlines()[-1].removeprefix("flagged: ").split(", ")


def test_two_black_clips_have_no_value_where_the_source_must_have_contrast(moving):
    black = ArrayClip(np.zeros_like(moving.frames), moving.fps)
    scores = suite.score(Pair(black, black), DEFAULT, Features())
    assert clear(scores)
    for name in ("structure_gradient", "sharpness_ratio", "contrast_ratio"):
        assert scores[f"{name}@1"].status == "undefined"


def test_a_single_frame_has_values_of_pictures_and_a_reason_for_what_needs_time(moving, tmp_path):
    source = pictures(tmp_path / "source", moving.frames[:1])
    edited = pictures(tmp_path / "edited", 255 - moving.frames[:1])
    scores = score_files(source, edited)
    assert clear(scores)
    assert scores["structure_gradient@1"].value == pytest.approx(0, abs=1e-6)
    assert scores["contrast_ratio@1"].value == pytest.approx(1)
    for name in ("warp_error_short", "warp_error_long", "tof", "flicker", "histogram_drift"):
        assert "too few frames" in scores[f"{name}@1"].reason


def test_frames_with_nan_are_refused_by_number(moving):
    class Floats(ArrayClip):
        def __getitem__(self, index):
            frame = self.frames[index].astype(np.float32) / 255
            frame[0, 0] = np.nan
            return frame

    scores = suite.score(Pair(moving, Floats(moving.frames, moving.fps, "floats")), DEFAULT, Features())
    for score in scores.values():
        assert score.status == "refused"
        assert score.reason.startswith("floats: frame 0 is float32")


@pytest.mark.parametrize("name", ["clip.npy", "notes.mp4"])
def test_a_file_that_is_no_video_is_answered_in_one_line(name, source, moving, tmp_path):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, np.full(moving.frames.shape, np.nan, np.float32))
    else:
        path.write_text("not a video")
    with pytest.raises(UserError, match=name) as caught:
        score_files(source, path)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_answered_in_one_line(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        score_files(source, tmp_path / "empty")


def test_a_folder_with_a_picture_of_another_size_is_refused_by_its_name(moving, tmp_path):
    source = pictures(tmp_path / "source", moving.frames)
    edited = pictures(tmp_path / "edited", [*moving.frames[:5], moving.frames[5][:-2], *moving.frames[6:]])
    for score in score_files(source, edited).values():
        assert score.status == "refused"
        assert "5.png: is 72x58" in score.reason


def test_a_file_and_a_folder_of_the_same_frames_score_alike(source, moving, tmp_path):
    folder = pictures(tmp_path / "frames", moving.frames)
    scores = score_files(source, folder, fps=4)
    assert clear(scores)
    assert scores["tof@1"].value == 0
    assert scores["contrast_ratio@1"].value == 1


def test_files_of_another_rate_are_refused_or_resampled_on_request(source, moving, tmp_path):
    doubled = tmp_path / "doubled.mkv"
    write_lossless(doubled, np.repeat(moving.frames, 2, axis=0), 2 * moving.fps)
    faster = tmp_path / "faster.mkv"
    write_lossless(faster, moving.frames, 2 * moving.fps)
    for edited in (doubled, faster):
        with pytest.raises(UserError, match="--align"):
            score_files(source, edited)
    scores = score_files(source, doubled, align="resample")
    assert clear(scores)
    assert scores["structure_gradient@1"].value == pytest.approx(0, abs=1e-9)


def test_4k_frames_are_scored_in_their_own_pixels():
    noise = np.random.default_rng(0).integers(0, 256, (135, 241, 3), dtype=np.uint8)
    wide = cv2.resize(noise, (3856, 2160), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([wide[:, 16 * t : 16 * t + 3840] for t in range(2)])
    source, edited = ArrayClip(frames, Fraction(4)), ArrayClip(frames // 2, Fraction(4))
    scores = suite.score(Pair(source, edited), DEFAULT, Features())
    assert clear(scores)
    assert scores["contrast_ratio@1"].value == pytest.approx(0.5, abs=0.01)
    assert scores["structure_gradient@1"].value < 0.01
    unaligned = cv2.norm(edited[0], edited[1], cv2.NORM_L2SQR) / frames[0].size / 255**2
    assert scores["warp_error_short@1"].value < 0.1 * unaligned
    assert scores["warp_error_short@1"].details["coverage_mean"] > 0.9
