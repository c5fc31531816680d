"""Video files as clips, and clips as video files (PyAV).

Reading is lazy: opening a file lists when its frames are shown, and a frame is decoded when it is asked for.
Writing goes to a file beside the target, which is renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from data.folder import open_folder
from data.types import Clip, Frame, UserError

COPIED_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")  # what an mp4 can hold as it is

COMPLETE = 0.9  # of the length that a header states: what is shorter is cut off


def open_clip(path: str | Path, fps: Fraction | int = 6, *, partial: bool = False) -> Clip:
    """A video file or a folder of images as a clip.

    Args:
        fps: rate of a folder of images, which has none of its own.
        partial: take what can be read of a file that is broken off.

    Raises:
        UserError: the path does not exist, or nothing in it can be read as a clip.
    """
    where = Path(path)
    if where.is_dir():
        return open_folder(where, Fraction(fps))
    return VideoClip(where, partial)


class VideoClip:
    """The first video stream of a file, as it is meant to be shown: turned by its rotation, in 8-bit RGB.

    Frames that are not equally long (variable rate) are sampled at their average rate: each frame of the clip
    is the one on screen at its time, so that number, length and sound stay as they are. Damage inside a frame
    is hidden by the decoder as far as it can; where pixels must be right, compare `frames_sha256`.

    Raises:
        UserError: no such file, no video in it, no frames, or, unless `partial`, clearly less than its header
            promises.
    """

    def __init__(self, path: Path, partial: bool = False) -> None:
        self.path = path
        self.name = path.name
        self._container: Any = None
        self._decoded: Iterator[Any] = iter(())
        self._next = -1  # position in `_shown` of the frame that decoding comes to next
        self._kept: tuple[int, Frame] | None = None
        if not path.exists():
            raise UserError(f"{path}: no such file; check the path")
        with self._answered():
            self._shown, missing = self._times()
        if not len(self._shown):
            raise UserError(f"{path}: has no video frames; give a file that has")
        if missing and not partial:
            raise UserError(
                f"{path}: broken off after {missing}; get the whole file, or take a part with --frames"
            )
        self.fps, self._order = self._rate()
        first = self[0]
        self.size = (first.shape[0], first.shape[1])

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (FFmpegError, OSError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"{self.path}: cannot be read as video ({reason}); convert it with ffmpeg"
            ) from error

    def _times(self) -> tuple[NDArray[np.int64], str | None]:
        """When frames are shown, in the stream's time base, sorted; and "n of m" where it breaks off."""
        with av.open(str(self.path)) as container:
            if not container.streams.video:
                raise UserError(f"{self.path}: has no video in it; give a video file or a folder of images")
            stream = container.streams.video[0]
            times, dropped, end = [], 0, 0.0
            for packet in container.demux():
                if packet.size == 0:
                    continue
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != stream.index:
                    continue
                if packet.is_discard:
                    dropped += 1
                    continue
                if packet.pts is None:
                    raise UserError(
                        f"{self.path}: its frames have no times; convert it to mp4 or mkv with ffmpeg"
                    )
                times.append(packet.pts)
            self._base = Fraction(stream.time_base or Fraction(1, 1000))
            self._average = Fraction(stream.average_rate or stream.guessed_rate or 25)
            shown = np.unique(np.asarray(times, np.int64))
            # only mp4 without fragments counts its frames reliably: avi counts ticks, streams do not count
            if "mp4" in container.format.name and stream.frames:
                promised = stream.frames - dropped
                return shown, f"{len(shown)} of {promised} frames" if promised > len(shown) else None
            if container.duration is None or not {"mp4", "matroska"} & set(container.format.name.split(",")):
                return shown, None
            # the header's length is that of the longest track; the last frame may stay as long as any other
            stated = container.duration / av.time_base
            if len(shown) > 1:
                end = max(end, float((shown[-1] + np.diff(shown).max()) * self._base))
            cut = len(shown) > 0 and end < COMPLETE * stated
            return shown, f"{end:.1f} of {stated:.1f} seconds" if cut else None

    def _rate(self) -> tuple[Fraction, NDArray[np.int64]]:
        """Frames per second, and for each frame of the clip its position in `_shown`."""
        count = len(self._shown)
        steps = np.diff(self._shown)
        if count < 3 or steps.max() - steps.min() <= 0.15 * np.median(
            steps
        ):  # times rounded to a coarse base
            return self._average, np.arange(count)
        fps = (
            1 / (Fraction(int(self._shown[-1] - self._shown[0]), count - 1) * self._base)
        ).limit_denominator(1001)
        wanted = self._shown[0] + np.arange(count) * float(1 / (fps * self._base))
        return fps, np.clip(np.searchsorted(self._shown, wanted + 0.5, side="right") - 1, 0, count - 1)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: Any) -> Any:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return self._frame(int(self._order[chosen]))
        frames = [self._frame(int(self._order[i])) for i in chosen]
        return np.stack(frames) if frames else np.empty((0, *self.size, 3), np.uint8)

    def _frame(self, position: int) -> Frame:
        if self._kept is not None and self._kept[0] == position:
            return self._kept[1]
        with self._answered():
            frame = self._decode(position)
        self._kept = position, frame
        return frame

    def _decode(self, position: int) -> Frame:
        """Decode on from where decoding stands, or seek to the keyframe before `position`."""
        wanted = int(self._shown[position])
        if self._container is None:
            self._container = av.open(str(self.path))
            self._container.streams.video[0].thread_type = "AUTO"
        stream = self._container.streams.video[0]
        if self._next < 0 or not 0 <= position - self._next <= 48:
            self._container.seek(wanted, stream=stream, backward=True)
            self._decoded = self._container.decode(stream)
        self._next = -1  # until the frame is found: an error leaves nothing to go on from
        for frame in self._decoded:
            if frame.pts is None or frame.pts < wanted:
                continue
            if frame.pts > wanted:
                break
            self._next = position + 1
            return _rgb(frame)
        raise UserError(f"{self.path}: frame {position} cannot be decoded; convert the file with ffmpeg")

    def close(self) -> None:
        """Let go of the file. Reading again opens it anew."""
        if self._container is not None:
            self._container.close()
        self._container, self._next = None, -1

    def __del__(self) -> None:
        if getattr(self, "_container", None) is not None:
            self.close()


