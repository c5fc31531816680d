import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval import statistics


def test_golden_values_of_intervals_and_tests(golden):
    a = golden.arrays("statistics")
    cr2 = statistics.clustered_interval(a["scores"], a["clips"])
    equal = statistics.clustered_interval(a["equal_scores"], a["equal_clips"])
    first_five = a["difference_clips"] < 5
    flips = statistics.sign_flip_p(a["difference"], a["difference_clips"])
    groups = statistics.significance_groups(a["methods"], a["method_clips"])
    golden.check(
        "statistics",
        {
            "cr2_mean": cr2.mean,
            "cr2_var": cr2.variance,
            "cr2_df": cr2.df,
            "cr2_low": cr2.low,
            "cr2_high": cr2.high,
            "equal_mean": equal.mean,
            "equal_var": equal.variance,
            "equal_df": equal.df,
            "equal_low": equal.low,
            "equal_high": equal.high,
            "one_clip_var": statistics.clustered_interval(a["scores"][:4], [0] * 4).variance,
            "flip_p": flips,
            "flip_p_five_clips": statistics.sign_flip_p(
                a["difference"][first_five], a["difference_clips"][first_five]
            ),
            "flip_p_all_positive_eight": statistics.sign_flip_p(
                a["positive_difference"], a["positive_clips"]
            ),
            "holm_example": statistics.holm(list(a["holm_example_p"])),
            "holm": statistics.holm(list(a["p_values"])),
            "group_p": groups.p,
            "letters": groups.letters,
            "rank_ranges": groups.ranks,
        },
    )


def test_equal_clusters_give_the_t_interval_of_clip_means():
    rng = np.random.default_rng(0)
    scores, clips = rng.normal(size=(7, 3)), np.repeat(np.arange(7), 3)
    got = statistics.clustered_interval(scores.ravel(), clips)
    means = scores.mean(axis=1)
    low, high = stats.t.interval(0.95, 6, loc=means.mean(), scale=stats.sem(means))
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-12)
    assert got.df == pytest.approx(6, rel=1e-12)


def test_degrees_of_freedom_are_those_of_the_written_out_matrix():
    rng = np.random.default_rng(1)
    sizes = np.array([1, 5, 2, 9])
    clips = np.repeat(np.arange(4), sizes)
    n = len(clips)
    columns = []
    for g, size in enumerate(sizes):
        one = (clips == g).astype(float)
        columns.append((one - one.mean()) / (n * np.sqrt(1 - size / n)))
    matrix = np.stack(columns, axis=1)
    eigenvalues = np.linalg.eigvalsh(matrix.T @ matrix)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert statistics.clustered_interval(rng.normal(size=n), clips).df == pytest.approx(expected, rel=1e-10)


def test_one_clip_has_a_mean_but_no_interval():
    got = statistics.clustered_interval([1.0, 2.0], ["a", "a"])
    assert (got.mean, got.low, got.high, got.clips, got.n) == (1.5, None, None, 1, 2)


@pytest.mark.parametrize(("value", "edge"), [(0.0, "low"), (1.0, "high")])
def test_a_constant_share_is_not_certain(value, edge):
    got = statistics.share_interval([value] * 8, list(range(8)))
    assert getattr(got, edge) == value
    assert got.high - got.low == pytest.approx(1.959964**2 / (8 + 1.959964**2), rel=1e-5)


def test_share_interval_stays_inside_zero_and_one():
    got = statistics.share_interval([0, 0, 0, 1], list(range(4)))
    assert got.low == 0
    assert got.high <= 1


def test_missing_scores_are_refused_rather_than_averaged():
    with pytest.raises(ValueError, match="finite"):
        statistics.clustered_interval([1.0, float("nan")], [0, 1])
    with pytest.raises(ValueError, match="one clip for each score"):
        statistics.clustered_interval([1.0, 2.0], [0])


@given(st.lists(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3), min_size=6, max_size=9))
@settings(max_examples=40, deadline=None)
def test_sign_flip_p_does_not_depend_on_sign_scale_or_order(differences):
    clips = list(range(len(differences)))
    d = np.array(differences)
    p = statistics.sign_flip_p(d, clips)
    assert p >= 2 / 2 ** len(d)
    assert statistics.sign_flip_p(-d, clips) == p
    assert statistics.sign_flip_p(1e-6 * d, clips) == p
    assert statistics.sign_flip_p(d[::-1], clips) == p


def test_items_of_one_clip_change_sign_together():
    """Eight clips whose two items cancel carry no evidence, however large the items are."""
    differences = np.tile([5.0, -5.0], 8)
    assert statistics.sign_flip_p(differences, np.repeat(np.arange(8), 2)) == 1.0


