"""The commands about runs, as they are typed."""

import shutil
import sys
from pathlib import Path

import pytest

from via.cli import main


def typed(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors of one command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


def test_report_compare_and_validate_read_a_folder_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    code, out, _ = typed(capsys, "report", run, "--no-videos")
    assert code == 0
    assert "24 ok, 8 error of 32 cells." in out
    assert (run / "report" / "report.html").is_file()
    code, out, _ = typed(capsys, "compare", f"{run}:full", f"{run}:frame_by_frame")
    assert code == 0
    assert "| answer switches | 0.0% [0.0%, 32.4%] | 100.0% [67.6%, 100.0%] | −100.0%" in out
    assert "p = 0.0078" in out  # 2 of the 2^8 sign patterns of eight clips
    code, out, _ = typed(capsys, "validate", run)
    assert (code, out) == (0, f"{run} follows the run format\n")


def test_two_runs_are_compared_by_their_rows(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "other")
    code, out, _ = typed(capsys, "compare", f"{finished}:full", f"{tmp_path / 'other'}:full")
    assert code == 0
    assert "| one-answer error | 0.0000 [0.0000, 0.0000] | 0.0000 [0.0000, 0.0000] | 0.0000" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "nowhere"], "via: nowhere: not a run (it has no run.json)"),
        (["validate", "nowhere"], "via: nowhere breaks the run format in 1 place"),
        (["compare", "nowhere:a", "nowhere:b"], "via: nowhere: not a run"),
        (["ablate", "--suite", "nonsuch"], "via: nonsuch: no such suite"),
        (["ablate", "--methods", "fulll"], "via: there is no method 'fulll'"),
        (["ablate", "--sweep", "steps"], "via: --sweep steps: write field=value"),
        (["ablate", "--set", "stepz=5"], "via: there is no field 'stepz'"),
        (["ablate", "--metrics", "nonsuch"], "via: no metric 'nonsuch'"),
        (["bench", "--methods", "no.such:Editor"], "via: no.such:Editor: there is no module no"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_leaves_nothing(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, _, error = typed(capsys, *words)
    assert code == 2
    (line,) = error.splitlines()
    assert line.startswith(message)
    assert not list(tmp_path.rglob("run.json"))


def test_a_row_that_is_not_there_is_answered_with_those_that_are(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = typed(capsys, "compare", finished, f"{finished}:full")
    assert code == 2
    assert f"name one row as {finished}:ROW; its rows are full, frame_by_frame, c, copy" in error


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no folder that takes no files")
def test_a_run_that_cannot_be_written_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = typed(capsys, "ablate", "--methods", "copy", "--out", "/proc/there/run")
    assert code == 2
    assert error == "via: /proc/there: nothing can be written there: name another place\n"
