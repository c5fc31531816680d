"""Test-time editing adaptation: the tuning set of Eq. 5, and a backbone that is left as it was found."""

import copy
import math

import pytest
import torch

from data.types import UserError
from via.tuning import Adapter, AffineRanges, adapted, affine_matrices, affine_pairs, tune, tuned, warp

STILL = AffineRanges(rotation=0, translation=0, crop=(1.0, 1.0), shear=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pairs():
    source = torch.rand(3, 16, 16, generator=generator(1))
    return affine_pairs(source, 1 - source, 4, generator(2))


def state(unet):
    return {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in unet.state_dict().items()}


def assert_as_found(unet, before, modules, flags):
    after = unet.state_dict()
    assert after.keys() == before.keys()
    for name, (pointer, tensor) in before.items():
        assert after[name].data_ptr() == pointer, name
        assert torch.equal(after[name], tensor), name
    assert [id(module) for module in unet.modules()] == modules
    assert {name: p.requires_grad for name, p in unet.named_parameters()} == flags
    assert all(p.grad is None for p in unet.parameters())


def found(unet):
    return (
        state(unet),
        [id(module) for module in unet.modules()],
        {name: p.requires_grad for name, p in unet.named_parameters()},
    )


def test_source_and_edit_of_a_pair_are_under_the_same_matrix():
    source = torch.rand(3, 24, 32, generator=generator())
    sources, edits = affine_pairs(source, source * 0.5 + 0.25, 8, generator(1))
    torch.testing.assert_close(edits, sources * 0.5 + 0.25)
    assert (sources[0] - sources[1]).abs().max() > 0.1  # and pairs differ from each other


def test_without_ranges_the_pair_is_the_root_itself():
    source = torch.rand(3, 24, 32, generator=generator())
    sources, _ = affine_pairs(source, source, 2, generator(), STILL)
    torch.testing.assert_close(sources[1], source, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (AffineRanges(10, 0, (1, 1), 0), lambda m: math.degrees(math.atan2(m[1, 0], m[0, 0]))),
        (AffineRanges(0, 0, (1, 1), 10), lambda m: math.degrees(math.atan(m[0, 1]))),
        (AffineRanges(0, 0.1, (1, 1), 0), lambda m: float(m[0, 2]) / 0.32),
    ],
)
def test_each_transformation_fills_its_range_and_stays_inside(ranges, expected):
    values = torch.tensor([expected(m) for m in affine_matrices(400, (24, 32), generator(), ranges)])
    assert -10.0001 <= values.min() < -9 < 9 < values.max() <= 10.0001


def test_the_crop_keeps_the_given_share_and_lies_inside_the_frame():
    ranges = AffineRanges(0, 0, (0.75, 1.0), 0)
    for matrix in affine_matrices(200, (24, 32), generator(), ranges):
        kept = torch.linalg.inv(matrix)
        assert 0.75 <= kept[0, 0] <= 1.0001
        corners = torch.tensor([[-16.0, -12, 1], [16, 12, 1]]) @ kept.T
        assert corners[:, 0].abs().max() <= 16.001
        assert corners[:, 1].abs().max() <= 12.001


def test_the_order_is_rotation_translation_crop_shear():
    """Recomposed from the draws by hand."""
    ranges = AffineRanges(20, 0.2, (0.8, 0.8), 15)
    draws = (2 * torch.rand(7, generator=generator(3)) - 1).tolist()
    matrix = affine_matrices(1, (24, 32), generator(3), ranges)[0]
    a = math.radians(20 * draws[0])
    point = torch.tensor([3.0, -2.0])
    rotated = torch.tensor(
        [math.cos(a) * 3 - math.sin(a) * -2, math.sin(a) * 3 + math.cos(a) * -2]
    )  # about the centre
    moved = rotated + torch.tensor([draws[1] * 0.2 * 32, draws[2] * 0.2 * 24])
    corner = torch.tensor([draws[4] * 0.2 * 16, draws[5] * 0.2 * 12])
    cropped = (moved - corner) / 0.8
    sheared = cropped + torch.tensor([math.tan(math.radians(15 * draws[6])) * cropped[1], 0])
    torch.testing.assert_close((matrix @ torch.tensor([*point, 1.0]))[:2], sheared, rtol=1e-5, atol=1e-4)


