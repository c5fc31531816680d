from itertools import pairwise

import numpy as np
import pytest
import torch
from torchmetrics.functional.image.lpips import _normalize_tensor
from transformers import ViTConfig, ViTModel

from data.types import ArrayClip, Edit
from eval import dino, flow, gabor, lpips, suite
from eval.clip import frame_consistency
from eval.features import Features
from eval.models import Models
from eval.score import Missing, Pair


def tiny(a):
    """The golden trunk: three convolutions with ReLU, each a layer."""
    convolutions = [(2, 2), (2, 1), (1, 1)]  # stride, padding

    def trunk(images):
        layers = []
        for i, (stride, padding) in enumerate(convolutions):
            weight, bias = (torch.tensor(a[f"conv{i}_{name}"]) for name in ("weight", "bias"))
            images = torch.relu(torch.nn.functional.conv2d(images, weight, bias, stride, padding))
            layers.append(images)
        return layers

    return lpips.Lpips(trunk, [torch.tensor(a[f"head{i}"]) for i in range(3)])


def test_golden_values_of_lpips_arithmetic_with_the_real_heads(golden):
    a = golden.arrays("lpips_pyramid")
    network = lpips.Lpips(lambda images: [], [torch.tensor(a[f"head{i}"]) for i in range(5)])

    def layers(name, frame):
        return [torch.tensor(a[f"{name}_layer{i}"][frame : frame + 1]) for i in range(5)]

    pairs = [(layers("source", t), layers("edited", t)) for t in range(2)]
    frames = [network.distance(*pair) for pair in pairs]
    by_layer = [[float(m.double().mean()) for m in network.layer_maps(*pair)] for pair in pairs]
    published = [network.distance(*pair, published="torchmetrics") for pair in pairs]
    golden.check(
        "lpips_pyramid",
        {
            "lpips": np.mean(frames),
            "lpips_frames": frames,
            "lpips_layers": np.mean(by_layer, axis=0),
            "lpips_copy": network.distance(pairs[0][0], pairs[0][0]),
        },
    )
    golden.check_compat(
        "lpips_pyramid", {"torchmetrics": np.mean(published), "torchmetrics_frames": published}
    )


def test_golden_values_of_the_whole_lpips_path(golden):
    a = golden.arrays("lpips_tiny")
    network = tiny(a)
    source, edited = ([network.layers(frame) for frame in a[name]] for name in ("source", "edited"))
    frames = [network.distance(s, e) for s, e in zip(source, edited)]
    steps = [[network.distance(x, y) for x, y in pairwise(clip)] for clip in (source, edited)]
    warped, floor = [], []
    for t in range(3):
        to = flow.target(a["flow_fwd"][t])
        valid = flow.valid(a["flow_fwd"][t], a["flow_bwd"][t], to)
        for values, name in ((warped, "edited"), (floor, "source")):
            values.append(lpips.warped_distance(network, a[name][t], a[name][t + 1], to, valid))
    background = [
        lpips.background_distance(network, source[t], edited[t], np.uint8(255) * ~a["mask"][t])
        for t in range(4)
    ]
    golden.check(
        "lpips_tiny",
        {
            "lpips_to_source": np.mean(frames),
            "lpips_frames": frames,
            "lpips_symmetric": network.distance(edited[0], source[0]),
            "lpips_copy": network.distance(source[0], source[0]),
            "distance_source": steps[0],
            "distance_edited": steps[1],
            "tlp": lpips.tlp(np.array(steps[0]), np.array(steps[1])).value,
            "lpips_warped": np.mean(warped),
            "lpips_warped_pairs": warped,
            "lpips_warped_floor": np.mean(floor),
            "lpips_background": np.mean([value for value, _ in background]),
            "lpips_background_frames": [value for value, _ in background],
            "lpips_background_not_eroded": [int(whole) for _, whole in background],
        },
    )


def test_golden_values_of_tlp(golden):
    a = golden.arrays("tlp")
    source, edited = a["distance_source"], a["distance_edited"]
    score = lpips.tlp(source, edited)
    copy = lpips.tlp(source, source)
    golden.check("tlp", {"tlp": score.value, "tlp_pairs": score.details["pairs"], "tlp_copy": copy.value})
    golden.check_compat("tlp", {"tecogan": lpips.tlp(source, edited, "tecogan").value})


