"""Local latent adaptation: Eq. 6 by hand, and the latent mask."""

import pytest
import torch

from via.local import blend, latent_mask, source_weight

# Edit cells of a 1 x 5 strip: the middle one.
MASK = torch.tensor([0, 0, 1, 0, 0]).bool().view(1, 1, 1, 5)


def weights(step, schedule="progressive", area="whole"):
    return source_weight(MASK, step, 4, schedule, area).flatten().tolist()


def test_progressive_weights_are_the_share_of_steps_done_outside_and_zero_inside():
    assert weights(1) == [0.25, 0.25, 0, 0.25, 0.25]
    assert weights(3) == [0.75, 0.75, 0, 0.75, 0.75]
    assert weights(4) == [1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("schedule", "at_each_step"),
    [("constant", [1, 1, 1, 1]), ("last_step", [0, 0, 0, 1]), ("off", [0, 0, 0, 0])],
)
def test_other_schedules_by_hand(schedule, at_each_step):
    for step, share in enumerate(at_each_step, start=1):
        assert weights(step, schedule) == [share, share, 0, share, share]


def test_the_inside_area_leaves_cells_beside_the_region_to_the_edit():
    assert weights(2, area="inside") == [0.5, 0, 0, 0, 0.5]


def test_the_object_area_keeps_the_source_outside_and_lets_the_edit_grow():
    assert weights(1, area="object") == [1, 1, 0.75, 1, 1]
    assert weights(4, area="object") == [1, 1, 0, 1, 1]


@pytest.mark.parametrize("area", ["whole", "object"])
@pytest.mark.parametrize("schedule", ["progressive", "constant", "last_step"])
def test_after_the_last_step_cells_outside_are_the_source_bit_for_bit(schedule, area):
    generator = torch.Generator().manual_seed(0)
    edited, source = torch.randn(2, 3, 4, 1, 5, generator=generator)
    result = blend(edited, source, MASK, 4, 4, schedule, area)
    outside = ~MASK.expand_as(result)
    assert torch.equal(result[outside], source[outside])
    assert torch.equal(result[~outside], edited[~outside])


def test_weights_are_not_compounded_over_steps():
    """Blending at step 2 after blending at step 1 uses 2 / 4, not 1 / 4 x 2 / 4 or their sum."""
    zero, one = torch.zeros(1, 1, 1, 5), torch.ones(1, 1, 1, 5)
    once = blend(zero, one, MASK, 1, 4)
    assert blend(once, one, MASK, 2, 4).flatten()[0] == 0.25 + 0.5 * 0.75


def test_a_cell_is_edit_if_any_of_its_pixels_is():
    masks = torch.zeros(1, 1, 8, 8)
    masks[0, 0, 0, 7] = 1
    assert latent_mask(masks, 4).int().flatten().tolist() == [0, 1, 0, 0]


def test_growing_adds_rings_of_cells():
    masks = torch.zeros(1, 1, 20, 20)
    masks[0, 0, 8, 8] = 1  # the cell at (2, 2) of 5 x 5
    assert [int(latent_mask(masks, 4, grow).sum()) for grow in (0, 1, 2)] == [1, 9, 25]
