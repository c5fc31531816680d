"""Rankings against the golden values of Table 1 and against independent libraries, where those are right."""

import json
import warnings
from pathlib import Path

import arenakit
import choix
import evalica
import numpy as np
import pytest
from arenakit.bt import PairCounts
from hypothesis import given, settings
from hypothesis import strategies as st

from human_eval.ranking import (
    Contests,
    NotIdentified,
    bradley_terry,
    davidson,
    davidson_per_pair,
    rank_intervals,
    rao_kupper,
    strong_groups,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "golden_table1.json").read_text())
ASPECTS, BASELINES = GOLDEN["aspects"], GOLDEN["baselines"]
ITEMS = ("VIA", *BASELINES)


def star(aspect):
    cells = [c for c in GOLDEN["cells"] if c["aspect"] == aspect]
    return Contests.of(ITEMS, [("VIA", c["baseline"], c["ours"], c["theirs"], c["tie"]) for c in cells])


def abilities(fit):
    return dict(zip(fit.items[1:], fit.ability[1:]))


@pytest.mark.parametrize("aspect", ASPECTS)
def test_davidson_is_golden(aspect):
    fit, golden = davidson(star(aspect)), GOLDEN["davidson"][aspect]
    assert abilities(fit) == pytest.approx(golden["ability"], abs=1e-9)
    assert fit.tie == pytest.approx(golden["nu"], abs=1e-9)
    assert dict(zip(BASELINES, fit.standard_error[1:])) == pytest.approx(golden["standard_error"], abs=1e-7)
    assert fit.covariance == pytest.approx(np.array(golden["covariance"]["matrix"]), abs=1e-7)
    assert fit.log_likelihood == pytest.approx(golden["log_likelihood"], rel=1e-10)
    assert (fit.deviance, fit.deviance_p) == pytest.approx(
        (golden["deviance"]["G2"], golden["deviance"]["p"]), rel=1e-7
    )
    assert fit.df == golden["deviance"]["df"]
    assert fit.tie / (2 + fit.tie) == pytest.approx(golden["tie_share_at_equal_strength"], abs=1e-9)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_rao_kupper_is_golden(aspect):
    fit, golden = rao_kupper(star(aspect)), GOLDEN["rao_kupper"][aspect]
    assert abilities(fit) == pytest.approx(golden["ability"], abs=1e-8)
    assert fit.tie == pytest.approx(golden["theta"], abs=1e-8)
    assert dict(zip(BASELINES, fit.standard_error[1:])) == pytest.approx(golden["standard_error"], abs=1e-7)
    assert fit.log_likelihood == pytest.approx(golden["log_likelihood"], rel=1e-10)
    assert fit.deviance == pytest.approx(golden["deviance"]["G2"], rel=1e-7)
    assert fit.order() == golden["order"]


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("ties", ["half-win", "drop-ties"])
def test_bradley_terry_is_golden(aspect, ties):
    fit, golden = bradley_terry(star(aspect), ties=ties), GOLDEN[ties.replace("-", "_")][aspect]
    assert abilities(fit) == pytest.approx(golden["ability"], abs=1e-9)
    assert dict(zip(BASELINES, fit.standard_error[1:])) == pytest.approx(golden["standard_error"], abs=1e-7)
    assert fit.log_likelihood == pytest.approx(golden["log_likelihood"], rel=1e-10)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_davidson_per_pair_is_the_closed_form(aspect):
    for (_, baseline), fit in davidson_per_pair(star(aspect)).items():
        golden = GOLDEN["davidson_per_cell_nu"][aspect][baseline]
        assert (fit.ability[1], fit.tie) == pytest.approx((golden["ability"], golden["nu"]), abs=1e-9)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_orders_and_the_flip_between_models_are_golden(aspect):
    contests, golden = star(aspect), GOLDEN["orders"][aspect]
    assert davidson(contests).order() == golden["davidson"]
    assert bradley_terry(contests, ties="half-win").order() == golden["half_win"]
    assert bradley_terry(contests, ties="drop-ties").order() == golden["drop_ties"]
    assert rao_kupper(contests).order() == golden["rao_kupper"]


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("effect", ["1", "2", "4"])
def test_rank_intervals_are_golden(aspect, effect):
    ranks = rank_intervals(davidson(star(aspect)), design_effect=float(effect))
    assert {k: list(v) for k, v in ranks.items()} == GOLDEN["rank_intervals"][aspect][effect]["ranks"]


def test_position_bonus_is_golden():
    example = GOLDEN["position_model_example"]
    rows = [("VIA", b, *won_lost_tied) for b, won_lost_tied in example["ours_left"].items()]
    rows += [(b, "VIA", lost, won, tied) for b, (won, lost, tied) in example["ours_right"].items()]
    fit = davidson(Contests.of(ITEMS, rows), position=True)
    assert abilities(fit) == pytest.approx(example["ability"], abs=1e-9)
    assert (fit.tie, fit.position) == pytest.approx((example["nu"], example["delta"]), abs=1e-9)
    assert fit.covariance[-1, -1] ** 0.5 == pytest.approx(example["standard_error_delta"], abs=1e-7)


def contests_of(case):
    return Contests.of(
        case["items"],
        [(p["first"], p["second"], p["first_won"], p["second_won"], p["tie"]) for p in case["pairs"]],
    )


