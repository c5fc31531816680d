"""Readers of vote files: our own rows, Label Studio, crowd CSV, sheets, offline bundles. They parse, never
judge.

Every reader returns one `Row` per answer that the file could hold, with the number of its record, so that
rows read equal votes + duplicates + refused + unanswered. Whole files that cannot be trusted raise
`FileRefused`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from data.types import UserError

from .study import Study, canonical
from .votes import COLUMNS

LABEL_STUDIO_COLUMNS = {"annotation_id", "annotator", "created_at", "updated_at", "task_id"}
SHEET_COLUMNS = ("sheet", "row", "task", "check")
SHEET_ANSWERS = {"A": "left", "B": "right", "=": "tie", "'=": "tie", "F": "both_fail"}
PLATFORM_ZONES = {"PST": -8, "PDT": -7, "UTC": 0, "GMT": 0}  # hours
LARGEST = 64 * 2**20  # bytes


class FileRefused(UserError):
    """A file that is not read at all; `reason` names the cause."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Row:
    """One possible answer as read. `answer` None is unanswered; `fault` is a reason found while reading."""

    record: int
    session: str | None
    task: str | None
    aspect: str | None
    answer: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    identity: str | None = None  # an id of a person from another system, to be replaced by a pseudonym


def text(value: Any) -> str | None:
    """Ids and labels as text, None where nothing was given; 7.0 of a spreadsheet is 7."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    stripped = str(value).strip()
    return stripped or None


def decoded(path: Path) -> str:
    """The file as text: UTF-8, a byte-order mark dropped."""
    content = path.read_bytes()
    if len(content) > LARGEST:
        raise FileRefused("too_large", f"{path}: larger than {LARGEST >> 20} MiB: not a file of votes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileRefused("encoding", f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and records of a CSV, comma or semicolon, quoted line breaks kept."""
    content = decoded(path)
    first = content.split("\n", 1)[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        records = [record for record in reader if record]
    except csv.Error as error:
        raise FileRefused("not_csv", f"{path}: line {reader.line_num}: {error}") from None
    if not records:
        raise FileRefused("empty", f"{path}: the file is empty")
    header = records[0]
    if len(set(header)) < len(header):
        raise FileRefused("repeated_column", f"{path}: a column stands twice in the header")
    for number, record in enumerate(records[1:], 1):
        if len(record) != len(header):
            raise FileRefused(
                "ragged", f"{path}: record {number} has {len(record)} cells, the header {len(header)}"
            )
    return header, [dict(zip(header, record)) for record in records[1:]]


class _Repeated(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        error = _Repeated("a key stands twice")
        error.content = content  # type: ignore[attr-defined]
        raise error
    return content


def parsed(path: Path) -> Any:
    """A whole JSON file without repeated keys."""
    try:
        return json.loads(decoded(path), object_pairs_hook=_unique)
    except _Repeated:
        raise FileRefused("repeated_json_key", f"{path}: a JSON object has one key twice") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileRefused("not_json", f"{path}: not JSON: {error}") from None


def own_row(record: int, content: Mapping[str, Any]) -> Row:
    """A row with our own column names."""
    facts = {name: value for name, value in content.items() if value != ""}
    return Row(
        record,
        text(content.get("session")),
        text(content.get("task")),
        text(content.get("aspect")),
        text(content.get("answer")),
        facts,
        identity=None,
    )


def own_jsonl(path: Path, study: Study) -> list[Row]:
    """Our votes, one JSON object a line."""
    rows = []
    for record, line in enumerate((x for x in decoded(path).split("\n") if x.strip()), 1):
        try:
            content = json.loads(line, object_pairs_hook=_unique)
        except _Repeated as error:
            rows.append(
                Row(record, **_key_of(error.content), answer=None, fault="repeated_json_key")  # type: ignore[attr-defined]
            )
            continue
        except (json.JSONDecodeError, RecursionError):
            content = None
        if not isinstance(content, dict):
            rows.append(Row(record, None, None, None, None, fault="not_an_object"))
            continue
        rows.append(own_row(record, content))
    return rows


def _key_of(content: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: text(content.get(name)) for name in ("session", "task", "aspect")}


def own_csv(path: Path, study: Study) -> list[Row]:
    """Our votes as CSV: all columns must be there."""
    header, records = table(path)
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise FileRefused("missing_column", f"{path}: the column '{missing[0]}' is missing")
    return [own_row(number, record) for number, record in enumerate(records, 1)]


def label_studio_json(path: Path, study: Study) -> list[Row]:
    """Label Studio's JSON: tasks with annotations; cancelled ones count as unanswered."""
    content = parsed(path)
    if not isinstance(content, list):
        raise FileRefused("not_label_studio", f"{path}: a Label Studio export is a list of tasks")
    return list(_annotations(content, study))


def _annotations(tasks: list[Any], study: Study) -> Iterator[Row]:
    record = 0
    for task in tasks:
        data = task.get("data") if isinstance(task, dict) else None
        annotations = task.get("annotations") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(annotations, list):
            record += 1
            yield Row(record, None, None, None, None, fault="not_an_object")
            continue
        for annotation in annotations:
            record += 1
            session, name = text(data.get("session")), text(data.get("task_id"))
            if not isinstance(annotation, dict):
                yield Row(record, session, name, None, None, fault="not_an_object")
                continue
            by = annotation.get("completed_by")
            who = text(by.get("email") or by.get("id")) if isinstance(by, dict) else text(by)
            facts = _label_studio_facts(annotation)
            if annotation.get("was_cancelled"):
                for aspect in study.aspects:
                    yield Row(record, session, name, aspect, None, facts, fault="cancelled", identity=who)
                continue
            yield from _results(record, session, name, annotation.get("result"), facts, who, study)


def _results(
    record: int,
    session: str | None,
    task: str | None,
    results: Any,
    facts: Any,
    who: str | None,
    study: Study,
) -> Iterator[Row]:
    answered = set()
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list):
            continue
        aspect = text(result.get("from_name"))
        answered.add(aspect)
        fault = None if len(choices) == 1 else "two_choices"
        yield Row(record, session, task, aspect, text(choices[0]) if not fault else None, facts, fault, who)
    for aspect in study.aspects:
        if aspect not in answered:
            yield Row(record, session, task, aspect, None, facts, identity=who)


def _label_studio_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "origin": "label_studio",
        "shown_at": content.get("created_at"),
        "answered_at": content.get("updated_at"),
    }