def test_random_patterns_agree_with_all_patterns(monkeypatch):
    rng = np.random.default_rng(3)
    d, clips = rng.normal(0.5, 1, 12), list(range(12))
    exact = statistics.sign_flip_p(d, clips)
    monkeypatch.setattr(statistics, "EXACT_UP_TO", 6)
    sampled = statistics.sign_flip_p(d, clips, np.random.default_rng(4))
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


def test_the_same_table_gives_the_same_p_with_many_clips():
    d = np.random.default_rng(5).normal(size=30)
    assert statistics.sign_flip_p(d, list(range(30))) == statistics.sign_flip_p(d, list(range(30)))


def test_fewer_than_six_clips_cannot_decide_and_say_so():
    got = statistics.compare([1.0] * 5, [0.0] * 5, list(range(5)))
    assert got.p is None
    assert got.reason == "cannot be decided with 5 clips"


def test_comparison_gives_p_on_logs_only_for_positive_scores():
    a, b = np.arange(1, 9) * 1.0, np.arange(1, 9) * 2.0
    assert statistics.compare(a, b, list(range(8))).p_log == pytest.approx(2 / 256)
    assert statistics.compare(a - 1, b, list(range(8))).p_log is None


def test_holm_leaves_untested_pairs_out_of_the_family():
    assert statistics.holm([0.01, None, 0.02, 0.04]) == pytest.approx([0.03, None, 0.04, 0.04])


def test_methods_that_are_equal_share_a_letter_and_all_ranks():
    scores = np.random.default_rng(6).normal(size=8)
    groups = statistics.significance_groups([scores, scores, scores], list(range(8)))
    assert groups.letters == ["a", "a", "a"]
    assert groups.ranks == [(1, 3)] * 3


def test_direction_of_a_metric_decides_who_is_a():
    rng = np.random.default_rng(7)
    scores = np.stack([rng.normal(0, 0.01, 9), rng.normal(1, 0.01, 9)])
    assert statistics.significance_groups(scores, list(range(9))).letters == ["b", "a"]
    assert statistics.significance_groups(scores, list(range(9)), higher_is_better=False).letters == [
        "a",
        "b",
    ]


def test_groups_of_too_few_clips_are_marked_undecidable():
    groups = statistics.significance_groups([[0.0] * 4, [9.0] * 4], list(range(4)))
    assert not groups.decidable
    assert groups.letters == ["a", "a"]


def test_bootstrap_resamples_whole_clips_and_warns_when_few():
    values = np.repeat([0.0, 1.0, 2.0], 50)
    clips = np.repeat([0, 1, 2], 50)
    low, high, warning = statistics.bootstrap_interval(
        lambda chosen: float(np.median(values[chosen])), clips, np.random.default_rng(0), draws=400
    )
    assert (low, high) == (0.0, 2.0)  # a bootstrap over items would give about (1, 1)
    assert "3 clips" in warning


@pytest.mark.parametrize(("clips", "shape"), [(5, "normal"), (10, "normal"), (24, "lognormal")])
def test_nominal_95_percent_intervals_cover_and_item_intervals_do_not(clips, shape):
    """Simulation with 1 to 6 items a clip and equal variance within and between; the true mean is known."""
    rng = np.random.default_rng(11)
    repetitions, covered, ignoring = 600, 0, 0
    for _ in range(repetitions):
        sizes = rng.integers(1, 7, clips)
        spread = np.sqrt((np.e - 1) * np.e)  # of a lognormal variable; divided by it the variance is 1
        effects = rng.normal(size=clips) if shape == "normal" else rng.lognormal(size=clips) / spread
        truth = 0.0 if shape == "normal" else np.exp(0.5) / spread
        labels = np.repeat(np.arange(clips), sizes)
        scores = effects[labels] + rng.normal(size=len(labels))
        got = statistics.clustered_interval(scores, labels)
        covered += got.low <= truth <= got.high
        low, high = stats.t.interval(0.95, len(scores) - 1, scores.mean(), stats.sem(scores))
        ignoring += low <= truth <= high
    slack = 3 * np.sqrt(0.95 * 0.05 / repetitions)
    assert covered / repetitions >= (0.95 if shape == "normal" else 0.92) - slack
    assert ignoring / repetitions < 0.86


def test_sign_flips_over_clips_hold_their_false_positive_rate_and_a_t_test_on_items_does_not():
    rng = np.random.default_rng(12)
    repetitions, flips, items = 600, 0, 0
    clips = np.repeat(np.arange(8), 3)
    for _ in range(repetitions):
        d = np.repeat(rng.normal(size=8), 3) + rng.normal(size=24)
        flips += statistics.sign_flip_p(d, clips) < 0.05
        items += stats.ttest_1samp(d, 0).pvalue < 0.05
    assert flips / repetitions <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repetitions)
    assert items / repetitions > 0.12
