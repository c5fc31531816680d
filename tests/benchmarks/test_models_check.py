"""`via models check`: what holds a bar, and how frames are judged."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import models, pocket_figures
from benchmarks.models import Bar, editor_bars
from data.pocket.words import ARGUMENTS, KINDS, SUBJECTS, VOCABULARY
from eval.models import ClipFolder
from via.backbones.pocket import weights
from via.backbones.pocket.backbone import PocketBackbone, load
from via.backbones.pocket.conditioner import PocketConditioner
from via.backbones.pocket.mask import PocketMask
from via.backbones.pocket.unet import PocketUNet
from via.backbones.pocket.vae import PocketVAE

torch.set_num_threads(1)


def line(valid=1.0, answer=30.0, copy=10.0, outside=30.0) -> dict[str, float]:
    return {"valid": valid, "chance": 0.1, "answer_db": answer, "copy_db": copy, "outside_db": outside}


def missed(table: dict) -> set[str]:
    return {bar.what for bar in editor_bars(table) if not bar.holds}


def test_local_kinds_need_four_fifths_on_average_and_a_half_each():
    assert not missed({"replace": line(0.6), "recolour": line(1.0)})
    assert missed({"replace": line(0.6), "recolour": line(0.9)}) == {"valid answers, mean of local kinds"}
    assert missed({"replace": line(0.45), "recolour": line(1.0)}) == {
        "valid answers, mean of local kinds",
        "valid answers, replace",
    }


def test_a_global_edit_whose_copy_is_near_is_judged_by_its_gain_alone():
    far, near, nearer = line(answer=20.5, copy=15), line(answer=27, copy=20.5), line(answer=26, copy=20.5)
    assert missed({"replace": line(), "global/sepia": far}) == {
        "global/sepia, nearest answer",
        "global/sepia, gain over a copy",
    }
    assert not missed({"replace": line(), "global/sepia": near})
    assert missed({"replace": line(), "global/sepia": nearer}) == {"global/sepia, gain over a copy"}


def test_outside_of_a_background_edit_has_no_bar():
    assert missed({"background": line(outside=12), "replace": line(outside=21)}) == {
        "replace, outside the mask"
    }


def test_a_bar_is_printed_beside_its_figure_and_its_chance():
    assert str(Bar("valid answers, replace", 0.45, 0.5, chance=0.14)) == (
        "MISSED valid answers, replace: 45%, at least 50% (chance 14%)"
    )
    assert str(Bar("VAE, sources", 33.7, 32, "dB")) == "holds  VAE, sources: 33.7 dB, at least 32.0 dB"


def run(*arguments: str):
    return CliRunner().invoke(models.app, ["check", *arguments])


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (0.4, 1)])
def test_a_missed_bar_decides_the_exit_code(monkeypatch, tmp_path, value, code):
    (tmp_path / "vae").mkdir()
    weights.write_card(tmp_path / "vae", {"what": "a test"})
    bars = [Bar("something", value, 0.5)]
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setitem(
        models.CHECKS, "vae", lambda folder, count, report: ({"psnr": {"source_db": 31.23456}}, bars)
    )
    ran = run("vae", "--write")
    assert ran.exit_code == code
    card = weights.read_card(tmp_path / "vae")
    assert card["check"]["psnr"] == {"source_db": 31.2346}
    assert card["check"]["missed"] == (["something"] if code else [])
    assert card["what"] == "a test"
    assert "sha256" in card


def test_a_model_that_is_not_here_is_said_so_and_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    output = tmp_path / "figures.json"
    ran = run("clip", "--json", str(output))
    assert ran.exit_code == 1
    assert "via models train clip" in ran.output
    assert json.loads(output.read_text()) == {}


@pytest.fixture(scope="module")
def backbone() -> PocketBackbone:
    torch.manual_seed(0)
    unet = PocketUNet()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.02)
    return PocketBackbone(
        vae=weights.load(PocketVAE, weights.WEIGHTS / "vae"),
        conditioner=PocketConditioner(len(VOCABULARY), len(KINDS), len(ARGUMENTS), len(SUBJECTS)).eval(),
        unet=unet.eval(),
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def local() -> list[pocket_figures.Case]:
    return list(pocket_figures.cases("recolour", 6, np.random.default_rng(0)))


def test_cases_take_all_edits_in_turn_and_have_answers_where_their_mask_says(local):
    assert len({case.edit for case in local}) == 3  # two frames a scene
    for case in local:
        assert case.mask.sum() >= pocket_figures.LEAST
        assert len(case.others) >= 2
        for answer in case.answers:
            assert np.abs(answer.astype(int) - case.source)[case.mask].mean() > 10


def test_an_answer_is_judged_valid_and_neither_the_source_nor_another_edit_is(local):
    for case in local:
        perfect = pocket_figures.judge(case, case.answers[-1])
        assert perfect["valid"] == 1
        assert perfect["error"] == 0
        assert pocket_figures.judge(case, case.source)["valid"] == 0
        assert pocket_figures.judge(case, case.source)["outside"] == 0
        assert pocket_figures.judge(case, case.others[0])["valid"] == 0


def test_a_frame_edited_in_a_batch_is_the_frame_edited_alone(backbone, local):
    batch = local[:2]
    sources, asked = [case.source for case in batch], [case.instruction for case in batch]
    together = pocket_figures.edit_plainly(
        backbone, pocket_figures.conditions(backbone, sources, asked), seed=1, steps=2
    )
    for i in range(2):
        alone = pocket_figures.conditions(backbone, sources[i : i + 1], asked[i : i + 1])
        single = pocket_figures.edit_plainly(backbone, alone, seed=1, steps=2)[0]
        assert (np.abs(together[i].astype(int) - single) <= 1).mean() > 0.999


def test_an_editor_that_changes_nothing_gains_nothing(backbone, monkeypatch):
    monkeypatch.setattr(
        pocket_figures,
        "edit_plainly",
        lambda backbone, condition, seed: pocket_figures.array(backbone.decode(condition.image_latents[0])),
    )
    tables = [pocket_figures.kind_figures(backbone, kind, count=2) for kind in KINDS]
    assert [next(iter(table)) for table in tables] == list(KINDS)
    assert [name for table in tables for name in table if "/" in name] == ["global/black and white"]
    for row in (row for table in tables for row in table.values()):
        assert row["answer_db"] - row["copy_db"] < 1
        assert row["vae_db"] > row["copy_db"] + 3


def test_the_editor_is_checked_by_kinds_drift_and_tokens_in_this_order(monkeypatch, tmp_path):
    def job(folder, name, arguments):
        if name != "kind_figures":
            return arguments
        kind = arguments["kind"]
        return {kind: line()} | ({"global/night": line()} if kind == "global" else {})

    reported: list = []
    monkeypatch.setattr(models, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(2))
    monkeypatch.setattr(models, "_editor_job", job)
    figures, bars = models.check_editor(tmp_path, 100, lambda *said: reported.append(said))
    assert list(figures["kinds"]) == [*KINDS, "global/night"]
    assert {name: line["strength"] for name, line in figures["drift"].items()} == {
        name: name for name in ("none", "weak", "strong")
    }
    assert reported[-1][1:] == (10, 10)
    assert all(bar.holds for bar in bars)


def test_occluded_frames_have_a_subject_on_both_sides_or_beside_the_post():
    for frame, masks in pocket_figures.occluded(np.random.default_rng(0), 4):
        subject, background = masks.values()
        assert frame.shape == (128, 128, 3)
        assert subject.sum() >= pocket_figures.LEAST
        assert not (subject & background).any()
        assert not (subject | background).any(axis=0).all()  # the post is neither


def said(name: str) -> dict:
    """What the card of a committed model says that the check found."""
    return weights.read_card(weights.WEIGHTS / name)["check"]


def test_the_card_of_the_vae_says_what_the_committed_weights_reach(backbone):
    assert pocket_figures.vae_figures(backbone.vae) == pytest.approx(said("vae")["psnr"], abs=0.02)


def test_the_card_of_text_to_mask_says_what_the_committed_weights_reach():
    model = weights.load(PocketMask, weights.WEIGHTS / "mask")
    assert pocket_figures.mask_figures(model) == pytest.approx(said("mask")["iou"], abs=0.03)


def test_the_card_of_clip_says_what_the_committed_weights_reach():
    found = said("clip")["zero_shot"]
    clip = ClipFolder(weights.WEIGHTS / "clip")
    assert pocket_figures.clip_figures(clip) == pytest.approx(found, abs=0.01)


def test_the_card_of_the_editor_is_within_noise_of_a_few_frames():
    rate, count = said("editor")["kinds"]["recolour"]["valid"], 10
    found = pocket_figures.kind_figures(load(), "recolour", count)["recolour"]["valid"]
    assert abs(found - rate) <= 3 * (rate * (1 - rate) / count) ** 0.5 + 1 / count


def test_an_unknown_model_is_answered_by_the_list():
    ran = run("nothing")
    assert "vae, editor, mask, clip" in str(ran.exception)
    assert not isinstance(ran.exception, typer.Exit)