def label_studio_flat(path: Path, records: list[dict[str, Any]], study: Study) -> list[Row]:
    """JSON_MIN and CSV: one flat record per annotation; an unanswered control is absent or empty."""
    rows = []
    for number, content in enumerate(records, 1):
        if not isinstance(content, dict):
            rows.append(Row(number, None, None, None, None, fault="not_an_object"))
            continue
        for aspect in study.aspects:
            rows.append(
                Row(
                    number,
                    text(content.get("session")),
                    text(content.get("task_id")),
                    aspect,
                    text(content.get(aspect)),
                    _label_studio_facts(content),
                    identity=text(content.get("annotator")),
                )
            )
    return rows


def label_studio_min(path: Path, study: Study) -> list[Row]:
    """Label Studio's JSON_MIN."""
    return label_studio_flat(path, parsed(path), study)


def label_studio_csv(path: Path, study: Study) -> list[Row]:
    """Label Studio's CSV."""
    header, records = table(path)
    missing = sorted((LABEL_STUDIO_COLUMNS | {"session"}) - set(header))
    if missing:
        raise FileRefused("missing_column", f"{path}: the column '{missing[0]}' is missing")
    return label_studio_flat(path, records, study)


def crowd_csv(path: Path, study: Study) -> list[Row]:
    """A crowd platform's results: `Answer.<task>.<aspect>` columns or one `Answer.taskAnswers` with JSON."""
    header, records = table(path)
    for name in ("AssignmentId", "WorkerId", "AssignmentStatus", "SubmitTime", "Input.session"):
        if name not in header:
            raise FileRefused("missing_column", f"{path}: the column '{name}' is missing")
    return [row for number, record in enumerate(records, 1) for row in _assignment(number, record, study)]


def platform_time(value: str | None) -> str | None:
    """ISO 8601 of "Tue Mar 03 10:00:00 PST 2026", the form of Mechanical Turk; anything else as it is."""
    try:
        day, zone, year = re.fullmatch(r"(\w{3} \w{3} \d\d? [\d:]{8}) (\w+) (\d{4})", value or "").groups()
        moment = datetime.strptime(f"{day} {year}", "%a %b %d %H:%M:%S %Y")
        return moment.replace(tzinfo=timezone(timedelta(hours=PLATFORM_ZONES[zone]))).isoformat()
    except (AttributeError, ValueError, KeyError):
        return value


