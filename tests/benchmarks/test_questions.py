"""The page of questions: every command on it is one that can be run, and its answers come from runs alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablations import sweep
from benchmarks.figures import mask_plot, sweep_plot, swept
from benchmarks.methods import CONTROLS, Method, named
from benchmarks.questions import PAGE, QUESTIONS, answered, commands, compared, filled
from benchmarks.records import read_run
from benchmarks.report import write_report
from benchmarks.scoring import score
from benchmarks.tables import COLUMNS, cells, present, values_of
from data.suites import load
from data.types import UserError
from eval.suite import suite as metric_suite
from via.config import ViaConfig, configured

TITLED = {column.title: column for column in COLUMNS}


def test_every_question_has_its_place_and_its_command_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    words = " ".join(page.split())
    for name, question in QUESTIONS.items():
        assert f"nox -s questions -- {name}" in words
        assert filled(page, name, "So.") != page
        if question.sweeps:
            assert any(f"via {' '.join(command)}`" in words for command in commands(name)), name


def test_every_sweep_is_of_one_field_and_holds_the_default_once() -> None:
    for question in QUESTIONS.values():
        for text in question.sweeps:
            rows = sweep([text])
            configs = [
                configured([f"{field}={value}" for field, value in row.items()], ViaConfig())
                for row in rows.values()
            ]
            assert configs.count(ViaConfig()) == 1, text
            assert len(set(configs)) == len(configs), text
            assert {len(values_of(row)) for row in rows} == {1}


def test_every_row_column_metric_and_suite_of_a_question_exists() -> None:
    for question in QUESTIONS.values():
        assert load(question.suite)
        assert metric_suite(question.metrics)
        assert set(question.columns) <= set(TITLED)
        assert [named(row) for row in question.rows] or question.sweeps
        assert len(CONTROLS) == 2


def test_an_answer_is_written_between_its_marks_and_nowhere_else() -> None:
    page = "# A\n<!-- measured: a -->\nold\n<!-- end -->\n# B\n<!-- measured: b -->\nkept\n<!-- end -->\n"
    new = filled(page, "a", r"new \1")
    assert "old" not in new
    assert r"new \1" in new
    assert new.endswith("# B\n<!-- measured: b -->\nkept\n<!-- end -->\n")
    assert filled(new, "a", r"new \1") == new
    with pytest.raises(UserError, match="measured: c"):
        filled(page, "c", "")


@pytest.fixture(scope="module")
def sweeps(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with its rows called as sweeps call them."""
    folder = tmp_path_factory.mktemp("swept") / "run"
    shutil.copytree(finished, folder)
    for name in ("run.json", "results.jsonl", "scores.jsonl"):
        text = (folder / name).read_text()
        for old, new in (("full", "blend=progressive"), ("c", "blend=constant")):
            for mark in ('"method":"', '"name": "', '"name":"'):
                text = text.replace(f'{mark}{old}"', f'{mark}{new}"')
        (folder / name).write_text(text)
    return folder


def test_the_picture_of_a_sweep_has_a_point_with_its_interval_for_each_value(sweeps: Path) -> None:
    table = cells(read_run(sweeps))
    found = swept(list(dict.fromkeys(table["method"])))
    assert found == {
        "blend": {"": {"progressive": "blend=progressive", "constant": "blend=constant"}},
    }
    figure = sweep_plot(table, [TITLED["one-answer error"], TITLED["minority share"]], found)
    assert [axis.get_ylabel().split("\n")[0] for axis in figure.axes] == [
        "one-answer error",
        "minority share",
    ]
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == ["progressive", "constant"]
    assert len(figure.axes[0].containers) == 1  # the row that failed has no point
    assert mask_plot(table, TITLED["answer error"], TITLED["mask IoU"]) is None


def test_the_report_of_a_sweep_holds_its_picture_and_the_columns_about_it(sweeps: Path) -> None:
    page = write_report(sweeps, videos=False)
    assert (page.parent / "sweep.png").stat().st_size > 0
    titles = {column.title for column in present(COLUMNS, cells(read_run(sweeps)))}
    assert "seam error" in titles
    assert "mask IoU" not in titles


def test_a_value_that_failed_is_said_to_be_not_measured(sweeps: Path) -> None:
    table = cells(read_run(sweeps))
    rows = table[table["method"].str.startswith("blend=")]
    assert compared("blend", rows, TITLED["answer error"]).startswith("`blend`: not measured")


def test_an_answer_names_the_default_the_best_other_value_and_whether_it_is_chance(
    runner: Any, tasks: Any, tmp_path: Path
) -> None:
    rows = {"blend=progressive": "Drifting", "blend=constant": "Steady"}
    runner(*(Method(name, f"theirs:{editor}", {}) for name, editor in rows.items()), "copy")
    score(runner.folder, tasks, metric_suite("pocket,background_psnr"))
    text = answered("blending", read_run(runner.folder), tmp_path)
    assert (tmp_path / "question_blending.png").stat().st_size > 0
    (sentence,) = [line for line in text.splitlines() if line.startswith("`blend`")]
    assert "at the default `blend=progressive`; the best other value is `blend=constant`" in sentence
    assert "beyond chance" in sentence
    assert "| blend=constant |" in text
    assert "Suite tiny, 8 tasks, 1 seed(s)" in text


def test_where_an_edit_acts_is_judged_against_the_true_mask(runner: Any, tasks: Any) -> None:
    """A row that names a mask of its own: the left three quarters of a clip whose left half may be edited."""
    from dataclasses import replace

    import numpy as np

    from benchmarks.scoring import pair_of
    from data.video import write_lossless

    run, _ = runner("Steady")
    key, result = next(iter(run.results.items()))
    acting = np.zeros((6, 32, 32, 3), np.uint8)
    acting[:, :, :24] = 255
    write_lossless(run.folder / "videos" / "mask.mkv", acting, tasks[0].clip.fps)
    named_mask = result.model_copy(update={"facts": {"mask": "videos/mask.mkv"}})
    run = replace(run, results={**run.results, key: named_mask})
    pair = pair_of(run, key, next(task for task in tasks if task.id == key.task))
    assert pair.predicted_mask is not None
    assert np.array_equal(pair.predicted_mask, acting[..., 0] > 0)
    outside = result.model_copy(update={"facts": {"mask": "../mask.mkv"}})
    with pytest.raises(UserError, match="leads out of the run's folder"):
        pair_of(replace(run, results={key: outside}), key, tasks[0])
