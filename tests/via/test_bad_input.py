"""`via edit` given what users give it: a right result, or one line, exit code 2 and nothing left behind."""

import os
import stat
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data.video import open_clip, write_mp4
from via import commands, lock_step
from via.cli import main
from via.masks.grammar import GrammarOnly

FAST = ("--set", "steps=2", "--set", "root_candidates=2", "--set", "tuning_steps=1", "--size", "32")
WHOLE, LOCAL = "make it sepia", "make the dog blue"

full_device = Path("/dev/full")
needs_full_device = pytest.mark.skipif(
    not full_device.exists() or not stat.S_ISCHR(full_device.stat().st_mode),
    reason="the system has no device that is always full",
)


@pytest.fixture
def film(clip, tmp_path):
    path = tmp_path / "film.mp4"
    write_mp4(path, clip.frames.repeat(3, axis=1).repeat(3, axis=2), Fraction(6))  # 48 x 60
    return path


@pytest.fixture(autouse=True)
def tiny(monkeypatch, frame_conditioned):
    """The command with the tiny editor in place of the embedded one."""
    monkeypatch.setattr(
        commands, "_models", lambda name, device, predicts: (frame_conditioned, GrammarOnly())
    )


@pytest.fixture
def via_edit(capsys, tmp_path):
    """Run `via edit IN INSTRUCTION -o out.mp4 ...`; comes back with its exit code and the lines on stderr."""

    def run(source, instruction, *more):
        words = [str(word) for word in (source, instruction, "-o", tmp_path / "out.mp4", *FAST, *more)]
        with pytest.raises(SystemExit) as ended:
            main(["edit", "--device", "cpu", *words])
        return ended.value.code, capsys.readouterr().err.splitlines()

    return run


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def refused(answer, *said):
    """Whether a command was answered with one line that holds these said."""
    code, lines = answer
    return code == 2 and len(lines) == 1 and all(part in lines[0] for part in ("via: ", *said))


def unreadable(folder, film):
    """Inputs that hold no clip, by what is wrong with them."""
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "cut.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with av.open(str(folder / "silence.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        out.start_encoding()
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("none.mp4", "check the path"),
        ("text.mp4", "convert it with ffmpeg"),
        ("cut.mp4", "get the whole file"),
        ("silence.avi", "give a file that has"),
        ("empty", "give a folder of frames or a video"),
    ],
)
def test_an_input_that_is_no_clip_is_answered_with_its_name_and_the_fix(via_edit, film, tmp_path, name, fix):
    unreadable(tmp_path, film)
    before = names(tmp_path)
    assert refused(via_edit(tmp_path / name, WHOLE), name, fix)
    assert names(tmp_path) == before


def rising(n, height=48, width=64):
    """Grey frames that become brighter."""
    levels = np.linspace(40, 220, n).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (n, height, width, 3)).copy()


UNUSUAL = {
    "one frame": (rising(1), "ffv1", "yuv420p"),
    "10 bit": (rising(3), "ffv1", "yuv420p10le"),
    "grey": (rising(3), "ffv1", "gray"),
    "variable rate": (rising(4), "ffv1", "yuv420p", [0, 10, 60, 70]),
    "odd size": (rising(3, 47, 63), "ffv1", "bgr0"),
    "narrow": (rising(3, 16, 200), "ffv1", "yuv420p"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_an_unusual_file_is_edited_at_its_length_size_and_rate(via_edit, encoded, tmp_path, kind):
    source = encoded(tmp_path / "in.mkv", *UNUSUAL[kind])
    code, lines = via_edit(source, WHOLE)
    assert code == 0, lines
    given, edited = open_clip(source), open_clip(tmp_path / "out.mp4")
    assert (len(edited), edited.size) == (len(given), given.size)
    assert abs(edited.fps - given.fps) < given.fps / 1000


def test_a_turned_film_is_edited_upright(via_edit, turned, film, tmp_path):
    code, lines = via_edit(turned(film), WHOLE, "--set", "steps=1")
    assert code == 0, lines
    assert open_clip(tmp_path / "out.mp4").size == (60, 48)


@pytest.mark.parametrize(
    ("instruction", "region", "said"),
    [
        ("make the zeppelin blue", None, ('"the zeppelin"', "--mask FILE")),
        ("make the bus blue", None, ("no frame shows the bus", "--region")),
        (WHOLE, "the bus", ("no frame shows the bus", "--region")),
        ("  ", None, ("the instruction is empty", "say what to change")),
    ],
)
def test_an_instruction_that_names_nothing_in_the_clip_is_answered(
    via_edit, encoded, monkeypatch, frame_conditioned, tmp_path, instruction, region, said
):
    from via.masks.pocket import load

    monkeypatch.setattr(commands, "_models", lambda name, device, predicts: (frame_conditioned, load()))
    source = encoded(tmp_path / "black.mkv", np.zeros((2, 48, 64, 3), np.uint8), "ffv1", "yuv420p")
    more = ("--region", region) if region else ()
    assert refused(via_edit(source, instruction, *more), *said)
    assert names(tmp_path) == ["black.mkv"]


def painted(path, size, value=255):
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: painted(path, (48, 61)), ("6 x 48 x 61", "6 x 48 x 60", "of the clip's size")),
        (lambda path: painted(path, (48, 60), 0), ("no frame shows a masked pixel", "--mask")),
        (lambda path: path.write_text("no image"), ("mask.png: not a readable image", "PNG or video")),
        (lambda path: None, ("mask.png: not a readable image", "PNG or video")),
    ],
)
def test_a_mask_that_does_not_fit_is_answered(via_edit, film, tmp_path, make, said):
    make(tmp_path / "mask.png")
    before = names(tmp_path)
    assert refused(via_edit(film, LOCAL, "--mask", tmp_path / "mask.png"), *said)
    assert names(tmp_path) == before


