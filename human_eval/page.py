"""What the page is told: everything a rater needs and nothing that unblinds; shared by server and offline
bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from .study import Study

STATIC = {
    "index.html": "text/html",
    "style.css": "text/css",
    "player.js": "text/javascript",
    "app.js": "text/javascript",
    "server.js": "text/javascript",
    "offline.js": "text/javascript",
}


def static_files() -> dict[str, tuple[bytes, str]]:
    """Name -> content and media type of the page's files."""
    folder = files(__package__) / "static"
    return {name: ((folder / name).read_bytes(), kind) for name, kind in STATIC.items()}


def task_state(study: Study, task: str) -> dict[str, Any]:
    """One comparison as the page knows it."""
    plan = study.tasks[task]
    return {
        "id": task,
        "media": plan.media,
        "instruction": plan.instruction,
        "fps": plan.fps,
        "frames": plan.frames,
        "panel": plan.panel.model_dump() if plan.panel else None,
    }


def answer_labels(study: Study) -> list[dict[str, str]]:
    """The answers offered, with the words raters see."""
    tie = study.settings.tie_means
    words = {"left": "A", "right": "B", "tie": tie[:1].upper() + tie[1:], "both_fail": "Both fail"}
    return [{"value": value, "label": words[value]} for value in study.answers]


def page_state(
    study: Study,
    stage: str | None,
    training: Iterable[str],
    tasks: Iterable[str],
    *,
    given: Mapping[str, Any] | None = None,
    preview: bool = False,
) -> dict[str, Any]:
    """The state of a session for the page."""
    settings = study.settings
    return {
        "preview": preview,
        "stage": stage or "consent",
        "consent": settings.consent,
        "comprehension": [
            {"question": question.question, "options": list(question.options)}
            for question in settings.comprehension
        ],
        "attempts": 0,
        "aspects": [aspect.model_dump() for aspect in settings.aspects],
        "answers": answer_labels(study),
        "training": [task_state(study, task) for task in training],
        "tasks": [task_state(study, task) for task in tasks],
        "feedback": list(settings.feedback),
        "given": dict(given or {}),
        "code": None,
    }
