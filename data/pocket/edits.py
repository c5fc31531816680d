"""The edits of the pocket world: which there are, what each does to a look, and where each may act.

An edit is named "KIND/ARGUMENT", for instance "replace/tiger" or "global/night".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from data.pocket import operators
from data.pocket.backgrounds import BACKDROPS, backdrop
from data.pocket.layers import CLOUD, Accessory, Look
from data.pocket.operators import PIXEL_STYLES, TEXTURE_STYLES, Plane
from data.pocket.sprites import ICONS, Texture, accessory_texture, class_of, subject_texture

KINDS = ("replace", "recolour", "local_style", "background", "accessory", "global")
SUBJECTS = tuple(ICONS)
LOCAL_STYLES = ("pencil sketch", "low poly", "japanese woodblock print")
ARGUMENTS = (
    *(f"replace/{subject}" for subject in SUBJECTS),
    *(f"recolour/{colour}" for colour in operators.RECOLOUR),
    *(f"local_style/{style}" for style in LOCAL_STYLES),
    *(f"background/{name}" for name in BACKDROPS),
    "accessory/hat",
    "accessory/sunglasses",
    *(f"global/{style}" for style in (*PIXEL_STYLES, *TEXTURE_STYLES)),
)
# Root mean square distances (0-255) inside the mask below which answers cannot be told apart without doubt.
MARGIN_ANSWERS = 30.0
MARGIN_SOURCE = 25.0


def kind_of(edit: str) -> str:
    return edit.partition("/")[0]


def argument_of(edit: str) -> str:
    return edit.partition("/")[2]


@lru_cache(maxsize=1024)
def dressed_subject(edit: str, subject: str, family: int, answer: int, size: int) -> Texture:
    """The subject's texture in answer `answer` of an edit that changes it."""
    kind, argument = kind_of(edit), argument_of(edit)
    if kind == "replace":
        return subject_texture(argument, answer, size)
    texture = subject_texture(subject, family, size)
    if kind == "recolour":
        out = operators.recoloured_sprite(texture, argument, answer)
    else:
        out = operators.on_sprite(argument, texture, answer, size / 128)
    out.setflags(write=False)
    return out


@lru_cache(maxsize=16)
def worn(argument: str, answer: int, size: int) -> Accessory:
    """The hat or the sunglasses of one answer."""
    if argument == "hat":
        return Accessory(accessory_texture(("top hat", "sun hat")[answer], size), 0, -0.44, 0.62)
    glasses = accessory_texture("dark glasses", size)
    texture = operators.dark_glasses(glasses) if answer == 0 else operators.amber_glasses(glasses)
    return Accessory(texture, 0, -0.06, 0.78)


@lru_cache(maxsize=32)
def _styled_cloud(style: str, answer: int) -> tuple[float, float, float]:
    """A style's mean colour on a flat patch of cloud."""
    patch = np.full((56, 56, 3), CLOUD, np.uint8)
    r, g, b = operators.on_layer(style, patch, answer, 1.0).reshape(-1, 3).mean(0)
    return float(r), float(g), float(b)


def dress(
    look: Look,
    edit: str,
    subject: str,
    family: int,
    answer: int,
    size: int,
    other: tuple[str, int] | None = None,
) -> Look:
    """The source's look after the edit: answer A (0) or B (1).

    Args:
        look: the source's look.
        other: the second subject and its art family, where the scene has one.
    """
    kind, argument, k = kind_of(edit), argument_of(edit), size / 128
    if kind in ("replace", "recolour", "local_style"):
        return replace(look, subject=dressed_subject(edit, subject, family, answer, size))
    if kind == "background":
        return replace(look, backdrop=backdrop(argument, answer, size))
    if kind == "accessory":
        return replace(look, accessory=worn(argument, answer, size))
    if argument in PIXEL_STYLES:
        return replace(look, finish=partial(operators.pixel_style, argument, answer=answer))
    return replace(
        look,
        canvases=tuple(operators.on_layer(argument, canvas, answer, k) for canvas in look.canvases),
        subject=dressed_subject(edit, subject, family, answer, size),
        other=None if other is None else dressed_subject(edit, *other, answer, size),
        cloud=_styled_cloud(argument, answer),
        post=None if look.post is None else operators.on_layer(argument, look.post, answer, k),
    )


def edit_mask(kind: str, subject: Plane, other: Plane, changed: Sequence[Plane], visible: Plane) -> Plane:
    """Where an edit may act, float32 in [0, 1].

    Args:
        subject: alpha of the source's subject.
        other: alpha of the second subject, which is no background either.
        changed: alpha of the subject (replace) or of the accessory (accessory) in each answer.
        visible: 1 minus the post.
    """
    if kind == "global":
        return np.ones_like(subject)
    if kind == "background":
        return (1 - subject) * (1 - other) * visible
    if kind == "accessory":
        return np.maximum.reduce(list(changed)) * visible
    if kind == "replace":
        return np.maximum.reduce([subject, *changed]) * visible
    return subject * visible


def texture_distance(a: Texture, b: Texture) -> float:
    """Root mean square difference (0-255) of two textures where either is opaque."""
    where = np.maximum(a[..., 3], b[..., 3]) > 127
    difference: NDArray[np.float64] = a[where][:, :3].astype(np.float64) - b[where][:, :3]
    return float(np.sqrt(np.mean(difference**2)))


@lru_cache(maxsize=1024)
def fits(edit: str, subject: str, family: int) -> bool:
    """Whether the edit can be asked of this subject, with answers that are told apart without doubt.

    A subject is replaced by another of its class; only animals wear things; a colour or a drawing style that
    the subject nearly has already is not asked for.
    """
    kind, argument = kind_of(edit), argument_of(edit)
    if kind == "replace":
        return argument != subject and class_of(argument) == class_of(subject)
    if kind == "accessory":
        return class_of(subject) == "animal"
    if kind in ("recolour", "local_style"):
        source = subject_texture(subject, family, 128)
        a, b = (dressed_subject(edit, subject, family, answer, 128) for answer in (0, 1))
        apart = min(texture_distance(source, a), texture_distance(source, b))
        return apart >= MARGIN_SOURCE and texture_distance(a, b) >= MARGIN_ANSWERS
    return True
