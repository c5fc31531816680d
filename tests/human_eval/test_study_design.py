"""The counterbalanced design against brute-force golden cases, and the order inside a session."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.types import UserError
from human_eval.design import (
    Slot,
    blocks,
    order_faults,
    repeats_too_near,
    round_robin_pairs,
    session_order,
    star_pairs,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "design_cases.json").read_text())
STARS = {f"V{c['V']}-P{c['P']}-k{c['k']}-L{c['L']}": c for c in GOLDEN["star"]}
ROBINS = {f"M{c['M']}": c for c in GOLDEN["round_robin"]}


@pytest.mark.parametrize("name", STARS)
def test_star_rows_are_those_of_the_golden_enumeration(name):
    case = STARS[name]
    sessions = blocks(case["V"], case["P"], case["k"], case["L"])
    text = "".join(
        f"{s.replicate},{s.list},{t.clip},{t.pair},{int(t.first == 'left')}\n"
        for s in sessions
        for t in s.tasks
    )
    assert hashlib.sha256(text.encode()).hexdigest() == case["sha256_of_rows"]
    assert len(sessions) == case["sessions"]


@pytest.mark.parametrize("name", STARS)
def test_star_is_balanced_in_every_session_and_after_every_replicate(name):
    case = STARS[name]
    sessions = blocks(case["V"], case["P"], case["k"], case["L"])
    for s in sessions:
        assert len({t.clip for t in s.tasks}) == case["per_session"]["distinct_clips"]
        assert sum(t.first == "left" for t in s.tasks) == case["per_session"]["ours_left"]
        assert set(Counter(t.pair for t in s.tasks).values()) == {case["per_session"]["per_baseline"]}
    for replicates, expected in case["after_replicates"].items():
        tasks = [t for s in sessions if s.replicate < int(replicates) for t in s.tasks]
        assert len(tasks) == expected["tasks"]
        assert sum(t.first == "left" for t in tasks) == expected["ours_left"]
        assert set(Counter((t.clip, t.pair) for t in tasks).values()) == {expected["each_clip_baseline"]}
    left = Counter((t.clip, t.pair) for s in sessions for t in s.tasks if t.first == "left")
    shown = {(t.clip, t.pair) for s in sessions for t in s.tasks}
    times = Counter(left[key] for key in shown)
    assert {str(k): v for k, v in times.items()} == case["times_ours_left_per_clip_baseline"]


@pytest.mark.parametrize("name", ROBINS)
def test_round_robin_puts_every_method_left_equally_often(name):
    case = ROBINS[name]
    methods = list(range(case["M"]))
    pairs = round_robin_pairs(methods)
    first = {tuple(sorted(p)): p[0] for p in pairs}
    for row in case["pairs"]:
        assert row["first"] in (None, first[tuple(row["pair"])])
    assert sorted(sum(p[0] == m for p in pairs) for m in methods) == case["times_first_sorted"]
    half = case["L"] == case["P"]
    sessions = blocks(case["V"], case["P"], case["k"], case["L"], half_sessions=half)
    assert len(sessions) == case["sessions"]
    left, shown = Counter(), Counter()
    for s in sessions:
        if s.replicate == 0:
            for t in s.tasks:
                a, b = pairs[t.pair]
                left[a if t.first == "left" else b] += 1
                shown.update((a, b))
    assert set(left.values()) == {case["each_method_left_in_a_replicate"]}
    assert set(shown.values()) == {case["each_method_shown_in_a_replicate"]}
    if half:
        both = zip(sessions[::2], sessions[1::2])
        for one, two in both:
            firsts = Counter(t.pair for t in (*one.tasks, *two.tasks) if t.first == "left")
            assert set(firsts.values()) == {1}
            assert len(firsts) == case["P"]


@pytest.mark.parametrize("case", GOLDEN["refused"], ids=lambda c: f"V{c['V']}-L{c['L']}")
def test_refused_sizes_offer_the_nearest(case):
    with pytest.raises(UserError) as error:
        blocks(case["V"], case["P"], 2, case["L"])
    for offer in case.get("nearest_V", case.get("nearest_L")):
        assert str(offer) in str(error.value)


@pytest.mark.parametrize("case", GOLDEN["session_order"], ids=lambda c: c["name"])
def test_order_faults_are_those_of_the_golden_cases(case):
    slots = [Slot(t["baseline"], t["ours"], t["kind"] == "check") for t in case["tasks"]]
    assert next(iter(order_faults(slots)), None) == case["why"]


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_session_order_is_a_legal_permutation(pairs, blocks_of_two, seed):
    reals = [Slot(p, side) for p in range(pairs) for side in ("left", "right") for _ in range(blocks_of_two)]
    checks = [Slot(0, None, True), Slot(1, "left", True), Slot(0, "right", True, repeats=0)]
    slots = reals + checks
    order = session_order(slots, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(slots)))
    assert order_faults([slots[i] for i in order]) == []
    assert not repeats_too_near(order, slots)


def test_same_seed_gives_the_same_order_and_another_seed_another():
    slots = [Slot(p, s) for p in range(5) for s in ("left", "right") for _ in range(2)]
    orders = [session_order(slots, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


def test_star_pairs_put_ours_first():
    assert star_pairs(["a", "VIA", "b"], "VIA") == [("VIA", "a"), ("VIA", "b")]
