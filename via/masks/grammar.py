"""Which part of the frame an instruction edits, from its words alone.

It knows the usual forms of editing instructions ("change the X into ...", "put a hat on the X", "make it
...") and which nouns stand for the whole frame; a vision-language model, where there is one, takes its place.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from data.types import Clip, Frame, UserError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GLOBAL = _words(
    """
    it this everything all whole video clip film movie footage scene picture image photo photograph
    frame frames shot style time day night season weather light lighting mood atmosphere colors colours
    tone world setting
    """
)
PRONOUNS = {
    "him": "the person",
    "her": "the person",
    "them": "the people",
    "he": "the person",
    "she": "the person",
}
ANIMALS = _words(
    """
    animal tiger lion cat dog wolf fox bear panda monkey ape gorilla horse zebra cow pig sheep goat
    rabbit mouse koala leopard cheetah elephant giraffe deer bird owl duck chicken penguin frog dragon
    unicorn raccoon hamster puppy kitten lizard snake fish shark dolphin whale turtle dinosaur
    """
)
VEHICLES = _words(
    """
    vehicle car bus truck lorry van taxi tractor train tram bicycle bike motorcycle scooter boat ship
    plane aeroplane airplane helicopter rocket ambulance jeep
    """
)
PEOPLE = _words(
    """
    person man woman boy girl child robot soldier astronaut clown king queen princess knight
    """
)
ON_THE_HEAD = _words(
    """
    hat cap crown helmet sunglasses glasses goggles mask headphones earrings beard moustache mustache
    wig bow hood halo horns beanie hair hairstyle makeup
    """
)
SUBJECTLESS_ADDITIONS = _words(
    """
    snow rain fog mist smoke fire clouds sunlight sunshine darkness noise grain lightning snowfall dust
    fireworks
    """
)
ARTICLES = {"a", "an", "some", "two", "several"}
DETERMINERS = {"the", "this", "that", "these", "those", "his", "her", "its", "their", "my", "our", "your"}
STOPS = _words(
    """
    into to with by as like look looks be wear wearing become for from in on
    """
)
MODIFIERS = _words(
    """
    red blue green purple yellow orange pink black white grey gray brown golden gold silver bright dark
    light deep pale very more less much completely fully all younger older bigger smaller blonde bald
    wooden metallic transparent
    """
)
CHANGES = _words(
    """
    change turn replace make paint draw color colour transform convert swap dye recolor recolour render
    restyle edit set
    """
)


class GrammarOnly:
    """A Masker that reads instructions and sees nothing: enough for edits of the whole frame."""

    name = "grammar"

    def region(self, frame: Frame, instruction: str) -> str | None:
        return region_of(instruction)

    def masks(self, clip: Clip, phrase: str) -> NDArray[np.float32]:
        """Raises UserError: finding a phrase in pictures needs a model."""
        raise UserError(f"no model here finds {phrase} in pictures: give --mask FILE, or use --region whole")


def region_of(instruction: str) -> str | None:
    """The region to edit as a phrase, or None when the whole frame is edited.

    >>> region_of("Replace the animal with a tiger")
    'the animal'
    >>> region_of("Put a hat on the old dog")
    'the head of the old dog'
    >>> region_of("Place the dog on Monet's water lilies")
    'the background'
    >>> region_of("Change into a tiger")
    'the animal'
    >>> region_of("Make it Japanese woodblock print") is None
    True
    """
    words = re.sub(r"[^\w\s'-]", " ", instruction.lower()).split()
    while words and words[0] in ("please", "now", "can", "could", "you", "and"):
        words = words[1:]
    if not words:
        return None
    verb, rest = words[0], words[1:]
    for rule in (_wears, _background, _added, _given, _removed, _subjectless, _changed):
        found = rule(verb, rest)
        if found is not _NO:
            return found
    return None


_NO = "no rule"


def _wears(verb: str, rest: list[str]) -> str | None:
    """the dog wears a hat; make the dog wear a hat; dress the man in a suit"""
    words = [verb, *rest]
    for word in ("wears", "wear", "wearing"):
        if word in words:
            at = words.index(word)
            before = words[:at]
            start = next((i for i, w in enumerate(before) if w in DETERMINERS), None)
            owner = " ".join(before[start + 1 :]) if start is not None else "subject"
            return _worn(words[at + 1 :], f"the {owner}")
    return _NO


def _background(verb: str, rest: list[str]) -> str | None:
    """change the background to a beach; put the dog on a beach"""
    if "background" in rest[:3] or "backdrop" in rest[:3]:
        return "the background"
    places = {"on", "in", "at", "onto", "into", "under", "beside", "before", "near", "to", "inside"}
    moved = verb in ("put", "place", "move", "set", "drop", "bring", "send")
    if moved and len(rest) > 2 and rest[0] in DETERMINERS:
        noun = _noun(rest)
        if noun and noun.split()[-1] not in GLOBAL and places & set(rest[1 + len(noun.split()) :]):
            return "the background"
    return _NO


def _added(verb: str, rest: list[str]) -> str | None:
    """put a hat on the dog; add sunglasses to the dog; add snow"""
    if verb not in ("put", "add", "place", "draw", "attach", "wear"):
        return _NO
    for link in ("on", "to", "onto", "over", "around", "in"):
        if link in rest and rest[0] not in DETERMINERS:
            at = rest.index(link)
            owner = _noun(rest[at + 1 :])
            if owner is None or owner.split()[-1] in GLOBAL:
                return None
            return _worn(rest[:at], _phrase(owner))
    if verb == "draw" or not rest or rest[0] in DETERMINERS:
        return _NO
    if rest[-1] in SUBJECTLESS_ADDITIONS:
        return None
    return _worn(rest, "the animal") if rest[-1] in ON_THE_HEAD else None


def _given(verb: str, rest: list[str]) -> str | None:
    """give the dog a hat; give him a beard"""
    if verb != "give" or not rest:
        return _NO
    if rest[0] in PRONOUNS:
        return _worn(rest[1:], PRONOUNS[rest[0]])
    owner: list[str] = []
    for word in rest[1:] if rest[0] in DETERMINERS else rest:
        if word in ARTICLES or (owner and word in ON_THE_HEAD):
            break
        owner.append(word)
    if not owner or owner[-1] in GLOBAL:
        return None
    return _worn(rest[len(owner) :], _phrase(" ".join(owner)))


def _removed(verb: str, rest: list[str]) -> str | None:
    """remove the dog"""
    if verb not in ("remove", "delete", "erase", "hide", "blur"):
        return _NO
    noun = _noun(rest)
    return None if noun is None or noun.split()[-1] in GLOBAL else _phrase(noun)


def _subjectless(verb: str, rest: list[str]) -> str | None:
    """change into a tiger: the subject is not named, what it becomes says of which class it is"""
    if verb not in CHANGES or not rest or rest[0] not in ("into", "to"):
        return _NO
    target = rest[-1]
    if target in ANIMALS:
        return "the animal"
    if target in VEHICLES:
        return "the vehicle"
    if target in PEOPLE:
        return "the person"
    return None


def _changed(verb: str, rest: list[str]) -> str | None:
    """change | turn | make | paint ... the dog ...; change the color of the dog to red"""
    if verb not in CHANGES or not rest:
        return _NO
    owns = rest[0] == "her" and len(rest) > 1 and rest[1] not in STOPS | ARTICLES | MODIFIERS
    if rest[0] in PRONOUNS and not owns:
        return PRONOUNS[rest[0]]
    if (
        "of" in rest
        and rest.index("of") <= 3
        and any(w.startswith(("colo", "style", "look")) for w in rest[:3])
    ):
        rest = rest[rest.index("of") + 1 :]
    bare = rest[0] not in DETERMINERS
    if bare and not (verb in ("replace", "swap") and ({"with", "for", "by"} & set(rest))):
        return None
    noun = _noun(rest)
    if noun is None or noun.split()[-1] in GLOBAL or noun.split()[0] in ("whole", "entire"):
        return None
    if verb == "turn" and noun.split()[-1] in ("day", "night"):
        return None
    return _phrase(noun)


def _noun(words: list[str]) -> str | None:
    """The noun phrase that `words` begin with, bare: "old dog" of "the old dog into a cat"."""
    if words and words[0] in DETERMINERS | ARTICLES:
        words = words[1:]
    noun: list[str] = []
    for position, word in enumerate(words):
        if word in STOPS or word in ARTICLES or (word in DETERMINERS and position):
            break
        noun.append(word)
    stopped = len(noun) < len(words)
    while len(noun) > 1 and noun[-1] in MODIFIERS:
        noun.pop()
        stopped = True
    if len(noun) > 1 and not stopped and len(noun) == len(words):
        noun.pop()  # "make the dog happy": the last word is what the dog becomes
    return " ".join(noun) or None


def _phrase(noun: str) -> str:
    return noun if noun.startswith("the ") else f"the {noun}"


def _worn(thing: list[str], owner: str) -> str:
    return f"the head of {owner}" if ON_THE_HEAD & set(thing) else owner
