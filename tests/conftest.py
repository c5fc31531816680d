"""Video files that other programs write, for the tests of several rooms."""

from fractions import Fraction

import av
import pytest


@pytest.fixture(scope="session")
def encoded():
    """encoded(path, frames, codec, pix_fmt, times=None) -> path: frames (n, H, W, 3) in any codec and format;
    `times` in hundredths of a second."""

    def write(path, frames, codec, pix_fmt, times=None):
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
            stream.codec_context.time_base = Fraction(1, 100)
            for i, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
                picture.pts, picture.time_base = (times[i] if times else 4 * i), Fraction(1, 100)
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def turned():
    """turned(path) -> path: a quarter turn in an mp4's track header, as telephones write it (ISO 14496-12,
    tkhd)."""

    def turn(path):
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, reserved, volume
        one = (1 << 16).to_bytes(4, "big")
        matrix = [bytes(4), one, bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True), bytes(4), bytes(4)]
        content[at : at + 24] = b"".join(matrix)
        path.write_bytes(content)
        return path

    return turn
