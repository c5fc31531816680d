"""The pocket world's metrics, where every valid answer is known: `answer_error`, `answer_error_outside`,
`answer_switches`, `edited_share`, `root_agreement`, `mask_iou` (the arithmetic is in eval.truth)."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval import truth
from eval.features import Features
from eval.metric import Card
from eval.score import Pair, Score, missing, ok
from eval.walk import Moment, Result


class Answered:
    """Distances to the answers and the state of every frame (eval.truth.Truth)."""

    def __init__(self, pair: Pair) -> None:
        self.answers = pair.answers or []
        self.errors: list[list[float]] = []
        self.outside: list[float] = []
        self.states: list[int] = []

    def update(self, moment: Moment) -> None:
        if not self.answers or moment.mask is None:
            return
        region = moment.mask > 0
        candidates = [answer[moment.t] for answer in self.answers]
        self.errors.append([truth.rmse(moment.edited, candidate, region) for candidate in candidates])
        self.outside.append(truth.rmse(moment.edited, moment.source, ~region))
        self.states.append(truth.state(moment.edited, moment.source, candidates, region))

    def result(self) -> Result:
        return {
            "errors": np.array(self.errors, dtype=np.float64).reshape(len(self.errors), len(self.answers)),
            "outside": np.array(self.outside, dtype=np.float64),
            "states": np.array(self.states, dtype=np.int64),
        }


class Truthful(Card):
    """Needs the true mask and all answers."""

    version, range = 1, (0.0, 1.0)
    needs: tuple[str, ...] = ("mask", "answers")
    suite = "pocket"
    measures = (Answered,)

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.mask is None or not pair.answers:
            return missing("skipped", "the answers of this task are not known")
        result = features.measured(pair, Answered)
        return self.of(truth.Truth(result["errors"], result["outside"], result["states"]), pair)

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        raise NotImplementedError

    @staticmethod
    def scored(value: float | None, reason: str, **details: Any) -> Score:
        return missing("undefined", reason, **details) if value is None else ok(value, **details)


class AnswerError(Truthful):
    """Inside the true mask: RMSE of each frame to its nearest answer, mean over frames. details.one_answer:
    the same to the clip's one best answer; nearest_switches, margins, ties.

    Exact. A copy scores the distance of the source to the nearest answer. Known: the edit is an answer: 0.
    """

    id, direction = "answer_error", "down"

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        errors = measured.errors
        return self.scored(
            truth.answer_error(errors),
            "the mask is empty in every frame",
            one_answer=truth.one_answer(errors),
            nearest=truth.nearest(errors),
            nearest_switches=truth.nearest_switches(errors),
            margins=truth.margins(errors),
            ties=truth.ties(errors),
        )


class AnswerErrorOutside(Truthful):
    """Outside the true mask: RMSE of each frame to the source, mean over frames that have such pixels."""

    id, direction = "answer_error_outside", "down"

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        value = truth.answer_error_outside(measured.outside)
        return self.scored(value, "no background: the mask is the whole frame", frames=measured.outside)


class AnswerSwitches(Truthful):
    """Among adjacent frames that are both decided for an answer, the share that are different answers;
    undefined when fewer than half of all steps are such.

    Fooled by: not editing (no switch): a comparison counts only where the edited share is not lower.
    """

    id, direction = "answer_switches", "down"

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        value = truth.answer_switches(measured.states)
        return self.scored(
            value, "undecided: fewer than half of all steps are between answers", states=measured.states
        )


class EditedShare(Truthful):
    """Share of frames that are an answer at all, not the source and not mush (a lead of at least 0.25 over
    the second nearest of answers and source). details: undone, undecided and minority share."""

    id, direction = "edited_share", "up"

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        states = measured.states
        return self.scored(
            truth.edited_share(states),
            "the mask is empty in every frame",
            undone_share=truth.undone_share(states),
            undecided_share=truth.undecided_share(states),
            minority_share=truth.minority_share(states),
        )


class RootAgreement(Truthful):
    """1 if the clip's most frequent answer is the root edit's, else 0; undefined if either is undecided."""

    id, direction = "root_agreement", "up"
    needs = ("mask", "answers", "root")

    def of(self, measured: truth.Truth, pair: Pair) -> Score:
        if pair.root is None or pair.mask is None or not pair.answers:
            return missing("skipped", "this edit has no root")
        index, image = pair.root
        answers = [answer[index] for answer in pair.answers]
        root_state = truth.state(image, pair.source[index], answers, pair.mask[index])
        value = truth.root_agreement(measured.states, root_state)
        return self.scored(value, "the clip or its root is undecided", root_state=root_state)


class MaskIou(Card):
    """Intersection over union of the method's own mask and the true one, mean over frames; 1 where both are
    empty.

    Known: 2x2 squares that share one column: 1/3.
    """

    id, version, direction, range = "mask_iou", 1, "up", (0.0, 1.0)
    needs = ("mask", "predicted mask")
    suite = "pocket"

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.mask is None or pair.predicted_mask is None:
            return missing("skipped", "no predicted mask, or no true one")
        frames = truth.mask_iou(pair.predicted_mask, pair.mask)
        return ok(float(frames.mean()), frames=frames)
