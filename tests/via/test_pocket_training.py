"""The training loop goes on where it was killed, and what it draws is what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.pocket.scenes import Scene, render
from data.pocket.sprites import class_of
from data.pocket.training import REGIONS, Sampler
from data.pocket.words import SUBJECTS, VOCABULARY, tokenize
from data.types import UserError
from via.backbones.pocket import weights as pocket_weights
from via.backbones.pocket.mask import PocketMask, answer
from via.backbones.pocket.training import TASKS, loop
from via.backbones.pocket.training.loop import Plan, Weights
from via.backbones.pocket.training.mask import MaskTraining, asks_for, draw_phrase, intersection_over_union

torch.set_num_threads(1)


class TinyTraining:
    """A regression; the loss call number `dies` is interrupted."""

    plan = Plan(samples=48, batch=4, learning_rate=0.2, warmup=2, ema=0.5)
    dies: int | None = None
    calls = 0

    def __init__(self, device: torch.device) -> None:
        self.model = nn.Linear(3, 2).to(device)
        self.sampler = self.open_sampler()

    @staticmethod
    def open_sampler():
        return 3

    @staticmethod
    def draw(sampler, count, rng):
        return rng.standard_normal((count, sampler), dtype=np.float32)

    def loss(self, batch, rng, precision):
        type(self).calls += 1
        if self.calls == self.dies:
            raise KeyboardInterrupt
        x = torch.from_numpy(batch)
        loss = (self.model(x.to(precision)).float() - x[:, :2]).square().mean()
        return loss, {"error": float(loss.detach())}

    def evaluate(self):
        x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
        error = (self.model(x) - x[:, :2]).square().mean()
        return {"held_out": float(error.detach())}, np.zeros((2, 2, 3), np.uint8)

    def finish(self, log, hours):
        self.model.eval()
        return Path(f"finished after {log[-1]['samples']:.0f} samples")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> type[TinyTraining]:
    monkeypatch.setitem(TASKS, "tiny", f"{__name__}:TinyTraining")
    monkeypatch.setattr(loop, "EVERY", 4)
    monkeypatch.setattr(loop, "fastest_precision", lambda device: torch.float32)  # it measures the machine
    monkeypatch.setattr(TinyTraining, "calls", 0)
    monkeypatch.setattr(TinyTraining, "dies", None)
    return TinyTraining


def fit(folder: Path) -> str:
    return str(loop.train("tiny", folder, workers=1, device="cpu"))


def kept(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_run_that_was_killed_and_resumed_has_the_weights_of_one_that_was_not(tiny, tmp_path, monkeypatch):
    said = fit(tmp_path / "whole")
    monkeypatch.setattr(tiny, "calls", 0)
    monkeypatch.setattr(tiny, "dies", 7)  # after the checkpoint at step 4
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed")
    assert kept(tmp_path / "killed")["step"] == 4
    assert fit(tmp_path / "killed") == said == "finished after 48 samples"

    whole, resumed = kept(tmp_path / "whole"), kept(tmp_path / "killed")
    assert whole["step"] == resumed["step"] == 12
    for name in ("master", "average"):
        for a, b in zip(whole["weights"][name], resumed["weights"][name]):
            assert torch.equal(a, b)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [line["held_out"] for line in logs[0]] == [line["held_out"] for line in logs[1]]
    assert [line["step"] for line in logs[0]] == [4, 8, 12]


def test_a_run_may_start_from_the_committed_weights_but_a_resumed_one_keeps_its_own(
    tiny, tmp_path, monkeypatch
):
    torch.manual_seed(3)
    committed = nn.Linear(3, 2)
    pocket_weights.save(committed, {}, tmp_path / "committed" / "tiny")
    pocket_weights.write_card(tmp_path / "committed" / "tiny", {"what": "a test"})
    monkeypatch.setattr(loop, "WEIGHTS", tmp_path / "committed")
    monkeypatch.setattr(tiny, "plan", Plan(samples=4, batch=4, learning_rate=0.0))

    def go(samples: int | None = None) -> torch.Tensor:
        loop.train("tiny", tmp_path / "run", samples, workers=1, device="cpu", from_committed=True)
        return kept(tmp_path / "run")["weights"]["master"][0]

    wanted = committed.weight.detach().half().float()
    assert torch.equal(go(), wanted)
    monkeypatch.setattr(tiny, "plan", Plan(samples=48, batch=4, learning_rate=0.2))
    moved = go()
    assert not torch.equal(moved, wanted)
    assert torch.equal(go(), moved)


def test_committed_weights_go_to_the_part_that_their_folder_is_named_after(tmp_path):
    parts = nn.ModuleDict({"unet": nn.Linear(2, 2), "conditioner": nn.Linear(2, 3)})
    for name, part in parts.items():
        pocket_weights.save(part, {}, tmp_path / name)
        pocket_weights.write_card(tmp_path / name, {"what": name})
    pocket_weights.write(tmp_path / "card.json", "{}")
    fresh = nn.ModuleDict({"unet": nn.Linear(2, 2), "conditioner": nn.Linear(2, 3)})
    pocket_weights.load_into(fresh, tmp_path)
    for name, part in parts.items():
        assert torch.equal(fresh[name].weight, part.weight.half().float())
    with pytest.raises(UserError, match="another shape"):
        pocket_weights.load_into(nn.ModuleDict({"unet": nn.Linear(4, 2)}), tmp_path)


def test_training_again_after_the_end_changes_nothing(tiny, tmp_path):
    said = fit(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert fit(tmp_path) == said
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_the_fit_learns(tiny, tmp_path):
    fit(tmp_path)
    errors = [json.loads(line)["held_out"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert errors[-1] < 0.5 * errors[0]


def test_the_learning_rate_warms_up_holds_and_falls_to_its_floor():
    plan = Plan(samples=1000, batch=10, learning_rate=2.0, warmup=5, hold=0.4, floor=0.1)
    rates = [plan.rate(step) for step in range(101)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5:41] == pytest.approx([2.0] * 36)
    assert rates[70] == pytest.approx(2 * (1 - 0.9 / 2))
    assert rates[100] == pytest.approx(0.2)
    assert rates[40:] == sorted(rates[40:], reverse=True)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler("dev", canvases=12)


def test_every_phrase_of_a_frame_is_one_that_text_to_mask_is_trained_on(sampler):
    rng, met = np.random.default_rng(0), set()
    for _ in range(150):
        frame, regions = sampler.draw_regions(rng)
        assert set(regions) <= set(REGIONS)
        assert all(mask.shape == frame.shape[:2] for mask in regions.values())
        met |= set(regions)
    assert met == set(REGIONS)


def test_the_regions_of_a_frame_are_of_the_ones_that_stand_in_it(sampler):
    rng, groups = np.random.default_rng(1), set()
    for _ in range(120):
        _, regions = sampler.draw_regions(rng)
        named = {p.removeprefix("the "): mask for p, mask in regions.items() if asks_for(p) == "name"}
        for group in {class_of(name) for name in named}:
            of = [mask for name, mask in named.items() if class_of(name) == group]
            assert np.array_equal(regions[f"the {group}"], np.maximum.reduce(of))
            groups.add((group, len(of)))
        standing = np.maximum.reduce(list(named.values())) > 127
        assert not ((regions["the background"] > 127) & standing).any()
        heads = {p.removeprefix("the head of the ") for p in regions if asks_for(p) == "head"}
        animals = {name for name in named if class_of(name) == "animal"}
        assert heads == animals | ({"animal"} if animals else set())
        for name in animals:
            assert (regions["the head of the animal"] >= regions[f"the head of the {name}"]).all()
    assert groups == {("animal", 1), ("animal", 2), ("vehicle", 1), ("vehicle", 2)}


def test_a_head_is_where_hats_and_glasses_are_worn():
    scene = Scene(split="dev", subject="dog", motion="translate", backgrounds=("sea/3",))
    take = render(scene, 4, seed=3)
    edits = ("accessory/hat", "accessory/sunglasses")
    sampler = Sampler("dev", canvases=1)
    heads = sampler.head(take.instant(1).subject)
    worn = np.maximum.reduce([take.masks(edit)[1] for edit in edits])
    assert np.allclose(heads, worn, atol=1 / 255)


def test_an_absent_subject_has_an_empty_mask_and_is_not_in_the_scene(sampler):
    for seed in range(40):
        _, phrase, mask = draw_phrase(sampler, np.random.default_rng(seed), "absent")
        assert not mask.any()
        assert phrase.removeprefix("the ") in SUBJECTS


def test_text_to_mask_reads_frames_of_any_multiple_of_eight_and_answers_each_phrase_alone():
    torch.manual_seed(0)
    model = PocketMask(len(VOCABULARY), width=32, layers=1).eval()
    frames = torch.rand(2, 3, 40, 72) * 2 - 1
    words = torch.tensor([tokenize("the dog"), tokenize("the head of the cat")])
    with torch.no_grad():
        logits = model(frames, words)
        together = answer(model.features(frames[:1]), model.filters(words)[None])
        assert logits.shape == (2, 40, 72)
        assert torch.allclose(together[0, 0], logits[0], atol=1e-4)
        assert torch.allclose(together[0, 1], model(frames[:1], words[1:])[0], atol=1e-4)
        assert not torch.allclose(together[0, 0], together[0, 1], atol=1e-2)


def test_the_loss_asks_for_what_is_there_and_for_what_is_not():
    torch.manual_seed(0)
    training = MaskTraining.__new__(MaskTraining)
    training.device, training.sampler = torch.device("cpu"), Sampler("train", canvases=4)
    training.model = PocketMask(len(VOCABULARY), width=32, layers=1)
    weights, first = Weights(training.model, Plan(10_000, 4, 3e-3, warmup=1)), None
    for step in range(12):
        loss, figures = training.loss(
            training.draw(training.sampler, 4, np.random.default_rng(0)),
            np.random.default_rng(1),
            torch.float32,
        )
        first = first or float(loss.detach())
        loss.backward()
        weights.step(step, 1)
    assert set(figures) == {"bce", "dice", "empty"}
    assert float(loss.detach()) < 0.7 * first


def test_intersection_over_union_of_known_masks():
    a = np.zeros((4, 4), bool)
    b = a.copy()
    assert intersection_over_union(a, b) == 1
    a[:2], b[1:3] = True, True
    assert intersection_over_union(a, b) == pytest.approx(4 / 12)
    assert intersection_over_union(a, np.zeros_like(a)) == 0


def test_processes_that_draw_beside_the_training_change_no_weight(tiny, tmp_path):
    fit(tmp_path / "alone")
    loop.train("tiny", tmp_path / "fed", workers=1, device="cpu", renderers=2)
    one, two = (kept(tmp_path / name)["weights"]["master"] for name in ("alone", "fed"))
    assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_a_run_goes_on_in_batches_of_its_own_size_only(tiny, tmp_path):
    loop.train("tiny", tmp_path, workers=1, device="cpu", batch=8, samples=32)
    assert kept(tmp_path)["step"] == 4
    with pytest.raises(UserError, match="batches of 8, not of 4: give --batch 8"):
        fit(tmp_path)


def test_a_larger_batch_moves_farther_a_step_and_remembers_as_many_samples():
    plan = Plan(samples=1000, batch=4, learning_rate=0.1, warmup=80, ema=0.99)
    larger = plan.with_batch(16)
    assert (larger.batch, larger.samples, larger.warmup) == (16, 1000, 20)
    assert larger.learning_rate == pytest.approx(0.2)
    assert larger.ema == pytest.approx(0.99**4)
    assert plan.with_batch(4) == plan


def test_two_workers_train_as_processes_of_their_own(tiny, tmp_path):
    assert str(loop.train("tiny", tmp_path, workers=2, device="cpu")) == "finished after 48 samples"
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    torch.manual_seed(0)
    untrained, _ = tiny(torch.device("cpu")).evaluate()
    assert json.loads(line)["held_out"] < 0.1 * untrained["held_out"]
