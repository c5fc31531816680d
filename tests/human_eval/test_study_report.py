"""The whole way from votes to Table 1: the paper's own counts, exclusions, stamps, what is published."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_folders import make_run, make_study

from data.types import UserError
from human_eval.analyse import analyse
from human_eval.correlate import correlate, over_methods, per_item, win_ratios
from human_eval.exclusions import screen
from human_eval.formats import own_row
from human_eval.import_ import judge, keep
from human_eval.report import STAMP, make_report, text, write_report
from human_eval.study import Exclusions, SessionPlan, Study, TaskPlan, read_key, read_study
from human_eval.synthetic import synthetic_votes
from human_eval.tables import cells_csv, table1_csv, table1_latex, table1_markdown
from human_eval.votes import read_votes

GOLDEN = Path(__file__).parent / "golden"
TABLE1 = json.loads((GOLDEN / "golden_table1.json").read_text())
DESIGN = json.loads((GOLDEN / "design_cases.json").read_text())


def papers_votes():
    """The paper's counts as votes: 400 clips, one vote each for every pair and question, 40 raters."""
    rows = []
    for cell in TABLE1["cells"]:
        scores = [1] * cell["ours"] + [-1] * cell["theirs"] + [0] * cell["tie"]
        for clip, y in enumerate(scores):
            first_left = clip % 2 == 0
            side = "tie" if y == 0 else ("left" if (y == 1) == first_left else "right")
            rows.append(
                {
                    "rater": f"r{clip % 40}", "clip": f"c{clip}", "source": f"c{clip}",
                    "pair": cell["baseline"], "aspect": cell["aspect"], "answer": side, "first": "VIA",
                    "second": cell["baseline"], "y": y, "first_left": first_left,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def papers():
    pairs = [("VIA", baseline) for baseline in TABLE1["baselines"]]
    study = Study(
        study="paper",
        aspects=TABLE1["aspects"],
        answers=("left", "right", "tie"),
        sessions={"s": SessionPlan(list=0, replicate=0, tasks=())},
        tasks={},
    )
    return study, analyse(papers_votes(), TABLE1["aspects"], pairs, is_star=True, draws=0)


def test_the_papers_votes_give_its_percentages_tests_and_verdicts(papers):
    study, analysis = papers
    for golden in TABLE1["cells"]:
        cell = analysis.cell(golden["aspect"], "VIA", golden["baseline"])
        printed = [float(golden["printed_percent"][k]) for k in ("ours", "theirs", "tie")]
        assert list(cell.counts.percents) == printed
        assert cell.sign_p == pytest.approx(golden["sign_p"], rel=1e-9)
        assert cell.holm_p == pytest.approx(golden["holm_p"], rel=1e-9)
        assert cell.verdict == golden["verdict"]
        row = next(
            line
            for line in table1_markdown(study, analysis).splitlines()
            if golden["aspect"].capitalize() in line
        )
        assert f"{printed[1]:.2f}" in row
        assert cell.clustered_p == pytest.approx(golden["sign_p"], rel=1e-6)  # one vote a clip


def test_the_papers_votes_give_the_golden_rankings(papers):
    _, analysis = papers
    for board in analysis.boards:
        golden = TABLE1["davidson"][board.aspect]["ability"]
        assert dict(zip(board.items[1:], board.fits["davidson"].ability[1:])) == pytest.approx(
            golden, abs=1e-9
        )
        assert {m: f.order() for m, f in board.fits.items()} == {
            name.replace("_", "-"): order for name, order in TABLE1["orders"][board.aspect].items()
        }
        assert board.misfit == (board.aspect != "instruction")
    flips = {board.aspect: board.flips for board in analysis.boards}
    assert flips == {"instruction": [], "consistency": [], "overall": [("AnyV2V", "Tune-A-Video")]}


def test_the_papers_table_is_written_for_spreadsheets_with_its_intervals(papers):
    study, analysis = papers
    rows = list(csv.reader(io.StringIO(table1_csv(study, analysis))))
    assert rows[0][:5] == ["question", "unit", "VIA", "Rerender", "Tie"]
    assert rows[1][:5] == ["Instruction", "%", "50.5", "34.0", "15.5"]
    assert rows[2][:5] == ["Instruction", "n", "202", "136", "62"]
    cells = list(csv.DictReader(io.StringIO(cells_csv(analysis))))
    for row, golden in zip(cells, TABLE1["cells"]):
        for share in ("ours", "theirs", "tie"):
            bounds = [float(row[f"{share}_low"]), float(row[f"{share}_high"])]
            assert bounds == pytest.approx(golden["goodman_95"][share], abs=1e-9)
        for name, interval in (("win_rate", "wilson_95"), ("win_rate_exact", "clopper_pearson_95")):
            bounds = [float(row[f"{name}_low"]), float(row[f"{name}_high"])]
            assert bounds == pytest.approx(golden[interval], abs=1e-9)
        for name in ("net_preference", "half_win_rate"):
            assert float(row[name]) == pytest.approx(golden[name], abs=1e-12)


def test_consistency_against_tokenflow_is_not_called_equal(papers):
    study, analysis = papers
    cell = analysis.cell("consistency", "VIA", "TokenFlow")
    assert cell.verdict == "not significant"
    latex = table1_latex(study, analysis)
    assert "38.00" in latex
    assert "38.00$" not in latex


@pytest.mark.parametrize("case", DESIGN["exclusions"], ids=lambda c: c["name"])
def test_exclusion_rules_are_golden(case):
    found = screen(
        Exclusions(),
        **{k: case[k] for k in ("failed", "clip_seconds", "task_seconds", "left", "right", "tie")},
    )
    assert (found.excluded, list(found.reasons), list(found.flags)) == (
        case["excluded"],
        case["reasons"],
        case["flags"],
    )


def filled(folder, *, seed=1, change=None, **options):
    """A synthetic study filled by simulated raters."""
    study, key = read_study(folder), read_key(folder)
    votes = synthetic_votes(study, key, seed, **options)
    votes = [change(row) if change else row for row in votes]
    judged = judge("synthetic", "own", [own_row(i, row) for i, row in enumerate(votes, 1)], study, key)
    keep(folder, [judged], [])
    return study, key


@pytest.fixture(scope="module")
def demo(tmp_path_factory, small_run):
    folder = tmp_path_factory.mktemp("demo") / "study"
    make_study(folder, small_run, synthetic=True, votes=6)
    filled(folder)
    return folder


def test_synthetic_votes_are_refused_as_a_result_and_stamped_when_allowed(demo, tmp_path):
    with pytest.raises(UserError, match="allow-synthetic"):
        make_report(demo)
    report = make_report(demo, allow_synthetic=True, draws=50)
    for path in write_report(report, tmp_path):
        if path.suffix in (".md", ".html", ".tex", ".txt") or path.name == "table1.csv":
            assert STAMP in path.read_text(), path
    cells, votes = (tmp_path / f"{name}.csv" for name in ("cells", "anonymised_votes"))
    assert {row["synthetic"] for row in csv.DictReader(cells.read_text().splitlines())} == {"true"}
    assert {row["origin"] for row in csv.DictReader(votes.read_text().splitlines())} == {"synthetic"}
    assert json.loads((tmp_path / "report.json").read_text())["synthetic"] is True


def test_a_real_study_refuses_simulated_votes_at_import(study_folder):
    with pytest.raises(UserError, match="simulated"):
        filled(study_folder)
    assert read_votes(study_folder / "votes.jsonl") == []


def test_published_files_hold_no_pseudonym_client_or_address(demo, tmp_path):
    report = make_report(demo, allow_synthetic=True, draws=20)
    paths = write_report(report, tmp_path)
    names = {row["rater"] for row in report.votes}
    table = (tmp_path / "anonymised_votes.csv").read_text()
    assert "client" not in table.splitlines()[0]
    assert "left_method" in table.splitlines()[0]
    for path in paths:
        content = path.read_text()
        assert not any(name in content for name in names), path
        assert report.key.secret not in content


def test_counts_in_the_table_are_those_of_the_votes(demo):
    report = make_report(demo, allow_synthetic=True, draws=0)
    study = report.study
    for cell in report.everybody.cells:
        assert cell.counts.n == study.numbers["clips"] * study.numbers["votes"]
    assert report.everybody.votes == sum(row["kind"] == "real" for row in report.votes)


def test_the_better_method_is_found(tmp_path, small_run):
    make_study(tmp_path / "s", small_run, synthetic=True, votes=8)
    filled(tmp_path / "s", strength={"viamethod": 3.0, "tokenmethod": 0.0, "perframemethod": -0.3})
    report = make_report(tmp_path / "s", allow_synthetic=True, draws=50)
    assert {cell.verdict for cell in report.kept.cells} == {"ours"}
    assert all(board.fits["davidson"].order()[0] == "viamethod" for board in report.kept.boards if board.fits)


def test_raters_who_fail_checks_are_left_out_and_both_results_printed(tmp_path, small_run):
    make_study(tmp_path / "s", small_run, synthetic=True, votes=4)
    study = read_study(tmp_path / "s")

    def careless(row):
        wrong = row["session"] == "s001" and study.tasks[row["task"]].kind in ("degraded", "instructed")
        return {**row, "answer": "tie"} if wrong else row

    filled(tmp_path / "s", change=careless)
    report = make_report(tmp_path / "s", allow_synthetic=True, draws=0)
    assert [r.sessions for r in report.excluded] == [("s001",)]
    assert report.excluded[0].screening.reasons == ("checks",)
    assert report.kept.votes == report.everybody.votes - 4 * 3
    assert "With all raters" in text(report)


def test_changed_rules_are_labelled(demo):
    report = make_report(demo, allow_synthetic=True, draws=0, rules=Exclusions(failed_checks=1))
    assert "exclusion rules were changed" in text(report)


def test_a_board_without_a_loss_is_refused_by_name_and_regularised_visibly(tmp_path, small_run):
    make_study(tmp_path / "s", small_run, synthetic=True, votes=2)
    key = read_key(tmp_path / "s")

    def always_ours(row):
        shown = key.methods[row["task"]]
        side = next((s for s in ("left", "right") if shown[s] == "viamethod"), "left")
        return {**row, "answer": side} if row["kind"] == "real" else row

    filled(tmp_path / "s", change=always_ours)
    refused = make_report(tmp_path / "s", allow_synthetic=True, draws=0, rules=Exclusions(one_side_share=1.0))
    assert refused.everybody.boards[0].fits == {}
    assert "no finite ranking" in text(refused)
    forced = make_report(tmp_path / "s", allow_synthetic=True, draws=0, regularise=0.5)
    assert "regularised: 0.5" in text(forced)


def test_star_boards_are_labelled(demo):
    assert "baselines never met" in text(make_report(demo, allow_synthetic=True, draws=0))


def test_the_methods_paragraph_refuses_an_empty_field(tmp_path, small_run):
    from human_eval.study import About

    make_study(tmp_path / "s", small_run, synthetic=True, about=About(raters="x"))
    filled(tmp_path / "s")
    report = make_report(tmp_path / "s", allow_synthetic=True, draws=0)
    names = {path.name for path in write_report(report, tmp_path / "out")}
    assert "methods.txt" not in names
    assert "about.payment" in (tmp_path / "out" / "methods-missing.txt").read_text()


def test_the_methods_paragraph_says_what_the_paper_left_open(demo, tmp_path):
    write_report(make_report(demo, allow_synthetic=True, draws=0), tmp_path)
    paragraph = (tmp_path / "methods.txt").read_text()
    for fact in (
        "4 source clips",
        "six colleagues",
        "counterbalanced",
        "3 frames at 12 fps",
        "no clear difference",
        "alpha",
    ):
        assert fact in paragraph


def test_both_fail_is_a_tie_in_the_table_and_printed_apart(tmp_path, small_run):
    make_study(tmp_path / "s", small_run, synthetic=True, both_fail=True)
    filled(
        tmp_path / "s", change=lambda row: {**row, "answer": "both_fail"} if row["kind"] == "real" else row
    )
    report = make_report(tmp_path / "s", allow_synthetic=True, draws=0)
    cell = report.everybody.cells[0]
    assert cell.counts.tie == cell.both_fail == cell.counts.n
    assert "both fail" in text(report)


def test_correlations_over_methods_are_golden():
    example = TABLE1["correlate_example"]
    rng = np.random.default_rng(0)
    for name in ("spearman", "kendall"):
        found = over_methods(example["human_win_ratio"], example["metric"], name, rng)
        assert found.p == pytest.approx(example[f"{name}_p"], abs=1e-12)
    assert over_methods(
        example["human_win_ratio"], example["metric"], "spearman", rng
    ).value == pytest.approx(example["spearman"], abs=1e-12)
    assert over_methods(example["human_win_ratio"], example["metric"], "kendall", rng).value == pytest.approx(
        example["kendall_tau_b"], abs=1e-12
    )


def test_win_ratios_of_the_papers_votes_are_golden():
    votes = papers_votes()
    for aspect, golden in TABLE1["human_win_ratio"].items():
        assert win_ratios(votes[votes["aspect"] == aspect]) == pytest.approx(golden, abs=1e-12)


def test_few_methods_have_no_correlation():
    assert math.isnan(over_methods([1, 2, 3, 4], [1, 2, 3, 4], "spearman", np.random.default_rng(0)).value)


def test_a_metric_that_is_the_truth_predicts_every_answer_and_noise_does_not():
    rng = np.random.default_rng(2)
    rows, truth, noise = [], {}, {}
    for clip in range(60):
        for method in ("a", "b"):
            truth[f"c{clip}", method], noise[f"c{clip}", method] = rng.normal(), rng.normal()
        gap = truth[f"c{clip}", "a"] - truth[f"c{clip}", "b"]
        y = 0 if abs(gap) < 0.4 else int(np.sign(gap))
        rows.append(
            {"clip": f"c{clip}", "source": f"c{clip}", "first": "a", "second": "b", "y": y, "aspect": "x"}
        )
    votes = pd.DataFrame(rows)
    assert per_item(votes, truth, rng).value > 0.93
    assert per_item(votes, noise, rng).high < 0.7
    assert [row.metric for row in correlate(votes, ["x"], {"truth": truth, "noise": noise}, 0)] == [
        "noise",
        "truth",
    ]


def test_tasks_of_another_study_do_not_reach_a_report(tmp_path):
    run = make_run(tmp_path / "run", ("copy", "viamethod", "tokenmethod"), frames=3, size=(32, 48))
    make_study(tmp_path / "one", run, synthetic=True)
    make_study(tmp_path / "two", run, synthetic=True, seed=9)
    votes = synthetic_votes(read_study(tmp_path / "two"), read_key(tmp_path / "two"), 1)
    study, key = read_study(tmp_path / "one"), read_key(tmp_path / "one")
    foreign = [
        own_row(i, {**row, "study_hash": read_study(tmp_path / "two").study_hash})
        for i, row in enumerate(votes, 1)
    ]
    assert judge("x", "own", foreign, study, key).counts["votes_kept"] == 0


def test_task_plans_know_their_length():
    plan = TaskPlan(
        session="s",
        order=1,
        kind="real",
        clip="c",
        pair="p0",
        left="s1",
        right="s2",
        instruction="i",
        fps=12,
        frames=30,
    )
    assert plan.seconds == 2.5
