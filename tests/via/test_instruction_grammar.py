"""The region that an instruction names: the pocket world's phrasings and ordinary English."""

import pytest

from via.masks.grammar import region_of

LOCAL = {
    # replacing the subject
    "change the dog into a tiger": "the dog",
    "turn the dog into a tiger": "the dog",
    "replace the dog with a tiger": "the dog",
    "make the dog a tiger": "the dog",
    "Change into a tiger": "the animal",
    "change into a bus": "the vehicle",
    "Turn into a robot": "the person",
    "Replace the animal with a tiger": "the animal",
    "swap the red car for a tractor": "the red car",
    "replace dogs with cats": "the dogs",
    # recolouring
    "make the dog blue": "the dog",
    "Make the dog black": "the dog",
    "paint the car red": "the car",
    "turn the vehicle green": "the vehicle",
    "change the color of the panda to purple": "the panda",
    "change the colour of the old car to bright red": "the old car",
    "make the old car bright red": "the old car",
    "make the dog happy": "the dog",
    "dye her hair pink": "the hair",
    # local stylisation
    "turn the dog into a pencil sketch": "the dog",
    "make the dog look like a low poly": "the dog",
    "draw the dog as a japanese woodblock print": "the dog",
    "turn him into a robot": "the person",
    # the background
    "change the background to a beach": "the background",
    "replace the background with a snowy mountain": "the background",
    "put the dog on a beach": "the background",
    "Place the dog on Monet's water lilies": "the background",
    "make the background a beach": "the background",
    # accessories
    "put a hat on the dog": "the head of the dog",
    "give the dog sunglasses": "the head of the dog",
    "give the dog a hat": "the head of the dog",
    "add a hat to the panda": "the head of the panda",
    "the dog wears a hat": "the head of the dog",
    "make the man wear sunglasses": "the head of the man",
    "give him a beard": "the head of the person",
    "put a scarf on the dog": "the dog",
    # parts of a scene
    "make the sky purple": "the sky",
    "add clouds to the sky": "the sky",
    "remove the car": "the car",
}
GLOBAL = [
    "make it black and white",
    "turn it sepia",
    "turn the video into a pencil sketch",
    "black and white",
    "Van Gogh style",
    "in low poly art style",
    "Make it Japanese woodblock print",
    "turn day into night",
    "change the time to sunset",
    "Set the time to sunset",
    "add snow",
    "add snow to the scene",
    "make it winter",
    "make the video monochrome",
    "make it an old sepia photograph",
    "change the style of the video to watercolour",
    "make the whole scene look like a painting",
    "change the season to winter",
    "turn it into night",
    "Make it look like a Van Gogh painting",
    "",
]


@pytest.mark.parametrize(("instruction", "region"), LOCAL.items())
def test_a_local_edit_names_its_region(instruction, region):
    assert region_of(instruction) == region


@pytest.mark.parametrize("instruction", GLOBAL)
def test_a_global_edit_names_the_whole_frame(instruction):
    assert region_of(instruction) is None


@pytest.mark.parametrize("form", [str.upper, str.title, lambda text: f"  Please {text}!  "])
def test_case_courtesy_and_punctuation_do_not_matter(form):
    assert region_of(form("replace the dog with a tiger")) == "the dog"
