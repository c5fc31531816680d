"""Counts, tests, intervals, power, agreement and position against golden values and independent libraries."""

import itertools
import json
import math
from pathlib import Path

import evalica
import krippendorff
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import multinomial_proportions_confint

from human_eval.agreement import (
    Position,
    alpha,
    alpha_interval,
    pairwise_agreement,
    pooled_position,
    unanimous_share,
)
from human_eval.clustered import pigeonhole, sign_flip, two_way
from human_eval.power import design_effect, judgements_needed, power, smallest_effect
from human_eval.proportions import Counts, clopper_pearson, equivalent, fragility, goodman, sign_test, wilson

GOLDEN = json.loads((Path(__file__).parent / "golden" / "golden_table1.json").read_text())
CELLS = {f"{c['aspect']}-{c['baseline']}": c for c in GOLDEN["cells"]}
close = dict(rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_cells_of_the_papers_table(name):
    cell = CELLS[name]
    counts = Counts(cell["ours"], cell["theirs"], cell["tie"])
    assert counts.n == 400
    printed = cell["printed_percent"]
    assert list(counts.percents) == [float(printed[k]) for k in ("ours", "theirs", "tie")]
    assert counts.win_rate == pytest.approx(cell["win_rate_without_ties"], **close)
    assert counts.net_preference == pytest.approx(cell["net_preference"], **close)
    assert counts.half_win_rate == pytest.approx(cell["half_win_rate"], **close)
    assert sign_test(counts.ours, counts.theirs) == pytest.approx(cell["sign_p"], rel=1e-9)
    for share, interval in zip(("ours", "theirs", "tie"), goodman(counts)):
        assert interval == pytest.approx(tuple(cell["goodman_95"][share]), abs=1e-9)
    assert wilson(counts.ours, counts.theirs) == pytest.approx(tuple(cell["wilson_95"]), abs=1e-9)
    assert clopper_pearson(counts.ours, counts.theirs) == pytest.approx(
        tuple(cell["clopper_pearson_95"]), abs=1e-9
    )
    assert fragility(counts) == pytest.approx(cell["design_effect_threshold"], rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_test_equals_scipy(wins, losses):
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_goodman_equals_statsmodels(ours, theirs, tie):
    expected = multinomial_proportions_confint([ours, theirs, tie], method="goodman")
    assert np.array(goodman(Counts(ours, theirs, tie))) == pytest.approx(np.array(expected), abs=1e-9)


def test_a_cell_without_decisive_answers_has_no_win_rate():
    assert math.isnan(Counts(0, 0, 5).win_rate)
    assert math.isnan(Counts(0, 0, 0).net_preference)
    assert math.isnan(wilson(0, 0)[0])


def test_two_way_interval_is_that_of_the_golden_votes():
    example = GOLDEN["clustered_example"]
    votes = pd.DataFrame(example["votes"])
    got = two_way(votes["y"], votes["clip"], votes["rater"])
    assert got.mean == pytest.approx(example["mean"], abs=1e-12)
    assert got.variance == pytest.approx(example["V"], abs=1e-12)
    assert got.df == example["df"]
    assert (got.low, got.high) == pytest.approx(tuple(example["interval_95"]), abs=1e-12)
    assert got.design_effect == pytest.approx(example["design_effect_against_V_vote"], abs=1e-12)


def test_sign_flip_of_whole_clips_counts_all_patterns_as_golden():
    example = GOLDEN["clustered_example"]
    votes = pd.DataFrame(example["votes"])
    assert sign_flip(votes["y"], votes["clip"]) == pytest.approx(example["sign_flip"]["p"], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 1)), min_size=1, max_size=40))
def test_sign_flip_equals_counting_every_pattern(votes):
    clips, y = zip(*votes)
    sums = np.array([sum(v for c, v in votes if c == clip) for clip in sorted(set(clips))])
    signs = np.array(list(itertools.product((1, -1), repeat=len(sums))))
    expected = np.mean(np.abs(signs @ sums) >= abs(sum(y)))
    assert sign_flip(y, clips) == pytest.approx(expected, abs=1e-12)


