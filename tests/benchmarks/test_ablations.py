"""The table of variants: fields of the method, no two alike, and what cannot act is known."""

import itertools

import numpy as np
import pytest

from benchmarks.ablations import (
    ALL,
    COMPONENTS,
    DEFAULT,
    DESIGN,
    LOCAL_FIELDS,
    TITLES,
    VARIANTS,
    cannot_act,
    sweep,
)
from benchmarks.methods import named, with_settings
from benchmarks.tables import COLUMNS
from data.types import ArrayClip, Edit, Task, UserError
from via.config import ViaConfig, configured


def settings(name: str) -> list[str]:
    return [f"{field}={value}" for field, value in VARIANTS[name].items()]


def task(region: str | None) -> Task:
    return Task("t", ArrayClip(np.zeros((1, 8, 8, 3), np.uint8)), Edit(instruction="x", region=region), "t")


def test_every_variant_is_a_configuration_of_the_method_and_no_two_are_equal() -> None:
    configs = {name: configured(settings(name), ViaConfig()) for name in VARIANTS}
    assert configs["full"] == ViaConfig()
    assert len(set(configs.values())) == len(configs)


def test_the_variants_switch_off_what_the_paper_says_they_do() -> None:
    b, c, d, e = (configured(settings(name), ViaConfig()) for name in "bcde")
    assert b == ViaConfig(blend="off")
    assert c == ViaConfig(tuning="off")
    assert d == ViaConfig(gather=False, swap_own=True, swap_cross=False)
    assert e == ViaConfig(swap_cross=False)


def test_the_design_is_whole_and_its_rows_have_exactly_their_factors_on() -> None:
    assert set(DESIGN) == set(itertools.product((0, 1), repeat=3))
    for (spatiotemporal, tuning, local), row in DESIGN.items():
        if row == "frame_by_frame":
            assert (spatiotemporal, tuning, local) == (0, 0, 0)
            continue
        config = configured(settings(row), ViaConfig())
        on = (config.spatiotemporal, config.tuning != "off", config.blend != "off")
        assert on == (bool(spatiotemporal), bool(tuning), bool(local)), row


def test_every_row_has_a_title_and_every_component_a_row_and_a_column() -> None:
    assert set(DEFAULT) <= set(ALL) <= set(TITLES)
    for component in COMPONENTS:
        assert component.without in DEFAULT
        assert component.column in {column.title for column in COLUMNS}


def test_local_fields_are_fields_of_the_method() -> None:
    assert set(ViaConfig.model_fields) >= LOCAL_FIELDS


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("b", "full"),
        ("st_only", "c"),
        ("tuning_only", "d0"),
        ("appendix_b_constant", "full"),
        ("c", None),
        ("d", None),
        ("local_only", None),
    ],
)
def test_blending_cannot_act_where_the_whole_frame_is_edited(name: str, same: str | None) -> None:
    assert cannot_act(name, VARIANTS[name], task("the dog"), VARIANTS) is None
    why = cannot_act(name, VARIANTS[name], task(None), VARIANTS)
    assert (why is None) == (same is None)
    if why is not None:
        assert why.startswith("cannot act here: blend on an edit of the whole frame")
        assert why.endswith(f"the same as {same}")


def test_a_setting_of_every_row_does_not_hide_that_a_variant_cannot_act() -> None:
    rows = {row.name: row.overrides for row in with_settings([named("full"), named("b")], ["masks=given"])}
    assert cannot_act("b", rows["b"], task(None), rows) == (
        "cannot act here: blend on an edit of the whole frame; the same as full"
    )
    assert cannot_act("full", rows["full"], task(None), rows) is None


def test_a_variant_runs_when_the_row_it_equals_is_not_in_the_run() -> None:
    assert cannot_act("b", VARIANTS["b"], task(None), {"b": VARIANTS["b"]}) is None


def test_a_sweep_is_every_combination_of_its_values() -> None:
    found = sweep(["steps=10,20", "blend=off,constant"])
    assert list(found) == [
        "steps=10,blend=off",
        "steps=10,blend=constant",
        "steps=20,blend=off",
        "steps=20,blend=constant",
    ]
    assert found["steps=20,blend=off"] == {"steps": "20", "blend": "off"}


def test_of_a_sweep_that_cannot_act_on_the_whole_frame_one_value_is_run() -> None:
    rows = {**sweep(["masks=predicted,given,none"]), **sweep(["steps=5"])}
    whys = [cannot_act(name, overrides, task(None), rows) for name, overrides in rows.items()]
    said = "cannot act here: masks on an edit of the whole frame; the same as masks=predicted"
    assert whys == [None, said, said, None]
    assert not any(cannot_act(name, overrides, task("the dog"), rows) for name, overrides in rows.items())


@pytest.mark.parametrize("text", ["steps", "=3", "steps="])
def test_a_sweep_without_values_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write field=value,value"):
        sweep([text])


def test_settings_hold_for_our_editors_under_their_own_fields_and_not_for_others() -> None:
    rows = [named(name) for name in ("full", "c", "frame_by_frame", "copy", "my.mod:Editor")]
    changed = {row.name: dict(row.overrides) for row in with_settings(rows, ["steps=5", "tuning=full"])}
    assert changed == {
        "full": {"steps": "5", "tuning": "full"},
        "c": {"steps": "5", "tuning": "off"},
        "frame_by_frame": {"steps": "5", "tuning": "full"},
        "copy": {},
        "my.mod:Editor": {},
    }


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="there is no field 'stepz'"):
        with_settings([named("full")], ["stepz=5"])
