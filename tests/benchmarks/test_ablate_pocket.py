"""The whole path on the embedded models: variants of VIA on two short clips, scored and reported."""

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from benchmarks.records import Run, read_run
from benchmarks.scoring import root_of
from benchmarks.validate import faults
from via.cli import main

SMALL = ("steps=2", "tuning_steps=2", "tuning_pairs=2", "root_candidates=2", "group_size=2")
ROWS = "frame_by_frame,full,b,c,d,copy,oracle"


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four frames of one local and one global edit of the dev suite."""
    place = tmp_path_factory.mktemp("ablate")
    suite = json.loads(files("data.suites").joinpath("pocket-dev.json").read_text())
    local = next(task for task in suite["tasks"] if task["edit"].startswith("replace/"))
    whole = next(task for task in suite["tasks"] if task["edit"].startswith("global/"))
    tasks = [{**task, "frames": 4} for task in (local, whole)]
    (place / "two.json").write_text(json.dumps({**suite, "name": "two", "tasks": tasks}))
    settings = [word for setting in SMALL for word in ("--set", setting)]
    words = ["ablate", "--suite", str(place / "two.json"), "--methods", ROWS, "--out", str(place / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*words, *settings])
    assert ended.value.code == 0
    return read_run(place / "run")


def test_every_cell_is_ok_but_the_one_that_cannot_act(ablated: Run) -> None:
    ends = {(key.method, key.task): result for key, result in ablated.cells()}
    whole = next(task.id for task in ablated.record.suite.tasks if task.region is None)
    skipped = ends.pop(("b", whole))
    assert skipped is not None
    assert skipped.status == "skipped"
    assert str(skipped.reason).startswith("cannot act here: blend")
    assert {result.status if result else "missing" for result in ends.values()} == {"ok"}


def test_no_two_variants_that_can_differ_have_the_same_frames(ablated: Run) -> None:
    for task in ablated.record.suite.tasks:
        hashes = [r.frames_sha256 for r in ablated.results.values() if r.task == task.id and r.status == "ok"]
        assert len(set(hashes)) == len(hashes), task.id


def test_variants_share_the_root_and_its_tuning(ablated: Run) -> None:
    for task in ablated.record.suite.tasks:
        rows = {r.method: r for r in ablated.results.values() if r.task == task.id}
        full, d = rows["full"], rows["d"]
        assert full.facts["root_frame"] == d.facts["root_frame"]
        roots = [(ablated.folder / row.facts["root_edit"]).read_bytes() for row in (full, d)]
        assert roots[0] == roots[1]
        assert "tuning" in full.seconds
        assert "tuning" not in d.seconds  # it came from the cache


def test_a_row_without_a_root_is_compared_with_the_one_of_full(ablated: Run) -> None:
    for key, _ in ablated.cells():
        if key.method == "frame_by_frame":
            full = next(k for k, _ in ablated.cells() if k.method == "full" and k.task == key.task)
            roots = [root_of(ablated, one) for one in (key, full)]
            assert roots[0] is not None
            assert roots[1] is not None
            assert roots[0][0] == roots[1][0]
            assert np.array_equal(roots[0][1], roots[1][1])
            alone = replace(ablated, results={k: r for k, r in ablated.results.items() if k != full})
            assert root_of(alone, key) is None


def test_the_controls_bound_what_an_editor_can_reach(ablated: Run) -> None:
    def score(method: str, task: str, metric: str) -> float | None:
        key = next(key for key, _ in ablated.cells() if (key.method, key.task) == (method, task))
        found = ablated.score(key, metric)
        return found.value if found else None

    for task in (task.id for task in ablated.record.suite.tasks):
        assert score("oracle", task, "edited_share@1") == 1
        assert score("copy", task, "edited_share@1") == 0
        error = {row: score(row, task, "answer_error@1") for row in ("oracle", "full", "copy")}
        assert None not in error.values()
        assert error["oracle"] == min(error.values())  # type: ignore[type-var]


def test_the_folder_is_a_valid_run_with_its_report(ablated: Run) -> None:
    assert faults(ablated.folder) == []
    for name in ("fig10.png", "fig10.pdf", "report.html", "report.md", "cells.csv"):
        assert (ablated.folder / "report" / name).stat().st_size > 0
    assert len(list((ablated.folder / "previews").glob("*.mp4"))) == 2