def test_published_normalisation_is_that_of_torchmetrics():
    features = torch.rand(1, 7, 4, 5)
    assert torch.allclose(lpips.unit(features, "torchmetrics"), _normalize_tensor(features))


@pytest.fixture(scope="module", name="alexnet")
def _alexnet(tmp_path_factory):
    """AlexNet of torchvision's own class with random weights, as its state_dict."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    with torch.device("meta"):
        network = alexnet(weights=None)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items() if "features" in name}
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save({name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}, path)
    return path


def test_distances_are_those_of_the_lpips_package(alexnet, moving):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, about torchvision's arguments
        import lpips as package

        theirs = package.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    random = torch.load(alexnet, weights_only=True)
    for i, (start, stop) in enumerate(lpips.SLICES, start=1):
        part = getattr(theirs.net, f"slice{i}")
        for name, layer in zip(range(start, stop), part):
            if layer.state_dict():
                layer.load_state_dict(
                    {part: random[f"features.{name}.{part}"] for part in ("weight", "bias")}
                )
    network = lpips.load(alexnet)
    a, b = moving.frames[0], 255 - moving.frames[3]
    tensors = [torch.tensor(x).permute(2, 0, 1)[None].float() / 255 for x in (a, b)]
    with torch.inference_mode():
        expected = float(theirs(*tensors, normalize=True))
    assert network.distance(network.layers(a), network.layers(b)) == pytest.approx(expected, rel=1e-5)


def test_lpips_metrics_score_a_pair_with_a_trunk_and_are_skipped_without(alexnet, moving):
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:30, 20:30] = True
    small = ArrayClip(moving.frames[:4], moving.fps)
    pair = Pair(small, ArrayClip(255 - small.frames, moving.fps), mask=mask[:4])
    metrics = suite.suite("lpips")
    scores = suite.score(pair, metrics, Features(models=Models(lpips=alexnet)))
    assert {score.status for score in scores.values()} == {"ok"}
    copy = suite.score(Pair(small, small, mask=mask[:4]), metrics, Features(models=Models(lpips=alexnet)))
    assert copy["lpips_to_source@1"].value == copy["tlp@1"].value == copy["lpips_background@1"].value == 0
    for score in suite.score(pair, metrics, Features()).values():
        assert score.status == "skipped"
        assert "alexnet-owt-7be5be79.pth" in score.reason


def test_frames_too_small_for_alexnet_are_refused(alexnet):
    clip = ArrayClip(np.zeros((2, 24, 40, 3), np.uint8))
    scores = suite.score(Pair(clip, clip), suite.suite("lpips"), Features(models=Models(lpips=alexnet)))
    assert {score.status for score in scores.values()} == {"refused"}


def test_golden_values_of_the_gabor_distance(golden):
    a = golden.arrays("gabor_distance")
    source, edited = (a[name].astype(np.float32) / 255 for name in ("source", "edited"))
    levels = np.array([gabor.gabor_levels(s, e) for s, e in zip(source, edited)])
    frames = levels.mean(axis=1)
    negative = ArrayClip(255 - a["source"])
    metric = gabor.GaborDistance()
    golden.check(
        "gabor_distance",
        {
            "gabor_distance": metric(Pair(ArrayClip(a["source"]), ArrayClip(a["edited"])), Features()).value,
            "gabor_frames": frames,
            "gabor_first_frame": frames[0],
            "gabor_levels": levels.mean(axis=0),
            "gabor_negative": metric(Pair(ArrayClip(a["source"]), negative), Features()).value,
            "gabor_copy": np.mean([gabor.gabor_levels(s, s) for s in source]),
        },
    )


def test_gabor_distance_is_symmetric_and_needs_no_weights(moving):
    a, b = (moving.frames[t].astype(np.float32) / 255 for t in (0, 5))
    assert gabor.gabor_levels(a, b) == pytest.approx(gabor.gabor_levels(b, a), rel=1e-6)
    assert gabor.gabor_levels(a, b).mean() > 0.01


def test_golden_values_of_the_structure_distance(golden):
    a = golden.arrays("structure_keys")
    frames = dino.structure_distance(a["keys_source"], a["keys_edited"])
    scaled = dino.structure_distance(a["keys_source"], 7 * a["keys_source"])
    golden.check(
        "structure_keys",
        {
            "dino_structure": frames.mean(),
            "dino_structure_frames": frames,
            "orthogonal_equal": dino.structure_distance(a["keys_orthogonal"], a["keys_equal"])[0],
            "scaled": scaled.mean(),
            "copy": dino.structure_distance(a["keys_source"], a["keys_source"]).mean(),
        },
    )
    golden.check_compat("structure_keys", {"pie_on_keys": frames.mean()})


def test_golden_values_of_vbench_consistency(golden):
    a = golden.arrays("vbench_consistency")
    clips = [frame_consistency(a[f"clip{i}"], "vbench") for i in range(3)]
    golden.check(
        "vbench_consistency",
        {
            "consistency_clips": clips,
            "subject_consistency": np.mean(clips),
            "frozen": frame_consistency(np.repeat(a["clip0"][:1], 4, axis=0), "vbench"),
            "one_frame": frame_consistency(a["clip0"][:1], "vbench"),
        },
    )
    golden.check_compat("vbench_consistency", {"many_processes": np.mean(clips), "per_clip": clips})


@pytest.fixture(scope="module", name="vit")
def _vit(tmp_path_factory):
    """A tiny random ViT of the real class."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    path = tmp_path_factory.mktemp("vit")
    ViTModel(config, add_pooling_layer=False).save_pretrained(path)
    return path


