"""`via data preview` writes a picture of every task, also of tasks without truth."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from data.commands import app
from data.pocket.sheet import edits_sheet, suite_sheet, write_png
from data.types import ArrayClip, Edit, Task, UserError


def test_preview_writes_a_sheet_with_every_task(tmp_path: Path) -> None:
    out = tmp_path / "mini.png"
    result = CliRunner().invoke(
        app, ["preview", "pocket-mini", "-o", str(out), "--columns", "4", "--side", "32"]
    )
    assert result.exit_code == 0, result.output
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert sheet.shape[0] >= 4 * 3 * 32
    assert [p.name for p in tmp_path.iterdir()] == ["mini.png"]


def test_suites_lists_them_all() -> None:
    result = CliRunner().invoke(app, ["suites"])
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "pocket",
        "pocket-dev",
        "pocket-long",
        "pocket-mini",
    ]


def test_a_task_without_truth_shows_its_source_at_its_aspect() -> None:
    clip = ArrayClip(np.full((3, 40, 80, 3), 7, np.uint8))
    sheet = suite_sheet([Task("t", clip, Edit(instruction="make it night"), "t")], columns=3, side=32)
    assert (sheet == 7).all(-1).sum() == 3 * 16 * 32


def test_the_sheet_of_all_edits_is_drawn_for_every_split() -> None:
    assert edits_sheet("train", side=16).shape == edits_sheet("report", side=16).shape


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        write_png(tmp_path / "no" / "a.png", np.zeros((4, 4, 3), np.uint8))
