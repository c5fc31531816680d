"""Gather and swap (Eq. 4, 7, 8, 9) on a tiny U-Net of the real class."""

import pytest
import torch
import torch.nn.functional as F

from via import attention
from via.attention import GroupStore, Layers, gather, swapped
from via.backbones import Condition

BRANCHES = 3
EACH = Layers()


@pytest.fixture
def unet(backbone):
    return backbone.unet


def random_inputs(frames, *, equal_tokens=False, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(frames, 4, 8, 8, generator=generator, dtype=dtype)
    image = torch.randn(BRANCHES, frames, 4, 8, 8, generator=generator, dtype=dtype)
    tokens = torch.randn(BRANCHES, frames, 5, 16, generator=generator, dtype=dtype)
    if equal_tokens:
        tokens = tokens[:, :1].expand_as(tokens)
    return latents, Condition(image, tokens)


def predict(backbone, latents, condition):
    return backbone.predict(latents, torch.tensor(500), condition, 7.5, 1.5)


def gathered(backbone, latents, condition, **options):
    def one(j):
        return predict(backbone, latents[j : j + 1], condition[j : j + 1])

    return gather(backbone.unet, one, len(latents), BRANCHES, **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_swap_of_own_variables_equals_plain_attention(backbone, dtype, tolerance):
    """One attention call whose group is the frame itself."""
    block = backbone.unet.down_blocks[0].attentions[0].transformer_blocks[0]
    hidden = torch.randn(BRANCHES, 64, 16, dtype=dtype, generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(BRANCHES, 5, 16, dtype=dtype, generator=torch.Generator().manual_seed(1))
    try:
        block.to(dtype)
        for attn, context in ((block.attn1, None), (block.attn2, tokens)):
            store = GroupStore()
            plain = attn(hidden, context)
            source = hidden if context is None else context
            store.append("layer", attn.to_k(source), attn.to_v(source))
            with attention.attached([(attn, attention.Swap("layer", store, range(BRANCHES), False, None))]):
                swap = attn(hidden, context)
            torch.testing.assert_close(swap, plain, rtol=0, atol=tolerance * float(plain.abs().max()))
    finally:
        block.to(torch.float32)


def test_swap_of_own_variables_equals_plain_edit(backbone):
    latents, condition = random_inputs(1)
    plain, store = gathered(backbone, latents, condition)
    with swapped(backbone.unet, store, BRANCHES):
        swap = predict(backbone, latents, condition)
    torch.testing.assert_close(swap, plain, rtol=0, atol=2e-5)


def test_a_group_of_one_gathered_equals_the_plain_edit_bit_for_bit(backbone):
    latents, condition = random_inputs(1)
    outputs, _ = gathered(backbone, latents, condition)
    assert torch.equal(outputs, predict(backbone, latents, condition))


def test_the_swap_is_equation_9_for_every_frame_of_a_batch(backbone):
    """Each frame alone, with the softmax written out over the joined keys of the group."""
    attn = backbone.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(BRANCHES * 2, 64, 16, generator=generator)  # two frames
    keys, values = torch.randn(2, 3, BRANCHES, 64, 16, generator=generator)  # three group frames
    store = GroupStore()
    for key, value in zip(keys, values):
        store.append("layer", key, value)
    with attention.attached([(attn, attention.Swap("layer", store, range(BRANCHES), False, None))]):
        swap = attn(hidden).unflatten(0, (BRANCHES, 2))
    for branch in range(BRANCHES):
        key, value = keys[:, branch].flatten(0, 1), values[:, branch].flatten(0, 1)
        for frame in range(2):
            query = attn.to_q(hidden.unflatten(0, (BRANCHES, 2))[branch, frame])
            heads = []
            for q, k, v in zip(
                query.chunk(attn.heads, -1), key.chunk(attn.heads, -1), value.chunk(attn.heads, -1)
            ):
                heads.append(F.softmax(q @ k.T / q.shape[-1] ** 0.5, dim=-1) @ v)
            expected = attn.to_out[0](torch.cat(heads, dim=-1))
            torch.testing.assert_close(swap[branch, frame], expected, rtol=1e-5, atol=1e-6)


def test_gathering_keeps_variables_that_depend_on_the_frames_before(backbone):
    """Eq. 8 stores K_curr of hidden states that already met the group."""
    latents, condition = random_inputs(3)
    _, chained = gathered(backbone, latents, condition)
    _, alone = gathered(backbone, latents, condition, chained=False)
    last = attention.attention_layers(backbone.unet, EACH)[-2][0]
    key, plain = chained.context(last)[0], alone.context(last)[0]
    tokens = key.shape[1] // 3
    assert key.shape == (BRANCHES, 3 * tokens, key.shape[2])
    assert torch.equal(key[:, :tokens], plain[:, :tokens])  # the first frame is edited as it is
    assert not torch.allclose(key[:, tokens:], plain[:, tokens:], atol=1e-3)


def test_the_preceding_context_is_the_last_frame_alone_and_differs_from_all(backbone):
    latents, condition = random_inputs(3)
    every, _ = gathered(backbone, latents, condition, context="all")
    preceding, _ = gathered(backbone, latents, condition, context="preceding")
    torch.testing.assert_close(every[:2], preceding[:2], rtol=0, atol=1e-5)  # one frame before: the same
    assert not torch.allclose(every[2], preceding[2], atol=1e-3)


def test_a_frame_sees_nothing_of_its_batch_mates(backbone):
    latents, condition = random_inputs(4)
    _, store = gathered(backbone, latents[:2], condition[:2])
    with swapped(backbone.unet, store, BRANCHES):
        together = predict(backbone, latents, condition)
        apart = torch.cat([predict(backbone, latents[i : i + 1], condition[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, apart, rtol=0, atol=2e-5)


def test_equal_conditions_make_cross_attention_swap_change_nothing(backbone):
    latents, condition = random_inputs(4, equal_tokens=True)
    cross = Layers(self_attention=False)
    _, store = gathered(backbone, latents, condition, layers=cross)
    with swapped(backbone.unet, store, BRANCHES, cross):
        swap = predict(backbone, latents, condition)
    torch.testing.assert_close(swap, predict(backbone, latents, condition), rtol=0, atol=2e-5)


def test_different_conditions_make_cross_attention_swap_act(backbone):
    latents, condition = random_inputs(4)
    cross = Layers(self_attention=False)
    _, store = gathered(backbone, latents, condition, layers=cross)
    with swapped(backbone.unet, store, BRANCHES, cross):
        swap = predict(backbone, latents, condition)
    assert (swap - predict(backbone, latents, condition)).abs().max() > 1e-2


def test_own_variables_appended_are_equation_4(backbone):
    """Eq. 4 over [own, group] equals Eq. 9 on a group that has the frame itself in front."""
    latents, condition = random_inputs(2)
    one = Layers(cross_attention=False, blocks=(0,))
    _, own = gathered(backbone, latents[:1], condition[:1], layers=one)
    _, other = gathered(backbone, latents[1:], condition[1:], layers=one)
    both = GroupStore()
    for name, _attn in attention.attention_layers(backbone.unet, one):
        both.append(name, *own.context(name))
        both.append(name, *other.context(name))
    with swapped(backbone.unet, other, BRANCHES, one, own=True):
        appended = predict(backbone, latents[:1], condition[:1])
    with swapped(backbone.unet, both, BRANCHES, one):
        joined = predict(backbone, latents[:1], condition[:1])
    torch.testing.assert_close(appended, joined, rtol=0, atol=2e-5)


def test_branches_that_are_not_swapped_are_edited_plainly(backbone):
    latents, condition = random_inputs(3)
    only = Layers(branches=(0,))
    _, store = gathered(backbone, latents[:2], condition[:2], layers=only)

    def rows():
        stacked = torch.cat([latents.repeat(BRANCHES, 1, 1, 1), condition.image_latents.flatten(0, 1)], dim=1)
        tokens = condition.tokens.flatten(0, 1)
        return backbone.unet(stacked, 500, tokens, return_dict=False)[0].unflatten(0, (BRANCHES, 3))

    plain = rows()
    with swapped(backbone.unet, store, BRANCHES, only):
        swap = rows()
    torch.testing.assert_close(swap[1:], plain[1:], rtol=0, atol=1e-5)
    assert (swap[0] - plain[0]).abs().max() > 1e-3


def test_no_keys_and_values_are_projected_where_they_are_not_used(backbone):
    latents, condition = random_inputs(2)
    _, store = gathered(backbone, latents, condition)
    projections = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: projections.append(name))
        for name, module in backbone.unet.named_modules()
        if name.endswith((".to_k", ".to_v"))
    ]
    with swapped(backbone.unet, store, BRANCHES):
        predict(backbone, latents, condition)
    for hook in hooks:
        hook.remove()
    assert projections == []


def test_processors_are_those_found_also_after_an_exception(backbone):
    unet = backbone.unet
    before = {name: attn.processor for name, attn in attention.attention_layers(unet, EACH)}
    latents, condition = random_inputs(2)
    _, store = gathered(backbone, latents, condition)

    def fails(j):
        if j == 1:
            raise RuntimeError("stopped on purpose")
        return predict(backbone, latents[:1], condition[:1])

    with pytest.raises(RuntimeError, match="on purpose"):
        gather(unet, fails, 2, BRANCHES)
    with pytest.raises(RuntimeError, match="on purpose"), swapped(unet, store, BRANCHES):
        raise RuntimeError("stopped on purpose")
    after = {name: attn.processor for name, attn in attention.attention_layers(unet, EACH)}
    assert all(after[name] is processor for name, processor in before.items())


def test_blocks_are_counted_in_network_order(backbone):
    names = [name.split(".")[0] for name, _ in attention.attention_layers(backbone.unet, EACH)]
    assert names == sorted(names, key=["down_blocks", "mid_block", "up_blocks"].index)
    chosen = attention.attention_layers(backbone.unet, Layers(blocks=(1,)))
    assert [name.split(".")[0] for name, _ in chosen] == ["mid_block", "mid_block"]
