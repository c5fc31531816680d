import json

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from data.types import ArrayClip, Edit
from eval import clip, suite
from eval.features import Features
from eval.models import ClipFolder, Models
from eval.resize import resize
from eval.score import Missing, Pair


def test_golden_values_of_the_clip_metrics(golden):
    a = golden.arrays("clip_features")
    e, s, before, after = a["edited"], a["source"], a["caption_source"], a["caption_target"]
    direction = clip.direction(e, s, after, before)
    consistency = clip.direction_consistency(e, s)
    aligned = clip.text_alignment(e, after)
    values = {
        "clip_direction": direction.value,
        "clip_direction_zero_frames": direction.details["zero_frames"],
        "clip_image_similarity": clip.image_similarity(e, s).mean(),
        "clip_direction_consistency": consistency.value,
        "clip_direction_consistency_zero_steps": consistency.details["zero_steps"],
        "clip_text_alignment": aligned.mean(),
        "clip_text_gain": (aligned - clip.text_alignment(s, after)).mean(),
        "clip_frame_accuracy": clip.frame_accuracy(e, after, before),
        "clip_frame_accuracy_source": clip.frame_accuracy(s, after, before),
    }
    for variant in ("consecutive", "all_pairs", "first", "vbench"):
        values[f"clip_frame_consistency_{variant}"] = clip.frame_consistency(e, variant)
    unprojected = clip.frame_consistency(a["edited_unprojected"], "v2vbench")
    values["clip_frame_consistency_v2vbench"] = unprojected
    shuffled = np.concatenate([e[::2], e[1::2]])
    values["clip_frame_consistency_all_pairs_shuffled"] = clip.frame_consistency(shuffled, "all_pairs")
    golden.check("clip_features", values)
    golden.check_compat(
        "clip_features",
        {
            "tgve_text": np.exp(a["logit_scale"]) * aligned.mean(),
            "tgve_frame": clip.frame_consistency(e, "all_pairs"),
            "v2vbench_frame": unprojected,
            "fatezero_frame": clip.frame_consistency(e),
            "fatezero_accuracy": clip.frame_accuracy(e, after, before, ties_count=True),
            "clipscore_text": 2.5 * np.maximum(aligned, 0).mean(),
            "torchmetrics_text": max(100 * aligned.mean(), 0),
        },
    )


def test_golden_controls_of_the_clip_metrics(golden, moving, features):
    c = golden.arrays("clip_controls")
    s, e, a, b, walk = c["s"], c["e"], c["a"], c["b"], c["walk"]
    copy = clip.direction(s, s, b, a)
    frozen = np.repeat(walk[:1], len(walk), axis=0)
    still = clip.direction_consistency(frozen, walk)
    copied = suite.load("clip_text_alignment")(Pair(moving, moving, EDIT), features)
    values = {
        "direction_known": clip.direction(e, s, b, a).value,
        "direction_exchanged": clip.direction(e, s, a, b).value,
        "direction_copy": copy.value,
        "direction_copy_zero_frames": copy.details["zero_frames"],
        "direction_equal_captions": clip.direction(e, s, a, a).value,
        "consistency_same": clip.direction_consistency(walk, walk).value,
        "consistency_negated": clip.direction_consistency(-walk, walk).value,
        "consistency_frozen": still.value,
        "consistency_frozen_zero_steps": still.details["zero_steps"],
        "consistency_one_frame": clip.direction_consistency(walk[:1], walk[:1]).value,
        "one_frame_consecutive": clip.frame_consistency(walk[:1]),
        "accuracy_ties": clip.frame_accuracy(c["ties"], b, a),
        "text_equal": clip.text_alignment(np.stack([3 * b]), b).mean(),
        "text_copy_gain": copied.details["gain"],
    }
    for variant in ("consecutive", "all_pairs", "first", "vbench", "v2vbench"):
        values[f"angles_{variant}"] = clip.frame_consistency(c["angles"], variant)
    for variant in ("consecutive", "all_pairs", "first", "vbench"):
        values[f"frozen_{variant}"] = clip.frame_consistency(np.repeat(walk[:1], 4, axis=0), variant)
    golden.check("clip_controls", values)
    ties = clip.frame_accuracy(c["ties"], b, a, ties_count=True)
    golden.check_compat("clip_controls", {"accuracy_ties_fatezero": ties})


def test_order_of_frames_matters_to_all_variants_but_all_pairs():
    features = np.random.default_rng(0).normal(size=(6, 8))
    order = [3, 0, 5, 1, 4, 2]
    for variant in ("consecutive", "first", "vbench"):
        assert clip.frame_consistency(features, variant) != clip.frame_consistency(features[order], variant)
    straight = clip.frame_consistency(features, "all_pairs")
    assert clip.frame_consistency(features[order], "all_pairs") == pytest.approx(straight, rel=1e-12)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """A tiny random CLIP of the real class, with the pocket world's words."""
    from data.pocket.words import VOCABULARY

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(VOCABULARY),
            "max_position_embeddings": 12,
            "eos_token_id": 0,
            "bos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    path = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(path)
    return path


