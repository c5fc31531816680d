"""Words: every phrase the world can say is made of known words and fits the tokenizer's length."""

import numpy as np
import pytest

from data.pocket.backgrounds import SPLITS, kinds
from data.pocket.edits import ARGUMENTS, SUBJECTS, fits
from data.pocket.words import (
    LENGTH,
    VOCABULARY,
    blend_words,
    captions,
    draw_instruction,
    instructions,
    region,
    tokenize,
)


def every_phrase(edit: str) -> set[str]:
    phrases: set[str] = set()
    for subject in SUBJECTS:
        if not (fits(edit, subject, 0) or fits(edit, subject, 1)):
            continue
        other = SUBJECTS[SUBJECTS.index(subject) - 1]
        phrases |= {*instructions(edit, subject), *instructions(edit, subject, other)}
        phrases |= {region(edit, subject) or "everything"}
        for background in {b for split in SPLITS for b in kinds(split)}:
            phrases |= {*captions(subject, background, edit)}
            phrases |= {*(blend_words(edit, subject, background) or ())}
    return phrases


@pytest.mark.parametrize("edit", ARGUMENTS)
def test_every_phrase_is_made_of_known_words_and_is_not_cut(edit: str) -> None:
    phrases = every_phrase(edit)
    assert phrases
    for phrase in phrases:
        assert 1 not in tokenize(phrase), phrase
        assert tokenize(phrase)[-1] == 0 or len(phrase.split()) <= LENGTH, phrase


@pytest.mark.parametrize("edit", ARGUMENTS)
def test_drawn_instructions_are_among_the_listed_ones(edit: str) -> None:
    rng = np.random.default_rng(0)
    subject = next(s for s in SUBJECTS if fits(edit, s, 0))
    listed = {*instructions(edit, subject)}
    drawn = {draw_instruction(edit, subject, rng) for _ in range(200)}
    assert drawn <= listed
    assert len(drawn) >= 3


def test_different_edits_are_asked_for_in_different_words() -> None:
    said: dict[tuple[int, ...], str] = {}
    for edit in ARGUMENTS:
        for subject in SUBJECTS:
            if fits(edit, subject, 0):
                for phrase in instructions(edit, subject):
                    assert said.setdefault(tuple(tokenize(phrase)), edit) == edit, phrase


def test_with_two_subjects_of_a_class_the_name_is_said() -> None:
    for edit in ("replace/tiger", "recolour/blue", "accessory/hat"):
        for phrase in instructions(edit, "dog", "cat"):
            assert "dog" in phrase
            assert "animal" not in phrase


def test_case_punctuation_and_spelling_do_not_change_tokens() -> None:
    assert tokenize("Make it Japanese woodblock print.") == tokenize("make it japanese woodblock print")
    assert tokenize("an ukiyo-e print") == tokenize("a ukiyo print")
    assert tokenize("watercolour") == tokenize("watercolor")


def test_unknown_words_are_unk_and_lengths_are_constant() -> None:
    assert tokenize("qwerty") == [1] + [0] * (LENGTH - 1)
    assert len(tokenize("a " * 40)) == LENGTH
    assert tokenize("") == [0] * LENGTH
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_the_papers_instructions_are_known() -> None:
    for phrase in (
        "Change into a tiger",
        "Make it Japanese woodblock print",
        "Turn the dog into a pencil sketch",
    ):
        assert 1 not in tokenize(phrase)
