"""The rules for leaving a rater out: part of the study file, hashed before the first vote, blind to the
result.

Disagreeing with other raters is never a reason, nor is disagreeing with one's own swapped repeat, which is
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import mean, median

from .study import Exclusions, Key, Study
from .votes import Vote


@dataclass(frozen=True)
class Screening:
    """What the rules say of one rater; any reason excludes, flags never do."""

    reasons: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def excluded(self) -> bool:
        return bool(self.reasons)


def screen(
    rules: Exclusions,
    *,
    failed: int,
    clip_seconds: float,
    task_seconds: Sequence[float],
    left: int,
    right: int,
    tie: int,
    tasks: int | None = None,
) -> Screening:
    """Apply the rules to one rater's counts.

    `failed` counts failures among the instructed and degraded checks; `task_seconds` are the times of
    single tasks (empty where none were measured, then the rule is skipped); left, right, tie count answers;
    `tasks` the real tasks, by default as many as answers.
    """
    reasons, flags = [], []
    if failed >= rules.failed_checks:
        reasons.append("checks")
    if task_seconds and median(task_seconds) < rules.median_seconds_per_clip_second * clip_seconds:
        reasons.append("too fast")
    decisive = left + right
    if decisive >= rules.one_side_decisive and max(left, right) > rules.one_side_share * decisive:
        reasons.append("one side")
    done = left + right + tie if tasks is None else tasks
    if done >= rules.never_used_tasks and 0 in (left, right, tie):
        flags.append("an answer never used")
    return Screening(tuple(reasons), tuple(flags))


@dataclass(frozen=True)
class Rater:
    """Everything the report says of one rater."""

    rater: str
    sessions: tuple[str, ...]
    answers: int
    failed: int
    checks: int
    median_seconds: float | None
    left: int
    right: int
    tie: int
    repeats_kept: int  # answers of swapped repeats that name the same method
    repeats: int
    screening: Screening


def raters(votes: Sequence[Vote], study: Study, key: Key, rules: Exclusions) -> list[Rater]:
    """Screen every rater, in order of their pseudonyms."""
    by_rater: dict[str, list[Vote]] = {}
    for row in votes:
        by_rater.setdefault(row["rater"], []).append(row)
    return [rater_of(name, rows, study, key, rules) for name, rows in sorted(by_rater.items())]


def rater_of(name: str, rows: Sequence[Vote], study: Study, key: Key, rules: Exclusions) -> Rater:
    """One rater's checks, times, sides and repeats."""
    given: dict[str, dict[str, str]] = {}
    for row in rows:
        given.setdefault(row["task"], {})[row["aspect"]] = row["answer"]
    checks = [task for task in given if study.tasks[task].kind in ("instructed", "degraded")]
    failed = sum(not passes(given[task].values(), key.expected.get(task)) for task in checks)
    real = [row for row in rows if row["kind"] == "real"]
    sides = {side: sum(row["answer"] == side for row in real) for side in ("left", "right")}
    ties = len(real) - sides["left"] - sides["right"]
    seconds = list(task_seconds(real).values())
    shown = {row["task"] for row in real}
    clips = [study.tasks[task].seconds for task in shown]
    kept, repeats = repeated(given, key)
    return Rater(
        rater=name,
        sessions=tuple(sorted({row["session"] for row in rows})),
        answers=len(real),
        failed=failed,
        checks=len(checks),
        median_seconds=median(seconds) if seconds else None,
        left=sides["left"],
        right=sides["right"],
        tie=ties,
        repeats_kept=kept,
        repeats=repeats,
        screening=screen(
            rules,
            failed=failed,
            clip_seconds=mean(clips) if clips else 0.0,
            task_seconds=seconds,
            **sides,
            tie=ties,
            tasks=len(shown),
        ),
    )


def passes(answers: Sequence[str], expected: str | None) -> bool:
    """A check is passed when most of its questions got the expected answer."""
    answers = list(answers)
    return expected is None or 2 * sum(answer == expected for answer in answers) > len(answers)


def task_seconds(rows: Sequence[Vote]) -> dict[str, float]:
    """Seconds from the first showing of a task to its last answer, where both were measured."""
    shown: dict[str, datetime] = {}
    answered: dict[str, datetime] = {}
    for row in rows:
        if row["shown_at"] and row["answered_at"] and row["origin"] in ("own", "offline", "synthetic"):
            begin, end = (datetime.fromisoformat(str(row[name])) for name in ("shown_at", "answered_at"))
            shown[row["task"]] = min(begin, shown.get(row["task"], begin))
            answered[row["task"]] = max(end, answered.get(row["task"], end))
    return {task: (answered[task] - shown[task]).total_seconds() for task in shown}


def repeated(given: dict[str, dict[str, str]], key: Key) -> tuple[int, int]:
    """(same, all): answers to swapped repeats that name the method chosen the first time, ties too."""
    same = total = 0
    for task, original in key.repeats.items():
        for aspect, answer in given.get(task, {}).items():
            before = given.get(original, {}).get(aspect)
            if before is not None:
                total += 1
                same += key.methods[task].get(answer) == key.methods[original].get(before)
    return same, total
