"""How good is the automatic choice of the root edit? Its error beside those of mean and best candidate.

The paper leaves the choice to a person (section 4.1); where the answers are known the choice can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Run
from data.types import Task
from eval.statistics import clustered_interval
from eval.truth import boolean, rmse

ENOUGH = 0.5  # the share of the gap between mean and best candidate that a choice should close


def candidate_errors(task: Task, frame: int, candidates: NDArray[np.uint8]) -> list[float] | None:
    """Distance (RMSE in [0, 1], inside the true mask) of each candidate (k, H, W, 3) for a frame to its
    nearest answer; None where the answers are not known or the frame has nothing to edit."""
    if task.answers is None or task.masks is None:
        return None
    inside = boolean(task.masks()[frame])
    if not inside.any():
        return None
    answers = [answer[frame] for answer in task.answers()]
    return [min(rmse(one, answer, inside) for answer in answers) for one in candidates]


def sentence(run: Run, method: str = "full") -> str | None:
    """What the choice of a row gained over a candidate drawn blindly, in words; None where it did not
    choose."""
    sources = {task.id: task.source for task in run.record.suite.tasks}
    seeds: dict[str, list[tuple[float, float, float]]] = {}
    for key, result in run.cells():
        facts: dict[str, Any] = result.facts if result is not None and key.method == method else {}
        errors = facts.get("root_errors")
        if errors and len(errors) > 1:
            figures = float(np.mean(errors)), float(errors[facts["root_chosen"]]), float(min(errors))
            seeds.setdefault(key.task, []).append(figures)
    if not seeds:
        return None
    return spoken(np.array([np.mean(of, axis=0) for of in seeds.values()]), [sources[task] for task in seeds])


def spoken(errors: NDArray[np.float64], clips: Sequence[str]) -> str:
    """The sentence for tasks on these clips, from mean, chosen and best candidate's error of each (n, 3)."""
    mean, chosen, best = errors.mean(axis=0)
    text = (
        f"Root choice: over {len(errors)} tasks a candidate's error is {mean:.4f} on average, that of the "
        f"chosen one {chosen:.4f}, of the best one {best:.4f}"
    )
    if mean == best:
        return f"{text}: there is nothing to choose."
    share = f"{(mean - chosen) / (mean - best):.0%}".replace("-", "−")
    text += f": the choice closes {share} of the gap"
    beyond = clustered_interval((errors[:, 0] - errors[:, 1]) - ENOUGH * (errors[:, 0] - errors[:, 2]), clips)
    if beyond.low is None or beyond.high is None:
        return f"{text}."
    judged = "more than" if beyond.low > 0 else "less than" if beyond.high < 0 else "not decidedly"
    interval = f"{beyond.mean:+.4f} [{beyond.low:+.4f}, {beyond.high:+.4f}]".replace("-", "−")
    return f"{text}, {judged} half of it (chosen beyond half: {interval})."