@pytest.mark.parametrize("case", GOLDEN["existence"], ids=lambda c: c["name"])
def test_fits_exist_exactly_where_golden_says(case):
    contests = contests_of(case)
    groups = sorted(sorted(g) for g in strong_groups(contests))
    assert groups == sorted(sorted(g) for g in case["strong_groups"])
    fits = {
        "davidson": lambda: davidson(contests),
        "half_win": lambda: bradley_terry(contests, ties="half-win"),
        "drop_ties": lambda: bradley_terry(contests, ties="drop-ties"),
    }
    for model, fit in fits.items():
        if case[model] == "NotIdentified":
            with pytest.raises(NotIdentified):
                fit()
        else:
            assert np.isfinite(fit().ability).all()
            assert case[model] != "fit with nu = 0" or fit().tie == 0


@pytest.mark.parametrize("case", GOLDEN["existence"], ids=lambda c: c["name"])
def test_regularised_fits_exist_and_say_so(case):
    if case["name"] == "all ties":  # no tie parameter exists, whatever is added
        with pytest.raises(NotIdentified):
            davidson(contests_of(case), regularise=0.5)
        return
    for fit in (
        davidson(contests_of(case), regularise=0.5),
        rao_kupper(contests_of(case), regularise=0.5),
        bradley_terry(contests_of(case), ties="half-win", regularise=0.5),
        bradley_terry(contests_of(case), ties="drop-ties", regularise=0.5),
    ):
        assert np.isfinite(fit.ability).all()
        assert fit.items == tuple(case["items"])
        assert fit.regularised == 0.5
        assert "regularised: 0.5" in fit.notes


def test_the_refusal_names_the_group():
    case = next(
        c for c in GOLDEN["existence"] if c["name"] == "ours never loses to one and never ties with it"
    )
    with pytest.raises(NotIdentified, match="b2"):
        davidson(contests_of(case))


@pytest.mark.parametrize("fit", [davidson, rao_kupper])
def test_one_pair_with_wins_and_ties_but_no_loss_is_refused_though_ties_link_it(fit):
    pair = Contests.of(("x", "y"), [("x", "y", 9, 0, 3)])
    assert len(strong_groups(pair)) == 1
    with pytest.raises(NotIdentified):
        fit(pair)


boards = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 15)), min_size=6, max_size=6
)


def round_robin(rows):
    items = ("a", "b", "c", "d")
    pairs = [(x, y) for i, x in enumerate(items) for y in items[i + 1 :]]
    return Contests.of(items, [(*pair, *row) for pair, row in zip(pairs, rows)])


def dense(contests, half):
    wins = np.zeros((len(contests.items),) * 2)
    np.add.at(wins, (contests.first, contests.second), contests.won + half * contests.tied / 2)
    np.add.at(wins, (contests.second, contests.first), contests.lost + half * contests.tied / 2)
    return wins


@given(boards)
@settings(max_examples=25, deadline=None)
def test_bradley_terry_equals_choix(rows):
    contests = round_robin(rows)
    for ties, half in (("half-win", 1), ("drop-ties", 0)):
        expected = choix.ilsr_pairwise_dense(dense(contests, half), tol=1e-12, max_iter=1000)
        assert bradley_terry(contests, ties=ties).ability == pytest.approx(expected - expected[0], abs=1e-8)


@given(boards)
@settings(max_examples=25, deadline=None)
def test_davidson_equals_evalica_with_nu_twice_its_v(rows):
    contests, (firsts, seconds, winners, weights) = round_robin(rows), ([], [], [], [])
    for k, (i, j) in enumerate(zip(contests.first, contests.second)):
        for winner, count in (
            (evalica.Winner.X, contests.won[k]),
            (evalica.Winner.Y, contests.lost[k]),
            (evalica.Winner.Draw, contests.tied[k]),
        ):
            firsts.append(contests.items[i])
            seconds.append(contests.items[j])
            winners.append(winner)
            weights.append(float(count))
    result = evalica.newman(firsts, seconds, winners, weights=weights, tolerance=1e-14, limit=100_000)
    expected = np.log(result.scores[list(contests.items)].to_numpy())
    fit = davidson(contests)
    assert fit.ability == pytest.approx(expected - expected[0], abs=1e-8)
    assert fit.tie == pytest.approx(2 * result.v, abs=1e-8)


@given(boards)
@settings(max_examples=25, deadline=None)
def test_rao_kupper_equals_arenakit_without_its_prior(rows):
    contests, size = round_robin(rows), 4
    tables = [np.zeros((size, size)) for _ in range(3)]
    for table, count in zip(tables, (contests.won, contests.lost, contests.tied)):
        np.add.at(table, (contests.first, contests.second), count)
    expected = arenakit.fit_rao_kupper(PairCounts(*tables), prior=0)
    fit = rao_kupper(contests)
    assert fit.ability == pytest.approx(expected.scores - expected.scores[0], abs=1e-7)
    assert fit.tie == pytest.approx(expected.tie_theta, abs=1e-7)


def test_other_libraries_return_numbers_where_ours_refuses():
    """Ours never loses: choix.opt_pairwise gives a finite board, davidson must not."""
    never = Contests.of(("x", "y"), [("x", "y", 10, 0, 0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(choix.opt_pairwise(2, [(0, 1)] * 10)).all()
    with pytest.raises(NotIdentified):
        davidson(never)


@given(boards)
@settings(max_examples=25, deadline=None)
def test_renaming_the_reference_shifts_abilities_only(rows):
    contests = round_robin(rows)
    other = Contests.of(
        contests.items[::-1],
        [
            (contests.items[i], contests.items[j], *counts)
            for i, j, *counts in zip(
                contests.first, contests.second, contests.won, contests.lost, contests.tied
            )
        ],
    )
    one, two = davidson(contests), davidson(other)
    assert one.ability - one.ability[3] == pytest.approx(two.ability[::-1], abs=1e-8)
