"""A folder of images is a clip in natural order; what cannot be read is named."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.types import UserError
from data.video import open_clip


def fill(folder: Path, names: list[str], size: tuple[int, int] = (20, 30)) -> None:
    for i, name in enumerate(names):
        Image.fromarray(np.full((*size, 3), 10 * i, np.uint8)).save(folder / name)


def test_images_come_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, ["frame1.png", "frame2.png", "frame10.png"])
    (tmp_path / "notes.txt").write_text("not an image")
    clip = open_clip(tmp_path, fps=Fraction(12))
    assert (len(clip), clip.size, clip.fps) == (3, (20, 30), 12)
    assert [int(clip[i][0, 0, 0]) for i in range(3)] == [0, 10, 20]
    assert clip[::2].shape == (2, 20, 30, 3)


def test_grey_and_transparent_images_are_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / "1.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 255)).save(tmp_path / "2.png")
    clip = open_clip(tmp_path)
    assert clip[0][0, 0].tolist() == [99, 99, 99]
    assert clip[1][0, 0].tolist() == [1, 2, 3]


def test_exif_turns_are_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise to view
    image.save(tmp_path / "1.jpg", exif=exif)
    assert open_clip(tmp_path).size == (30, 20)


def test_bad_folders_are_answered_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        open_clip(tmp_path)
    fill(tmp_path, ["1.png"])
    (tmp_path / "2.png").write_bytes(b"no image")
    clip = open_clip(tmp_path)
    with pytest.raises(UserError, match=r"2\.png: cannot be read"):
        clip[1]
    fill(tmp_path, ["skip.png"])
    (tmp_path / "2.png").unlink()
    Image.new("RGB", (5, 5)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match=r"3\.png: is 5x5, the first image 30x20"):
        open_clip(tmp_path)[:]


def test_pictures_of_numbers_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    for mode in ("F", "I"):
        Image.new(mode, (30, 20), 1).save(tmp_path / "0.tiff")
        with pytest.raises(UserError, match=f"{mode}-mode values; save it as 8-bit RGB"):
            open_clip(tmp_path)