@pytest.fixture(name="features")
def _features(folder):
    return Features(models=Models(clip=str(folder)))


EDIT = Edit(
    instruction="make it snow",
    source_caption="a dog in a field",
    target_caption="a dog in a field in snow style",
)


def edited_pair(moving):
    return Pair(moving, ArrayClip(255 - moving.frames, moving.fps), EDIT)


def test_all_clip_metrics_run_the_image_tower_once_per_frame(moving, features, monkeypatch):
    seen = []
    original = ClipFolder.images
    monkeypatch.setattr(
        ClipFolder,
        "images",
        lambda self, frames, resizer: seen.append(len(frames)) or original(self, frames, resizer),
    )
    scores = suite.score(edited_pair(moving), suite.suite("clip"), features)
    assert {score.status for score in scores.values()} == {"ok"}
    assert sum(seen) == 2 * len(moving)


def test_features_of_a_folder_are_those_of_transformers(moving, folder):
    opened = ClipFolder(folder)
    model = CLIPModel.from_pretrained(folder).eval()
    pixels = resize(moving.frames[:3], "clip_openai", 32)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (opened.mean, opened.std))
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=(pixels - mean) / std).numpy()
    got = opened.project(opened.pooled()(moving.frames[:3]))
    assert np.allclose(got, expected, atol=1e-5)


def test_published_direction_uses_its_own_resizer(moving, features):
    ours = suite.load("clip_direction")(edited_pair(moving), features)
    ip2p = suite.load("clip_direction:ip2p")(edited_pair(moving), features)
    assert ours.value != ip2p.value


def test_equal_captions_leave_the_direction_undefined(moving, features):
    edit = EDIT.model_copy(update={"target_caption": EDIT.source_caption})
    score = suite.load("clip_direction")(Pair(moving, moving, edit), features)
    assert (score.status, score.reason) == ("undefined", "captions are equal")


def test_without_captions_the_metrics_that_need_them_are_skipped(moving, features):
    pair = Pair(moving, moving, Edit(instruction="make it snow"))
    scores = suite.score(pair, suite.suite("clip"), features)
    skipped = {name for name, score in scores.items() if score.status == "skipped"}
    assert skipped == {"clip_direction@1", "clip_text_alignment@1", "clip_frame_accuracy@1"}


def test_long_captions_keep_their_end_and_are_flagged(moving, folder, features):
    opened = ClipFolder(folder)
    long = "a dog in a field " * 5
    row, cut = opened.tokens(long, 12)
    assert cut
    assert (len(row), row[-1]) == (12, 0)
    short = opened.texts(["a dog in a field a dog in a field a"])
    assert not any(short.truncated)
    assert np.array_equal(opened.texts([long]).features, short.features)
    edit = EDIT.model_copy(update={"target_caption": long})
    score = suite.load("clip_text_alignment")(Pair(moving, moving, edit), features)
    assert score.details["truncated"] is True


def test_missing_weights_are_skipped_by_name(moving, tmp_path):
    features = Features(models=Models(clip=str(tmp_path / "nowhere")))
    for score in suite.score(edited_pair(moving), suite.suite("clip"), features).values():
        assert score.status == "skipped"
        assert "nowhere" in score.reason
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises((Missing, OSError)):
        ClipFolder(tmp_path)


def test_resizers_are_the_named_ones():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 60, 90, 3), dtype=np.uint8)
    assert resize(frames, "clip_openai", 32).shape == (1, 3, 32, 32)
    assert resize(frames, "clip_ip2p", 32).shape == (1, 3, 32, 32)
    assert resize(frames, "dino_vbench", 32).shape == (1, 3, 32, 48)
    antialiased = resize(frames, "clip_openai", 32)
    plain = resize(frames, "clip_vbench", 32)
    assert antialiased.var() < 0.6 * plain.var()  # noise survives where nothing is averaged
    red = np.zeros((1, 40, 40, 3), np.uint8)
    red[..., 0] = 255
    assert resize(red, "clip_openai", 32)[0, :, 5, 5].tolist() == [1, 0, 0]


def test_open_clip_models_serve_the_same_metrics(moving, monkeypatch):
    """A tiny random model of open_clip's own classes, with its own tokenizer."""
    from open_clip.factory import _MODEL_CONFIGS

    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(_MODEL_CONFIGS, "tiny", config)
    features = Features(models=Models(clip="open_clip:tiny"))
    scores = suite.score(edited_pair(moving), suite.suite("clip"), features)
    assert {score.status for score in scores.values()} == {"ok"}
    assert scores["clip_direction@1"].details["model"] == "open_clip tiny"
    variant = suite.load("clip_frame_consistency:v2vbench")
    with pytest.raises(Missing):
        Models(clip="open_clip:no-such-model").open_clip()
    assert suite.score(edited_pair(moving), [variant], features)[variant.name].status == "skipped"
