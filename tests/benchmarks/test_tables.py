"""The numbers of a report against values worked out by hand, and what they must not claim."""

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmarks.ablations import COMPONENTS, DESIGN
from benchmarks.tables import (
    COLUMNS,
    Column,
    differences,
    effects,
    estimates,
    same_frames,
    sentence,
)

ERROR = next(column for column in COLUMNS if column.title == "one-answer error")
MINORITY = next(column for column in COLUMNS if column.title == "minority share")


def table(values: dict[str, list[float]], column: Column = ERROR, **more: object) -> pd.DataFrame:
    """Cells of rows: one local task on a clip of its own for each value; NaN is a cell without one."""
    rows = [
        {
            **{other.title: np.nan for other in COLUMNS},
            "task": f"t{number}",
            "source": f"clip{number}",
            "edit": "local",
            "method": method,
            "seed": 0,
            "status": "ok" if np.isfinite(value) else "error",
            "reason": None,
            "frames": f"{method}{number}",
            column.title: value,
            **more,
        }
        for method, numbers in values.items()
        for number, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows)


def test_mean_and_interval_of_equal_clips_are_those_of_the_t_distribution() -> None:
    interval = estimates(table({"full": [1.0, 2.0, 3.0, 4.0]}), ERROR)["full"].interval
    assert interval is not None
    assert interval.mean == pytest.approx(2.5)
    half = 3.182446 * (5 / 3 / 4) ** 0.5  # t of 3 degrees of freedom, standard error of the mean
    assert interval.high == pytest.approx(2.5 + half, rel=1e-5)
    assert (interval.n, interval.clips) == (4, 4)


def test_seeds_of_a_task_are_averaged_and_do_not_count_as_tasks() -> None:
    one = table({"full": [1.0, 5.0]})
    two = pd.concat([one, one.assign(seed=1, **{ERROR.title: [3.0, 5.0]})], ignore_index=True)
    found = estimates(two, ERROR)["full"]
    assert found.interval is not None
    assert (found.interval.mean, found.scored, found.asked) == (3.5, 2, 2)


def test_a_failed_cell_is_no_number_and_marks_the_mean() -> None:
    found = estimates(table({"full": [1.0, 2.0, 3.0], "c": [1.0, np.nan, 3.0], "d": [np.nan] * 3}), ERROR)
    assert (found["c"].scored, found["c"].asked, found["c"].partial) == (2, 3, True)
    assert not found["full"].partial
    assert (found["d"].interval, found["d"].why) == (None, "failed")


def test_differences_are_paired_over_the_tasks_that_both_rows_have() -> None:
    values = {"full": [1.0, 2.0, 3.0, 9.0], "c": [2.0, 3.0, 4.0, np.nan]}
    found = differences(table(values), ERROR, "full")["c"]
    assert found.comparison is not None
    assert found.comparison.difference.mean == pytest.approx(1.0)
    assert found.comparison.difference.n == 3


def test_fewer_than_six_clips_decide_nothing() -> None:
    found = differences(table({"full": [0.0] * 5, "c": [1.0] * 5}), ERROR, "full")["c"]
    assert found.p is None
    assert found.reason == "cannot be decided with 5 clips"


def test_p_is_corrected_for_the_rows_of_a_column_without_the_controls() -> None:
    ones, zeros = [1.0] * 8, [0.0] * 8
    rows = {"full": zeros, "b": ones, "c": ones, "copy": ones, "oracle": ones}
    found = differences(table(rows), ERROR, "full")
    assert set(found) == {"b", "c"}
    assert found["b"].p == pytest.approx(2 * 2 / 2**8)  # two of 2^8 sign patterns, two rows


def test_effects_recover_a_planted_linear_model() -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(size=8)
    effect = {"spatiotemporal": 0.5, "tuning": -0.25, "local": 2.0}
    interaction = 0.125  # of spatiotemporal and tuning
    values = {}
    for (s, t, m), row in DESIGN.items():
        signs = 2 * np.array([s, t, m]) - 1
        planted = sum(sign * size / 2 for sign, size in zip(signs, effect.values()))
        values[row] = list(clips + planted + interaction / 2 * signs[0] * signs[1])
    found = {e.factors: e.interval.mean for e in effects(table(values), ERROR, "local")}
    for name, size in effect.items():
        assert found[(name,)] == pytest.approx(size)
    assert found[("spatiotemporal", "tuning")] == pytest.approx(interaction)
    assert found[("tuning", "local")] == pytest.approx(0, abs=1e-12)
    assert found[("spatiotemporal", "tuning", "local")] == pytest.approx(0, abs=1e-12)
    names = ("spatiotemporal", "tuning", "local")
    assert set(found) == {combo for n in (1, 2, 3) for combo in itertools.combinations(names, n)}


def test_a_design_with_a_missing_row_has_no_effects() -> None:
    values = {row: [0.0] * 6 for row in DESIGN.values() if row != "d0"}
    assert effects(table(values), ERROR, "local") == []


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ([0.3] * 8, "(better with it); the difference is +0.2000 [+0.2000, +0.2000], p = 0.00781"),
        ([0.05] * 8, "(worse with it)"),
        ([0.1] * 8, "(no difference)"),
    ],
)
def test_a_sentence_says_direction_size_and_certainty(without: list[float], expected: str) -> None:
    component = next(component for component in COMPONENTS if component.without == "c")
    text = sentence(table({"full": [0.1] * 8, "c": without}), component)
    assert expected in text
    assert ("not beyond chance" in text) == (without == [0.1] * 8)


def test_a_sentence_without_its_rows_says_that_nothing_was_measured() -> None:
    component = next(component for component in COMPONENTS if component.without == "c")
    assert "Not measured" in sentence(table({"full": [0.1] * 8}), component)


def test_a_component_that_leaves_every_frame_as_it_is_cannot_act() -> None:
    component = next(component for component in COMPONENTS if component.without == "e")
    cells = table({"full": [0.1] * 8, "e": [0.1] * 8})
    cells["frames"] = [name[-1] for name in cells["frames"]]
    assert same_frames(cells) == [("full", "e", 8, 8)]
    assert "cannot act here" in sentence(cells, component)


def test_consistency_that_comes_from_not_editing_is_not_praised() -> None:
    component = next(component for component in COMPONENTS if component.without == "d")
    cells = table({"full": [0.0] * 8, "d": [0.3] * 8}, MINORITY)
    cells["edited share"] = [0.4] * 8 + [0.9] * 8
    assert "But fewer frames are edited at all with it (40.0% against 90.0%)" in sentence(cells, component)
    cells["edited share"] = [0.9] * 16
    assert "fewer frames" not in sentence(cells, component)
