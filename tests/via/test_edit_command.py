"""`via edit` on files: what a user types, and what a user is told."""

from fractions import Fraction

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from data.types import UserError
from data.video import open_clip, write_mp4
from via import commands
from via.commands import Excerpt, frame_range

app = typer.Typer()
app.command()(commands.edit)
FAST = ["--set", "steps=2", "--set", "root_candidates=2", "--set", "tuning_steps=1", "--size", "32"]


@pytest.fixture
def film(clip, tmp_path):
    path = tmp_path / "film.mp4"
    frames = clip.frames.repeat(3, axis=1).repeat(3, axis=2)  # 48 x 60
    write_mp4(path, frames, Fraction(6))
    return path


@pytest.fixture
def tiny(monkeypatch, frame_conditioned):
    """The command with the tiny editor in place of the embedded one."""
    from via.masks.grammar import GrammarOnly

    monkeypatch.setattr(
        commands, "_models", lambda name, device, predicts: (frame_conditioned, GrammarOnly())
    )


def via_edit(*arguments, answers=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=answers)


def test_a_film_comes_back_with_its_length_size_and_rate(tiny, film, tmp_path):
    out = tmp_path / "out.mp4"
    result = via_edit(film, "make it black and white", "-o", out, "--frames", 4, "--device", "cpu", *FAST)
    assert result.exit_code == 0, result.output
    edited = open_clip(out)
    assert (len(edited), edited.size, edited.fps) == (4, (48, 60), Fraction(6))
    assert not np.array_equal(edited[0], open_clip(film)[0])


def test_the_explanation_shows_every_step(tiny, film, tmp_path):
    from PIL import Image

    mask = np.zeros((48, 60), np.uint8)
    mask[12:30, 6:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    page = tmp_path / "page"
    result = via_edit(
        film,
        "make the dog blue",
        "-o",
        tmp_path / "out.mp4",
        "--mask",
        tmp_path / "mask.png",
        "--explain",
        page,
        *FAST,
    )
    assert result.exit_code == 0, result.output
    text = (page / "index.html").read_text()
    for name in ("masks", "root", "pairs", "weights", "group_before", "group_after", "source", "result"):
        assert f"{name}.png" in text
        with Image.open(page / f"{name}.png") as picture:
            assert picture.size[0] > 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "blend=maybe"], "blend=maybe"),
        (["--set", "nothing=1"], "no field 'nothing'"),
        (["--frames", "9:3"], "--frames 9:3"),
        (["--mask", "nowhere.png"], "nowhere.png"),
        (["--region", "the dog"], "--mask FILE"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_nothing_is_written(tiny, film, tmp_path, arguments, message):
    out = tmp_path / "out.mp4"
    result = via_edit(film, "make the dog blue", "-o", out, *FAST, *arguments)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_the_input_is_never_overwritten(film):
    before = film.read_bytes()
    result = via_edit(film, "make it sepia", "-o", film)
    assert "name another output" in str(result.exception)
    assert film.read_bytes() == before


def test_an_interrupt_leaves_no_half_written_file_and_says_what_is_kept(tiny, film, tmp_path, monkeypatch):
    from via import lock_step

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_step, "gathered", interrupted)
    result = via_edit(film, "make it sepia", "-o", tmp_path / "out.mp4", "--cache", tmp_path / "kept", *FAST)
    assert result.exit_code != 0
    assert not (tmp_path / "out.mp4").exists()
    stages = {path.name.split("-")[0] for path in (tmp_path / "kept").iterdir()}
    assert stages == {"root", "tuning"}
    assert not list(tmp_path.rglob("*.part*"))


def test_a_chosen_candidate_is_asked_for_over_a_contact_sheet(tiny, film, tmp_path):
    out = tmp_path / "out.mp4"
    result = via_edit(film, "make it sepia", "-o", out, "--choose-root", *FAST, answers="7\n1\n")
    assert result.exit_code == 0, result.output
    assert "there is no candidate 7: 0 to 1" in result.output
    assert (tmp_path / "out.roots.png").exists()


def test_frame_ranges_are_read_as_written():
    assert frame_range("48", 100) == (0, 48)
    assert frame_range("10:20", 15) == (10, 15)
    for text in ("0", "x", "5:5", "20:30", "-3"):
        with pytest.raises(UserError, match="--frames"):
            frame_range(text, 15)


def test_an_excerpt_is_the_clip_between_its_ends(clip):
    part = Excerpt(clip, 2, 5)
    assert len(part) == 3
    assert np.array_equal(part[:], clip[2:5])
    assert np.array_equal(part[-1], clip[4])
    with pytest.raises(IndexError):
        part[3]
