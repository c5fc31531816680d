"""The words of the pocket world: instructions, captions, region phrases, and the word-level tokenizer."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np

from data.pocket.backgrounds import place
from data.pocket.edits import ARGUMENTS, KINDS, SUBJECTS, argument_of, kind_of
from data.pocket.sprites import class_of

__all__ = ["ARGUMENTS", "KINDS", "SUBJECTS", "VOCABULARY", "captions", "instructions", "tokenize"]

LENGTH = 12  # tokens

TEMPLATES: dict[str, tuple[str, ...]] = {
    "replace": (
        "change the {n} into a {t}",
        "turn the {n} into a {t}",
        "replace the {n} with a {t}",
        "make the {n} a {t}",
        "change into a {t}",
    ),
    "recolour": (
        "make the {n} {t}",
        "paint the {n} {t}",
        "turn the {n} {t}",
        "change the color of the {n} to {t}",
    ),
    "local_style": ("turn the {n} into {t}", "make the {n} look like {t}", "draw the {n} as {t}"),
    "background": (
        "change the background to {t}",
        "replace the background with {t}",
        "put the {n} on {t}",
        "make the background {t}",
    ),
    "accessory": ("put {t} on the {n}", "give the {n} {t}", "add {t} to the {n}", "the {n} wears {t}"),
    "global": ("make it {t}", "turn it {t}", "turn the video into {t}", "{t}"),
}
SYNONYMS: dict[str, tuple[str, ...]] = {
    "local_style/pencil sketch": ("a pencil sketch", "a pencil drawing"),
    "local_style/low poly": ("low poly", "low poly art"),
    "local_style/japanese woodblock print": ("a japanese woodblock print", "a ukiyo print"),
    "background/beach": ("a beach",),
    "background/snowy mountain": ("a snowy mountain",),
    "background/monet water lilies": ("monet water lilies",),
    "accessory/hat": ("a hat",),
    "global/black and white": ("black and white", "monochrome"),
    "global/pencil sketch": ("pencil sketch", "a pencil sketch", "a pencil drawing"),
    "global/low poly": ("low poly", "low poly art"),
    "global/japanese woodblock print": (
        "japanese woodblock print",
        "a japanese woodblock print",
        "ukiyo print",
    ),
    "global/watercolor": ("watercolor", "a watercolor painting"),
    "global/van gogh": ("van gogh", "a van gogh painting", "van gogh style"),
}
WHOLE: dict[str, tuple[str, ...]] = {  # sentences beside the templates
    "global/black and white": ("make the video monochrome",),
    "global/sepia": ("make it an old sepia photograph",),
    "global/sunset": ("change the time to sunset",),
    "global/night": ("turn day into night", "change the time to night"),
    "global/snow": ("add snow", "make it winter"),
}
PLACES = {
    "field": "in a field",
    "desert": "in a desert",
    "forest": "in a forest",
    "sea": "at the sea",
    "city": "in a city",
    "street": "in a street",
    "room": "in a room",
    "photo": "in a photo",
    "film": "in a film",
}

# Weights are trained on these indices: append words to the file, never reorder them.
VOCABULARY = ("<pad>", "<unk>", *files("data.pocket").joinpath("vocabulary.txt").read_text().split())
_INDEX = {word: i for i, word in enumerate(VOCABULARY)}
_SAME = {"colour": "color", "watercolour": "watercolor", "clip": "video", "an": "a", "grey": "gray"}


def tokenize(text: str, length: int = LENGTH) -> list[int]:
    """`length` word indices, padded or cut: lower case, punctuation dropped, unknown words `<unk>`."""
    words = re.findall(r"[a-z]+", text.lower().replace("ukiyo-e", "ukiyo"))
    tokens = [_INDEX.get(_SAME.get(word, word), 1) for word in words[:length]]
    return tokens + [0] * (length - len(tokens))


def names(subject: str, other: str | None = None) -> tuple[str, ...]:
    """What an instruction may call the subject: its class only where no second subject is of that class."""
    kind = class_of(subject)
    return (subject,) if other is not None and class_of(other) == kind else (subject, kind)


def instructions(edit: str, subject: str, other: str | None = None) -> tuple[str, ...]:
    """Every phrasing of an edit, for a clip of `subject` (and `other`)."""
    kind = kind_of(edit)
    said = SYNONYMS.get(edit, (argument_of(edit),))
    phrases = [
        template.format(n=name, t=word)
        for template in TEMPLATES[kind]
        for word in said
        for name in (names(subject, other) if "{n}" in template else names(subject, other)[:1])
        if other is None or "{n}" in template or kind in ("global", "background")
    ]
    return tuple(dict.fromkeys((*phrases, *WHOLE.get(edit, ()))))


def draw_instruction(edit: str, subject: str, rng: np.random.Generator, other: str | None = None) -> str:
    """One phrasing; 70 % of those that name the subject use its own name, 30 % its class."""
    whole = WHOLE.get(edit, ())
    templates = TEMPLATES[kind_of(edit)]
    if other is not None and kind_of(edit) == "replace":
        templates = tuple(t for t in templates if "{n}" in t)
    choice = int(rng.integers(len(templates) + len(whole)))
    if choice >= len(templates):
        return whole[choice - len(templates)]
    said = SYNONYMS.get(edit, (argument_of(edit),))
    called = names(subject, other)
    name = called[-1] if rng.random() < 0.3 else called[0]
    return templates[choice].format(n=name, t=said[int(rng.integers(len(said)))])


def region(edit: str, subject: str) -> str | None:
    """The phrase for where the edit acts; None for the whole frame."""
    kind = kind_of(edit)
    if kind == "global":
        return None
    if kind == "background":
        return "the background"
    return f"the head of the {subject}" if kind == "accessory" else f"the {subject}"


def _said(edit: str) -> str:
    return SYNONYMS.get(edit, (argument_of(edit),))[-1 if edit == "local_style/low poly" else 0]


def captions(subject: str, background: str, edit: str | None = None) -> tuple[str, str]:
    """The captions before and after an edit (twice the same without one)."""
    where = PLACES[place(background)]
    source = f"a {subject} {where}"
    if edit is None:
        return source, source
    kind, argument = kind_of(edit), argument_of(edit)
    target = {
        "replace": f"a {argument} {where}",
        "recolour": f"a {argument} {subject} {where}",
        "local_style": f"a {argument} of a {subject} {where}",
        "background": f"a {subject} on {_said(edit)}",
        "accessory": f"{source} wearing {_said(edit)}",
        "global": f"{source} in {argument} style",
    }[kind]
    return source, target


def blend_words(edit: str, subject: str, background: str) -> tuple[str, str] | None:
    """The word of the source caption that changes, and what it becomes; None where a word is only added."""
    kind, argument = kind_of(edit), argument_of(edit)
    if kind == "replace":
        return subject, argument
    if kind == "background":
        return place(background), argument.split()[-1]
    return (subject, subject) if kind in ("recolour", "local_style", "accessory") else None
