"""How far an edit is from the truth, where every valid answer is known.

Clips are uint8 RGB (n, H, W, 3). `answers` holds K whole clips, each a valid edit consistent in itself. Masks
are (n, H, W), bool or in [0, 1] and cut at 0.5, True where the edit may act. Distances are root mean squares
over pixels and channels, of values in [0, 1]. Squared differences are summed in float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

UNDONE = -1  # the frame is the source
UNDECIDED = -2  # a blend, or mush
ABSENT = -3  # the mask is empty in this frame: there is nothing to edit
LEAD = (
    0.25  # how much nearer the nearest candidate must be, as a share of the distance between the nearest two
)

Floats = NDArray[np.float64]
States = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """Everything that is measured, per frame; the functions below make numbers of it.

    errors: (n, K) distance to each answer inside the mask, NaN where the mask is empty.
    outside: (n,) distance to the source outside the mask, NaN where the mask is the whole frame.
    states: (n,) the answer that the frame is, or UNDONE, UNDECIDED, ABSENT.
    """

    errors: Floats
    outside: Floats
    states: States


def pocket_truth(edited: Any, source: Any, answers: Sequence[Any], mask: Any) -> Truth:
    """Measure an edit frame by frame. Clips may be arrays or anything indexed by frame; only one frame is
    held.

    Raises ValueError when lengths or sizes differ, or there is no answer.
    """
    n = len(edited)
    if len(answers) == 0 or any(len(clip) != n for clip in (source, mask, *answers)):
        lengths = [len(clip) for clip in (edited, source, mask, *answers)]
        raise ValueError(f"edit, source, mask and at least one answer have the same length, not {lengths}")
    errors = np.full((n, len(answers)), np.nan)
    outside = np.full(n, np.nan)
    states = np.full(n, ABSENT, dtype=np.int64)
    for t in range(n):
        region = boolean(mask[t])
        frame, before = edited[t], source[t]
        candidates = [answer[t] for answer in answers]
        errors[t] = [rmse(frame, candidate, region) for candidate in candidates]
        outside[t] = rmse(frame, before, ~region)
        states[t] = state(frame, before, candidates, region)
    return Truth(errors, outside, states)


def state(
    frame: NDArray[np.uint8],
    source: NDArray[np.uint8],
    answers: Sequence[NDArray[np.uint8]],
    mask: NDArray[Any],
) -> int:
    """Which answer one frame (H, W, 3) is inside the mask: its index, or UNDONE, UNDECIDED, ABSENT.

    With the two nearest candidates (answers and source) at distances d1 <= d2, the lead is (d2 - d1) / RMSE
    between them, in [0, 1] by the triangle inequality, 0 where they coincide. A lead of at least 0.25
    decides.
    """
    region = boolean(mask)
    if not region.any():
        return ABSENT
    candidates = [*answers, source]
    distances = np.array([rmse(frame, candidate, region) for candidate in candidates])
    first, second = np.argsort(distances, kind="stable")[:2]
    apart = rmse(candidates[first], candidates[second], region)
    lead = (distances[second] - distances[first]) / apart if apart > 0 else 0.0
    if lead < LEAD:
        return UNDECIDED
    return UNDONE if first == len(answers) else int(first)


def rmse(a: NDArray[np.uint8], b: NDArray[np.uint8], region: NDArray[np.bool_]) -> float:
    """Root mean square difference of two frames (H, W, 3) over a region (H, W), in [0, 1]; NaN for an empty
    region."""
    if a.shape != b.shape or a.shape[:2] != region.shape:
        raise ValueError(f"frames and mask have one size, not {a.shape}, {b.shape}, {region.shape}")
    pixels = int(np.count_nonzero(region))
    if pixels == 0:
        return float("nan")
    first, second = np.ascontiguousarray(a), np.ascontiguousarray(b)
    total = cv2.norm(first, second, cv2.NORM_L2SQR, region.astype(np.uint8))
    return float((total / (pixels * a.shape[2])) ** 0.5 / 255)


def boolean(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask as bool: soft masks are cut at 0.5 (above is edited)."""
    array = np.asarray(mask)
    return array if array.dtype == np.bool_ else array > 0.5


