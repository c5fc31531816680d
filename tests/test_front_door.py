"""The command line answers at once, in one line where the user can mend it, and in anybody's folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import via
from via.cli import COMMANDS, main

HOME = Path(via.__file__).parents[1]
ENTRY = "import sys; from via.cli import main; main()"


def script(tmp_path: Path) -> Path:
    """What installers write as console script: python puts its folder first, not the current one."""
    place = tmp_path / "bin" / "via"
    place.parent.mkdir()
    place.write_text(ENTRY)
    return place


def start(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    return subprocess.run(
        [sys.executable, *arguments], check=False, cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "__init__.py").write_text("raise RuntimeError('their data was executed')")
    (folder / "eval.py").write_text("raise RuntimeError('their eval was executed')")
    return folder


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom via.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'pandas', 'typer', 'numpy'} & set(sys.modules)))"
    )
    answer = start("-c", code, cwd=tmp_path)
    assert answer.stdout.splitlines()[-1] == "[]", answer.stderr
    for name in COMMANDS:
        assert f"\n  {name} " in answer.stdout


def test_unknown_command_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    answer = start("-m", "via.cli", "abblate", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == ["via: there is no command 'abblate': did you mean 'ablate'?"]


def test_command_line_works_from_a_folder_with_its_own_eval_and_data(tmp_path: Path, hostile: Path) -> None:
    answer = start(str(script(tmp_path)), "--help", cwd=hostile)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_import_from_such_a_folder_gives_one_line_that_names_the_file(hostile: Path) -> None:
    answer = start("-c", "import via", cwd=hostile)
    assert answer.returncode != 0
    (line,) = answer.stderr.splitlines()
    assert str(hostile / "data") in line
    assert "python -P" in line


def test_a_plain_folder_called_data_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    answer = start("-c", "import via, data.types", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")


def run_command(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """The front door with one more command whose function has this body."""
    (tmp_path / "planted.py").write_text(f"def planted() -> None:\n    {body}\n")
    code = "from via import cli; cli.COMMANDS['planted'] = ('planted:planted', ''); cli.main(['planted'])"
    return start("-c", code, cwd=tmp_path)


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        (
            "from data.types import UserError; raise UserError('x.mp4: no such file')",
            2,
            "via: x.mp4: no such file",
        ),
        ("raise KeyboardInterrupt('3 of 8 cells are kept')", 130, "via: 3 of 8 cells are kept"),
        ("raise KeyboardInterrupt", 130, "via: interrupted"),
        ("raise OSError(28, 'No space left', 'a.mkv')", 2, "via: a.mkv: the disk is full: make room and run"),
        ("open('/etc/passwd/x', 'w')", 2, "via: /etc/passwd/x: there is a file where a folder should be"),
        ("open('/', 'w')", 2, "via: /: is a folder, not a file"),
        (
            "raise PermissionError(13, 'Permission denied', 'out')",
            2,
            "via: out: permission denied: name another",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(tmp_path: Path, body: str, code: int, line: str) -> None:
    answer = run_command(tmp_path, body)
    assert answer.returncode == code
    (only,) = answer.stderr.splitlines()
    assert only.startswith(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["study", "nwe"], "via: No such command 'nwe'. Did you mean 'new'? (`via study --help`"),
        (["study", "power", "--clips", "x"], "via: Invalid value for '--clips': "),
        (["study", "power", "--clip", "1"], "via: No such option"),
        (["data", "preview"], "via: Missing argument 'suite' (`via data preview --help`"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert only.startswith(line)


def test_a_group_alone_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["study"])
    assert ended.value.code == 0
    assert "power" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    answer = run_command(tmp_path, "raise BrokenPipeError(32, 'Broken pipe')")
    assert (answer.returncode, answer.stderr) == (1, "")


def test_a_file_that_is_missing_by_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    assert "Traceback" in run_command(tmp_path, "open('nothing')").stderr


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    answer = run_command(tmp_path, "raise ZeroDivisionError('a bug')")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "ZeroDivisionError: a bug" in answer.stderr


def test_a_command_that_ends_well_exits_with_zero(tmp_path: Path) -> None:
    answer = run_command(tmp_path, "print('done')")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "done\n", "")
