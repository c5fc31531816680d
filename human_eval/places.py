"""Who gets which session: links, participants of a platform, idle sessions, refusals. Jobs for the store's
writer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .store import hashed

IDLE_SECONDS = 2 * 3600


@dataclass(frozen=True)
class Claim:
    """What became of a wish for a session: its id, or why there is none."""

    session: str | None
    reason: Literal["", "full", "repeated", "taken"] = ""


def claim_by_token(session: str, cookie: str, rater: str) -> Callable[[sqlite3.Connection], Claim]:
    """The job that opens a session for the holder of its link, again as often as they like."""

    def job(connection: sqlite3.Connection) -> Claim:
        row = connection.execute("SELECT state, rater FROM session WHERE id = ?", (session,)).fetchone()
        if row["state"] != "free" and row["rater"] != rater:
            return Claim(None, "taken")  # a participant of the platform has it
        _take(connection, session, rater, None)
        connection.execute("INSERT INTO cookie VALUES (?, ?)", (hashed(cookie), session))
        return Claim(session)

    return job


def claim_free(
    cookie: str, rater: str, external: str, *, repeat: bool
) -> Callable[[sqlite3.Connection], Claim]:
    """The job that gives a participant of a crowd platform a session.

    The same external session resumes. The same person again is refused unless `repeat`, and then gets the
    next free block of the same list, so that no source is seen twice.
    """

    def job(connection: sqlite3.Connection) -> Claim:
        now = time.time()
        same = connection.execute(
            "SELECT id FROM session WHERE external = ? AND rater = ?", (external, rater)
        ).fetchone()
        if same:
            connection.execute("INSERT INTO cookie VALUES (?, ?)", (hashed(cookie), same["id"]))
            connection.execute("UPDATE session SET touched_at = ? WHERE id = ?", (now, same["id"]))
            return Claim(same["id"])
        earlier = connection.execute(
            "SELECT list, replicate FROM session WHERE rater = ? AND state != 'free'", (rater,)
        ).fetchone()
        if earlier and not repeat:
            return Claim(None, "repeated")
        release_idle(connection, now)
        where, values = ("AND list = ? AND replicate = ?", tuple(earlier)) if earlier else ("", ())
        free = connection.execute(
            f"SELECT id FROM session WHERE state = 'free' {where} ORDER BY place LIMIT 1", values
        ).fetchone()
        if free is None:
            return Claim(None, "full")
        _take(connection, free["id"], rater, external)
        connection.execute("INSERT INTO cookie VALUES (?, ?)", (hashed(cookie), free["id"]))
        return Claim(free["id"])

    return job


def _take(connection: sqlite3.Connection, session: str, rater: str, external: str | None) -> None:
    """Hand a session to a rater; answers another rater left in it are kept as partial, not mixed in."""
    now = time.time()
    row = connection.execute("SELECT state, rater FROM session WHERE id = ?", (session,)).fetchone()
    if row["rater"] not in (None, rater):
        connection.execute("INSERT INTO partial SELECT * FROM vote WHERE session = ?", (session,))
        connection.execute("DELETE FROM vote WHERE session = ?", (session,))
        connection.execute("DELETE FROM cookie WHERE session = ?", (session,))
        connection.execute(
            "UPDATE session SET stage = 'consent', attempts = 0, consent = NULL, feedback = NULL "
            "WHERE id = ?",
            (session,),
        )
    if row["state"] == "free":
        connection.execute(
            "UPDATE session SET state = 'taken', rater = ?, external = ?, taken_at = ?, touched_at = ? "
            "WHERE id = ?",
            (rater, external, now, now, session),
        )


def release_idle(connection: sqlite3.Connection, now: float) -> None:
    """Sessions nobody touched for two hours go back to the pool; their answers stay until somebody takes
    them.
    """
    connection.execute(
        "UPDATE session SET state = 'free', external = NULL WHERE state = 'taken' AND touched_at < ?",
        (now - IDLE_SECONDS,),
    )


def forget(session: str, state: str) -> Callable[[sqlite3.Connection], None]:
    """The job for somebody who does not consent: the session returns to the pool, nothing but a count is
    kept.
    """

    def job(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM cookie WHERE session = ?", (session,))
        connection.execute("DELETE FROM vote WHERE session = ?", (session,))
        connection.execute(
            "UPDATE session SET state = 'free', stage = 'consent', rater = NULL, external = NULL, "
            "consent = NULL, attempts = 0 WHERE id = ?",
            (session,),
        )
        connection.execute("INSERT INTO event VALUES ('', ?, ?, NULL)", (time.time(), state))

    return job
