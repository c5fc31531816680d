"""Fifty annotators at once for two minutes, the server killed ten times: `nox -s study_load`. Loopback only.

Not collected by `nox -s tests`. Figures are printed; run with `-s` to see them.
"""

import asyncio
import json
import os
import random
import sqlite3
import time
from dataclasses import dataclass, field

import pytest
from served import Served
from study_folders import make_run, make_study

from human_eval.store import stored_votes
from human_eval.study import read_key, read_study

ANNOTATORS, SECONDS, KILLS = 50, 120, 10
PAUSE = 0.5  # seconds between two answers of one annotator: far faster than people


class Lost(Exception):
    """The connection ended before an answer came."""


@dataclass
class Connection:
    """HTTP/1.1 with keep-alive and one cookie: enough for this server, and cheap beside it."""

    port: int
    cookie: str = ""
    streams: tuple | None = None

    async def request(
        self, method: str, path: str, content: object = None
    ) -> tuple[int, dict[str, str], bytes]:
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Study: 1\r\nContent-Length: {len(body)}\r\n"
        if self.cookie:
            head += f"Cookie: study={self.cookie}\r\n"
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = self.streams
            writer.write(f"{head}\r\n".encode() + body)
            await writer.drain()
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
            answer = await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Lost from error
        return int(first.split()[1]), headers, answer

    async def until_answered(self, method: str, path: str, content: object = None):
        """Again and again, as the page does."""
        while True:
            try:
                status, headers, answer = await self.request(method, path, content)
            except Lost:
                await asyncio.sleep(0.2)
                continue
            if status < 500 and status != 429:
                return status, headers, answer
            await asyncio.sleep(0.2)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


@dataclass
class Told:
    """What the clients were told, and how long they waited."""

    stored: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    milliseconds: list[float] = field(default_factory=list)
    retried: int = 0
    answers: int = 0


async def annotate(port, session, token, study, told: Told, begin, end, seed) -> None:
    """One annotator: through the stages, then answers and corrections until the time is over."""
    rng = random.Random(seed)
    connection = Connection(port)
    await asyncio.sleep(rng.random() * 4)
    _, headers, _ = await connection.until_answered("GET", f"/s?token={token}")
    connection.cookie = headers["set-cookie"].split("study=")[1].split(";")[0]
    await connection.until_answered("POST", "/api/stage", {"stage": "consent", "accept": True})
    right = [question.answer for question in study.settings.comprehension]
    await connection.until_answered("POST", "/api/stage", {"stage": "comprehension", "answers": right})
    places = [(task, aspect) for task in study.sessions[session].tasks for aspect in study.aspects]
    revs = dict.fromkeys(places, 0)
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    while time.monotonic() < end:
        await asyncio.sleep(PAUSE * (0.5 + rng.random()))
        task, aspect = rng.choice(places)
        revs[task, aspect] += 1
        answer = rng.choice(["left", "right", "tie"])
        body = {
            "answer": answer,
            "rev": revs[task, aspect],
            "played": 1.0,
            "shown_at": "2026-01-01T10:00:00+00:00",
            "answered_at": "2026-01-01T10:00:20+00:00",
        }
        repeat = rng.random() < 0.05  # a request whose reply was lost is sent again
        while True:
            asked = time.perf_counter()
            try:
                status, _, content = await connection.request("PUT", f"/api/answer/{task}/{aspect}", body)
            except Lost:
                told.retried += 1
                await asyncio.sleep(0.2)
                continue
            told.milliseconds.append(1000 * (time.perf_counter() - asked))
            assert status == 200, content
            assert json.loads(content)["stored"] == {"answer": answer, "rev": body["rev"]}
            told.stored[session, task, aspect] = (answer, body["rev"])
            told.answers += 1
            if not repeat:
                break
            repeat = False
    connection.close()


async def killer(served: Served, begin: float, end: float) -> None:
    """kill -9 at even distances, and start again."""
    for number in range(KILLS):
        at = begin + (number + 1) * (end - begin) / (KILLS + 1)
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        served.kill()
        await asyncio.to_thread(served.start)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def loaded(folder, *, kills: bool) -> Told:
    """Two minutes of fifty annotators; what they were told."""
    study, key, told = read_study(folder), read_key(folder), Told()
    sessions = list(study.sessions)[:ANNOTATORS]
    assert len(sessions) == ANNOTATORS

    async def everybody(served: Served) -> None:
        begin = time.monotonic() + 10
        end = begin + SECONDS
        people = [
            annotate(served.port, session, key.token(session), study, told, begin, end, number)
            for number, session in enumerate(sessions)
        ]
        await asyncio.gather(*people, *([killer(served, begin, end)] if kills else []))

    with Served(folder) as served:
        asyncio.run(everybody(served))
    return told


def require_what_was_told(folder, told: Told) -> None:
    """The vote table equals what the clients were told: nothing lost, nothing doubled, nothing else."""
    study = read_study(folder)
    votes = stored_votes(folder / "votes.sqlite", study)
    table = {(v["session"], v["task"], v["aspect"]): (v["answer"], v["rev"]) for v in votes}
    assert len(votes) == len(table)
    assert table == told.stored
    with sqlite3.connect(folder / "votes.sqlite") as connection:
        doubled = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM vote_log WHERE outcome = 'stored' "
            "GROUP BY session, task, aspect, rev HAVING count(*) > 1)"
        ).fetchone()[0]
        whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
    assert doubled == 0
    assert whole == "ok"


@pytest.fixture
def folder(tmp_path):
    run = make_run(
        tmp_path / "run", ("copy", "viamethod", "tokenmethod", "perframemethod"), frames=3, size=(32, 48)
    )
    make_study(tmp_path / "study", run, votes=ANNOTATORS // 2, training=0)
    return tmp_path / "study"


def figures(name: str, told: Told) -> str:
    waits = told.milliseconds
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{name}: {told.answers} answers of {ANNOTATORS} annotators in {SECONDS} s, {told.retried} retries, "
        f"p50 {percentile(waits, 0.5):.1f} ms, p95 {percentile(waits, 0.95):.1f} ms, "
        f"p99 {percentile(waits, 0.99):.1f} ms, slowest {max(waits):.0f} ms; "
        f"{os.cpu_count()} cores, load of the machine {load}"
    )


def test_fifty_annotators_are_answered_in_time_and_every_answer_is_kept(folder):
    told = loaded(folder, kills=False)
    print("\n" + figures("undisturbed", told))
    require_what_was_told(folder, told)
    assert percentile(told.milliseconds, 0.95) < 100


def test_ten_kills_lose_nothing_and_double_nothing(folder):
    told = loaded(folder, kills=True)
    print("\n" + figures(f"killed {KILLS} times", told))
    require_what_was_told(folder, told)
    assert told.retried > 0
    assert percentile(told.milliseconds, 0.95) < 100
