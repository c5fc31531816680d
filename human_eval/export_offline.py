"""The offline bundle of a session: one zip that opens from a file, needs no network, and hands answers back
as a file.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from .import_ import read_bundles
from .page import page_state, static_files
from .study import Key, Study, canonical, write_text

SCRIPTS = ("player.js", "offline.js", "app.js")


def export_offline(folder: Path, study: Study, key: Key, sessions: list[str], out: Path) -> list[Path]:
    """One bundle per session; their hashes are remembered, so that only answers of these bundles are
    imported.
    """
    out.mkdir(parents=True, exist_ok=True)
    bundles, written = read_bundles(folder), []
    for session in sessions:
        path = out / f"bundle-{session}.zip"
        bundles[session] = write_bundle(folder, study, key, session, path)
        written.append(path)
    write_text(folder / "exports" / "bundles.json", json.dumps(bundles, indent=1) + "\n")
    return written


def write_bundle(folder: Path, study: Study, key: Key, session: str, path: Path) -> str:
    """Write the zip and return the bundle's hash, which covers the study, the session and every file but
    its own name.
    """
    plan = study.sessions[session]
    shown = (*plan.training, *plan.tasks)
    content = {
        name: content for name, (content, _) in static_files().items() if name in (*SCRIPTS, "style.css")
    }
    content["index.html"] = page(static_files()["index.html"][0].decode()).encode()
    for task in shown:
        content[f"clips/{study.tasks[task].media}.mp4"] = (folder / "clips" / key.files[task]).read_bytes()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    whole = {"study_hash": study.study_hash, "session": session, "files": hashes}
    bundle = hashlib.sha256(canonical(whole)).hexdigest()
    constant = {
        "study": study.study,
        "study_hash": study.study_hash,
        "session": session,
        "bundle": bundle,
        "comprehension": [question.answer for question in study.settings.comprehension],
        "expected": {task: key.expected[task] for task in plan.training if task in key.expected},
        "page": page_state(study, None, plan.training, plan.tasks),
    }
    text = json.dumps(constant, ensure_ascii=True).replace("<", "\\u003c")
    content["tasks.js"] = f'"use strict";\nconst STUDY = {text};\n'.encode()
    beside = path.with_name(path.name + ".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(content.items()):
            archive.writestr(zipfile.ZipInfo(f"study-{session}/{name}", (1980, 1, 1, 0, 0, 0)), data)
    beside.replace(path)
    return bundle


def page(text: str) -> str:
    """The served page with relative paths and the offline backend: no modules, no fetch."""
    text = text.replace('"static/', '"').replace(
        '<script src="server.js"></script>',
        '<script src="tasks.js"></script>\n  <script src="offline.js"></script>',
    )
    if "static/" in text or "server.js" in text:
        raise AssertionError("the page's scripts are not where the bundle expects them")
    return text
