"""Sheets: a printable page of filmstrips per session, and a CSV to type the answers into."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from .media import contact_sheet, filmstrip
from .study import Key, Study, write_text
from .votes import csv_text


def environment(*, escape: bool = True) -> Environment:
    """Templates of this room; everything in a page is escaped."""
    return Environment(loader=PackageLoader("human_eval"), autoescape=escape, undefined=StrictUndefined)


def export_sheets(folder: Path, study: Study, key: Key, sessions: list[str], out: Path) -> list[Path]:
    """`sheet-SESSION.html` to print and `sheet-SESSION.csv` to fill, for each session."""
    template = environment().get_template("sheet.html")
    written = []
    for session in sessions:
        rows = [printed(folder, study, key, task) for task in study.sessions[session].tasks]
        marks = "A / B / =" + (" / F" if study.settings.both_fail else "")
        html = template.render(study=study, session=session, rows=rows, marks=marks)
        write_text(out / f"sheet-{session}.html", html)
        write_text(out / f"sheet-{session}.csv", sheet_csv(study, session))
        written += [out / f"sheet-{session}.html", out / f"sheet-{session}.csv"]
    return written


def printed(folder: Path, study: Study, key: Key, task: str) -> dict[str, object]:
    """What a printed row shows: six frames of source, A and B as data addresses."""
    plan = study.tasks[task]
    assert plan.panel is not None
    strips = filmstrip(folder / "clips" / key.files[task], plan.panel)
    images = {name: data_address(contact_sheet(images)) for name, images in strips.items()}
    return {"task": task, "plan": plan, "images": images}


def data_address(image: Image.Image) -> str:
    """A JPEG inside the page; no file name, no metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def sheet_csv(study: Study, session: str) -> str:
    """The sheet as CSV with empty answers: A, B or = (a spreadsheet may store '=), F for both fail."""
    header = [
        "sheet",
        "row",
        "task",
        "check",
        "instruction",
        *(f"aspect_{i + 1}" for i in range(len(study.aspects))),
    ]
    rows = [
        [
            session,
            number,
            task,
            study.tasks[task].check,
            study.tasks[task].instruction,
            *([""] * len(study.aspects)),
        ]
        for number, task in enumerate(study.sessions[session].tasks, 1)
    ]
    return csv_text(header, rows)
