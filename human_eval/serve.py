"""The study's web server: one page, blinded clips with Range, answers that are told "saved" only after the
commit.

No method, key, expected answer or source path is in any response; instructions are data, never HTML.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.types import UserError

from . import places, store
from .page import page_state, static_files
from .store import Store
from .study import Answer, Key, Study, read_key, read_study, write_private
from .votes import csv_text, neutral

LARGEST_BODY = 16 * 1024
REQUESTS_PER_SECOND, BURST = 40.0, 120.0
PLAYED = 0.9  # share of distinct frames that must have been presented
COOKIE = "study"
PREVIEW = "preview"

Text = Annotated[str, Field(max_length=4000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerBody(_Body):
    """What a client says with an answer."""

    answer: Answer
    rev: int = Field(ge=1, le=10**6)
    played: float = Field(ge=0, le=1)
    shown_at: str = Field(max_length=40)
    answered_at: str = Field(max_length=40)
    play_ms_left: int = Field(default=0, ge=0, le=10**9)
    play_ms_right: int = Field(default=0, ge=0, le=10**9)
    play_ms_source: int = Field(default=0, ge=0, le=10**9)
    seeks: int = Field(default=0, ge=0, le=10**6)
    dropped_frames: int = Field(default=0, ge=0, le=10**6)
    source_visible: bool = True

    @field_validator("shown_at", "answered_at")
    @classmethod
    def is_a_time(cls, value: str) -> str:
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError("a time needs its zone")
        return value


class Device(_Body):
    screen: Text = ""
    browser: Text = ""
    dropped_frames: int = Field(default=0, ge=0)


class StageBody(_Body):
    """A step from one stage to the next."""

    stage: Literal["consent", "comprehension", "training", "tasks", "feedback"]
    accept: bool | None = None
    answers: list[int] | None = Field(default=None, max_length=20)
    attempts: int = Field(default=0, ge=0)  # comprehension: those the page knew of when it asked
    texts: list[Text] | None = Field(default=None, max_length=10)
    device: Device | None = None


class EventBody(_Body):
    kind: str = Field(pattern=r"^[a-z_]{1,30}$")
    value: str = Field(default="", max_length=200)


class Problem(Exception):
    """An answer to a request that cannot be served: status and one line."""

    def __init__(self, status: int, message: str, **content: Any) -> None:
        super().__init__(message)
        self.status, self.content = status, {"error": message, **content}


@dataclass
class Bucket:
    """A rate limit: so many requests a second, some more at once."""

    at: float
    left: float = BURST

    def take(self, now: float) -> bool:
        """Whether one more request is allowed at `now` (seconds)."""
        self.left = min(BURST, self.left + (now - self.at) * REQUESTS_PER_SECOND)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Guard:
    """ASGI middleware: security headers on every response."""

    def __init__(self, app: ASGIApp, frame_ancestors: str) -> None:
        self.app = app
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
            f"frame-ancestors {frame_ancestors}"
        )
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
            await send(message)

        await self.app(scope, receive, guarded)


@dataclass
class Server:
    """The handlers and what they share. Make the application with `application`."""

    folder: Path
    study: Study
    key: Key
    store: Store
    codes: dict[str, str]
    is_framed: bool = False  # whether other sites may show the page in a frame
    clock: Callable[[], float] = time.monotonic
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.media = {task.media: (task.session, name) for name, task in self.study.tasks.items()}
        self.static = static_files()
        preview = next(iter(self.study.sessions.values()))
        self.preview_tasks = preview.training or preview.tasks[:1]

    # -- who is asking

    def session_of(self, request: Request) -> str:
        cookie = request.cookies.get(COOKIE, "")
        session = self.store.by_cookie(cookie) if cookie else None
        if session is None:
            raise Problem(401, "Please open your personal link again.")
        now = self.clock()
        if not self.buckets.setdefault(session, Bucket(now)).take(now):
            raise Problem(429, "Too many requests; wait a moment.")
        return session

    async def body(self, request: Request, model: type[BaseModel]) -> Any:
        if request.headers.get("x-study") != "1":
            raise Problem(403, "The header X-Study is missing.")
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > LARGEST_BODY:
                raise Problem(413, "The request is too large.")
        try:
            return model.model_validate_json(bytes(content))
        except ValidationError as error:
            first = error.errors()[0]
            raise Problem(422, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['type']}") from None

    # -- pages and clips

    async def index(self, request: Request) -> Response:
        return Response(self.static["index.html"][0], media_type="text/html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.static:
            raise Problem(404, "Not found.")
        content, kind = self.static[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    async def clip(self, request: Request) -> Response:
        name = request.path_params["name"].removesuffix(".mp4")
        owner, task = self.media.get(name, (None, ""))
        previewed = request.cookies.get(COOKIE) == PREVIEW and task in self.preview_tasks
        if owner is None or not (previewed or self.session_of(request) == owner):
            raise Problem(404, "Not found.")
        path = self.folder / "clips" / self.key.files[task]
        return FileResponse(path, media_type="video/mp4", headers={"Cache-Control": "private, immutable"})

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    # -- entering

    async def enter(self, request: Request) -> Response:
        """A link with a token, a crowd platform's parameters, or neither: a preview that stores nothing."""
        query, cookie = request.query_params, secrets.token_hex(16)
        if "token" in query:
            session = self.store.by_token(query["token"])
            if session is None:
                raise Problem(404, "This link is not valid.")
            rater = self.key.pseudonym(f"link|{session}")
            claim = await asyncio.wrap_future(
                self.store.submit(places.claim_by_token(session, cookie, rater))
            )
        elif query.get("PROLIFIC_PID") and query.get("SESSION_ID"):
            participant, external = query["PROLIFIC_PID"][:100], query["SESSION_ID"][:100]
            rater = self.key.pseudonym(f"crowd|{participant}")
            job = places.claim_free(
                cookie, rater, self.key.pseudonym(f"external|{external}"), repeat=self.study.settings.repeat
            )
            claim = await asyncio.wrap_future(self.store.submit(job))
            path = self.folder / "private" / "participants.csv"
            note_participant(path, [participant, external, rater, claim.session or claim.reason])
        else:
            cookie, claim = PREVIEW, places.Claim(PREVIEW)
        if claim.session is None:
            words = {
                "full": "Thank you for coming. All places of this study are taken.",
                "taken": "This link was given to somebody else in the meantime.",
                "repeated": "Thank you. You took part in this study already, and once is all we may ask.",
            }
            raise Problem(409, words[claim.reason])
        answer = RedirectResponse("/", status_code=303)
        secure = request.url.scheme == "https"
        # a frame of another site gets no lax cookie, and browsers take "none" over https only
        site: Literal["lax", "none"] = "none" if self.is_framed and secure else "lax"
        answer.set_cookie(COOKIE, cookie, httponly=True, samesite=site, secure=secure, path="/")
        return answer

    # -- the session

    async def state(self, request: Request) -> Response:
        if request.cookies.get(COOKIE) == PREVIEW:
            return JSONResponse(page_state(self.study, None, self.preview_tasks, (), preview=True))
        return JSONResponse(self.state_of(self.session_of(request)))

    def state_of(self, session: str) -> dict[str, Any]:
        row, plan = self.store.session(session), self.study.sessions[session]
        given = self.store.given(session)
        content = page_state(self.study, row["stage"], plan.training, plan.tasks, given=given)
        content |= {"key": self.key.name("local", session, str(row["rater"])), "attempts": row["attempts"]}
        if row["stage"] in ("done", "screened_out"):
            content["code"] = self.codes["complete" if row["stage"] == "done" else "screened_out"]
        return content

    async def answer(self, request: Request) -> Response:
        queued, session = time.monotonic(), self.session_of(request)
        task, aspect = request.path_params["task"], request.path_params["aspect"]
        plan = self.study.tasks.get(task)
        if plan is None or plan.session != session or aspect not in self.study.aspects:
            raise Problem(404, "This session has no such question.")
        body: AnswerBody = await self.body(request, AnswerBody)
        row = self.store.session(session)
        if row["stage"] not in ("training", "tasks", "feedback"):
            raise Problem(409, "Answers are not open in this stage.")
        if body.answer not in self.study.answers:
            raise Problem(422, "answer: not offered")
        if body.played < PLAYED:
            raise Problem(422, "played: watch the whole clip before answering")
        client = hashlib.sha256(request.headers.get("user-agent", "").encode()).hexdigest()[:12]
        facts = body.model_dump(include=set(store.VOTE_FACTS)) | {"client": client}
        facts["source_visible"] = int(body.source_visible)
        job = store.answer(session, row["rater"], task, aspect, body.answer, body.rev, facts, queued)
        outcome, stored = await asyncio.wrap_future(self.store.submit(job))
        content: dict[str, Any] = {"stored": stored}
        if plan.kind == "training":
            content["expected"] = self.key.expected.get(task)
        return JSONResponse(content, status_code=409 if outcome == "stale" else 200)

    async def event(self, request: Request) -> Response:
        session = self.session_of(request)
        body: EventBody = await self.body(request, EventBody)
        await asyncio.wrap_future(self.store.submit(store.event(session, body.kind, body.value)))
        return Response(status_code=204)

    async def stage(self, request: Request) -> Response:
        """Move on, if what the stage asks for is there; repeated and late requests change nothing."""
        session = self.session_of(request)
        body: StageBody = await self.body(request, StageBody)
        row = self.store.session(session)
        is_repeated = body.stage == "comprehension" and body.attempts != row["attempts"]
        if body.stage != row["stage"] or is_repeated:
            return JSONResponse(self.state_of(session))
        steps = {
            "consent": self.after_consent,
            "comprehension": self.after_comprehension,
            "training": self.after_training,
            "tasks": self.after_tasks,
            "feedback": self.after_feedback,
        }
        changes = steps[body.stage](session, row, body)
        if changes is None:
            await asyncio.wrap_future(self.store.submit(places.forget(session, "no_consent")))
            forget_participant(self.folder / "private" / "participants.csv", row["rater"])
            return JSONResponse({"stage": "refused", "code": self.codes["no_consent"]})
        await asyncio.wrap_future(self.store.submit(store.stage(session, **changes)))
        return JSONResponse(self.state_of(session))

    def after_consent(self, session: str, row: Any, body: StageBody) -> dict[str, Any] | None:
        if body.accept is None:
            raise Problem(422, "accept: missing")
        if not body.accept:
            return None
        version = hashlib.sha256(self.study.settings.consent.encode()).hexdigest()[:16]
        return {"stage": self.next_stage(session, "consent"), "consent": version}

    def after_comprehension(self, session: str, row: Any, body: StageBody) -> dict[str, Any]:
        right = [question.answer for question in self.study.settings.comprehension]
        if body.answers == right:
            return {"stage": self.next_stage(session, "comprehension"), "attempts": row["attempts"] + 1}
        if row["attempts"] + 1 >= 2:
            return {"stage": "screened_out", "state": "screened_out", "ended_at": time.time(), "attempts": 2}
        return {"attempts": row["attempts"] + 1}

    def after_training(self, session: str, row: Any, body: StageBody) -> dict[str, Any]:
        self.require_answers(session, self.study.sessions[session].training)
        return {"stage": "tasks"}

    def after_tasks(self, session: str, row: Any, body: StageBody) -> dict[str, Any]:
        self.require_answers(session, self.study.sessions[session].tasks)
        return {"stage": "feedback"}

    def after_feedback(self, session: str, row: Any, body: StageBody) -> dict[str, Any]:
        kept = {"texts": body.texts or [], "device": body.device.model_dump() if body.device else {}}
        return {"stage": "done", "state": "done", "ended_at": time.time(), "feedback": json.dumps(kept)}

    def next_stage(self, session: str, stage: str) -> str:
        plan = self.study.sessions[session]
        asked = [self.study.settings.comprehension, plan.training, plan.tasks]
        names = ["comprehension", "training", "tasks"]
        start = 0 if stage == "consent" else 1
        return next(name for name, content in zip(names[start:], asked[start:]) if content)

    def require_answers(self, session: str, tasks: tuple[str, ...]) -> None:
        given = self.store.given(session)
        for task in tasks:
            for aspect in self.study.aspects:
                if aspect not in given.get(task, {}):
                    raise Problem(409, "Some questions are not answered yet.", missing=[task, aspect])

    async def status(self, request: Request) -> Response:
        word = request.headers.get("authorization", "").removeprefix("Bearer ")
        local = request.client is not None and request.client.host in ("127.0.0.1", "::1", "testclient")
        if not local or not secrets.compare_digest(word, self.key.token("admin")):
            raise Problem(404, "Not found.")
        return JSONResponse(store.counts(self.folder / "votes.sqlite"))


