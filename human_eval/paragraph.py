"""The methods paragraph, ready to paste: every fact a reviewer asks for, from study and votes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from data.types import UserError

from .analyse import Analysis
from .exclusions import Rater
from .export_sheets import environment
from .study import Key, Study


def methods_paragraph(study: Study, key: Key, analysis: Analysis, raters: Sequence[Rater], kept: int) -> str:
    """Raises UserError naming the first field of `about` that the study file leaves empty."""
    for name, value in study.settings.about.model_dump().items():
        if not value.strip():
            raise UserError(f"about.{name} is empty in the study: the methods paragraph needs it")
    times = [rater.median_seconds for rater in raters if rater.median_seconds is not None]
    sessions = sorted(len(rater.sessions) for rater in raters)
    alphas = [
        f"{'undefined' if math.isnan(a.alpha) else f'{a.alpha:.2f}'} ({a.aspect.replace('_', ' ')})"
        for a in analysis.agreement
    ]
    template = environment(escape=False).get_template("methods.txt")
    return template.render(
        study=study,
        settings=study.settings,
        about=study.settings.about,
        rules=study.settings.exclusions,
        n=study.numbers,
        key=key,
        votes=analysis.votes,
        raters=len(raters),
        kept=kept,
        sessions=(sessions[0], sessions[-1]) if sessions else (0, 0),
        seconds=round(median(times)) if times else None,
        shown=next(plan for plan in study.tasks.values() if plan.kind == "real"),
        kinds=sorted({plan.kind for plan in study.tasks.values()} - {"real", "training"}),
        alphas=alphas,
    )
