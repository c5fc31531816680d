import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.types import ArrayClip, Edit, Task, UserError
from eval import damage, validity
from eval.features import Features
from eval.metric import Card
from eval.score import ok
from eval.suite import load


def task_of(index, frames=10):
    """A soft picture whose middle is to become one of two textures, over a moving background."""
    rng = np.random.default_rng(index)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (32, 60, 3), dtype=np.uint8), (0, 0), 1.5)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    source = np.stack([wide[:, t : t + 40] for t in range(frames)])
    mask = np.zeros((frames, 32, 40), np.float32)
    mask[:, 8:24, 10:30] = 1
    answers = []
    for _ in range(2):
        texture = cv2.GaussianBlur(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8), (0, 0), 1)
        answers.append(
            ArrayClip(np.where(mask[..., None] > 0, texture, source).astype(np.uint8), Fraction(4))
        )
    return Task(
        id=f"task-{index}",
        clip=ArrayClip(source, Fraction(4), f"task-{index}"),
        edit=Edit(instruction="x"),
        source=f"source-{index}",
        masks=lambda: mask,
        answers=lambda: answers,
    )


class Reversed(Card):
    """background_mse with its direction told the wrong way round: the study must find out."""

    id, version, direction, range = "reversed", 1, "up", (0.0, 1.0)
    suite = "test"
    measures = load("background_mse").measures

    def __call__(self, pair, features):
        return load("background_mse")(pair, features)


class Constant(Card):
    """A metric that sees nothing."""

    id, version, direction, range = "constant", 1, "down", (0.0, 1.0)
    suite = "test"

    def __call__(self, pair, features):
        return ok(0.5)


NAMES = (
    "answer_error",
    "answer_error_outside",
    "answer_switches",
    "background_mse",
    "background_psnr",
    "warp_error_short",
    "warp_error_short_normalised",
    "flicker",
)


@pytest.fixture(scope="module", name="study")
def _study():
    tasks = [task_of(index) for index in range(3)]
    metrics = [*(load(name) for name in NAMES), Reversed(), Constant()]
    rows = validity.measure(tasks, metrics, Features())
    directions = {metric.name: metric.direction for metric in metrics}
    return rows, validity.analyse(rows, directions, {"background_mse@1": "none"})


def rho(result, metric, harm):
    return next(c["rho"] for c in result["cells"] if (c["metric"], c["damage"]) == (f"{metric}@1", harm))


def beats(result, metric, control):
    found = (b for b in result["beats"] if (b["metric"], b["control"]) == (f"{metric}@1", control))
    return next(found)


def test_truth_rises_with_the_damage_that_it_measures(study):
    _, result = study
    assert rho(result, "answer_error", "wrong answer") == pytest.approx(1)
    assert rho(result, "answer_error", "undone") > 0.9
    assert rho(result, "answer_error_outside", "leak") == pytest.approx(1)
    assert rho(result, "background_psnr", "leak") == pytest.approx(1)
    assert rho(result, "answer_switches", "switching") > 0.7


def test_planted_reversed_metric_comes_out_reversed(study):
    _, result = study
    assert rho(result, "reversed", "leak") == pytest.approx(-1)
    assert beats(result, "reversed", "flat")["share"] == 1
    assert beats(result, "reversed", "flat")["red"]
    tau = {one["metric"]: one["tau"] for one in result["overall"]}
    assert tau["reversed@1"] == pytest.approx(-tau["background_mse@1"])


def test_blind_metric_has_no_correlation_and_no_clip_beats_it(study):
    _, result = study
    assert {c["rho"] for c in result["cells"] if c["metric"] == "constant@1"} == {0.0}
    assert beats(result, "constant", "flat")["share"] == 0


def test_warp_error_is_beaten_by_low_contrast_and_its_normalised_twin_is_not(study):
    _, result = study
    for control in ("flat", "blurred", "contrast 0.1"):
        assert beats(result, "warp_error_short", control)["share"] == 1
    assert beats(result, "warp_error_short_normalised", "contrast 0.1")["share"] == 0
    assert beats(result, "warp_error_short_normalised", "flat")["n"] == 0  # undefined, so nobody is beaten
    assert rho(result, "warp_error_short", "low contrast") < -0.9


def test_psnr_is_blind_to_everything_inside(study):
    _, result = study
    assert rho(result, "background_psnr", "wrong answer") == 0


def test_every_cell_has_its_n_and_interval_over_source_clips(study):
    rows, result = study
    assert result["tasks"] == result["clips"] == 3
    damages = {row.damage for row in rows if row.grade > 0}
    assert len(result["cells"]) == len(damages) * (len(NAMES) + 2)
    for cell in result["cells"]:
        assert cell["n"] <= 3
        if cell["rho"] is not None:
            assert cell["low"] <= cell["rho"] <= cell["high"]
    assert result["metrics"]["background_mse@1"]["weights"] == "none"


