"""The server's memory: SQLite in WAL mode, one writer thread, a reply only after the commit.

Answers have the key (session, task, aspect), so a repeated request is harmless, and a revision counted by
the client, so a delayed older one never overwrites a newer one.
"""

from __future__ import annotations

import hashlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, TypeVar

from data.types import UserError

from .study import Study
from .votes import Vote, vote

BATCH = 64  # answers committed in one transaction
EVENTS = 2000  # of telemetry kept for a session

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS session (
  id TEXT PRIMARY KEY, place INTEGER NOT NULL, list INTEGER NOT NULL, replicate INTEGER NOT NULL,
  token TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'free', stage TEXT NOT NULL DEFAULT 'consent',
  attempts INTEGER NOT NULL DEFAULT 0, rater TEXT, external TEXT, client TEXT, taken_at REAL, touched_at REAL,
  ended_at REAL, feedback TEXT, consent TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS cookie (
  hash TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES session (id)
) STRICT;
CREATE TABLE IF NOT EXISTS vote (
  session TEXT NOT NULL REFERENCES session (id), task TEXT NOT NULL, aspect TEXT NOT NULL, rater TEXT NOT
  NULL, answer TEXT NOT NULL, rev INTEGER NOT NULL, shown_at TEXT, answered_at TEXT, play_ms_left INTEGER,
  play_ms_right INTEGER, play_ms_source INTEGER, seeks INTEGER, dropped_frames INTEGER, source_visible
  INTEGER, client TEXT, saved_at REAL NOT NULL, PRIMARY KEY (session, task, aspect)
) STRICT;
CREATE TABLE IF NOT EXISTS partial AS SELECT * FROM vote WHERE 0;
CREATE TABLE IF NOT EXISTS vote_log (
  id INTEGER PRIMARY KEY, session TEXT NOT NULL, task TEXT NOT NULL, aspect TEXT NOT NULL, answer TEXT NOT
  NULL, rev INTEGER NOT NULL, outcome TEXT NOT NULL, received_at REAL NOT NULL, wait_ms REAL NOT NULL
) STRICT; CREATE TABLE IF NOT EXISTS event (session TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL,
value TEXT) STRICT;
"""

VOTE_FACTS = (
    "shown_at", "answered_at", "play_ms_left", "play_ms_right", "play_ms_source", "seeks", "dropped_frames",
    "source_visible", "client",
)  # fmt: skip

Outcome = Literal["stored", "repeated", "stale"]
Job = Callable[[sqlite3.Connection], Any]
Result = TypeVar("Result")


def hashed(token: str) -> str:
    """How tokens lie in the database: nobody who reads it can use them."""
    return hashlib.sha256(token.encode()).hexdigest()


def connect(path: Path, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """A connection in WAL mode; waits up to 5 s for a lock. FULL survives a power cut, not only a kill."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "busy_timeout = 5000",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


class Store:
    """The votes of a running server. Reads may come from the event loop; all writes pass one thread."""

    def __init__(
        self, path: Path, study: Study, tokens: dict[str, str], *, synchronous: str = "FULL"
    ) -> None:
        self.study = study
        self._reader = connect(path, synchronous=synchronous)
        self._reader.executescript(SCHEMA)
        self._fill(path, tokens)
        self._jobs: queue.Queue[tuple[Job, Future] | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write, args=(path, synchronous), daemon=True)
        self._writer.start()

    def _fill(self, path: Path, tokens: dict[str, str]) -> None:
        known = self._reader.execute("SELECT value FROM meta WHERE name = 'study_hash'").fetchone()
        if known and known["value"] != self.study.study_hash:
            raise UserError(f"{path}: holds votes of another version of the study; move it away first")
        with self._reader:
            self._reader.execute("BEGIN IMMEDIATE")
            self._reader.execute(
                "INSERT OR IGNORE INTO meta VALUES ('study_hash', ?)", (self.study.study_hash,)
            )
            self._reader.executemany(
                "INSERT OR IGNORE INTO session (id, place, list, replicate, token) VALUES (?, ?, ?, ?, ?)",
                [
                    (name, place, plan.list, plan.replicate, hashed(tokens[name]))
                    for place, (name, plan) in enumerate(self.study.sessions.items())
                ],
            )

    def close(self) -> None:
        """Finish what is queued and close."""
        self._jobs.put(None)
        self._writer.join()
        self._reader.close()

    def submit(self, job: Callable[[sqlite3.Connection], Result]) -> Future[Result]:
        """Run `job` in the writer thread; the future resolves after the commit that holds its work."""
        future: Future[Result] = Future()
        self._jobs.put((job, future))
        return future

    def _write(self, path: Path, synchronous: str) -> None:
        connection = connect(path, synchronous=synchronous)
        while (first := self._jobs.get()) is not None:
            batch = [first]
            last = False
            while len(batch) < BATCH and not self._jobs.empty():
                entry = self._jobs.get_nowait()
                if entry is None:
                    last = True
                    break
                batch.append(entry)
            self._commit(connection, batch)
            if last:
                break
        connection.close()

    @staticmethod
    def _commit(connection: sqlite3.Connection, batch: list[tuple[Job, Future]]) -> None:
        """One transaction for the batch; each job in a savepoint of its own."""
        outcomes: list[tuple[Future, Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job, future in batch:
                connection.execute("SAVEPOINT job")
                try:
                    outcomes.append((future, job(connection), None))
                except Exception as error:
                    connection.execute("ROLLBACK TO job")
                    outcomes.append((future, None, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            outcomes = [(future, None, error) for _, future in batch]
        for future, value, failure in outcomes:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(value)

    # -- reading

    def session(self, name: str) -> sqlite3.Row:
        """The row of a session."""
        return self._reader.execute("SELECT * FROM session WHERE id = ?", (name,)).fetchone()

    def by_cookie(self, cookie: str) -> str | None:
        """The session a cookie opens, if any."""
        row = self._reader.execute("SELECT session FROM cookie WHERE hash = ?", (hashed(cookie),)).fetchone()
        return row["session"] if row else None

    def by_token(self, token: str) -> str | None:
        """The session a link's token opens, if any."""
        row = self._reader.execute("SELECT id FROM session WHERE token = ?", (hashed(token),)).fetchone()
        return row["id"] if row else None

    def given(self, session: str) -> dict[str, dict[str, dict[str, Any]]]:
        """task -> aspect -> answer and rev."""
        answers: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self._reader.execute(
            "SELECT task, aspect, answer, rev FROM vote WHERE session = ?", (session,)
        ):
            answers.setdefault(row["task"], {})[row["aspect"]] = {"answer": row["answer"], "rev": row["rev"]}
        return answers


def answer(
    session: str,
    rater: str,
    task: str,
    aspect: str,
    answer: str,
    rev: int,
    facts: dict[str, Any],
    queued: float,
) -> Callable[[sqlite3.Connection], tuple[Outcome, dict[str, Any]]]:
    """The job that stores an answer and says what is stored now."""

    def job(connection: sqlite3.Connection) -> tuple[Outcome, dict[str, Any]]:
        place = (session, task, aspect)
        select = "SELECT answer, rev FROM vote WHERE session = ? AND task = ? AND aspect = ?"
        before = connection.execute(select, place).fetchone()
        if before is None or before["rev"] < rev:
            names = ", ".join(VOTE_FACTS)
            connection.execute(
                f"INSERT OR REPLACE INTO vote (session, task, aspect, rater, answer, rev, saved_at, {names}) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?{', ?' * len(VOTE_FACTS)})",
                (*place, rater, answer, rev, time.time(), *(facts.get(name) for name in VOTE_FACTS)),
            )
            outcome: Outcome = "stored"
        else:
            same = before["rev"] == rev and before["answer"] == answer
            outcome = "repeated" if same else "stale"
        wait = (time.monotonic() - queued) * 1000
        connection.execute(
            "INSERT INTO vote_log (session, task, aspect, answer, rev, outcome, received_at, wait_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, answer, rev, outcome, time.time(), wait),
        )
        connection.execute("UPDATE session SET touched_at = ? WHERE id = ?", (time.time(), session))
        return outcome, dict(connection.execute(select, place).fetchone())

    return job


def stage(session: str, **changes: Any) -> Callable[[sqlite3.Connection], None]:
    """The job that sets columns of a session."""

    def job(connection: sqlite3.Connection) -> None:
        names = ", ".join(f"{name} = ?" for name in (*changes, "touched_at"))
        connection.execute(
            f"UPDATE session SET {names} WHERE id = ?", (*changes.values(), time.time(), session)
        )

    return job


def event(session: str, kind: str, value: str) -> Callable[[sqlite3.Connection], bool]:
    """The job that keeps a line of telemetry, or drops it when the session has many."""

    def job(connection: sqlite3.Connection) -> bool:
        many = connection.execute("SELECT count(*) FROM event WHERE session = ?", (session,)).fetchone()[0]
        if many < EVENTS:
            connection.execute("INSERT INTO event VALUES (?, ?, ?, ?)", (session, time.time(), kind, value))
        return bool(many < EVENTS)

    return job


def stored_votes(path: Path, study: Study) -> list[Vote]:
    """All answers of a server's database as whole blind rows, training left out."""
    connection = connect(path)
    try:
        votes = []
        for row in connection.execute("SELECT * FROM vote ORDER BY session, task, aspect"):
            if study.tasks[row["task"]].kind == "training":
                continue
            facts = {name: row[name] for name in VOTE_FACTS}
            facts["source_visible"] = bool(facts["source_visible"])
            identity = {"rater": row["rater"], "rev": row["rev"], "origin": "own"}
            votes.append(
                vote(study, row["session"], row["task"], row["aspect"], row["answer"], **facts, **identity)
            )
        return votes
    finally:
        connection.close()


def feedback(path: Path) -> list[dict[str, Any]]:
    """The free texts and device facts of finished sessions."""
    connection = connect(path)
    try:
        rows = connection.execute(
            "SELECT id, feedback FROM session WHERE feedback IS NOT NULL ORDER BY place"
        )
        return [{"session": row["id"], **json.loads(row["feedback"])} for row in rows]
    finally:
        connection.close()


def counts(path: Path) -> dict[str, Any]:
    """What `via study status` shows: sessions by state, answers per list, last write, p95 of the wait for a
    commit.
    """
    connection = connect(path)
    try:
        states = dict(connection.execute("SELECT state, count(*) FROM session GROUP BY state").fetchall())
        answered = {row["session"]: row["n"] for row in connection.execute(
            "SELECT session, count(*) AS n FROM vote GROUP BY session"
        )}  # fmt: skip
        sessions = [
            {
                "session": row["id"], "list": row["list"], "replicate": row["replicate"],
                "state": row["state"], "stage": row["stage"], "answers": answered.get(row["id"], 0),
                "touched_at": row["touched_at"],
            }
            for row in connection.execute("SELECT * FROM session ORDER BY place")
        ]  # fmt: skip
        waits = sorted(row[0] for row in connection.execute("SELECT wait_ms FROM vote_log"))
        exits = dict(
            connection.execute("SELECT kind, count(*) FROM event WHERE session = '' GROUP BY kind").fetchall()
        )
        last = connection.execute("SELECT max(received_at) FROM vote_log").fetchone()[0]
        return {
            "states": states,
            "answers": sum(answered.values()),
            "partial_answers": connection.execute("SELECT count(*) FROM partial").fetchone()[0],
            "left_before_starting": exits,
            "p95_ms": waits[int(0.95 * (len(waits) - 1))] if waits else None,
            "last_write": last,
            "sessions": sessions,
        }
    finally:
        connection.close()