def test_with_one_vote_a_clip_sign_flip_is_the_sign_test():
    y = [1] * 30 + [-1] * 12 + [0] * 9
    assert sign_flip(y, range(len(y))) == pytest.approx(sign_test(30, 12), rel=1e-9)


def test_one_rater_has_no_clustered_interval():
    got = two_way([1, 0, 1], ["a", "b", "c"], ["r", "r", "r"])
    assert math.isnan(got.low)


def crossed_study(rng, clips, raters, votes_per_clip, sd_clip, sd_rater, mean=0.3, cut=0.35):
    """Votes of a crossed incomplete design: latent normal with clip and rater effects, cut into loss, tie,
    win.
    """
    clip = np.repeat(np.arange(clips), votes_per_clip)
    start = rng.permutation(clips * votes_per_clip)
    rater = np.empty(len(clip), int)
    rater[start] = np.arange(len(clip)) % raters
    latent = mean + rng.normal(0, sd_clip, clips)[clip] + rng.normal(0, sd_rater, raters)[rater]
    latent = latent + rng.normal(size=len(clip))
    return np.where(latent > cut, 1, np.where(latent < -cut, -1, 0)), clip, rater


def true_mean(sd_clip, sd_rater, mean=0.3, cut=0.35):
    sd = math.sqrt(1 + sd_clip**2 + sd_rater**2)
    return stats.norm.sf((cut - mean) / sd) - stats.norm.cdf((-cut - mean) / sd)


@pytest.mark.parametrize(
    ("clips", "raters", "votes", "sd_clip", "sd_rater"),
    [(40, 20, 5, 0.5, 0.3), (80, 20, 5, 0.5, 0.3), (40, 10, 5, 0.7, 0.5), (100, 40, 4, 0.5, 0.3)],
)
def test_clustered_intervals_cover_the_truth_in_92_to_98_percent(clips, raters, votes, sd_clip, sd_rater):
    rng, repetitions, covered = np.random.default_rng(16), 1500, 0
    truth = true_mean(sd_clip, sd_rater)
    for _ in range(repetitions):
        y, clip, rater = crossed_study(rng, clips, raters, votes, sd_clip, sd_rater)
        interval = two_way(y, clip, rater)
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / repetitions <= 0.98


def test_pigeonhole_interval_is_wider_than_the_votes_would_say():
    rng = np.random.default_rng(1)
    y, clip, rater = crossed_study(rng, 40, 20, 5, 0.5, 0.3)
    votes = pd.DataFrame({"clip": clip, "rater": rater})
    low, high = pigeonhole(votes, lambda w: np.array([w @ y / w.sum()]), rng, draws=400)
    naive = 2 * 1.96 * y.std() / math.sqrt(len(y))
    assert low[0] < y.mean() < high[0]
    assert high[0] - low[0] > naive


@pytest.mark.parametrize(
    "row", GOLDEN["power"]["rows"], ids=lambda r: f"ties{r['tie_share']}-alpha{r['alpha']}"
)
def test_judgements_needed_are_the_golden_sizes(row):
    level = 1 / 20 if row["alpha"] == "1/20" else 1 / 300
    for p, n in row["N"].items():
        assert judgements_needed(float(p), tie_share=row["tie_share"], alpha=level) == n
    for p, n in row["N"].items():
        at_n, before = (
            power(n, float(p), tie_share=row["tie_share"], alpha=level),
            row["power_at_N_minus_1"][p],
        )
        assert at_n == pytest.approx(row["power_at_N"][p], abs=1e-9)
        assert power(n - 1, float(p), tie_share=row["tie_share"], alpha=level) == pytest.approx(
            before, abs=1e-9
        )


