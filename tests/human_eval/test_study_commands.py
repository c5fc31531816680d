"""`via study` from the command line: one-line errors, what is printed, what is written."""

import json

import pytest
from study_folders import make_study
from typer.testing import CliRunner
from visitor import opened, put, to_tasks

from benchmarks.records import Score, append, read_run
from data.types import UserError
from human_eval.commands import app
from human_eval.correlate import scores_of_runs
from human_eval.serve import application
from human_eval.study import read_key, read_settings, read_study
from human_eval.synthetic import synthetic_votes
from human_eval.template import TEMPLATE

runner = CliRunner()


def said(*arguments):
    """Output of a command that must succeed."""
    result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory, small_run):
    folder = tmp_path_factory.mktemp("cli") / "study"
    make_study(folder, small_run, synthetic=True, votes=4, name="cli")
    study = read_study(folder)
    path = folder.parent / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in synthetic_votes(study, read_key(folder), 5)))
    assert "votes +" in said("import", folder, path)
    return folder


def test_the_template_is_a_valid_study_file_with_the_defaults(tmp_path):
    path = tmp_path / "s.yaml"
    said("new", path, "--template")
    assert path.read_text() == TEMPLATE
    settings = read_settings(path)
    assert settings.name == "my-study"
    assert settings.model_copy(update={"name": "study"}) == type(settings)()
    with pytest.raises(UserError, match="exists"):
        said("new", path, "--template")


def test_new_makes_a_study_and_says_its_size(tmp_path, small_run):
    path = tmp_path / "s.yaml"
    path.write_text("name: small\nvotes: 1\nours: viamethod\nsession_length: 4\n")
    output = said("new", path, "--run", small_run, "--out", tmp_path / "made")
    assert "sessions of 4 comparisons and 5 checks" in output
    assert read_key(tmp_path / "made").ours == "viamethod"
    with pytest.raises(UserError, match="exists"):
        said("new", path, "--run", small_run, "--out", tmp_path / "made")
    with pytest.raises(UserError, match="--run"):
        said("new", path)


def test_power_prints_the_golden_size():
    output = said("power", "--clips", 426, "--votes", 1, "--icc", 0)
    assert "needed       426 judgements" in output
    assert "too small" not in output
    assert "too small" in said("power", "--clips", 80, "--votes", 1)


@pytest.mark.parametrize("format", ["sheets", "label-studio", "crowd", "offline", "link"])
def test_every_format_is_exported_by_name(study_folder, format):
    output = said("export", study_folder, format, "--session", "s001")
    assert ("PROLIFIC_PID" in output) == (format == "link")
    with pytest.raises(UserError, match="s999"):
        said("export", study_folder, format, "--session", "s999")


def test_report_prints_table_1_and_writes_its_files(synthetic, tmp_path):
    with pytest.raises(UserError, match="allow-synthetic"):
        said("report", synthetic)
    output = said("report", synthetic, "--allow-synthetic", "--out", tmp_path / "r")
    assert "## Table 1" in output
    assert "SYNTHETIC" in output
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names >= {
        "table1.md",
        "table1.tex",
        "table1.csv",
        "cells.csv",
        "report.html",
        "report.json",
        "methods.txt",
    }


def test_correlate_compares_scores_with_votes(synthetic, small_run, tmp_path):
    run = read_run(small_run)
    for key, result in run.results.items():
        score = Score(
            **key.model_dump(),
            metric="length@1",
            value=float(len(key.method)),
            status="ok",
            seconds=0.0,
            frames_sha256=result.frames_sha256,
        )
        append(small_run / "scores.jsonl", score)
    output = said(
        "correlate", synthetic, "--run", small_run, "--allow-synthetic", "--out", tmp_path / "c.json"
    )
    assert "length@1" in output
    assert "needs 5 methods" in output
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert [row["aspect"] for row in rows] == list(read_study(synthetic).aspects)
    with pytest.raises(UserError, match=r"'lenght'.*length@1"):
        scores_of_runs([small_run], ["lenght"])
    with pytest.raises(UserError, match="via score"):
        scores_of_runs([small_run], [], run_seed=7)
    (small_run / "scores.jsonl").unlink()
    with pytest.raises(UserError, match="via score"):
        said("correlate", synthetic, "--run", small_run, "--allow-synthetic")


def test_status_and_import_of_a_server_nobody_started_say_so(study_folder):
    for command in ("status", "import"):
        with pytest.raises(UserError, match="nobody was served"):
            said(command, study_folder)


def test_answers_of_the_server_are_imported_again_as_they_stand(study_folder):
    server = application(study_folder)
    study = read_study(study_folder)
    client = opened((server, study, read_key(study_folder), study_folder))
    task = to_tasks(client, study)["tasks"][0]["id"]
    put(client, task, study.aspects[0], answer="left", rev=1)
    assert "1 votes" in said("import", study_folder)
    put(client, task, study.aspects[0], answer="tie", rev=2)
    said("import", study_folder)
    rows = [json.loads(line) for line in (study_folder / "votes.jsonl").read_text().splitlines()]
    assert [(row["answer"], row["rev"], row["origin"]) for row in rows] == [("tie", 2, "own")]
    assert "1 taken" in said("status", study_folder, "--sessions")
    server.state.server.store.close()


def test_a_report_without_votes_says_what_to_do(study_folder):
    with pytest.raises(UserError, match="via study import"):
        said("report", study_folder)


@pytest.mark.parametrize(
    "arguments",
    [("--clips", 0), ("--session-length", 0), ("--tests", 0), ("--icc", 2), ("--raters", 0), ("--wage", -1)],
)
def test_power_refuses_impossible_numbers_by_name(arguments):
    result = runner.invoke(app, ["power", *map(str, arguments)])
    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_a_small_plan_still_takes_a_session():
    assert "takes        1 sessions" in said("power", "--clips", 1, "--votes", 1, "--pairs", 1)


def test_a_missing_file_of_rules_is_named(study_folder, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        said("report", study_folder, "--exclusions", tmp_path / "rules.yaml")
