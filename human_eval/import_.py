"""One validator for votes from everywhere: all problems are collected and named, and nothing is written
with one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from data.types import UserError

from .formats import Row, own_row, read_rows
from .store import feedback, stored_votes
from .study import Key, Study, read_key, read_study, write_private, write_text
from .votes import Vote, read_votes, vote, write_votes

Decision = Literal["vote", "duplicate", "refused", "unanswered"]
SHOWN = 20  # problems printed in full

SAYS = {
    "not_an_object": "is not a JSON object",
    "repeated_json_key": "has one key twice",
    "study_mismatch": "belongs to another study",
    "synthetic": "is a simulated vote, which a real study refuses",
    "unblinded": "names a method, but votes arrive blind",
    "unknown_session": "names a session that the study does not have",
    "unknown_task": "names a task that the study does not have",
    "foreign_task": "answers a task of another session",
    "unknown_aspect": "answers a question that the study does not ask",
    "inconsistent": "disagrees with the study about the task",
    "unknown_label": "has an unknown answer",
    "two_choices": "has not exactly one answer",
    "time_backwards": "was answered before it was shown",
    "bad_time": "has a time that is not ISO 8601",
    "bad_check_digit": "has the wrong check digit: the row was mixed up",
    "conflict": "gives another answer to the same question",
}


@dataclass(frozen=True)
class Verdict:
    """What became of a row: kept, dropped as a duplicate, refused with a reason, or unanswered."""

    row: Row
    decision: Decision
    reason: str | None = None
    offer: str | None = None
    other: str | None = None  # the row (and file) it contradicts
    vote: Vote | None = None


@dataclass(frozen=True)
class Imported:
    """A judged file. Rows read = votes + duplicates + refused + unanswered."""

    name: str
    format: str
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> dict[str, int]:
        tally = Counter(v.decision for v in self.verdicts)
        counts = {
            "rows_read": len(self.verdicts),
            "votes_kept": tally["vote"],
            "duplicates": tally["duplicate"],
            "refused": tally["refused"],
            "unanswered": tally["unanswered"],
        }
        if counts["rows_read"] != sum(list(counts.values())[1:]):
            raise AssertionError(f"{self.name}: rows are lost in the count {counts}")
        return counts

    @property
    def votes(self) -> list[Vote]:
        return [v.vote for v in self.verdicts if v.decision == "vote" and v.vote is not None]

    def problems(self) -> list[str]:
        """One line for every refused row."""
        return [said(self.name, v) for v in self.verdicts if v.decision == "refused"]

    def warnings(self, raters: Mapping[str, set[str]]) -> list[str]:
        """What is odd but no reason to refuse; `raters` maps every rater to their sessions."""
        reasons = Counter(v.reason for v in self.verdicts if v.decision == "unanswered")
        found = []
        if reasons["cancelled"]:
            tasks = {str(v.row.task) for v in self.verdicts if v.reason == "cancelled"}
            found.append(f"cancelled annotation: {', '.join(sorted(tasks))}")
        if reasons["rejected"]:
            found.append(f"rejected assignment: {reasons['rejected']} answers left out")
        if reasons["no_answer"]:
            found.append(f"unanswered aspect: {reasons['no_answer']}")
        if self.counts["duplicates"]:
            found.append(f"identical duplicate: {self.counts['duplicates']} (each kept once)")
        here = {v["rater"] for v in self.votes}
        for rater in sorted(r for r, sessions in raters.items() if len(sessions) > 1 and r in here):
            found.append(f"rater with two sessions: {rater}")
        return found


def said(name: str, verdict: Verdict) -> str:
    """One line that names the file, the row, the problem and, where there is one, the remedy."""
    row = verdict.row
    place = "/".join(str(part) for part in (row.session, row.task, row.aspect) if part is not None)
    line = f"{name}: record {row.record}{f' ({place})' if place else ''} {SAYS[verdict.reason or '']}"
    if verdict.reason == "unknown_label":
        line += f" {row.answer!r}" + (f"; did you mean '{verdict.offer}'?" if verdict.offer else "")
    return line + (f" as {verdict.other}" if verdict.other else "")


def judge(
    name: str, format: str, rows: Iterable[Row], study: Study, key: Key, existing: Sequence[Vote] = ()
) -> Imported:
    """Judge all rows of one file against the study and against the votes already accepted."""
    verdicts = [_alone(row, study, key) for row in rows]
    first: dict[tuple[str, str, str], tuple[str, str, int | None]] = {
        (v["session"], v["task"], v["aspect"]): (v["answer"], "an earlier import", None) for v in existing
    }
    for index, verdict in enumerate(verdicts):
        if verdict.decision != "vote" or verdict.vote is None:
            continue
        place = (verdict.vote["session"], verdict.vote["task"], verdict.vote["aspect"])
        where = f"record {verdict.row.record} of {name}"
        if place not in first:
            first[place] = (verdict.vote["answer"], where, index)
            continue
        answer, other, earlier = first[place]
        if answer == verdict.vote["answer"]:
            verdicts[index] = replace(verdict, decision="duplicate")
            continue
        verdicts[index] = replace(verdict, decision="refused", reason="conflict", other=other)
        if earlier is not None and verdicts[earlier].decision == "vote":
            verdicts[earlier] = replace(verdicts[earlier], decision="refused", reason="conflict", other=where)
    return Imported(name, format, tuple(verdicts))


def _alone(row: Row, study: Study, key: Key) -> Verdict:
    """The verdict of a row seen by itself."""
    if row.fault in ("cancelled", "rejected"):
        return Verdict(row, "unanswered", row.fault)
    reason = row.fault or _misplaced(row, study, key)
    if reason:
        return Verdict(row, "refused", reason)
    if row.answer is None:
        return Verdict(row, "unanswered", "no_answer")
    if row.answer not in study.answers:
        near = difflib.get_close_matches(row.answer.lower(), study.answers, 1, cutoff=0.6)
        return Verdict(row, "refused", "unknown_label", near[0] if near else None)
    reason = _times(row.facts)
    if reason:
        return Verdict(row, "refused", reason)
    whole = vote(study, str(row.session), str(row.task), str(row.aspect), row.answer, **_facts(row, key))
    return Verdict(row, "vote", vote=whole)


def _misplaced(row: Row, study: Study, key: Key) -> str | None:
    facts = row.facts
    named = facts.get("study")
    if named is None and row.facts.get("origin") in (None, "own", "offline"):
        return "study_mismatch"
    if named is not None and named != study.study:
        return "study_mismatch"
    if facts.get("study_hash", study.study_hash) != study.study_hash:
        return "study_mismatch"
    simulated = facts.get("origin") == "synthetic" or str(facts.get("synthetic", "")).lower() in ("true", "1")
    if simulated and not study.synthetic:
        return "synthetic"
    if not key.methods.keys().isdisjoint([row.task]) and {facts.get("left"), facts.get("right")} & set(
        key.names
    ):
        return "unblinded"
    if row.session not in study.sessions:
        return "unknown_session"
    plan = study.tasks.get(row.task or "")
    if plan is None:
        return "unknown_task"
    if plan.session != row.session:
        return "foreign_task"
    if row.aspect not in study.aspects:
        return "unknown_aspect"
    for name in ("kind", "clip", "pair", "left", "right"):
        if facts.get(name, getattr(plan, name)) != getattr(plan, name):
            return "inconsistent"
    return None


def _times(facts: Mapping[str, Any]) -> str | None:
    try:
        shown, answered = (
            datetime.fromisoformat(str(facts[name])) if facts.get(name) else None
            for name in ("shown_at", "answered_at")
        )
        return "time_backwards" if shown and answered and answered < shown else None
    except (ValueError, TypeError):
        return "bad_time"


NUMBERS = ("rev", "play_ms_left", "play_ms_right", "play_ms_source", "seeks", "dropped_frames")


def _facts(row: Row, key: Key) -> dict[str, Any]:
    """Facts of a row with safe types; the rater is a pseudonym of letters and digits."""
    facts = {
        name: value for name, value in row.facts.items() if name not in ("study", "study_hash", "schema")
    }
    for name in (
        "kind",
        "clip",
        "pair",
        "left",
        "right",
        "list",
        "replicate",
        "order",
        "session",
        "task",
        "aspect",
    ):
        facts.pop(name, None)  # the study says these
    facts.pop("answer", None)
    for name in NUMBERS:
        if name in facts:
            facts[name] = int(facts[name]) if re.fullmatch(r"\d{1,12}", str(facts[name])) else None
    if "source_visible" in facts:
        facts["source_visible"] = str(facts["source_visible"]).lower() == "true"
    rater = text_or_none(facts.get("rater"))
    if row.identity is not None:
        facts["rater"] = key.pseudonym(row.identity)
    elif rater is None:
        facts["rater"] = f"session-{row.session}"
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", rater):
        facts["rater"] = key.pseudonym(rater)
    facts["client"] = hashlib.sha256(str(facts.get("client") or "").encode()).hexdigest()[:12]
    facts.setdefault("origin", "own")
    return facts


def text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def import_files(folder: Path, paths: Sequence[Path]) -> tuple[list[Imported], list[str]]:
    """Judge vote files and, if no row of any is refused, add them to the study's votes.

    Returns the judged files and the warnings. Raises UserError with every problem, and writes nothing,
    otherwise.
    """
    study, key = read_study(folder), read_key(folder)
    bundles = read_bundles(folder)
    accepted = read_votes(folder / "votes.jsonl")
    files: list[Imported] = []
    for path in paths:
        format, rows = read_rows(path, study, bundles)
        earlier = [*accepted, *(v for file in files for v in file.votes)]
        files.append(judge(path.name, format, rows, study, key, earlier))
    return files, keep(folder, files, accepted)


def import_served(folder: Path) -> tuple[list[Imported], list[str]]:
    """Take the server's own answers in, each time as they stand now; votes from elsewhere stay.

    The free texts of finished sessions go to `private/feedback.jsonl`.
    """
    path = folder / "votes.sqlite"
    if not path.exists():
        raise UserError(f"{folder}: nobody was served yet; name the files to import")
    study, key = read_study(folder), read_key(folder)
    served = stored_votes(path, study)
    places = {(v["session"], v["task"], v["aspect"]) for v in served}
    others = [
        v
        for v in read_votes(folder / "votes.jsonl")
        if v["origin"] != "own" or (v["session"], v["task"], v["aspect"]) not in places
    ]
    rows = [own_row(number, row) for number, row in enumerate(served, 1)]
    judged = [judge(path.name, "own", rows, study, key, others)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in feedback(path)]
    write_private(folder / "private" / "feedback.jsonl", "".join(lines))
    return judged, keep(folder, judged, others)


def keep(folder: Path, files: Sequence[Imported], accepted: Sequence[Vote]) -> list[str]:
    """Write the votes of judged files and one record of the import; refuse everything if a row is refused."""
    problems = [line for file in files for line in file.problems()]
    if problems:
        more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
        raise UserError(
            f"{len(problems)} rows refused, nothing imported{more}: " + "; ".join(problems[:SHOWN])
        )
    votes = [*accepted, *(v for file in files for v in file.votes)]
    raters: dict[str, set[str]] = {}
    for row in votes:
        raters.setdefault(row["rater"], set()).add(row["session"])
    warnings = [f"{file.name}: {line}" for file in files for line in file.warnings(raters)]
    number = 1 + len(list((folder / "imports").glob("import-*.json")))
    record = {
        "schema": 1,
        "files": [
            {
                "name": file.name,
                "format": file.format,
                "counts": file.counts,
                "warnings": file.warnings(raters),
            }
            for file in files
        ],
        "votes_in_study": len(votes),
    }
    write_votes(folder / "votes.jsonl", votes)
    write_text(folder / "imports" / f"import-{number}.json", json.dumps(record, indent=1) + "\n")
    return warnings


def read_bundles(folder: Path) -> dict[str, str]:
    """Hash of the offline bundle of each session; empty before any was exported."""
    path = folder / "exports" / "bundles.json"
    return json.loads(path.read_text()) if path.exists() else {}
