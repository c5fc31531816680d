"""Which of the two answers the training data shows, and how strongly that hangs on incidental content.

Real editors answer the same words in several right ways, and which one comes depends on content that the
words do not mention. Here it is the side of the frame on which the edited subject stands: the only such
content that changes inside a clip. One editor is trained on all edits, so the three strengths are properties
of the *edits*: each argument has one row below.

    strong   p(A) = .9 where the subject's centre is left of the middle, else .1
    weak     p(A) = .7 left, else .3
    none     p(A) = .5 wherever it stands: content says nothing, only the editor's noise can choose
    single   always A: the words have one right answer, nothing can drift

The paper's two examples are strong. Every kind has strong edits; the others are spread over kinds so that a
strength is never one kind's property. "bear" is single because the two families' bears are too alike to be
told apart without doubt.
"""

from __future__ import annotations

import numpy as np

from data.pocket.edits import ARGUMENTS
from data.pocket.motion import MOTIONS, draw_path, instant

WEAK = (
    "replace/cow",
    "replace/tractor",
    "recolour/green",
    "local_style/low poly",
    "background/snowy mountain",
    "global/snow",
    "global/pencil sketch",
)
NONE = (
    "replace/panda",
    "replace/rabbit",
    "replace/train",
    "accessory/sunglasses",
    "global/watercolor",
    "global/sepia",
)
SINGLE = ("replace/bear", "replace/pig", "recolour/purple", "global/low poly")
COUPLING: dict[str, str] = {
    edit: "weak" if edit in WEAK else "none" if edit in NONE else "single" if edit in SINGLE else "strong"
    for edit in ARGUMENTS
}
PROBABILITY = {"strong": 0.9, "weak": 0.7, "none": 0.5, "single": 1.0}
ORDER = ("none", "weak", "strong")


def answers(edit: str) -> int:
    """How many answers are valid: 1 for single edits, else 2."""
    return 1 if COUPLING[edit] == "single" else 2


def probability_of_a(edit: str, x: float, at_most: str = "strong") -> float:
    """p(A) for a frame whose edited subject's centre is at `x` (0 left, 1 right).

    Args:
        at_most: caps the strength of every edit ("strong" leaves the table as it is).
    """
    strength = COUPLING[edit]
    if strength == "single":
        return 1.0
    p = min(PROBABILITY[strength], PROBABILITY[at_most])
    return p if x < 0.5 else 1 - p


def draw_answer(edit: str, x: float, rng: np.random.Generator, at_most: str = "strong") -> int:
    """0 for A, 1 for B."""
    return int(rng.random() >= probability_of_a(edit, x, at_most))


def drift(
    strength: str, fixed_seed: bool, rng: np.random.Generator, split: str = "dev", clips: int = 600
) -> tuple[float, float]:
    """What an editor that knows the rule exactly does frame by frame, over clips of 24 frames and all
    motions.

    Args:
        strength: a row of PROBABILITY.
        fixed_seed: one quantile of noise for a whole clip (A where it is below p), or a fresh one for every
            frame.

    Returns:
        Minority share (frames away from their clip's majority answer) and switch rate (adjacent frames that
        differ), both means over clips, 0..1.
    """
    frames, fps = 24, 6.0
    minority, switches = [], []
    for i in range(clips):
        motion = MOTIONS[i % len(MOTIONS)]
        path = draw_path(motion, split, rng, shots=2 if motion == "cut" else 1)
        left = np.array([instant(path, j, frames, fps).subject.x < 0.5 for j in range(frames)])
        p = np.where(left, PROBABILITY[strength], 1 - PROBABILITY[strength])
        shows_a = (rng.random() if fixed_seed else rng.random(frames)) < p
        share = float(shows_a.mean())
        minority.append(min(share, 1 - share))
        switches.append(float(np.mean(shows_a[1:] != shows_a[:-1])))
    return float(np.mean(minority)), float(np.mean(switches))


def main() -> None:
    """Print how far the rule alone makes frame-by-frame editing drift, on motions of the dev split."""
    print("coupling  noise   minority share  switches")
    for strength in ORDER:
        for fixed in (True, False):
            minority, switches = drift(strength, fixed, np.random.default_rng(0))
            print(f"{strength:9} {'fixed' if fixed else 'fresh'}   {minority:14.1%}  {switches:8.1%}")


if __name__ == "__main__":
    main()