@pytest.mark.parametrize("anchor", GOLDEN["power"]["anchors"], ids=lambda a: f"p{a['p']}-{a['alpha']}")
def test_power_of_the_papers_size(anchor):
    level = 1 / 20 if anchor["alpha"] == "1/20" else 1 / 300
    got = power(anchor["N"], anchor["p"], tie_share=anchor["tie_share"], alpha=level)
    assert got == pytest.approx(anchor["power"], abs=1e-9)


def test_smallest_effect_is_the_first_that_the_size_sees():
    effect = smallest_effect(240, tie_share=0.15, alpha=0.05)
    assert power(240, effect, tie_share=0.15) >= 0.8 > power(240, effect - 0.001, tie_share=0.15)
    assert smallest_effect(3) is None


def test_design_effects():
    for example in GOLDEN["design_effect"]["examples"]:
        assert design_effect(example["votes_per_clip"], example["icc"]) == pytest.approx(
            example["design_effect"]
        )


def units(rows):
    return np.array([[np.nan if v is None else v for v in row] for row in rows])


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_the_golden_units(level):
    golden = GOLDEN["alpha"]
    table = units(golden["units"])
    assert alpha(table, level) == pytest.approx(golden["alpha"][level], abs=1e-12)
    assert alpha(table, level, symmetrised=True) == pytest.approx(golden["symmetrised"][level], abs=1e-12)
    for flip in golden["flipped"].values():
        flipped = table.copy()
        flipped[np.array(flip["units_flipped"]) - 1] *= -1
        assert alpha(flipped, level) == pytest.approx(flip[level], abs=1e-12)
        assert alpha(flipped, level, symmetrised=True) == pytest.approx(
            golden["symmetrised"][level], abs=1e-12
        )


def test_agreement_shares_are_golden():
    golden = GOLDEN["alpha"]
    table = units(golden["units"])
    assert unanimous_share(table) == pytest.approx(golden["unanimous_share"])
    assert pairwise_agreement(table) == pytest.approx(golden["pairwise_agreement"]["mean_over_units"])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_equals_two_libraries(seed, level):
    rng = np.random.default_rng(seed)
    table = rng.integers(-1, 2, (12, 4)).astype(float)
    table[rng.random((12, 4)) < 0.2] = np.nan
    expected = krippendorff.alpha(
        reliability_data=table.T, level_of_measurement=level, value_domain=[-1, 0, 1]
    )
    assert alpha(table, level) == pytest.approx(expected, abs=1e-12)
    other = evalica.alpha(pd.DataFrame(table.T), distance=level).alpha
    assert alpha(table, level) == pytest.approx(other, abs=1e-12)


def test_alpha_without_variation_is_undefined():
    assert math.isnan(alpha(np.ones((5, 3))))
    assert math.isnan(alpha_interval(np.ones((5, 3)), np.random.default_rng(0), draws=10)[0])


def test_alpha_interval_holds_the_estimate():
    table = units(GOLDEN["alpha"]["units"])
    low, high = alpha_interval(table, np.random.default_rng(0), draws=500)
    assert low < alpha(table) < high


def test_position_is_flagged_by_rater_as_in_the_golden_example():
    example = GOLDEN["position_example"]
    raters = {r["rater"]: Position(r["left"], r["right"], r["tie"]) for r in example["per_rater"]}
    for row in example["per_rater"]:
        position = raters[row["rater"]]
        assert position.p == pytest.approx(row["p"], rel=1e-9)
        assert position.flagged == row["flagged"]
    pooled = pooled_position(raters)
    assert (pooled.left, pooled.right) == (example["pooled"]["left"], example["pooled"]["right"])
    assert pooled.p == pytest.approx(example["pooled"]["p"], rel=1e-9)
    for total, larger in example["smallest_larger_side_that_is_flagged"].items():
        assert Position(larger, int(total) - larger, 0).flagged
        assert not Position(larger - 1, int(total) - larger + 1, 0).flagged


def test_equivalence_needs_both_bounds_inside_the_margin():
    assert equivalent(0.01, 0.02**2, 50)
    assert not equivalent(0.01, 0.08**2, 50)
    assert not equivalent(0.2, 0.02**2, 50)