def _assignment(number: int, record: Mapping[str, str], study: Study) -> Iterator[Row]:
    session, worker = text(record["Input.session"]), text(record["WorkerId"])
    facts = {
        "origin": "crowd",
        "shown_at": platform_time(text(record.get("AcceptTime"))),
        "answered_at": platform_time(text(record["SubmitTime"])),
    }
    fields = {name[len("Answer.") :]: value for name, value in record.items() if name.startswith("Answer.")}
    nested = fields.pop("taskAnswers", None)
    if nested:
        try:
            answers = json.loads(nested, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            yield Row(number, session, None, None, None, facts, "not_an_object", worker)
            return
        for part in answers if isinstance(answers, list) else [answers]:
            fields |= part if isinstance(part, dict) else {}
    own = study.sessions[session].tasks if session in study.sessions else ()
    rejected = record["AssignmentStatus"] == "Rejected"
    for name, value in fields.items():
        task, dot, aspect = name.rpartition(".")
        if not dot:
            continue
        answer = text(value.get("value") if isinstance(value, dict) else value)
        if answer is None and task not in own:
            continue  # the column belongs to another session's tasks
        yield Row(number, session, task, aspect, answer, facts, "rejected" if rejected else None, worker)


def sheet_csv(path: Path, study: Study) -> list[Row]:
    """A filled sheet: A, B, = (and F for both fail) in one column per aspect; the check digit guards the
    row.
    """
    header, records = table(path)
    columns = [f"aspect_{i + 1}" for i in range(len(study.aspects))]
    for name in (*SHEET_COLUMNS, *columns):
        if name not in header:
            raise FileRefused("missing_column", f"{path}: the column '{name}' is missing")
    rows = []
    for number, record in enumerate(records, 1):
        task = text(record["task"])
        plan = study.tasks.get(task or "")
        fault = "bad_check_digit" if plan and plan.check != text(record["check"]) else None
        for aspect, column in zip(study.aspects, columns):
            mark = text(record[column])
            answer = SHEET_ANSWERS.get(mark, mark) if mark else None
            session = text(record["sheet"])
            rows.append(
                Row(
                    number,
                    session,
                    task,
                    aspect,
                    answer,
                    {"origin": "sheet", "rater": f"sheet-{session}"},
                    fault,
                )
            )
    return rows


def offline_checksum(content: Mapping[str, Any]) -> str:
    """Eight hex digits of the CRC-32 over the canonical JSON of everything but `crc32`."""
    rest = {name: value for name, value in content.items() if name != "crc32"}
    return f"{zlib.crc32(canonical(rest)):08x}"


def offline_json(path: Path, study: Study, bundles: Mapping[str, str]) -> list[Row]:
    """An offline bundle's `answers-SESSION.json`: checksum, study and bundle must match."""
    content = parsed(path)
    if not isinstance(content, dict) or not isinstance(content.get("answers"), list):
        raise FileRefused("not_answers", f"{path}: not an answers file of an offline bundle")
    if offline_checksum(content) != content.get("crc32"):
        raise FileRefused("crc", f"{path}: damaged (its checksum differs); ask for the file again")
    if content.get("study") != study.study or content.get("study_hash") != study.study_hash:
        raise FileRefused(
            "study_mismatch", f"{path}: belongs to another study or another version of this one"
        )
    session = text(content.get("session"))
    if content.get("bundle") != bundles.get(session or ""):
        raise FileRefused("bundle_mismatch", f"{path}: was not made by a bundle of this study")
    rows = []
    for number, answer in enumerate(content["answers"], 1):
        if isinstance(answer, dict):
            rows.append(
                own_row(number, {"study": study.study, "session": session, **answer, "origin": "offline"})
            )
        else:
            rows.append(Row(number, session, None, None, None, fault="not_an_object"))
    return rows


Reader = Callable[[Path, Study], list[Row]]
READERS: dict[str, Reader] = {
    "own": own_jsonl,
    "own_csv": own_csv,
    "label_studio_json": label_studio_json,
    "label_studio_json_min": label_studio_min,
    "label_studio_csv": label_studio_csv,
    "crowd_csv": crowd_csv,
    "sheet_csv": sheet_csv,
}


def format_of(path: Path) -> str:
    """Which reader a file needs, by its extension and header. Raises UserError where none fits."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return "own"
    if suffix == ".json":
        content = parsed(path)
        if isinstance(content, dict):
            return "offline"
        nested = any(isinstance(task, dict) and "annotations" in task for task in content or [])
        return "label_studio_json" if nested else "label_studio_json_min"
    if suffix == ".csv":
        header = set(table(path)[0])
        if header >= LABEL_STUDIO_COLUMNS:
            return "label_studio_csv"
        if "AssignmentId" in header:
            return "crowd_csv"
        return "sheet_csv" if "sheet" in header else "own_csv"
    raise UserError(f"{path}: votes come as .jsonl, .json or .csv")


def read_rows(path: Path, study: Study, bundles: Mapping[str, str]) -> tuple[str, list[Row]]:
    """The format of a vote file and its rows."""
    name = format_of(path)
    if name == "offline":
        return name, offline_json(path, study, bundles)
    return name, READERS[name](path, study)
