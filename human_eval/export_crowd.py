"""Crowd platforms of the older kind: one HTML template with `${columns}` and one CSV row per session."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

from .export_sheets import environment
from .page import answer_labels
from .study import Key, Study, write_text
from .votes import csv_text


def export_crowd(
    folder: Path, study: Study, key: Key, sessions: list[str], out: Path, clips_at: str = "clips/"
) -> list[Path]:
    """`hit.html`, `hits.csv` and `clips/` to be put at `clips_at`.

    The platform pastes cells into the page as they are, so instructions are escaped in the CSV already.
    """
    (out / "clips").mkdir(parents=True, exist_ok=True)
    length = max(len(study.sessions[session].tasks) for session in sessions)
    header = ["session"]
    for place in range(1, length + 1):
        header += [f"task_{place}", f"clip_{place}", f"instruction_{place}"]
    rows = []
    for session in sessions:
        row = [session]
        for task in study.sessions[session].tasks:
            plan = study.tasks[task]
            shutil.copyfile(folder / "clips" / key.files[task], out / "clips" / f"{plan.media}.mp4")
            row += [task, f"{clips_at}{plan.media}.mp4", html.escape(plan.instruction)]
        rows.append(row)
    page = (
        environment()
        .get_template("hit.html")
        .render(study=study, places=range(1, length + 1), answers=answer_labels(study))
    )
    write_text(out / "hit.html", page)
    write_text(out / "hits.csv", csv_text(header, rows))
    return [out / "hit.html", out / "hits.csv"]


def external_link(host: str) -> str:
    """The address to give to a platform that opens an external study."""
    return (
        f"{host.rstrip('/')}/s?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}&STUDY_ID={{{{%STUDY_ID%}}}}"
        "&SESSION_ID={{%SESSION_ID%}}"
    )