def test_study_is_the_same_every_time(study):
    rows, _ = study
    again = validity.measure([task_of(0), task_of(1)], [load("background_mse")], Features())
    first = [row.values["background_mse@1"] for row in rows if row.task == "task-0"]
    assert [row.values["background_mse@1"] for row in again if row.task == "task-0"] == pytest.approx(first)


class Counted(Constant):
    """A metric that knows how often it was asked."""

    id, asked = "counted", 0

    def __call__(self, pair, features):
        Counted.asked += 1
        return ok(0.25)


def test_study_goes_on_where_it_stopped_and_trusts_no_torn_line(tmp_path):
    tasks, kept = [task_of(0), task_of(1)], tmp_path / "rows.jsonl"
    first = validity.measure(tasks, [Counted()], Features(), kept=kept)
    once = Counted.asked
    assert validity.measure(tasks, [Counted()], Features(), kept=kept) == first
    assert Counted.asked == once
    text = kept.read_text()
    kept.write_text(text[:-20])
    assert validity.measure(tasks, [Counted()], Features(), kept=kept) == first
    assert Counted.asked == once + once // 2
    assert set(validity.read_rows(kept)) == {"task-0", "task-1"}


def test_figures_replace_what_stands_between_the_marks_of_a_page(study, tmp_path):
    from runpy import run_path

    _, result = study
    figures = run_path(str(Path(__file__).parents[2] / "docs" / "figures.py"))
    validity.write(result, tmp_path / "study")
    for folder in ("eval", "docs/images"):
        (tmp_path / folder).mkdir(parents=True)
    page = tmp_path / "docs" / "validity.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    for _ in range(2):
        figures["put_validity"](tmp_path / "study", tmp_path)
        assert page.read_text().startswith("before\n<!-- figures -->\n![")
        assert page.read_text().endswith("<!-- /figures -->\nafter\n")
        assert page.read_text().count("| `warp_error_short@1` |") == 2
    assert json.loads((tmp_path / "eval" / "validity.json").read_text())["tasks"] == 3
    with pytest.raises(ValueError, match="marks"):
        figures["filled"]("no marks", "x")


def test_result_is_written_as_json_table_and_picture(study, tmp_path):
    _, result = study
    validity.write(result, tmp_path)
    assert json.loads((tmp_path / "validity.json").read_text()) == json.loads(json.dumps(result))
    text = (tmp_path / "validity.md").read_text()
    assert "| `warp_error_short@1` | down |" in text
    assert "**1.00**" in text
    assert (tmp_path / "validity.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob("*.partial")) == []


def test_damage_is_graded_from_nothing_to_all():
    known = validity.known_of(task_of(0), task_of(1), 0)
    edit = damage.honest(known)
    for name, (harm, grades, _) in damage.DAMAGES.items():
        if not damage.applies(name, known):
            continue
        amounts = [np.abs(harm(edit, known, grade).astype(int) - edit).mean() for grade in grades]
        assert amounts[0] < amounts[-1], name
        assert all(harm(edit, known, grade).dtype == np.uint8 for grade in grades)
    one_answer = damage.Known(known.source, known.mask, known.answers[:1], known.foreign, 0)
    assert not damage.applies("switching", one_answer)
    everywhere = damage.Known(known.source, np.ones_like(known.mask), known.answers, known.foreign, 0)
    assert not damage.applies("leak", everywhere)


def test_tasks_without_answers_are_refused():
    plain = task_of(0)
    with pytest.raises(UserError, match="pocket"):
        validity.known_of(Task(plain.id, plain.clip, plain.edit, plain.source), plain, 0)


def test_real_outputs_of_a_run_are_pooled_over_methods_and_seeds(tmp_path):
    tasks = [{"id": f"t{i}", "source": f"s{i}"} for i in range(2)]
    (tmp_path / "run.json").write_text(json.dumps({"suite": {"tasks": tasks}}))
    lines = []
    for task in tasks:
        for rank in range(5):
            for seed in range(2):
                key = {"task": task["id"], "method": f"m{rank}", "config_hash": "0" * 64, "seed": seed}
                lines += [
                    {**key, "metric": "answer_error@1", "value": rank + 0.1 * seed},
                    {**key, "metric": "good@1", "value": 10.0 * rank},
                    {**key, "metric": "bad@1", "value": -1.0 * rank},
                ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"torn'
    (tmp_path / "scores.jsonl").write_text(text)
    rows = validity.rows_of_run(tmp_path)
    assert len(rows) == 10
    found = validity.pooled(rows, {"good@1": "down", "bad@1": "down"})
    assert [one["tau"] for one in found] == pytest.approx([1, -1])
    with pytest.raises(UserError, match="not a scored run"):
        validity.rows_of_run(tmp_path / "nowhere")
