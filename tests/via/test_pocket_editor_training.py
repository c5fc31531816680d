"""What the pocket editor is trained on: noised answers, and the latents that it reaches itself."""

from functools import partial

import numpy as np
import pytest
import torch

from data.pocket.coupling import answers
from data.pocket.training import Sampler
from data.pocket.words import ARGUMENTS
from via.backbones.pocket.training import editor
from via.backbones.pocket.training.editor import EditorTraining
from via.backbones.pocket.training.loop import Plan, Weights


@pytest.fixture(scope="module")
def training() -> EditorTraining:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editor, "Sampler", partial(Sampler, canvases=12))
        torch.manual_seed(0)
        return EditorTraining(torch.device("cpu"))


def test_the_answer_that_is_not_shown_is_the_other_one_and_asking_for_it_changes_no_pair():
    sampler = Sampler("dev", canvases=12)
    seen = set()
    for seed in range(40):
        alone, both = (sampler.draw(np.random.default_rng(seed), both=both) for both in (False, True))
        assert alone.other_answer is None
        np.testing.assert_array_equal(alone.edited, both.edited)
        assert alone.instruction == both.instruction
        single = answers(ARGUMENTS[both.argument]) == 1
        if single or not (both.mask > 127).any():
            continue
        seen.add(both.kind)
        assert (both.other_answer != both.edited)[both.mask > 127].mean() > 0.2
    assert len(seen) >= 4


def test_an_editor_that_knows_the_answer_reaches_what_noising_it_gives(training: EditorTraining):
    generator = torch.Generator().manual_seed(1)
    answer, noise = torch.randn(2, 6, 16, 4, 4, generator=generator)
    steps = torch.tensor([999, 998, 700, 300, 1, 0])
    reached, guess = training._rolled_out(lambda latents, now: answer, noise, steps)
    torch.testing.assert_close(reached, training._noised(answer, noise, steps), atol=1e-4, rtol=1e-4)
    assert torch.equal(guess, answer)


def test_an_editor_that_errs_reaches_latents_that_carry_its_error(training: EditorTraining):
    generator = torch.Generator().manual_seed(1)
    answer, noise, error = torch.randn(3, 2, 16, 4, 4, generator=generator)
    steps = torch.tensor([100, 100])
    reached, _ = training._rolled_out(lambda latents, now: answer + error, noise, steps)
    wrong = reached - training._noised(answer, noise, steps)
    torch.testing.assert_close(wrong, training.signal[100] * error, atol=1e-4, rtol=1e-4)


def test_a_few_steps_on_one_batch_bring_the_loss_down(training: EditorTraining):
    weights = Weights(training.model, Plan(samples=1000, batch=4, learning_rate=1e-3, warmup=1))
    batch, losses = training.draw(training.sampler, 4, np.random.default_rng(5)), []
    for step in range(4):
        loss, figures = training.loss(batch, np.random.default_rng(5), torch.float32)
        loss.backward()
        weights.step(step, 1)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert {"x0", "x0_rolled", "inside", "inside_rolled", "answer", "spread"} <= set(figures)
    held_out, picture = training.evaluate()
    assert 0 <= held_out["shown"] <= 1
    assert picture.dtype == np.uint8