def test_keys_are_those_that_the_last_layer_attends_with(vit, moving):
    network = dino.Vit(vit)
    keys = network.keys(moving.frames[:1], 64)
    inputs = []
    attention = network.model.encoder.layer[-1].attention.attention
    handle = attention.register_forward_pre_hook(
        lambda module, args, kwargs: inputs.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    network.keys(moving.frames[:1], 64)
    handle.remove()
    with torch.inference_mode():
        expected = attention.key(inputs[0]).numpy()
    merged = keys.transpose(0, 2, 1, 3).reshape(expected.shape)
    assert np.allclose(merged, expected, atol=1e-6)


def test_vbench_metrics_run_on_vit_folders_and_are_skipped_without(vit, moving, tmp_path):
    mask = np.zeros((len(moving), *moving.size), bool)
    mask[:, 20:40, 20:40] = True
    pair = Pair(moving, ArrayClip(255 - moving.frames, moving.fps), mask=mask)
    metrics = [suite.load(name) for name in ("subject_consistency", "dino_structure", "dino_structure:pie")]
    models = Models(dino_s16=vit, dino_b8=vit)
    scores = suite.score(pair, metrics, Features(models=models))
    assert {score.status for score in scores.values()} == {"ok"}
    assert {"inside", "outside", "source"} <= set(scores["subject_consistency@1"].details)
    assert scores["dino_structure@1"].value != scores["dino_structure@1:pie"].value
    copy = suite.score(Pair(moving, moving), metrics, Features(models=models))
    assert copy["dino_structure@1"].value == pytest.approx(0, abs=1e-12)
    for score in suite.score(pair, suite.suite("vbench"), Features()).values():
        assert score.status == "skipped"


def test_learned_taste_is_computed_from_named_weights_or_skipped(moving, tmp_path):
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": 300, "max_position_embeddings": 12, "eos_token_id": 0, "pad_token_id": 0}
    vision = {**small, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(tmp_path)
    head = tmp_path / "head.pth"
    torch.save(torch.nn.Linear(8, 1).state_dict(), head)
    edit = Edit(instruction="make it snow", target_caption="a dog in snow")
    pair = Pair(moving, moving, edit)
    models = Models(pickscore=tmp_path, clip_l14=str(tmp_path), aesthetic=head)
    metrics = suite.suite("quality")
    assert {score.status for score in suite.score(pair, metrics, Features(models=models)).values()} == {"ok"}
    assert {score.status for score in suite.score(pair, metrics, Features()).values()} == {"skipped"}
    wrong = tmp_path / "wrong.pth"
    torch.save(torch.nn.Linear(5, 1).state_dict(), wrong)
    models = Models(pickscore=tmp_path, clip_l14=str(tmp_path), aesthetic=wrong)
    assert suite.score(pair, metrics, Features(models=models))["aesthetic@1"].status == "refused"
    with pytest.raises(Missing):
        dino.vit(Features(), "dino_s16")
