"""Settings as written on the command line."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.types import UserError
from via.config import ViaConfig, configured


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("steps=12", "steps", 12),
        ("guidance_text=5", "guidance_text", 5.0),
        ("guidance_text=default", "guidance_text", None),
        ("swap_cross=off", "swap_cross", False),
        ("swap_cross=on", "swap_cross", True),
        ("tuning=off", "tuning", "off"),
        ("blend=last_step", "blend", "last_step"),
        ("swap_layers=0,3", "swap_layers", (0, 3)),
        ("swap_layers=2", "swap_layers", (2,)),
        ("swap_layers=all", "swap_layers", None),
        ("swap_steps=all", "swap_steps", None),
        ("swap_steps=8", "swap_steps", 8),
        ("group_frames=shots", "group_frames", "shots"),
        ("group_frames=0,5,9", "group_frames", (0, 5, 9)),
        ("root_frame=drawn", "root_frame", "drawn"),
        ("root_frame=4", "root_frame", 4),
        ("affine_crop=0.5,1", "affine_crop", (0.5, 1.0)),
        ("region=the head of the dog", "region", "the head of the dog"),
        (" blend = off ", "blend", "off"),
    ],
)
def test_a_setting_is_read_as_its_field_takes_it(setting, field, value):
    assert getattr(configured([setting], ViaConfig()), field) == value


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", "write field=value"),
        ("stepps=3", "no field 'stepps'"),
        ("steps=many", "steps=many"),
        ("steps=0", "steps=0"),
        ("blend=sometimes", "progressive"),
        ("swap_layers=first", "swap_layers=first"),
    ],
)
def test_a_wrong_setting_is_answered_in_one_line(setting, message):
    with pytest.raises(UserError, match=message) as error:
        configured([setting], ViaConfig())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("field", "default"), [(n, f.default) for n, f in ViaConfig.model_fields.items()])
def test_every_field_is_reachable_by_a_setting(field, default):
    """Its own default, written out, is accepted and means the same."""
    if default is None:
        text = "default"
    elif isinstance(default, bool):
        text = "on" if default else "off"
    elif isinstance(default, tuple):
        text = ",".join(map(str, default))
    else:
        text = str(default)
    assert configured([f"{field}={text}"], ViaConfig()) == ViaConfig()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([*ViaConfig.model_fields, "other"]), st.text(max_size=20))
def test_whatever_is_typed_there_is_a_config_or_a_user_error(field, value):
    with suppress(UserError):
        assert isinstance(configured([f"{field}={value}"], ViaConfig()), ViaConfig)


def test_a_config_is_frozen_hashable_and_round_trips_as_json():
    config = configured(["group_frames=1,2", "swap_layers=0"], ViaConfig())
    assert ViaConfig.model_validate_json(config.model_dump_json()) == config
    assert hash(config) == hash(ViaConfig.model_validate_json(config.model_dump_json()))
    with pytest.raises(ValidationError):
        config.steps = 3


def test_later_settings_win():
    assert configured(["steps=12", "steps=14"], ViaConfig()).steps == 14


def test_an_unknown_field_is_answered_with_the_nearest_ones():
    with pytest.raises(
        UserError, match=r"there is no field 'tunning_lr': did you mean tuning_lr\b.*lists all"
    ):
        configured(["tunning_lr=1"], ViaConfig())
    with pytest.raises(UserError, match="there is no field 'zzz': the fields are steps, "):
        configured(["zzz=1"], ViaConfig())
