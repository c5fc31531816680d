"""Training of the pocket CLIP: pictures and captions in one space, a `CLIPModel` of transformers.

Half of a batch is matched with captions that name the subject alone, the other half with whole captions,
beside which stand copies with one thing exchanged, so that every word counts. Linear classifiers, dropped at
the end, tell the image tower from the first step what its pooled state and its patches should know.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from data.pocket import words
from data.pocket.edits import argument_of, kind_of
from data.pocket.training import Sample, Sampler
from data.pocket.words import ARGUMENTS, SUBJECTS, VOCABULARY
from via.backbones.pocket import weights
from via.backbones.pocket.conditioner import sine_positions
from via.backbones.pocket.training.loop import Plan
from via.backbones.pocket.training.vae import to_pixels

FILE = "model.safetensors"
SIDE, PATCH, LENGTH = 96, 8, 16  # pixels, pixels, tokens
END = "<end>"
NAMING, PATCHES = 0.3, 0.5  # weights of the classifiers' losses
POSITIONS = 0.5  # size of the image tower's first positions
LEAST = 150  # visible pixels of the subject in a frame whose caption names it
CANVASES = 600  # backgrounds seen
SOURCES = 0.35  # share of frames shown before their edit

PLACES = (
    *words.PLACES.values(),
    *(
        words.captions("dog", "field", edit)[1].removeprefix("a dog ")
        for edit in ARGUMENTS
        if kind_of(edit) == "background"
    ),
)
STYLES = ("", *(f" in {argument_of(edit)} style" for edit in ARGUMENTS if kind_of(edit) == "global"))
ATTRIBUTES = {"subject": SUBJECTS, "place": PLACES, "style": STYLES}


@dataclass(frozen=True)
class Shown:
    """A frame with its caption and what it shows: indices into SUBJECTS, PLACES and STYLES."""

    frame: NDArray[np.uint8]
    caption: str
    subject: int
    place: int
    style: int
    subject_mask: NDArray[np.uint8]  # 0..255; before the edit, also of an edited frame


def shown(sample: Sample, edited: bool) -> Shown:
    """The source of a training pair, or its edit, as something that a caption describes."""
    caption, subject, style = sample.caption, SUBJECTS[sample.subject], ""
    place = caption.removeprefix(f"a {subject} ")
    if edited:
        edit, caption = ARGUMENTS[sample.argument], sample.target_caption
        kind = kind_of(edit)
        if kind == "replace":
            subject = argument_of(edit)
        elif kind == "background":
            place = caption.removeprefix(f"a {subject} ")
        elif kind == "global":
            style = f" in {argument_of(edit)} style"
    return Shown(
        sample.edited if edited else sample.source,
        caption,
        SUBJECTS.index(subject),
        PLACES.index(place),
        STYLES.index(style),
        sample.subject_mask,
    )


def draw(sampler: Sampler, rng: np.random.Generator) -> Shown:
    """A frame with one subject that can be seen."""
    while True:
        sample = sampler.draw(rng)
        if sample.other_subject is None and np.count_nonzero(sample.subject_mask > 127) >= LEAST:
            return shown(sample, edited=bool(rng.random() >= SOURCES))


def exchanged(one: Shown, attribute: str, value: int) -> str:
    """The caption of a frame with its subject, place or style exchanged for another."""
    if attribute == "subject":
        return re.sub(rf"\b{SUBJECTS[one.subject]}\b", SUBJECTS[value], one.caption)
    if attribute == "place":
        return one.caption.replace(PLACES[one.place], PLACES[value])
    return one.caption.removesuffix(STYLES[one.style]) + STYLES[value]


def draw_exchanged(one: Shown, rng: np.random.Generator) -> str:
    """A caption that is wrong in one thing."""
    attribute = str(rng.choice(list(ATTRIBUTES)))
    now, classes = getattr(one, attribute), len(ATTRIBUTES[attribute])
    return exchanged(one, attribute, (now + int(rng.integers(1, classes))) % classes)


def tokenizer() -> PreTrainedTokenizerFast:
    """The words of the pocket world for transformers: `words.tokenize`, and an end-of-text token."""
    same = {"colour": "color", "watercolour": "watercolor", "clip": "video", "an": "a", "grey": "gray"}
    vocabulary = {word: i for i, word in enumerate((*VOCABULARY, END))}
    speaks = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    speaks.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace("ukiyo-e", "ukiyo"),
            *(normalizers.Replace(Regex(rf"(?<![a-z]){a}(?![a-z])"), b) for a, b in same.items()),
        ]
    )
    speaks.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("[^a-z]+"), "removed")])
    speaks.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, vocabulary[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=speaks,
        model_max_length=LENGTH,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token=END,
        model_input_names=["input_ids", "attention_mask"],
    )


def configuration() -> CLIPConfig:
    """1.0 M parameters; frames are read at 96 pixels, where a face is four to seven patches wide."""
    end = len(VOCABULARY)
    layer = {"hidden_size": 128, "num_attention_heads": 4, "projection_dim": 64}
    return CLIPConfig(
        vision_config={
            **layer,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={
            **layer,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "vocab_size": end + 1,
            "max_position_embeddings": LENGTH,
            "pad_token_id": 0,
            "bos_token_id": end,
            "eos_token_id": end,
        },
        projection_dim=64,
    )


class Pair(nn.Module):
    """CLIP and the classifiers that are trained with it."""

    def __init__(self) -> None:
        super().__init__()
        config = configuration()
        self.clip = CLIPModel(config)
        width = config.vision_config.hidden_size
        grid = SIDE // PATCH
        with torch.no_grad():  # CLIP starts its positions so small that a face's parts have no places
            positions = self.clip.vision_model.embeddings.position_embedding.weight
            positions[1:] = POSITIONS * sine_positions(grid, grid, width)
        self.classify = nn.ModuleDict({name: nn.Linear(width, len(of)) for name, of in ATTRIBUTES.items()})
        self.patch = nn.Linear(width, len(SUBJECTS) + 1)  # the last is "no subject"


def prompts() -> tuple[list[str], NDArray[np.intp]]:
    """Every caption of one subject, m of them, and what each says: indices (m, 3) into the classes of
    ATTRIBUTES.

    Captions of recoloured, locally stylised and dressed subjects are among them, since such frames are.
    """
    said = ["", *(edit for edit in ARGUMENTS if kind_of(edit) not in ("replace", "background"))]
    patterns = [(words.captions("dog", "field", edit or None)[1], edit) for edit in said]
    captions, classes = [], []
    for pattern, edit in patterns:
        style = f" in {argument_of(edit)} style" if edit and kind_of(edit) == "global" else ""
        for s, subject in enumerate(SUBJECTS):
            for p, place in enumerate(PLACES):
                captions.append(pattern.replace("dog", subject).replace("in a field", place))
                classes.append((s, p, STYLES.index(style)))
    return captions, np.array(classes)


def zero_shot(
    images: NDArray[np.floating],
    texts: NDArray[np.floating],
    classes: NDArray[np.intp],
    frames: list[Shown],
) -> dict[str, NDArray[np.bool_]]:
    """Whether the caption nearest to each frame names its class, per attribute, (n,).

    A mean caption of a class would not do: frames without a style would be nearest to some style, since what
    their captions have in common is what they do not say.

    Args:
        images: embeddings (n, d) of the frames, of any length.
        texts: embeddings (m, d) of the prompts, of any length.
        classes: what the prompts say, (m, 3).
    """

    def unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))

    said = classes[(unit(images) @ unit(texts).T).argmax(axis=1)]
    shown = np.array([[getattr(one, attribute) for attribute in ATTRIBUTES] for one in frames])
    return dict(zip(ATTRIBUTES, (said == shown).T))


def contrast(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss of unit embeddings (n, d) and (m, d), m >= n.

    Text i describes image i; texts from n on are only wrong answers.

    Captions that are equal need no care: so are their embeddings, and naming one as right names all.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, : len(images)].T, own)) / 2


class ClipTraining:
    """See `loop.Training`."""

    plan = Plan(samples=240_000, batch=32, learning_rate=1.5e-3, hold=0.3)

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = self.open_sampler()
        self.tokenizer = tokenizer()
        self.model = Pair().to(device)
        held_out, rng = Sampler("dev"), np.random.default_rng(1)
        self.held_out = [draw(held_out, rng) for _ in range(300)]

    def _pixels(self, frames: list[Shown]) -> torch.Tensor:
        """Frames in [-1, 1] at the model's size, (n, 3, SIDE, SIDE)."""
        whole = to_pixels([one.frame for one in frames], self.device)
        return F.interpolate(whole, SIDE, mode="bicubic", antialias=True)

    def _text(self, captions: list[str]) -> torch.Tensor:
        """Unit embeddings (m, d)."""
        ids = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clip = self.model.clip
        pooled = clip.text_model(input_ids=ids.to(self.device)).pooler_output
        return F.normalize(clip.text_projection(pooled).float(), dim=-1)

    @staticmethod
    def open_sampler() -> Sampler:
        return Sampler("train", canvases=CANVASES)

    @staticmethod
    def draw(sampler: Sampler, count: int, rng: np.random.Generator) -> list[Shown]:
        return [draw(sampler, rng) for _ in range(count)]

    def loss(
        self, batch: list[Shown], rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        frames, clip = batch, self.model.clip
        pixels = self._pixels(frames).to(precision)
        states = clip.vision_model(pixel_values=pixels)
        images = F.normalize(clip.visual_projection(states.pooler_output).float(), dim=-1)
        scale = clip.logit_scale.float().clamp(max=float(np.log(100))).exp()

        half = len(frames) // 2
        subjects = [f"a {SUBJECTS[one.subject]}" for one in frames[:half]]
        whole = [one.caption for one in frames[half:]]
        wrong = [draw_exchanged(one, rng) for one in frames[half:] for _ in range(2)]
        texts = self._text([*subjects, *whole, *wrong])
        matching = contrast(images[:half], texts[:half], scale) + contrast(images[half:], texts[half:], scale)

        def labels(name: str) -> torch.Tensor:
            return torch.tensor([getattr(one, name) for one in frames], device=self.device)

        logits = {n: layer(states.pooler_output).float() for n, layer in self.model.classify.items()}
        naming = torch.stack([F.cross_entropy(logits[name], labels(name)) for name in logits]).sum()
        patches = self._patch_loss(states.last_hidden_state[:, 1:], frames)
        right = logits["subject"].argmax(-1) == labels("subject")
        figures = {
            "matching": float(matching.detach()),
            "naming": float(naming.detach()),
            "patches": float(patches.detach()),
            "subject": float(right.float().mean()),
            "scale": float(scale.detach()),
        }
        return matching + NAMING * naming + PATCHES * patches, figures

    def _patch_loss(self, states: torch.Tensor, frames: list[Shown]) -> torch.Tensor:
        """Cross-entropy of the subject in each patch, where it fills most of the patch or none of it."""
        masks = np.stack([one.subject_mask for one in frames])
        share = F.adaptive_avg_pool2d(torch.from_numpy(masks)[:, None].float() / 255, SIDE // PATCH).flatten(
            1
        )
        subjects = torch.tensor([[one.subject] for one in frames])
        wanted = torch.where(share > 0.6, subjects, torch.where(share < 0.02, len(SUBJECTS), -100))
        logits = self.model.patch(states).float()
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten().to(self.device), ignore_index=-100)

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        """Held-out zero-shot accuracy on subject, place and style; a picture of frames, misses first."""
        clip, images = self.model.clip, []
        for at in range(0, len(self.held_out), 50):
            pixels = self._pixels(self.held_out[at : at + 50])
            images.append(clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output))
        captions, classes = prompts()
        texts = self._text(captions).cpu().numpy()
        right = zero_shot(torch.cat(images).float().cpu().numpy(), texts, classes, self.held_out)
        order = np.argsort(right["subject"], kind="stable")[:20]
        rows = [
            np.concatenate([self.held_out[i].frame for i in row], axis=1) for row in (order[:10], order[10:])
        ]
        return {f"zero_shot_{name}": float(hits.mean()) for name, hits in right.items()}, np.concatenate(rows)

    def finish(self, log: list[dict[str, float]], hours: float) -> Path:
        folder = weights.WEIGHTS / "clip"
        save(self.model.clip, folder)
        weights.write_card(
            folder,
            {
                "what": "CLIP of the pocket world: a CLIPModel of transformers with a tokenizer of its words",
                "recipe": vars(self.plan),
                "samples": int(log[-1]["samples"]),
                "hours": round(hours, 2),
                "held_out": self.evaluate()[0],
                "curve": log,
            },
        )
        return folder


def save(clip: CLIPModel, folder: Path) -> None:
    """Write a model folder of transformers, with tokenizer and image processor, weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = CLIPModel(clip.config).half()
    half.load_state_dict(clip.state_dict())
    processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        for part in (half, tokenizer(), processor):
            part.save_pretrained(beside)
        for file in sorted(Path(beside).iterdir()):
            os.replace(file, folder / file.name)