def test_a_mask_video_of_another_length_is_answered(via_edit, film, tmp_path):
    write_mp4(tmp_path / "mask.mp4", rising(4, 48, 60), Fraction(6))
    answer = via_edit(film, LOCAL, "--mask", tmp_path / "mask.mp4")
    assert refused(answer, "mask.mp4: 4 masks for 6 frames", "one mask a frame")
    assert names(tmp_path) == ["film.mp4", "mask.mp4"]


@needs_full_device
def test_a_disk_that_fills_up_under_the_output_leaves_what_was_there(via_edit, film, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"an earlier result")
    (tmp_path / ".out.part.mp4").symlink_to(full_device)
    assert refused(via_edit(film, WHOLE), "the disk is full", "make room and run the same command again")
    assert out.read_bytes() == b"an earlier result"
    assert names(tmp_path) == ["film.mp4", "out.mp4"]


@needs_full_device
@pytest.mark.parametrize("stage", ["masks", "inversion", "root", "tuning"])
def test_a_disk_that_fills_up_under_a_stage_loses_no_other_stage(via_edit, film, tmp_path, stage):
    painted(tmp_path / "mask.png", (48, 60))
    with Image.open(tmp_path / "mask.png") as mask:
        half = mask.copy()
    half.paste(0, (0, 0, 30, 48))
    half.save(tmp_path / "mask.png")
    more = ("--mask", tmp_path / "mask.png", "--cache", tmp_path / "kept")
    assert via_edit(film, LOCAL, *more)[0] == 0
    whole = names(tmp_path)
    (file,) = [path for path in (tmp_path / "kept").glob(f"{stage}-*") if not path.suffix]
    (tmp_path / "out.mp4").unlink()
    for lost in (file, file.with_suffix(".json")):
        lost.unlink()
    left = names(tmp_path)
    part = file.with_name(f"{file.name}.part{os.getpid()}")
    inner = part.with_name(f"{part.name}.part{os.getpid()}")  # an adapter is itself written beside
    (inner if stage == "tuning" else part).symlink_to(full_device)
    assert refused(via_edit(film, LOCAL, *more), "the disk is full", "run the same command again")
    assert names(tmp_path) == left
    assert via_edit(film, LOCAL, *more)[0] == 0
    assert names(tmp_path) == whole


def interrupted(*_):
    raise KeyboardInterrupt  # no signal: a job in the background may ignore it


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(via_edit, film, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    with monkeypatch.context() as patched:
        patched.setattr(lock_step, "gathered", interrupted)
        code, lines = via_edit(film, WHOLE, "--cache", kept)
    assert code == 130
    assert len(lines) == 1
    assert "out.mp4 is not written" in lines[0]
    assert f"finished stages are kept in {kept}" in lines[0]
    times = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert {path.name.partition("-")[0] for path in times} == {"root", "tuning"}
    assert names(tmp_path) == sorted(["film.mp4", "kept", *(f"kept/{path.name}" for path in times)])
    assert via_edit(film, WHOLE, "--cache", kept)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == times
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ["out.avi", "out.mkv", "out"])
def test_an_output_that_would_be_an_mp4_under_another_name_is_refused(via_edit, film, tmp_path, name):
    answer = via_edit(film, WHOLE, "-o", tmp_path / name)
    assert refused(answer, f"{name}: edited videos are written as .mp4 or .m4v")
    assert names(tmp_path) == ["film.mp4"]


def test_the_readable_part_of_half_a_film_can_be_edited(via_edit, encoded, tmp_path):
    film = encoded(tmp_path / "film.mkv", rising(10), "ffv1", "yuv420p")
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    assert refused(via_edit(film, WHOLE), "film.mkv: broken off after", "take a part with --frames")
    code, lines = via_edit(film, WHOLE, "--frames", "2", "--set", "steps=1")
    assert code == 0, lines
    assert len(open_clip(tmp_path / "out.mp4")) == 2


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no folder that takes no files")
@pytest.mark.parametrize("option", ["-o", "--explain", "--cache"])
def test_a_place_that_takes_no_files_is_answered(via_edit, film, tmp_path, option):
    place = Path("/proc/out.mp4") if option == "-o" else Path("/proc/there/inside")
    said = "/proc/there" if option != "-o" else "/proc/"
    assert refused(via_edit(film, WHOLE, option, place), said, "nothing can be written there")
