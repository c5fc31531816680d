"""What goes out comes back: every format exported, filled as its platform would, imported to equal votes."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib

import numpy as np
import pytest
from study_folders import make_run, make_study

from data.types import UserError
from human_eval.export_crowd import export_crowd, external_link
from human_eval.export_label_studio import export_label_studio
from human_eval.export_offline import export_offline
from human_eval.export_sheets import export_sheets
from human_eval.import_ import import_files
from human_eval.study import canonical, read_key, read_study
from human_eval.votes import read_votes, vote, votes_csv

METHODS = (b"viamethod", b"tokenmethod", b"perframemethod")
HOSTILE = "<img src=x onerror=alert(1)> =\"A1\", 'quoted'\nsecond line ${session}"


@pytest.fixture
def opened(study_folder):
    return study_folder, read_study(study_folder), read_key(study_folder)


def answers(study, seed=3):
    rng = np.random.default_rng(seed)
    return {
        (session, task, aspect): str(rng.choice(["left", "right", "tie"]))
        for session, plan in study.sessions.items()
        for task in plan.tasks
        for aspect in study.aspects
    }


def imported(folder):
    return {(v["session"], v["task"], v["aspect"]): v["answer"] for v in read_votes(folder / "votes.jsonl")}


def fill_own_jsonl(folder, study, key, given, out):
    rows = [
        vote(study, *place, answer, rater=f"r-{place[0]}", origin="own") for place, answer in given.items()
    ]
    (out / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [out / "v.jsonl"]


def fill_own_csv(folder, study, key, given, out):
    rows = [
        vote(study, *place, answer, rater=f"r-{place[0]}", origin="own") for place, answer in given.items()
    ]
    (out / "v.csv").write_text(votes_csv(rows))
    return [out / "v.csv"]


def labelled(folder, study, key, given, out):
    """(project, its tasks as Label Studio would export them) of every exported project."""
    for project in export_label_studio(folder, study, key, list(study.sessions), out):
        config = ElementTree.parse(project / "config.xml").getroot()
        controls = [node.get("name") for node in config.iter("Choices")]
        offered = {node.get("alias") for node in config.iter("Choice")}
        tasks = []
        for number, task in enumerate(json.loads((project / "tasks.json").read_text()), 1):
            data = task["data"]
            assert (project / data["video"]).is_file()
            results = []
            for name in controls:
                choice = given[data["session"], data["task_id"], name]
                assert choice in offered
                results.append(
                    {"from_name": name, "to_name": "video", "type": "choices", "value": {"choices": [choice]}}
                )
            annotation = {
                "id": number,
                "completed_by": {"id": 7, "email": "someone@example.invalid"},
                "was_cancelled": False,
                "created_at": "2026-01-01T10:00:00Z",
                "updated_at": "2026-01-01T10:00:30Z",
                "lead_time": 30.0,
                "result": results,
            }
            tasks.append({"id": number, "data": data, "annotations": [annotation]})
        yield project, tasks


def fill_label_studio(folder, study, key, given, out):
    paths = []
    for project, tasks in labelled(folder, study, key, given, out):
        (project / "export.json").write_text(json.dumps(tasks))
        paths.append(project / "export.json")
    return paths


def flattened(tasks):
    for task in tasks:
        annotation = task["annotations"][0]
        flat = {**task["data"], "id": task["id"], "annotator": "someone@example.invalid", "annotation_id": 1}
        flat |= {r["from_name"]: r["value"]["choices"][0] for r in annotation["result"]}
        yield flat | {name: annotation[name] for name in ("created_at", "updated_at", "lead_time")}


def fill_label_studio_min(folder, study, key, given, out):
    paths = []
    for project, tasks in labelled(folder, study, key, given, out):
        (project / "export.json").write_text(json.dumps(list(flattened(tasks))))
        paths.append(project / "export.json")
    return paths


def fill_label_studio_csv(folder, study, key, given, out):
    paths = []
    for project, tasks in labelled(folder, study, key, given, out):
        rows = list(flattened(tasks))
        with (project / "export.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted(rows[0]), quoting=csv.QUOTE_NONNUMERIC)
            writer.writeheader()
            writer.writerows(rows)
        paths.append(project / "export.csv")
    return paths


def fill_crowd(folder, study, key, given, out):
    page, table = export_crowd(folder, study, key, list(study.sessions), out)
    template = page.read_text()
    columns: dict[str, None] = {}
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(table.read_text()))):
        shown = re.sub(r"\$\{(\w+)\}", lambda match, row=row: row[match[1]], template)
        fields = dict.fromkeys(re.findall(r'<input type="radio" name="([^"]+)"', shown))
        filled = {f"Answer.{name}": given[row["session"], *name.split(".")] for name in fields}
        columns |= dict.fromkeys(filled)
        rows.append(
            {
                "HITId": f"H{number}",
                "AssignmentId": f"A{number}",
                "WorkerId": f"=W{number}",
                "AssignmentStatus": "Submitted",
                "AcceptTime": "Thu Jan 01 10:00:00 PST 2026",
                "SubmitTime": "Thu Jan 01 10:30:00 PST 2026",
                "WorkTimeInSeconds": "1800",
                "Input.session": row["session"],
            }
            | filled
        )
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*list(rows[0])[:8], *columns], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return [out / "results.csv"]


def fill_sheets(folder, study, key, given, out):
    marks, paths = {"left": "A", "right": "B", "tie": "="}, []
    for path in export_sheets(folder, study, key, list(study.sessions), out):
        if path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(path.read_text())))
            for row in rows:
                for place, aspect in enumerate(study.aspects, 1):
                    row[f"aspect_{place}"] = marks[given[row["sheet"], row["task"], aspect]]
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
                writer.writeheader()
                writer.writerows(rows)
            paths.append(path)
    return paths


def fill_offline(folder, study, key, given, out):
    paths = []
    for path in export_offline(folder, study, key, list(study.sessions), out):
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("tasks.js"))
            constant = json.loads(archive.read(name).decode().split("const STUDY = ")[1].rstrip().rstrip(";"))
        rows = [
            {
                "task": task,
                "aspect": aspect,
                "answer": answer,
                "rev": 1,
                "rater": "o1",
                "origin": "offline",
                "schema": 1,
            }
            for (session, task, aspect), answer in given.items()
            if session == constant["session"]
        ]
        content = {name: constant[name] for name in ("study", "study_hash", "bundle", "session")} | {
            "schema": 1,
            "answers": rows,
        }
        content["crc32"] = f"{zlib.crc32(canonical(content)):08x}"
        (out / f"answers-{constant['session']}.json").write_text(json.dumps(content))
        paths.append(out / f"answers-{constant['session']}.json")
    return paths


FILLERS = {f.__name__.removeprefix("fill_"): f for f in (
    fill_own_jsonl, fill_own_csv, fill_label_studio, fill_label_studio_min, fill_label_studio_csv, fill_crowd,
    fill_sheets, fill_offline,
)}  # fmt: skip


@pytest.mark.parametrize("name", FILLERS)
def test_votes_come_back_as_they_were_given(opened, tmp_path, name):
    folder, study, key = opened
    given = answers(study)
    out = tmp_path / "out"
    out.mkdir()
    files, _ = import_files(folder, FILLERS[name](folder, study, key, given, out))
    assert imported(folder) == given
    assert sum(file.counts["votes_kept"] for file in files) == len(given)
    assert b"example.invalid" not in (folder / "votes.jsonl").read_bytes()
    record = json.loads((folder / "imports" / "import-1.json").read_text())
    assert record["votes_in_study"] == len(given)


@pytest.mark.parametrize("name", FILLERS)
def test_a_second_import_of_the_same_file_adds_nothing(opened, tmp_path, name):
    folder, study, key = opened
    given = answers(study)
    (tmp_path / "out").mkdir()
    paths = FILLERS[name](folder, study, key, given, tmp_path / "out")
    import_files(folder, paths)
    files, _ = import_files(folder, paths)
    assert sum(file.counts["duplicates"] for file in files) == len(given)
    assert imported(folder) == given


def test_one_bad_row_of_one_file_keeps_every_file_out(opened, tmp_path):
    folder, study, key = opened
    given = answers(study)
    good = fill_own_jsonl(folder, study, key, given, tmp_path)[0]
    place = next(iter(given))
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(vote(study, *place, "lefft", rater="x", origin="own")) + "\n")
    with pytest.raises(UserError, match=r"lefft.*did you mean 'left'"):
        import_files(folder, [good, bad])
    assert not (folder / "votes.jsonl").exists()
    assert not (folder / "imports").exists()


@pytest.mark.parametrize(
    "export", [export_sheets, export_label_studio, export_crowd, export_offline], ids=lambda f: f.__name__
)
def test_no_export_names_a_method_or_a_check(opened, tmp_path, export):
    folder, study, key = opened
    export(folder, study, key, ["s001"], tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if not path.is_file():
            continue
        contents = [path.read_bytes()]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for content in contents:
            assert not any(method in content for method in METHODS), path
            assert b'"kind"' not in content


def test_an_instruction_with_html_and_formulas_stays_text_everywhere(tmp_path):
    methods = ("copy", "viamethod", "tokenmethod")
    text = HOSTILE.replace("{", "{{").replace("}", "}}")
    run = make_run(tmp_path / "run", methods, frames=3, size=(32, 48), instruction=text)
    make_study(tmp_path / "study", run, votes=1, training=0)
    folder = tmp_path / "study"
    study, key = read_study(folder), read_key(folder)
    export_sheets(folder, study, key, ["s001"], tmp_path / "sheets")
    text = (tmp_path / "sheets" / "sheet-s001.html").read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    _, table = export_crowd(folder, study, key, ["s001"], tmp_path / "crowd")
    assert "<img" not in table.read_text()
    export_offline(folder, study, key, ["s001"], tmp_path / "offline")
    with zipfile.ZipFile(tmp_path / "offline" / "bundle-s001.zip") as archive:
        assert b"<img" not in archive.read("study-s001/tasks.js")
    export_label_studio(folder, study, key, ["s001"], tmp_path / "ls")
    tasks = json.loads((tmp_path / "ls" / "list-0-0" / "tasks.json").read_text())
    assert tasks[0]["data"]["instruction"] == HOSTILE


def test_a_bundle_holds_every_file_its_page_and_its_tasks_name(opened, tmp_path):
    folder, study, key = opened
    (path,) = export_offline(folder, study, key, ["s001"], tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = {name.removeprefix("study-s001/") for name in archive.namelist()}
        page = archive.read("study-s001/index.html").decode()
    asked = set(re.findall(r'(?:src|href)="([^"#:]+)"', page))
    assert {"tasks.js", "offline.js", "player.js", "app.js", "style.css"} == asked
    plan = study.sessions["s001"]
    clips = {f"clips/{study.tasks[task].media}.mp4" for task in (*plan.training, *plan.tasks)}
    assert names == asked | clips | {"index.html"}


def test_the_platform_link_has_its_parameters():
    assert external_link("https://h/") == (
        "https://h/s?PROLIFIC_PID={{%PROLIFIC_PID%}}&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
    )
