"""Imported files against the verdict of every golden row; hostile input; nothing written when anything is
refused.
"""

import json
from pathlib import Path

import pytest

from human_eval.formats import FileRefused, platform_time, read_rows
from human_eval.import_ import judge
from human_eval.study import Key, SessionPlan, Study, TaskPlan
from human_eval.votes import COLUMNS, csv_text, neutral, votes_csv, winner

CASES = Path(__file__).parent / "golden" / "import_cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())
GOLDEN_STUDY = json.loads((CASES / "study.json").read_text())


def golden_study():
    content = GOLDEN_STUDY
    study = Study(
        study=content["study"],
        study_hash=content["study_hash"],
        aspects=content["aspects"],
        answers=content["answers"],
        sessions={name: SessionPlan(**plan) for name, plan in content["sessions"].items()},
        tasks={name: TaskPlan(**plan) for name, plan in content["tasks"].items()},
    )
    key = Key(
        secret="ab" * 32, ours=content["private_key"]["ours"], methods=content["private_key"]["methods"]
    )
    return study, key, dict.fromkeys(content["sessions"], content["bundle_hash"])


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if "file_refused" not in e])
def test_every_golden_row_has_its_verdict(name):
    expected, (study, key, bundles) = EXPECTED[name], golden_study()
    format, rows = read_rows(CASES / name, study, bundles)
    assert format.removesuffix("_csv") in (expected["format"], expected["format"].removesuffix("_csv"))
    judged = judge(name, format, rows, study, key)
    assert len(judged.verdicts) == len(expected["rows"])
    found = {(v.row.record, v.row.task, v.row.aspect): v for v in judged.verdicts}
    for row in expected["rows"]:
        verdict = found[row["record"], row["task"], row["aspect"]]
        assert verdict.decision in (row["verdict"], *row.get("or", [])), row
        if verdict.decision == row["verdict"]:
            assert verdict.reason == row.get("reason"), row
        if "offer" in row:
            assert verdict.offer == row["offer"]
        if verdict.decision in ("vote", "duplicate"):
            assert verdict.vote["answer"] == row["answer"]
        if "winner" in row and verdict.decision == "vote":
            assert winner(verdict.vote, key) == row["winner"]
        if row["session"] is not None:
            assert verdict.row.session == row["session"]
    if not any("or" in row for row in expected["rows"]):
        assert judged.counts == expected["counts"]
    assert bool(judged.problems()) == (expected["exit"] == 2)
    sessions = {}
    for vote in judged.votes:
        sessions.setdefault(vote["rater"], set()).add(vote["session"])
    assert [w.split(":")[0] for w in judged.warnings(sessions)] == expected["warnings"] or not expected[
        "written"
    ]


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if "file_refused" in e])
def test_whole_files_are_refused_for_the_golden_reason(name):
    study, _, bundles = golden_study()
    with pytest.raises(FileRefused) as error:
        read_rows(CASES / name, study, bundles)
    assert error.value.reason == EXPECTED[name]["file_refused"]
    assert name in str(error.value)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if "file_refused" not in e])
def test_no_written_cell_is_a_formula_and_no_address_is_published(name):
    study, key, bundles = golden_study()
    format, rows = read_rows(CASES / name, study, bundles)
    text = votes_csv(judge(name, format, rows, study, key).votes)
    assert "example.invalid" not in text
    assert "@" not in text
    for line in text.splitlines()[1:]:
        assert not any(cell.strip('"')[:1] in "=+-@\t" for cell in line.split(",") if cell)


def test_times_of_the_crowd_platform_are_read():
    assert platform_time("Tue Mar 03 10:00:00 PST 2026") == "2026-03-03T10:00:00-08:00"
    assert platform_time("Tue Jul 7 10:00:00 PDT 2026") == "2026-07-07T10:00:00-07:00"
    for other in (
        "2026-03-03T10:00:00Z",
        "Tue Mar 33 10:00:00 PST 2026",
        "Tue Mar 03 10:00:00 XYZ 2026",
        None,
    ):
        assert platform_time(other) == other


def test_conflicting_rows_name_each_other():
    study, key, bundles = golden_study()
    format, rows = read_rows(CASES / "own_duplicates_conflict.jsonl", study, bundles)
    problems = judge("x.jsonl", format, rows, study, key).problems()
    assert "record 3 of x.jsonl" in problems[0]
    assert "record 1 of x.jsonl" in problems[1]


def test_a_vote_that_contradicts_an_earlier_import_is_refused():
    study, key, bundles = golden_study()
    format, rows = read_rows(CASES / "own_valid.jsonl", study, bundles)
    earlier = judge("a", format, rows, study, key).votes
    again = judge("b", format, rows, study, key, earlier)
    assert again.counts["duplicates"] == 12
    changed = [{**v, "answer": "right" if v["answer"] == "left" else "left"} for v in earlier]
    assert judge("c", format, rows, study, key, changed).counts["refused"] == 12


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2+3", "@SUM(1)", "\t1", "\r=1"])
def test_cells_that_would_act_get_an_apostrophe(cell):
    assert neutral(cell) == "'" + cell
    assert csv_text(["a"], [[cell]]).splitlines()[1].lstrip('"').startswith("'")


def test_columns_are_those_of_the_golden_study():
    assert list(COLUMNS) == GOLDEN_STUDY["columns"]
