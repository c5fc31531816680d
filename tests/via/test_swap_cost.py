"""The count of what swapping costs."""

import pytest

from via.flops import stable_diffusion_unet, swap_cost


def test_an_editor_of_stable_diffusions_size_costs_what_was_counted_by_hand():
    """803 GFLOP a forward at 512 x 512; a swapped self-attention has four times the keys and no projections
    of them."""
    cost = swap_cost(stable_diffusion_unet(), (64, 64), (77, 768), frames=1)
    assert cost.plain.total / 1e9 == pytest.approx(803, abs=1)
    assert cost.ratio == pytest.approx(1.435, abs=0.005)
    tokens, width = 64 * 64, 320
    projections, products = 2 * tokens * width * width, 4 * tokens * tokens * width
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    assert cost.plain.layers[name] == 4 * projections + products
    assert cost.swapped.layers[name] == 2 * projections + 4 * products


def test_the_ratio_grows_with_the_group(backbone):
    ratios = [swap_cost(backbone.unet, (8, 8), (12, 16), group).ratio for group in (1, 2, 8)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1  # a group of one saves the projections
