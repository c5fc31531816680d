"""Every decision of the method as one field (docs/decisions.md has a line on each); `ViaConfig` is frozen and
hashable.

The defaults are the reading nearest to the paper's text. `configured(["steps=12", "blend=off"])` is what
`--set` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.types import UserError

Spacing = Literal["leading", "trailing", "linspace"]
Solver = Literal["ddim", "euler_ancestral"]


class ViaConfig(BaseModel):
    """What the paper fixes (steps, group, affine ranges) and what it leaves open, in the method's order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Sampling. None is the backbone's own value.
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    guidance_text: float | None = None
    guidance_image: float | None = None
    timestep_spacing: Spacing | None = None
    scheduler: Solver = "ddim"  # euler_ancestral adds noise at every step but the last
    noise: Literal["shared", "per_frame", "inverted"] = "shared"
    size: Annotated[int, Field(ge=8)] | None = None  # pixels, of the side that the backbone counts

    # Region and masks (4.1, Fig. 3). `region` may also be a phrase.
    region: str = "auto"  # auto | per_frame | whole | a phrase
    masks: Literal["predicted", "given", "dilated", "wrong", "none"] = "predicted"
    mask_grow: Annotated[int, Field(ge=0)] = 1  # latent cells
    mask_smooth: Annotated[int, Field(ge=1)] = 3  # frames, odd

    # The root edit (4.1).
    root_frame: Annotated[int, Field(ge=0)] | Literal["drawn"] = "drawn"
    root_candidates: Annotated[int, Field(ge=1)] = 8
    root_choice: Literal["score", "clip", "person", "first"] = "score"
    root_edit: str | None = None  # an edited root frame as an image file
    root_local: bool = False

    # Test-time editing adaptation (4.1, Eq. 5; ranges of section 5).
    tuning: Literal["lora", "full", "off"] = "lora"
    tuning_rank: Annotated[int, Field(ge=1)] = 8
    tuning_steps: Annotated[int, Field(ge=1)] = 40
    tuning_lr: Annotated[float, Field(gt=0)] = 3e-4
    tuning_pairs: Annotated[int, Field(ge=1)] = 32
    tuning_batch: Annotated[int, Field(ge=1)] = 4
    tuning_dropout: bool = True
    affine_rotation: Annotated[float, Field(ge=0, le=180)] = 5.0  # degrees
    affine_translation: Annotated[float, Field(ge=0, le=1)] = 0.05  # share of the side
    affine_crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.75, 1.0)
    affine_shear: Annotated[float, Field(ge=0, lt=90)] = 10.0  # degrees
    affine_fill: Literal["reflect", "crop"] = "reflect"

    # Local latent adaptation (4.1, Eq. 6).
    inversion: Literal["ddim", "noise"] = "ddim"
    inversion_condition: Literal["null", "edit"] = "null"
    blend: Literal["progressive", "constant", "last_step", "off"] = "progressive"
    blend_area: Literal["whole", "inside", "object"] = "whole"
    blend_group: bool = True
    paste: bool = False

    # Spatiotemporal adaptation (4.2, Eq. 7-9).
    spatiotemporal: bool = True
    gather: bool = True
    gather_context: Literal["all", "preceding"] = "all"
    group_size: Annotated[int, Field(ge=1)] = 4
    group_frames: Literal["even", "shots"] | tuple[Annotated[int, Field(ge=0)], ...] = "even"
    swap_self: bool = True
    swap_cross: bool = True
    swap_own: bool = False
    swap_steps: Annotated[int, Field(ge=0)] | None = None  # the first n; None: all
    swap_layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None  # transformer blocks in network order
    swap_branches: tuple[Annotated[int, Field(ge=0)], ...] | None = None  # guidance branches

    @property
    def needs_given_masks(self) -> bool:
        """True where the editor must be handed masks instead of predicting them."""
        return self.masks in ("given", "dilated", "wrong")


Model = TypeVar("Model", bound=BaseModel)


def configured(settings: Iterable[str], config: Model) -> Model:
    """`config` with each "field=value" of `settings` applied, in order.

    Values are written as on a command line: numbers, on/off, words, `a,b` for tuples, `all` or `default` for
    None.

    >>> configured(["steps=12", "blend=off", "swap_layers=0,3", "swap_cross=off"], ViaConfig()).swap_layers
    (0, 3)

    Raises UserError with one line on an unknown field or a value that the field does not take.
    """
    for setting in settings:
        field, equals, text = setting.partition("=")
        field, text = field.strip(), text.strip()
        if not equals:
            raise UserError(f"{setting!r} is not a setting: write field=value, for example steps=12")
        if field not in type(config).model_fields:
            fields = list(type(config).model_fields)
            near = get_close_matches(field, fields)
            known = (
                f"did you mean {' or '.join(near)}? docs/decisions.md lists all"
                if near
                else f"the fields are {', '.join(fields)}"
            )
            raise UserError(f"there is no field {field!r}: {known}")
        config = _with_field(config, field, text)
    return config


def _with_field(config: Model, field: str, text: str) -> Model:
    readings: list[Any] = [None, text] if text in ("all", "default") else [text]
    if "," in text or text.isdigit():
        readings.append([part.strip() for part in text.split(",") if part.strip()])
    reason = ""
    for reading in readings:
        try:
            return type(config).model_validate({**config.model_dump(), field: reading})
        except ValidationError as error:
            reason = reason or "; or ".join(dict.fromkeys(_plain(item) for item in error.errors()))
    raise UserError(f"{field}={text}: {reason}")


def _plain(error: Any) -> str:
    message: str = error["msg"]
    return message[0].lower() + message[1:]