PARTICIPANTS = ("time", "participant", "platform_session", "rater", "session")


def note_participant(path: Path, row: list[str]) -> None:
    """One line for payment: the only place where a platform's id is kept in clear, beside its pseudonym."""
    is_new = not path.exists()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with path.open("a", encoding="utf-8", newline="") as file:
        path.chmod(0o600)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([PARTICIPANTS] * is_new + [[neutral(cell) for cell in (now, *row)]])


def forget_participant(path: Path, rater: str) -> None:
    """Somebody who did not consent leaves no id behind; whoever had the session before stays, to be paid."""
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        write_private(path, csv_text(header, [row for row in rows if row[3] != rater]))


async def problem(request: Request, error: Exception) -> Response:
    """A page for a person who followed a link, JSON for the page's own requests."""
    assert isinstance(error, Problem)
    if request.url.path == "/s":
        return PlainTextResponse(error.content["error"], status_code=error.status)
    return JSONResponse(error.content, status_code=error.status)


def completion_codes(key: Key) -> dict[str, str]:
    """Different codes for those who finished, were screened out, and did not consent."""
    return {what: key.name("code", what)[:8].upper() for what in ("complete", "screened_out", "no_consent")}


def application(folder: Path, *, synchronous: str = "FULL", frame_ancestors: str = "'none'") -> Starlette:
    """The web application of a study folder. `frame_ancestors` names sites that may show it in a frame."""
    study, key = read_study(folder), read_key(folder)
    tokens = {session: key.token(session) for session in study.sessions}
    server = Server(
        folder=folder,
        study=study,
        key=key,
        store=Store(folder / "votes.sqlite", study, tokens, synchronous=synchronous),
        codes=completion_codes(key),
        is_framed=frame_ancestors != "'none'",
    )
    Handler = Callable[[Request], Awaitable[Response]]
    gets: dict[str, Handler] = {
        "/": server.index,
        "/s": server.enter,
        "/static/{name}": server.asset,
        "/clip/{name}": server.clip,
        "/healthz": server.health,
        "/api/session": server.state,
        "/api/status": server.status,
    }
    routes = [Route(path, handler, methods=["GET"]) for path, handler in gets.items()]
    routes += [
        Route("/api/answer/{task}/{aspect}", server.answer, methods=["PUT"]),
        Route("/api/event", server.event, methods=["POST"]),
        Route("/api/stage", server.stage, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={Problem: problem},
        middleware=[Middleware(Guard, frame_ancestors=frame_ancestors)],
    )
    app.state.server = server
    return app


def links(folder: Path, address: str) -> list[tuple[str, str]]:
    """(session, link) of every session, for studies in which each person gets a link of their own."""
    study, key = read_study(folder), read_key(folder)
    return [(session, f"{address}/s?token={key.token(session)}") for session in study.sessions]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UserError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(
            f"cannot listen on {host}, port {port} ({why.lower()}); name another --host or --port"
        ) from None


def serve(
    folder: Path, listening: socket.socket, *, synchronous: str = "FULL", frame_ancestors: str = "'none'"
) -> None:
    """Serve on a socket until interrupted. No query is ever logged: platforms pay for the id in it."""
    import uvicorn

    app = application(folder, synchronous=synchronous, frame_ancestors=frame_ancestors)
    config = uvicorn.Config(app, access_log=False, server_header=False, log_level="warning")
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        app.state.server.store.close()
