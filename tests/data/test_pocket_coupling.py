"""Coupling: the answer shown follows the stated probabilities, and only the side of the frame moves it."""

import numpy as np
import pytest

from data.pocket.coupling import COUPLING, PROBABILITY, draw_answer, drift, probability_of_a
from data.pocket.edits import ARGUMENTS, KINDS, kind_of


@pytest.mark.parametrize("edit", ["replace/tiger", "global/snow", "global/watercolor", "replace/bear"])
@pytest.mark.parametrize("x", [0.1, 0.49, 0.51, 0.9])
def test_answers_are_drawn_at_the_stated_rate(edit: str, x: float) -> None:
    n, rng = 4000, np.random.default_rng(1)
    p = PROBABILITY[COUPLING[edit]]
    expected = p if x < 0.5 or p == 1 else 1 - p
    share = np.mean([draw_answer(edit, x, rng) == 0 for _ in range(n)])
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)


def test_the_papers_examples_are_strong_and_every_kind_has_strong_edits() -> None:
    assert COUPLING["replace/tiger"] == COUPLING["global/japanese woodblock print"] == "strong"
    assert {kind_of(e) for e in ARGUMENTS if COUPLING[e] == "strong"} == set(KINDS)
    assert set(COUPLING.values()) == {"strong", "weak", "none", "single"}


def test_a_cap_weakens_and_never_strengthens() -> None:
    for edit in ARGUMENTS:
        for x in (0.2, 0.8):
            free, capped = (abs(probability_of_a(edit, x, cap) - 0.5) for cap in ("strong", "none"))
            assert capped <= free
    assert probability_of_a("replace/tiger", 0.2, "none") == 0.5
    assert probability_of_a("replace/bear", 0.8, "none") == 1.0


def test_drift_grows_with_the_coupling_and_is_absent_without_it() -> None:
    shares = [drift(s, True, np.random.default_rng(0), clips=220)[0] for s in ("none", "weak", "strong")]
    assert shares[0] == 0
    assert 0.05 < shares[1] < shares[2]
    assert shares[2] > 0.2
    assert drift("strong", False, np.random.default_rng(0), clips=220)[0] > 0.3
