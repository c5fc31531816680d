"""Simulated raters, for tests, planning and demonstrations only. Everything made from them is stamped
`synthetic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from .study import Key, Study
from .votes import Vote, vote

TIE_WIDTH = 0.35


def answers_of(
    study: Study,
    key: Key,
    session: str,
    strength: Mapping[str, float],
    rng: np.random.Generator,
    *,
    clip_effects: Mapping[tuple[str, str], float],
    bias: float = 0.0,
    carelessness: float = 0.0,
) -> dict[tuple[str, str], str]:
    """(task, aspect) -> answer of one rater for a session: a latent difference of strengths, clips and
    noise, cut into left, tie, right.

    `strength` gives each method's latent quality, `clip_effects` one draw per (clip, method), `bias`
    favours the left side, and a careless rater answers that share of tasks at random.
    """
    taste = rng.normal(0, 0.3)
    answers = {}
    for task in study.sessions[session].tasks:
        plan, shown = study.tasks[task], key.methods[task]
        careless = rng.random() < carelessness
        for aspect in study.aspects:
            if careless:
                answers[task, aspect] = str(rng.choice(study.answers[:3]))
                continue
            if task in key.expected and rng.random() < 0.97:
                answers[task, aspect] = key.expected[task]
                continue
            quality = [
                (1 + taste) * strength.get(method, 0.0) + clip_effects.get((plan.clip, method), 0.0)
                for method in (shown["left"], shown["right"])
            ]
            latent = quality[0] - quality[1] + bias + rng.normal()
            side = "tie" if abs(latent) < TIE_WIDTH else ("left" if latent > 0 else "right")
            answers[task, aspect] = side
    return answers


def synthetic_votes(
    study: Study,
    key: Key,
    seed: int,
    *,
    strength: Mapping[str, float] | None = None,
    sessions: list[str] | None = None,
) -> list[Vote]:
    """Votes of one simulated rater per session, stamped by their origin.

    Without `strength` the first method of each pair is a little better than the second, the others in order.
    """
    rng = np.random.default_rng(seed)
    names = key.names
    strength = strength or {name: 0.5 - 0.25 * i for i, name in enumerate(names)}
    clips = {plan.clip for plan in study.tasks.values()}
    effects = {(clip, name): float(rng.normal(0, 0.4)) for clip in sorted(clips) for name in names}
    votes = []
    for number, session in enumerate(sessions or study.sessions):
        answers = answers_of(study, key, session, strength, rng, clip_effects=effects)
        clock = datetime.fromisoformat("2000-01-01T09:00:00+00:00") + timedelta(hours=number)
        for task in study.sessions[session].tasks:
            shown = clock
            clock += timedelta(seconds=float(rng.gamma(6, 4)) + 2 * study.tasks[task].seconds)
            facts = times(shown, clock, study.tasks[task].seconds)
            for aspect in study.aspects:
                votes.append(
                    vote(
                        study,
                        session,
                        task,
                        aspect,
                        answers[task, aspect],
                        rater=f"synthetic-{number + 1}",
                        **facts,
                    )
                )
    return votes


def times(shown: datetime, answered: datetime, seconds: float) -> dict[str, Any]:
    """The facts of a vote that a browser would have measured."""
    played = round(2000 * seconds)
    return {
        "shown_at": shown.isoformat(),
        "answered_at": answered.isoformat(),
        "play_ms_left": played,
        "play_ms_right": played,
        "play_ms_source": played,
        "seeks": 0,
        "dropped_frames": 0,
        "source_visible": True,
        "client": "synthetic",
        "origin": "synthetic",
    }