def answer_error(errors: Floats) -> float | None:
    """Mean over frames of the distance to the nearest answer; None when no frame has a mask."""
    present = _present(errors)
    return float(present.min(axis=1).mean()) if len(present) else None


def one_answer(errors: Floats) -> float | None:
    """The smallest over answers of the clip's mean distance: what a consistent edit gains on."""
    present = _present(errors)
    return float(present.mean(axis=0).min()) if len(present) else None


def nearest(errors: Floats) -> States:
    """(n,) the nearest answer of each frame, the lowest index on ties; ABSENT where the mask is empty."""
    filled = np.where(np.isnan(errors), np.inf, errors)
    return np.where(np.isfinite(errors).all(axis=1), filled.argmin(axis=1), ABSENT).astype(np.int64)


def ties(errors: Floats) -> int:
    """In how many frames several answers are nearest."""
    present = _present(errors)
    return int(((present == present.min(axis=1, keepdims=True)).sum(axis=1) > 1).sum()) if len(present) else 0


def margins(errors: Floats) -> Floats | None:
    """(frames with a mask,) second smallest minus smallest distance; None with one answer."""
    if errors.shape[1] < 2:
        return None
    ordered = np.sort(_present(errors), axis=1)
    return np.asarray(ordered[:, 1] - ordered[:, 0])


def nearest_switches(errors: Floats) -> float | None:
    """Share of adjacent frames whose nearest answer differs; None when no two adjacent frames have a mask."""
    closest = nearest(errors)
    both = (closest[1:] >= 0) & (closest[:-1] >= 0)
    return float((closest[1:] != closest[:-1])[both].mean()) if both.any() else None


def answer_error_outside(outside: Floats) -> float | None:
    """Mean over frames of the distance to the source outside the mask; None where the mask is always the
    whole frame."""
    present = outside[np.isfinite(outside)]
    return float(present.mean()) if len(present) else None


def answer_switches(states: States) -> float | None:
    """Among adjacent frames that are both an answer, the share that are different answers.

    None ("undecided") when fewer than half of all steps between frames with a mask are such, or there is
    none.
    """
    steps = (states[1:] != ABSENT) & (states[:-1] != ABSENT)
    decided = (states[1:] >= 0) & (states[:-1] >= 0)
    if not decided.any() or decided.sum() < 0.5 * steps.sum():
        return None
    return float((states[1:] != states[:-1])[decided].mean())


def edited_share(states: States) -> float | None:
    """Share of frames that are an answer at all; frames without a mask do not count. None when there are no
    others."""
    return _share(states, lambda state: state >= 0)


def undone_share(states: States) -> float | None:
    """Share of frames that are still the source."""
    return _share(states, lambda state: state == UNDONE)


def undecided_share(states: States) -> float | None:
    """Share of frames that are neither an answer nor the source."""
    return _share(states, lambda state: state == UNDECIDED)


def minority_share(states: States) -> float | None:
    """1 - the share of the most frequent answer among the frames that are an answer; None when none is."""
    counts = Counter(int(state) for state in states if state >= 0)
    return 1 - max(counts.values()) / sum(counts.values()) if counts else None


def root_agreement(states: States, root_state: int) -> float | None:
    """1 if the clip's most frequent answer is the root edit's, else 0; None if either is undecided.

    `root_state` is `state` of the root edit at its frame. Where several answers are equally frequent, the
    root's being one of them agrees.
    """
    counts = Counter(int(state) for state in states if state >= 0)
    if not counts or root_state < 0:
        return None
    return float(counts[root_state] == max(counts.values()))


def mask_iou(predicted: Any, true: Any) -> Floats:
    """(n,) intersection over union of two masks (n, H, W) per frame; 1 where both are empty."""
    if len(predicted) != len(true):
        raise ValueError(f"masks have the same length, not {len(predicted)} and {len(true)}")
    values = np.empty(len(true))
    for t in range(len(true)):
        a, b = boolean(predicted[t]), boolean(true[t])
        union = np.count_nonzero(a | b)
        values[t] = np.count_nonzero(a & b) / union if union else 1.0
    return values


def _present(errors: Floats) -> Floats:
    return errors[np.isfinite(errors).all(axis=1)]


def _share(states: States, belongs: Any) -> float | None:
    present = states[states != ABSENT]
    return float(np.mean(belongs(present))) if len(present) else None