def test_a_translated_picture_moves_by_whole_pixels_and_is_reflected_at_the_edge():
    picture = torch.arange(12.0).view(1, 1, 12).expand(3, 4, 12) / 12
    shift = torch.eye(3)
    shift[0, 2] = 2
    moved = warp(picture, shift[None])[0]
    torch.testing.assert_close(moved[0, 0, 2:], picture[0, 0, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[0, 0, :2], picture[0, 0, [1, 0]], rtol=0, atol=1e-5)


def test_the_crop_fill_shows_nothing_from_beyond_the_edge():
    ranges = AffineRanges(fill="crop")
    for matrix in affine_matrices(200, (24, 32), generator(), ranges):
        corners = torch.tensor([[x, y, 1.0] for x in (-16, 16) for y in (-12, 12)])
        reached = corners @ torch.linalg.inv(matrix).T
        assert reached[:, 0].abs().max() <= 16.01
        assert reached[:, 1].abs().max() <= 12.01


@pytest.mark.parametrize("method", ["lora", "full"])
def test_tuning_lowers_the_editors_own_loss(backbone, pairs, method):
    def loss():
        with torch.no_grad():
            draws = [
                backbone.training_loss(*pairs, "make it blue", generator(9 + i), False) for i in range(8)
            ]
        return float(torch.stack(draws).mean())

    before = loss()
    with tuned(backbone, pairs, "make it blue", generator(3), method=method, steps=30, lr=5e-3):
        after = loss()
    assert after < 0.95 * before
    assert loss() == before


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_are_as_found_bit_for_bit(backbone, pairs, method):
    before = found(backbone.unet)
    with tuned(backbone, pairs, "make it blue", generator(3), method=method, steps=2):
        changed = [
            name
            for name, tensor in backbone.unet.state_dict().items()
            if not torch.equal(tensor, before[0][name][1])
        ]
    assert changed
    assert_as_found(backbone.unet, *before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_are_as_found_after_an_exception_inside_the_block(backbone, pairs, method):
    before = found(backbone.unet)
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        tuned(backbone, pairs, "make it blue", generator(3), method=method, steps=2),
    ):
        raise RuntimeError("stopped on purpose")
    assert_as_found(backbone.unet, *before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_are_as_found_after_an_exception_while_tuning(backbone, pairs, method):
    before = found(backbone.unet)

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(backbone, pairs, "make it blue", generator(3), method=method, steps=3, report=interrupt)
    assert_as_found(backbone.unet, *before)


def test_lora_touches_attention_projections_only(backbone, pairs):
    with tuned(backbone, pairs, "make it blue", generator(3), steps=2):
        tuned_weights = copy.deepcopy(backbone.unet.state_dict())
    changed = {
        name
        for name, tensor in backbone.unet.state_dict().items()
        if not torch.equal(tensor, tuned_weights[name])
    }
    assert changed
    assert all(".to_" in name and name.endswith(".weight") for name in changed)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_saved_adapter_gives_the_same_editor(backbone, pairs, method, tmp_path):
    adapter = tune(backbone, pairs, "make it blue", generator(3), method=method, steps=2)
    adapter.save(tmp_path / "adapter")
    with adapted(backbone.unet, adapter):
        first = copy.deepcopy(backbone.unet.state_dict())
    with adapted(backbone.unet, Adapter.load(tmp_path / "adapter")):
        second = copy.deepcopy(backbone.unet.state_dict())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_generator_tunes_to_the_same_bits(backbone, pairs):
    one, two = (tune(backbone, pairs, "make it blue", generator(3), steps=3) for _ in range(2))
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_an_adapter_of_another_network_is_refused(backbone, pairs):
    adapter = Adapter(8, {"elsewhere.lora_A.default.weight": torch.zeros(8, 4)})
    before = found(backbone.unet)
    with pytest.raises(UserError, match="another U-Net"), adapted(backbone.unet, adapter):
        pass
    assert_as_found(backbone.unet, *before)


def test_a_file_that_is_no_adapter_is_refused_in_one_line(tmp_path):
    (tmp_path / "adapter").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="not an adapter"):
        Adapter.load(tmp_path / "adapter")


def test_dropout_is_the_editors_own(backbone, pairs):
    """The same draws with and without it differ: of 64 samples some lose their condition."""
    with torch.no_grad():
        repeated = [part[:1].expand(64, -1, -1, -1) for part in pairs]
        kept = backbone.training_loss(*repeated, "make it blue", generator(4), dropout=False)
        dropped = backbone.training_loss(*repeated, "make it blue", generator(4), dropout=True)
    assert float(kept) != float(dropped)