def _rgb(frame: Any) -> Frame:
    """uint8 RGB (H, W, 3), turned as the stream says (counter-clockwise in quarter turns)."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def frames_sha256(frames: Iterable[Frame]) -> str:
    """sha256 over size and pixels of uint8 RGB frames (H, W, 3), in order."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.shape[0]}x{frame.shape[1]};".encode())
        digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path beside the target, flushed and renamed to it on success and removed on failure."""
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        part.open("ab").close()  # a place that takes no files says so, with its name, before anything is made
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _checked(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """The frames, held to one size; at least one."""
    size = None
    for i, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"frame {i} is {frame.dtype} {frame.shape}, not uint8 RGB (H, W, 3)")
        if size is not None and frame.shape != size:
            raise ValueError(f"frame {i} is {frame.shape[:2]}, the frames before are {size[:2]}")
        size = frame.shape
        yield frame
    if size is None:
        raise UserError(f"{path}: there are no frames to write")


def write_lossless(path: str | Path, frames: Iterable[Frame], fps: Fraction) -> str:
    """Write FFV1 in Matroska, one frame at a time; equal frames give equal bytes.

    Args:
        frames: uint8 RGB (H, W, 3), at least one, all of one size.

    Returns:
        The sha256 of the frames, as `frames_sha256` gives it for the frames read back.

    Raises:
        UserError: there are no frames, or the folder does not exist.
    """
    target = Path(path)
    digest = hashlib.sha256()
    with (
        _beside(target) as part,
        av.open(str(part), "w", format="matroska", options={"fflags": "+bitexact"}) as out,
    ):
        stream: Any = None
        for i, frame in enumerate(_checked(frames, target)):
            if stream is None:
                stream = out.add_stream(
                    "ffv1", rate=fps, options={"level": "3", "g": "1", "slicecrc": "1", "flags": "+bitexact"}
                )
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "bgr0"
                stream.codec_context.thread_count = (
                    1  # the number of threads decides the slices, and so the bytes
                )
                stream.codec_context.time_base = 1 / fps
            digest.update(f"{frame.shape[0]}x{frame.shape[1]};".encode())
            digest.update(np.ascontiguousarray(frame).tobytes())
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = i, 1 / fps
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return digest.hexdigest()


def write_mp4(
    path: str | Path,
    frames: Iterable[Frame],
    fps: Fraction,
    *,
    crf: int = 18,
    audio_from: str | Path | None = None,
) -> None:
    """Write H.264 that browsers play: yuv420p (yuv444p where a side is odd), BT.709, one frame at a time.

    Args:
        frames: uint8 RGB (H, W, 3), at least one, all of one size.
        crf: constant rate factor, 0 (lossless) to 51.
        audio_from: a file whose first sound track comes along, copied where mp4 can hold it and else as AAC.

    Raises:
        UserError: there are no frames, the folder does not exist, or `audio_from` cannot be read.
    """
    target = Path(path)
    with (
        _beside(target) as part,
        av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        sound = _Sound(out, Path(audio_from)) if audio_from is not None else None
        stream: Any = None
        for i, frame in enumerate(_checked(frames, target)):
            height, width = frame.shape[:2]
            if stream is None:
                stream = out.add_stream("libx264", rate=fps, options={"crf": str(crf)})
                stream.height, stream.width = height, width
                stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
                stream.codec_context.time_base = 1 / fps
                stream.codec_context.colorspace = Colorspace.ITU709.value
                stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
                stream.codec_context.color_range = ColorRange.MPEG.value
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
                format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.pts, picture.time_base = i, 1 / fps
            out.mux(stream.encode(picture))
            if sound is not None:
                sound.until((i + 1) / fps)
        out.mux(stream.encode(None))
        if sound is not None:
            sound.close()


class _Sound:
    """The first sound track of a file on its way into another, in step with the pictures."""

    def __init__(self, out: Any, path: Path) -> None:
        try:
            self._file = av.open(str(path))
        except (FFmpegError, OSError) as error:
            raise UserError(f"{path}: its sound cannot be read; give a media file") from error
        self._packets: Iterator[Any] = iter(())
        self._out, self._waiting = out, None
        tracks = self._file.streams.audio
        if not tracks:
            return
        track = tracks[0]
        self._copied = track.codec_context.name in COPIED_AUDIO
        if self._copied:
            self._stream = out.add_stream_from_template(track)
        else:
            self._stream = out.add_stream("aac", rate=track.rate)
            self._resampler = AudioResampler(format="fltp", layout=track.layout, rate=track.rate)
        self._packets = iter(self._file.demux(track))

    def until(self, seconds: Fraction) -> None:
        """Pass on what is heard before this time."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if packet.dts is None:
                continue
            if packet.dts * packet.time_base >= seconds:
                self._waiting = packet
                return
            if self._copied:
                packet.stream = self._stream
                self._out.mux(packet)
                continue
            for frame in packet.decode():
                self._encode(self._resampler.resample(frame))

    def _encode(self, frames: list[Any]) -> None:
        for frame in frames:
            self._out.mux(self._stream.encode(frame))

    def close(self) -> None:
        """End the track with the pictures."""
        if self._file.streams.audio and not self._copied:
            self._encode(self._resampler.resample(None))
            self._out.mux(self._stream.encode(None))
        self._file.close()
