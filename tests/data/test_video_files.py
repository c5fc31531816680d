"""Video: lossless files come back bit for bit, reading is lazy, bad files are answered in one line."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.types import Frames, UserError
from data.video import VideoClip, frames_sha256, open_clip, write_lossless, write_mp4

Encode = Callable[..., Path]  # what the fixture `encoded` gives


def noise(n: int, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def smooth(n: int, height: int = 48, width: int = 64) -> Frames:
    """Frames that lossy codecs keep: flat, and brighter from frame to frame."""
    levels = np.linspace(20, 230, n).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (n, height, width, 3)).copy()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 7),
    height=st.integers(2, 70),
    width=st.integers(2, 70),
    fps=st.sampled_from([Fraction(6), Fraction(24), Fraction(30000, 1001), Fraction(25, 2)]),
)
def test_lossless_files_come_back_bit_for_bit(
    tmp_path: Path, n: int, height: int, width: int, fps: Fraction
) -> None:
    frames = noise(n, height, width)
    path = tmp_path / "a.mkv"
    digest = write_lossless(path, iter(frames), fps)
    clip = open_clip(path)
    assert np.array_equal(clip[:], frames)
    assert (len(clip), clip.size) == (n, (height, width))
    assert digest == frames_sha256(frames) == frames_sha256(clip[i] for i in range(n))
    if n > 2:  # Matroska keeps times in milliseconds, and the rate beside them
        assert abs(clip.fps - fps) < fps / 1000


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mkv"):
        write_lossless(tmp_path / name, noise(5), Fraction(6))
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_the_hash_sees_size_order_and_pixels() -> None:
    frames = noise(3)
    changed = frames.copy()
    changed[2, 5, 5, 1] ^= 1
    others = (changed, frames[::-1], frames[:2], frames.reshape(3, 64, 48, 3))
    assert len({frames_sha256(f) for f in (frames, *others)}) == 5


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_mp4_keeps_length_size_rate_and_colours(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = np.zeros((5, *size, 3), np.uint8)
    frames[:, :, :32] = (220, 30, 40)
    frames[:, :, 32:] = (20, 180, 60)
    path = tmp_path / "a.mp4"
    write_mp4(path, iter(frames), Fraction(25), crf=4)
    clip = open_clip(path)
    assert (len(clip), clip.size, clip.fps) == (5, size, 25)
    assert np.abs(clip[3][:, 4:28].astype(int) - frames[3][:, 4:28]).max() <= 4
    assert np.abs(clip[3][:, 36:60].astype(int) - frames[3][:, 36:60]).max() <= 4
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.pix_fmt == ("yuv420p" if size == (48, 64) else "yuv444p")


def test_any_order_of_reading_gives_the_same_frames(tmp_path: Path) -> None:
    frames = smooth(60)
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, Fraction(25), crf=1)  # with B-frames and few keyframes
    in_order = open_clip(path)[:]
    assert np.abs(in_order.astype(int) - frames).max() <= 4
    clip = open_clip(path)
    for i in np.random.default_rng(0).integers(-60, 60, 40):
        assert np.array_equal(clip[int(i)], in_order[i])
    assert np.array_equal(clip[50:4:-7], in_order[50:4:-7])
    with pytest.raises(IndexError):
        clip[60]


def test_iterating_a_long_file_holds_few_frames(encoded: Encode, tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    encoded(path, np.broadcast_to(smooth(1, 96, 128), (1500, 96, 128, 3)), "mpeg4", "yuv420p")
    tracemalloc.start()
    clip = open_clip(path)
    assert sum(1 for _ in (clip[i] for i in range(len(clip)))) == 1500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * clip[0].nbytes  # of 1500


def test_writing_holds_few_frames(tmp_path: Path) -> None:
    def stream() -> Iterator[np.ndarray]:
        for i in range(300):
            yield np.full((96, 128, 3), i % 256, np.uint8)

    tracemalloc.start()
    write_lossless(tmp_path / "a.mkv", stream(), Fraction(25))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 96 * 128 * 3  # of 300


def test_a_turned_file_is_read_upright(turned: Callable[[Path], Path], tmp_path: Path) -> None:
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[:, :24, :32] = 250  # top left
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, Fraction(25), crf=4)
    turned(path)
    clip = open_clip(path)
    assert clip.size == (64, 48)
    frame = clip[1].astype(int)
    # the matrix (0 1; -1 0) shows a picture turned clockwise: top left goes to top right
    assert frame[4:28, 28:44].mean() > 240
    assert frame[:, :20].mean() < 10
    assert frame[36:].mean() < 10


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("mkv", "ffv1", "yuv420p10le"),
        ("mkv", "ffv1", "gray"),
        ("mkv", "ffv1", "bgra"),
        ("avi", "mjpeg", "yuvj420p"),
        ("mp4", "libx264", "yuv422p"),
    ],
)
def test_other_pixel_formats_are_read_as_eight_bit_rgb(
    encoded: Encode, tmp_path: Path, suffix: str, codec: str, pix_fmt: str
) -> None:
    frames = smooth(5)
    path = tmp_path / f"a.{suffix}"
    encoded(path, frames, codec, pix_fmt)
    clip = open_clip(path)
    assert clip[:].dtype == np.uint8
    assert np.abs(clip[:].astype(int) - frames).max() <= 6


def test_variable_rate_is_sampled_at_the_average_and_keeps_its_length(
    encoded: Encode, tmp_path: Path
) -> None:
    frames = smooth(6)
    times = [0, 10, 20, 60, 100, 110]  # hundredths of a second: the third and fourth picture stay for .4 s
    path = tmp_path / "vfr.mkv"
    encoded(path, frames, "ffv1", "gray", times)
    clip = open_clip(path)
    assert len(clip) == 6
    assert abs(5 / clip.fps - Fraction(110, 100)) < Fraction(1, 1000)
    shown = [int(clip[i][0, 0, 0]) for i in range(len(clip))]
    at = [round(float(100 * i / clip.fps)) for i in range(len(clip))]
    expected = [int(frames[max(j for j, t in enumerate(times) if t <= moment + 1)][0, 0, 0]) for moment in at]
    assert np.abs(np.array(shown) - expected).max() <= 2


def with_sound(path: Path, codec: str, seconds: int = 1) -> None:
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = out.add_stream(codec, rate=48000)
        for frame in smooth(10 * seconds):
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(video.encode(None))
        t = np.arange(48000 * seconds) / 48000
        tone = (np.sin(2 * np.pi * 440 * t) * 8000).astype(np.int16)
        resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=48000)
        for start in range(0, len(tone), 1024):
            part = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts = 48000, start
            for frame in resampler.resample(part):
                out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


@pytest.mark.parametrize(("suffix", "codec", "kept"), [("mp4", "aac", "aac"), ("avi", "pcm_s16le", "aac")])
def test_sound_comes_along_for_as_long_as_the_pictures(
    tmp_path: Path, suffix: str, codec: str, kept: str
) -> None:
    source, path = tmp_path / f"source.{suffix}", tmp_path / "a.mp4"
    with_sound(source, codec, seconds=2)
    write_mp4(path, smooth(10), Fraction(10), audio_from=source)  # the first second only
    with av.open(str(path)) as file:
        track = file.streams.audio[0]
        assert track.codec_context.name == kept
        samples = sum(frame.samples for frame in file.decode(track))
        assert abs(samples / 48000 - 1) < 0.1
    assert len(open_clip(path)) == 10


def test_a_source_without_sound_gives_a_silent_file(tmp_path: Path) -> None:
    source, path = tmp_path / "s.mp4", tmp_path / "a.mp4"
    write_mp4(source, smooth(3), Fraction(10))
    write_mp4(path, smooth(3), Fraction(10), audio_from=source)
    with av.open(str(path)) as file:
        assert not file.streams.audio


def hostile(folder: Path) -> dict[str, Path]:
    """Files that are no videos, by what is wrong with them."""
    made = {name: folder / name for name in ("empty.mp4", "text.mp4", "cut.mp4", "header.mkv", "sound.wav")}
    made["empty.mp4"].write_bytes(b"")
    made["text.mp4"].write_text("this is no video\n" * 50)
    whole = folder / "whole.mp4"
    write_mp4(whole, noise(20), Fraction(10))
    content = whole.read_bytes()
    made["cut.mp4"].write_bytes(content[: len(content) // 2])  # its index comes first and promises 20 frames
    write_lossless(folder / "l.mkv", noise(3), Fraction(10))
    made["header.mkv"].write_bytes((folder / "l.mkv").read_bytes()[:300])
    with av.open(str(made["sound.wav"]), "w") as out:
        track = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(track.encode(frame))
    return made


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "cut.mp4", "header.mkv", "sound.wav"])
def test_bad_files_are_answered_in_one_line_that_names_them(tmp_path: Path, name: str) -> None:
    path = hostile(tmp_path)[name]
    with pytest.raises(UserError, match=name) as error:
        open_clip(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_answered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_clip(tmp_path / "none.mp4")


@pytest.mark.parametrize("length", [100, 40000])
def test_damage_is_said_or_seen_in_the_hash_and_stays_in_its_frame(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.mkv"
    frames = noise(12)
    digest = write_lossless(path, frames, Fraction(10))
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + length] = bytes(length)
    path.write_bytes(content)
    clip = open_clip(path)
    try:
        assert frames_sha256(clip[i] for i in range(len(clip))) != digest
    except UserError as error:
        assert "a.mkv" in str(error)  # noqa: PT017  (both ends are right: said, or seen in the hash)
    if length == 100:  # within one frame: no other is touched
        assert np.array_equal(clip[:4], frames[:4])
        assert np.array_equal(clip[-2:], frames[-2:])


@pytest.mark.parametrize("write", [write_lossless, write_mp4])
def test_a_failed_writing_leaves_nothing_behind(tmp_path: Path, write) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from noise(3)
        raise KeyboardInterrupt

    path = tmp_path / ("a.mkv" if write is write_lossless else "a.mp4")
    path.write_bytes(b"what was there")
    with pytest.raises(KeyboardInterrupt):
        write(path, broken(), Fraction(6))
    assert path.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(UserError, match="no frames"):
        write(path, [], Fraction(6))
    with pytest.raises(UserError, match="does not exist"):
        write(tmp_path / "no" / path.name, noise(2), Fraction(6))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frame 1"):
        write_lossless(tmp_path / "a.mkv", [noise(1)[0], noise(1, 20, 20)[0]], Fraction(6))
    assert not list(tmp_path.iterdir())


def test_closing_and_reading_again_works(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    frames = noise(4)
    write_lossless(path, frames, Fraction(6))
    clip = VideoClip(path)
    clip.close()
    assert np.array_equal(clip[2], frames[2])
    clip.close()
    clip.close()


def test_this_room_imports_neither_torch_nor_other_rooms() -> None:
    code = (
        "import sys, data.video, data.commands, data.suites, data.pocket.training, data.pocket.sheet\n"
        "bad = {'torch', 'diffusers', 'pandas', 'via', 'eval', 'baselines', 'benchmarks', 'human_eval'}\n"
        "sys.exit(str(bad & set(sys.modules)) if bad & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CONTAINERS = {
    "mkv": ("matroska", "libx264", {}),
    "webm": ("webm", "libvpx", {}),
    "fragments.mp4": ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "mp4": ("mp4", "libx264", {"movflags": "+faststart"}),
}


def filmed(path: Path, container: str, frames: Frames, sound: float = 0) -> Path:
    """Frames at 25 a second in a container of the table, with some seconds of silence."""
    kind, codec, options = CONTAINERS[container]
    with av.open(str(path), "w", format=kind, options=options) as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        track = out.add_stream("aac", rate=8000, layout="mono") if sound else None
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        if track is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, round(8000 * sound)), np.float32), format="fltp", layout="mono"
            )
            silence.rate, silence.pts, silence.time_base = 8000, 0, Fraction(1, 8000)
            out.mux(track.encode(silence))
            out.mux(track.encode(None))
    return path


@pytest.mark.parametrize("container", CONTAINERS)
def test_half_a_file_is_answered_and_its_readable_part_is_there_on_request(
    container: str, tmp_path: Path
) -> None:
    whole = filmed(tmp_path / f"whole.{container}", container, noise(50))
    assert len(open_clip(whole)) == 50
    half = tmp_path / f"half.{container}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    said = (
        r"broken off after .* of (2\.0 seconds|50 frames); get the whole file, or take a part with --frames"
    )
    with pytest.raises(UserError, match=said):
        open_clip(half)
    part = open_clip(half, partial=True)
    assert 15 < len(part) <= 50
    assert np.array_equal(part[:10], open_clip(whole)[:10])


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_a_film_whose_sound_goes_on_after_its_pictures_is_whole(container: str, tmp_path: Path) -> None:
    path = filmed(tmp_path / f"a.{container}", container, smooth(25), sound=4)
    assert len(open_clip(path)) == 25


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_short_film_and_one_that_rests_on_its_last_frame_are_whole(
    n: int, encoded: Encode, tmp_path: Path
) -> None:
    write_lossless(tmp_path / "a.mkv", smooth(n), Fraction(6))
    assert len(open_clip(tmp_path / "a.mkv")) == n
    path = encoded(tmp_path / "b.mkv", smooth(n), "ffv1", "yuv420p10le", [0, 10, 600][:n])
    assert len(open_clip(path)) == n
