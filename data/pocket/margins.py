"""How far answers are from each other and from the source (`python -m data.pocket.margins`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.pocket.backgrounds import kinds
from data.pocket.coupling import COUPLING
from data.pocket.edits import ARGUMENTS, SUBJECTS, fits
from data.pocket.motion import MOTIONS
from data.pocket.scenes import Scene, render


def margins(edit: str, split: str, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Root mean square differences (0-255) inside the true mask of `n` random frames that show it.

    Returns:
        (n, 3): A to B, A to source, B to source; (n, 1) for edits of one answer: to the source.
    """
    rows: list[list[float]] = []
    while len(rows) < n:
        subject, family = SUBJECTS[int(rng.integers(len(SUBJECTS)))], int(rng.integers(2))
        if not fits(edit, subject, family):
            continue
        motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
        behind = [
            str(rng.choice(kinds(split))) + f"/{rng.integers(100)}" for _ in range(1 + (motion == "cut"))
        ]
        other = SUBJECTS[(SUBJECTS.index(subject) + 5) % len(SUBJECTS)] if motion == "pair" else None
        scene = Scene.model_validate(
            dict(split=split, subject=subject, family=family, motion=motion, backgrounds=behind, other=other)
        )
        take = render(scene, 8, seed=int(rng.integers(1 << 30)))
        frame = int(rng.integers(8))
        inside = take.masks(edit)[frame] > 0.5
        if inside.sum() < 150:
            continue
        source = take.source[frame][inside].astype(np.float64)
        shown = [answer[frame][inside].astype(np.float64) for answer in take.answers(edit)]
        pairs = [(shown[0], shown[1])] if len(shown) == 2 else []
        pairs += [(answer, source) for answer in shown]
        rows.append([float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs])
    return np.array(rows)


def main() -> None:
    """Print mean and smallest distance for every edit, 24 frames each, over the train split."""
    print("| edit | coupling | A to B | A to source | B to source |\n|---|---|---|---|---|")
    for edit in ARGUMENTS:
        found = margins(edit, "train", 24, np.random.default_rng(0))
        cells = [f"{column.mean():.0f}, {column.min():.0f}" for column in found.T]
        a_to_b, to_source = (cells[:1], cells[1:]) if len(cells) == 3 else ([""], [*cells, ""])
        print(f"| {edit} | {COUPLING[edit]} | {' | '.join([*a_to_b, *to_source])} |")


if __name__ == "__main__":
    main()
