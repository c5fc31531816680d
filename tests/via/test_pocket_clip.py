"""The pocket CLIP speaks the words of the pocket world, opens where any CLIP does, and learns."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from data.pocket import words
from data.pocket.training import Sampler
from data.pocket.words import ARGUMENTS, SUBJECTS, VOCABULARY
from eval.models import ClipFolder
from via.backbones.pocket import weights
from via.backbones.pocket.training import clip as pocket_clip
from via.backbones.pocket.training.clip import PLACES, STYLES, ClipTraining, contrast, exchanged, shown
from via.backbones.pocket.training.loop import Plan, Weights

torch.set_num_threads(1)
CAPTIONS = [
    text
    for edit in ARGUMENTS
    for subject in ("dog", "bus")
    for background in ("field/1", "bunny_000/1")
    for text in words.captions(subject, background, edit)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("clip")
    pocket_clip.save(CLIPModel(pocket_clip.configuration()), where)
    return where


@pytest.fixture(scope="module")
def training() -> ClipTraining:
    torch.manual_seed(0)
    return ClipTraining(torch.device("cpu"))


def test_its_tokenizer_says_what_the_pocket_words_say():
    speaks, end = pocket_clip.tokenizer(), len(VOCABULARY)
    odd = ["An Ukiyo-e print, in COLOUR!", "grey clips", "a zebra", "the clip", "antelope", "", "day-night"]
    asked = [phrase for edit in ARGUMENTS for phrase in words.instructions(edit, "dog")]
    for text in (*CAPTIONS, *asked, *odd):
        wanted = [token for token in words.tokenize(text, 50) if token != 0]
        assert speaks(text).input_ids == [*wanted, end], text


def test_no_caption_is_cut_or_has_an_unknown_word():
    speaks = pocket_clip.tokenizer()
    for text in (*CAPTIONS, *pocket_clip.prompts()[0][::7]):
        ids = speaks(text).input_ids
        assert len(ids) <= pocket_clip.LENGTH
        assert speaks.unk_token_id not in ids


def test_transformers_and_the_metrics_open_its_folder_and_agree(folder: Path):
    model = CLIPModel.from_pretrained(folder, local_files_only=True)
    speaks = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    metrics = ClipFolder(folder)
    frames = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3), dtype=np.uint8)
    texts = ["a dog in a field", "a red bus in a city wearing a hat"]
    with torch.no_grad():
        ids = speaks(texts, padding=True, return_tensors="pt")
        theirs = model.get_text_features(**ids).numpy()
        pixels = processor(list(frames), return_tensors="pt").pixel_values
        images = model.get_image_features(pixel_values=pixels).numpy()
    np.testing.assert_allclose(metrics.texts(texts).features, theirs, atol=1e-5)
    np.testing.assert_allclose(metrics.project(metrics.images(frames, "clip_openai")), images, atol=1e-4)
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3
    assert sum(p.numel() for p in model.parameters()) <= 1.5e6


def test_the_folder_without_a_tokenizer_is_read_the_same(folder: Path, tmp_path: Path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with_one, without = ClipFolder(folder), ClipFolder(tmp_path)
    for text in CAPTIONS[:20]:
        assert with_one.tokens(text, 16) == without.tokens(text, 16)


def test_a_frame_is_described_by_its_caption_and_by_no_exchanged_one():
    sampler, rng = Sampler("dev", canvases=30), np.random.default_rng(2)
    for _ in range(150):
        sample = sampler.draw(rng)
        for edited in (False, True):
            one = shown(sample, edited)
            assert SUBJECTS[one.subject] in one.caption.split()
            assert PLACES[one.place] in one.caption
            assert one.caption.endswith(STYLES[one.style])
            assert (one.style != 0) == (" style" in one.caption)
            for attribute, classes in pocket_clip.ATTRIBUTES.items():
                texts = [exchanged(one, attribute, value) for value in range(len(classes))]
                assert len(set(texts)) == len(classes)
                assert texts[getattr(one, attribute)] == one.caption


def test_the_loss_is_nothing_for_the_right_texts_and_any_wrong_one_adds_to_it():
    basis, scale = torch.eye(4), torch.tensor(30.0)
    assert contrast(basis[:3], basis[:3], scale) < 1e-6
    near = torch.nn.functional.normalize(basis[:1] + 0.2 * basis[3:], dim=-1)
    # one of three pictures has two texts to choose from, and counts in one of the two directions
    by_hand = math.log1p(math.exp(30 * (float(near[0, 0]) - 1))) / 6
    assert float(contrast(basis[:3], torch.cat([basis[:3], near]), scale)) == pytest.approx(by_hand, rel=1e-4)
    assert contrast(basis[:3], basis[:3].flip(0), scale) > 10


def test_a_few_steps_on_one_batch_bring_the_loss_down(training: ClipTraining):
    weights_ = Weights(training.model, Plan(samples=1000, batch=8, learning_rate=1e-3, warmup=2))
    batch, losses = training.draw(training.sampler, 8, np.random.default_rng(5)), []
    for step in range(6):
        loss, figures = training.loss(batch, np.random.default_rng(5), torch.float32)
        loss.backward()
        weights_.step(step, 1)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert set(figures) == {"matching", "naming", "patches", "subject", "scale"}


def test_what_it_finishes_with_is_a_model_with_its_card(training: ClipTraining, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(training, "held_out", training.held_out[:30])
    folder = training.finish([{"samples": 32.0}], hours=0.1)
    weights.check(folder, "model.safetensors")
    assert set(weights.read_card(folder)["held_out"]) == {
        "zero_shot_subject",
        "zero_shot_place",
        "zero_shot_style",
    }
    ClipFolder(folder)
    assert not [p for p in folder.iterdir() if p.is_dir() or p.suffix not in (".json", ".safetensors")]


def test_zero_shot_accuracy_of_embeddings_that_are_known(training: ClipTraining):
    frames = training.held_out[:12]
    captions, classes = pocket_clip.prompts()
    texts = np.random.default_rng(0).standard_normal((len(captions), 24))
    own = [captions.index(f"a {SUBJECTS[f.subject]} {PLACES[f.place]}{STYLES[f.style]}") for f in frames]
    right = pocket_clip.zero_shot(3 * texts[own], texts, classes, frames)
    assert all(hits.all() for hits in right.values())
    styled = [
        captions.index(f"a {SUBJECTS[f.subject]} {PLACES[f.place]}{STYLES[f.style - 1]}") for f in frames
    ]
    right = pocket_clip.zero_shot(texts[styled], texts, classes, frames)
    assert right["subject"].all()
    assert right["place"].all()
    assert not right["style"].any()
