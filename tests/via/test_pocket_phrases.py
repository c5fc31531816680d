"""Every instruction of the pocket world is read as the region it is about, in words text to mask knows."""

import pytest

from data.pocket.edits import ARGUMENTS, SUBJECTS, fits, kind_of
from data.pocket.sprites import class_of
from data.pocket.training import REGIONS
from data.pocket.words import instructions, region
from via.masks.grammar import region_of


@pytest.mark.parametrize("edit", ARGUMENTS)
def test_every_phrasing_names_the_region_of_its_edit_by_the_subjects_name_or_class(edit: str) -> None:
    for subject in SUBJECTS:
        if not fits(edit, subject, 0):
            continue
        wanted = region(edit, subject)
        for phrase in instructions(edit, subject):
            found = region_of(phrase)
            if wanted is None:
                assert found is None, phrase
            else:
                assert found in (wanted, wanted.replace(subject, class_of(subject))), phrase
                assert found in REGIONS, phrase
                assert (kind_of(edit) == "accessory") == found.startswith("the head of ")
