"""Label Studio projects: one per list, because its community edition shows earlier annotations to later
annotators.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from .page import answer_labels
from .study import Key, Study, write_text

HOTKEYS = ("qwer", "asdf", "yxcv", "uiop", "hjkl")

README = """# Label Studio project, list {list} of replicate {replicate}

1. Make a project of its own for this folder, and give it to one person: the community edition shows earlier
   annotations to later annotators and cannot assign tasks.
2. Settings, Labeling Interface, Code: paste `config.xml`.
3. Put `clips/` where the project can reach it, and import `tasks.json`. If the clips lie at another address,
   export again with `--clips-at ADDRESS`.
4. Export as JSON (JSON-MIN and CSV work too), and run `via study import STUDY FILE`.

Each task is one clip with the source above and the edits A (left) and B (right) below, so that the three
cannot run apart. Every question has to be answered; a tie is an answer of its own.
"""


def export_label_studio(
    folder: Path, study: Study, key: Key, sessions: list[str], out: Path, clips_at: str = "clips/"
) -> list[Path]:
    """Folders `list-R-J` with config.xml, tasks.json, clips/ and a README."""
    lists: dict[tuple[int, int], list[str]] = {}
    for session in sessions:
        plan = study.sessions[session]
        lists.setdefault((plan.replicate, plan.list), []).append(session)
    written = []
    for (replicate, number), members in lists.items():
        project = out / f"list-{replicate}-{number}"
        (project / "clips").mkdir(parents=True, exist_ok=True)
        tasks = []
        for session in members:
            for task in study.sessions[session].tasks:
                plan = study.tasks[task]
                shutil.copyfile(folder / "clips" / key.files[task], project / "clips" / f"{plan.media}.mp4")
                data = {
                    "task_id": task,
                    "session": session,
                    "instruction": plan.instruction,
                    "video": f"{clips_at}{plan.media}.mp4",
                    "fps": plan.fps,
                }
                tasks.append({"data": data})
        write_text(project / "tasks.json", json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")
        write_text(project / "config.xml", config(study))
        write_text(project / "README.md", README.format(list=number, replicate=replicate))
        written.append(project)
    return written


def config(study: Study) -> str:
    """The labelling interface: one tiled video, one single-radio `Choices` per question.

    `Choices`, not `Pairwise`: there a tie deletes the answer and cannot be told from an unanswered task.
    """
    lines = [
        "<View>",
        '  <Header value="$instruction"/>',
        '  <Header size="5" value="Source above, A left, B right"/>',
        '  <Video name="video" value="$video" frameRate="$fps" muted="true"/>',
    ]
    for aspect, keys in zip(study.settings.aspects, HOTKEYS):
        lines.append(f'  <Header size="5" value={quoteattr(aspect.question)}/>')
        lines.append(f'  <Choices name="{aspect.name}" toName="video" choice="single-radio" required="true">')
        for answer, hotkey in zip(answer_labels(study), keys):
            label = quoteattr(answer["label"])
            lines.append(f'    <Choice value={label} alias="{escape(answer["value"])}" hotkey="{hotkey}"/>')
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>"]) + "\n"
