"""The server through its HTTP interface: stages, idempotent answers, privacy, hostile requests, Range."""

import csv
import json
import re
import socket

import pytest
from starlette.testclient import TestClient
from visitor import SAYS, body, opened, put, stage, to_tasks, visitor

from data.types import UserError
from human_eval.commands import serve
from human_eval.serve import BURST, PLAYED, application
from human_eval.store import stored_votes
from human_eval.study import read_key, read_study

METHODS = (b"viamethod", b"tokenmethod", b"perframemethod")


@pytest.fixture
def site(study_folder):
    app = application(study_folder)
    yield app, read_study(study_folder), read_key(study_folder), study_folder
    app.state.server.store.close()


def test_a_whole_session_ends_with_a_code_and_all_votes(site):
    _, study, _, folder = site
    client = opened(site)
    state = to_tasks(client, study)
    assert stage(client, stage="tasks").status_code == 409
    for number, task in enumerate(state["tasks"]):
        for aspect in study.aspects:
            answer = ("left", "right", "tie")[number % 3]
            got = put(client, task["id"], aspect, answer=answer).json()
            assert got == {"stored": {"answer": answer, "rev": 1}}
    assert stage(client, stage="tasks").json()["stage"] == "feedback"
    done = stage(client, stage="feedback", texts=["by the edges", ""], device={"screen": "1280x720"}).json()
    assert done["stage"] == "done"
    assert re.fullmatch(r"[A-Z2-7]{8}", done["code"])
    votes = stored_votes(folder / "votes.sqlite", study)
    assert len(votes) == len(study.sessions["s001"].tasks) * len(study.aspects)
    assert {v["task"] for v in votes} == set(study.sessions["s001"].tasks)


def test_no_byte_that_is_sent_names_a_method_or_an_expected_answer(site):
    _, study, _, _ = site
    client, sent = opened(site), []
    client.event_hooks["response"] = [sent.append]
    state = to_tasks(client, study)
    for task in state["tasks"]:
        put(client, task["id"], study.aspects[0])
        client.get(f"/clip/{task['media']}.mp4")
    for path in (
        "/",
        "/static/app.js",
        "/static/player.js",
        "/static/server.js",
        "/static/style.css",
        "/api/session",
    ):
        client.get(path)
    content = b"".join(answer.read() + str(answer.headers).encode() for answer in sent)
    assert len(content) > 10_000
    assert not any(method in content for method in METHODS)
    assert not re.search(
        rb"identical|degraded|instructed|repeat\"", b"".join(a.read() for a in sent if "api" in str(a.url))
    )
    assert study.study.encode() not in client.get("/api/session").content


def test_repeated_requests_are_harmless_and_older_revisions_never_win(site):
    _, study, _, folder = site
    client = opened(site)
    task, aspect = to_tasks(client, study)["tasks"][0]["id"], study.aspects[0]
    assert put(client, task, aspect, answer="left", rev=1).status_code == 200
    assert put(client, task, aspect, answer="left", rev=1).status_code == 200
    assert put(client, task, aspect, answer="tie", rev=3).status_code == 200
    late = put(client, task, aspect, answer="right", rev=2)
    assert (late.status_code, late.json()["stored"]) == (409, {"answer": "tie", "rev": 3})
    same = put(client, task, aspect, answer="right", rev=3)
    assert (same.status_code, same.json()["stored"]) == (409, {"answer": "tie", "rev": 3})
    rows = [v for v in stored_votes(folder / "votes.sqlite", study) if v["task"] == task]
    assert [(v["answer"], v["rev"]) for v in rows] == [("tie", 3)]


def test_answers_survive_a_restart_of_the_server(site):
    _app, study, _key, folder = site
    client = opened(site)
    task, aspect = to_tasks(client, study)["tasks"][0]["id"], study.aspects[1]
    put(client, task, aspect, answer="right")
    cookie = client.cookies["study"]
    again = application(folder)
    with TestClient(again, base_url="http://127.0.0.1", cookies={"study": cookie}) as other:
        state = other.get("/api/session").json()
        assert state["stage"] == "tasks"
        assert state["given"][task] == {aspect: {"answer": "right", "rev": 1}}
    again.state.server.store.close()


def test_two_wrong_attempts_end_politely_with_another_code(site):
    _, study, _, _ = site
    client = opened(site)
    stage(client, stage="consent", accept=True)
    wrong = [(q.answer + 1) % len(q.options) for q in study.settings.comprehension]
    assert stage(client, stage="comprehension", answers=wrong).json()["attempts"] == 1
    again = stage(client, stage="comprehension", answers=wrong).json()  # the same request, its reply lost
    assert (again["stage"], again["attempts"]) == ("comprehension", 1)
    out = stage(client, stage="comprehension", answers=wrong, attempts=1).json()
    assert out["stage"] == "screened_out"
    assert out["code"] != site[0].state.server.codes["complete"]


def test_refusing_stores_nothing_but_the_refusal(site):
    app, study, _, folder = site
    client = visitor(app)
    client.get("/s", params={"PROLIFIC_PID": "person-1", "STUDY_ID": "x", "SESSION_ID": "visit-1"})
    assert "person-1" in (folder / "private" / "participants.csv").read_text()
    assert stage(client, stage="consent", accept=False).json()["stage"] == "refused"
    assert "person-1" not in (folder / "private" / "participants.csv").read_text()
    assert client.get("/api/session").status_code == 401
    assert stored_votes(folder / "votes.sqlite", study) == []


def test_who_had_a_session_before_is_still_paid_when_the_next_person_refuses(site):
    app, _, _, folder = site
    visitor(app).get("/s", params={"PROLIFIC_PID": "=one,1", "SESSION_ID": "v1"})
    store = app.state.server.store
    store.submit(lambda c: c.execute("UPDATE session SET touched_at = 0").rowcount).result()
    second = visitor(app)
    second.get("/s", params={"PROLIFIC_PID": "two\n2", "SESSION_ID": "v2"})
    stage(second, stage="consent", accept=False)
    with (folder / "private" / "participants.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["participant"], row["session"]) for row in rows] == [("'=one,1", "s001")]


def test_platform_ids_are_kept_in_clear_in_private_only(site):
    app, study, _, folder = site
    client = visitor(app)
    client.get("/s", params={"PROLIFIC_PID": "person-77", "STUDY_ID": "x", "SESSION_ID": "visit-1"})
    task = to_tasks(client, study)["tasks"][0]["id"]
    put(client, task, study.aspects[0])
    for path in folder.rglob("*"):
        if path.is_file() and "private" not in path.parts:
            assert b"person-77" not in path.read_bytes()


def test_the_same_visit_resumes_and_the_same_person_again_is_refused(site):
    app, study, _, _ = site
    one = visitor(app)
    visit = {"PROLIFIC_PID": "p", "STUDY_ID": "x", "SESSION_ID": "first"}
    one.get("/s", params=visit)
    task = to_tasks(one, study)["tasks"][0]["id"]
    put(one, task, study.aspects[0])
    two = visitor(app)
    two.get("/s", params=visit)
    assert two.get("/api/session").json()["given"][task]
    again = visitor(app).get("/s", params=visit | {"SESSION_ID": "second"})
    assert again.status_code == 409
    assert "once" in again.text


def test_sessions_are_given_out_in_order_and_run_out(site):
    app, study, _, _ = site
    seen = []
    for number in range(len(study.sessions)):
        client = visitor(app)
        client.get("/s", params={"PROLIFIC_PID": f"p{number}", "SESSION_ID": f"v{number}"})
        seen.append(client.get("/api/session").json()["tasks"][0]["id"])
    assert seen == [plan.tasks[0] for plan in study.sessions.values()]
    assert visitor(app).get("/s", params={"PROLIFIC_PID": "late", "SESSION_ID": "late"}).status_code == 409


def test_an_idle_session_is_given_to_another_and_its_answers_are_kept_apart(site):
    app, study, _, folder = site
    first = visitor(app)
    first.get("/s", params={"PROLIFIC_PID": "one", "SESSION_ID": "v1"})
    task = to_tasks(first, study)["tasks"][0]["id"]
    put(first, task, study.aspects[0])
    store = app.state.server.store
    store.submit(lambda c: c.execute("UPDATE session SET touched_at = 0 WHERE id = 's001'").rowcount).result()
    second = visitor(app)
    second.get("/s", params={"PROLIFIC_PID": "two", "SESSION_ID": "v2"})
    state = second.get("/api/session").json()
    assert (state["stage"], state["given"]) == ("consent", {})
    assert first.get("/api/session").status_code == 401
    assert stored_votes(folder / "votes.sqlite", study) == []
    count = store._reader.execute("SELECT count(*) FROM partial").fetchone()[0]
    assert count == 1 + 3 * len(study.sessions["s001"].training)


def test_a_link_does_not_take_a_session_away_from_a_participant(site):
    app, study, key, folder = site
    client = visitor(app)
    client.get("/s", params={"PROLIFIC_PID": "one", "SESSION_ID": "v1"})
    task = to_tasks(client, study)["tasks"][0]["id"]
    put(client, task, study.aspects[0])
    late = visitor(app).get("/s", params={"token": key.token("s001")}, follow_redirects=False)
    assert late.status_code == 409
    assert [v["task"] for v in stored_votes(folder / "votes.sqlite", study)] == [task]


def test_a_preview_stores_nothing(site):
    app, study, _, folder = site
    client = visitor(app)
    client.get("/s")
    state = client.get("/api/session").json()
    assert state["preview"]
    assert not state["tasks"]
    assert client.get(f"/clip/{state['training'][0]['media']}.mp4").status_code == 200
    assert put(client, state["training"][0]["id"], study.aspects[0]).status_code == 401
    assert stored_votes(folder / "votes.sqlite", study) == []


def test_training_tells_what_was_expected_and_tasks_never_do(site):
    _, study, key, _ = site
    client = opened(site)
    stage(client, stage="consent", accept=True)
    stage(client, stage="comprehension", answers=[q.answer for q in study.settings.comprehension])
    training, tasks = study.sessions["s001"].training, study.sessions["s001"].tasks
    assert put(client, training[0], study.aspects[0]).json()["expected"] == key.expected[training[0]]
    assert "expected" not in put(client, tasks[0], study.aspects[0]).json()


def test_clips_are_served_with_range_and_only_to_their_session(site):
    _, study, _key, _folder = site
    client = opened(site)
    plan = study.tasks[study.sessions["s001"].tasks[0]]
    address = f"/clip/{plan.media}.mp4"
    whole = client.get(address)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert "private" in whole.headers["cache-control"]
    part = client.get(address, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    assert client.get(address, headers={"Range": "bytes=-5"}).content == whole.content[-5:]
    assert client.get(address, headers={"Range": f"bytes={size}-"}).status_code == 416
    assert client.get(address, headers={"Range": "bytes=0-1,4-5"}).status_code == 206
    assert client.get(address, headers={"Range": "furlongs=1"}).status_code == 400
    stale = client.get(address, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (stale.status_code, len(stale.content)) == (200, size)
    assert opened(site, "s002").get(address).status_code == 404
    assert visitor(site[0]).get(address).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/clip/../private/key.json",
        "/clip/..%2f..%2fprivate%2fkey.json",
        "/clip/%2e%2e/study.json",
        "/static/../study.json",
        "/static/..%2fstudy.json",
        "/private/key.json",
        "/study.json",
        "/votes.sqlite",
        "/clip/aaaaaaaaaaaaaaaaaaaa.mp4",
        "//etc/passwd",
    ],
)
def test_paths_lead_nowhere(site, path):
    assert opened(site).get(path).status_code in (404, 405)


def test_foreign_tokens_open_nothing(site):
    app, study, key, _ = site
    for token in ("", "0" * 32, key.token("s001")[:-1], key.token("admin"), key.secret):
        assert visitor(app).get("/s", params={"token": token}, follow_redirects=False).status_code == 404
    forged = visitor(app)
    forged.cookies.set("study", "0" * 32)
    assert forged.get("/api/session").status_code == 401
    task = study.sessions["s002"].tasks[0]
    client = opened(site)
    to_tasks(client, study)
    assert put(client, task, study.aspects[0]).status_code == 404


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"x" * 20_000, 413),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (json.dumps(body(surprise=1)).encode(), 422),
        (json.dumps(body(answer="best")).encode(), 422),
        (json.dumps(body(answer="both_fail")).encode(), 422),
        (json.dumps(body(rev=0)).encode(), 422),
        (json.dumps(body(rev="1")).encode(), 422),
        (json.dumps(body(seeks=-1)).encode(), 422),
        (json.dumps(body(shown_at="yesterday")).encode(), 422),
        (json.dumps(body(shown_at="2026-01-01T10:00:00")).encode(), 422),
        (json.dumps(body(played=PLAYED - 0.01)).encode(), 422),
        (b'{"answer": "left", "rev": 1, "played": NaN}', 422),
        (b"\xff\xfe", 422),
    ],
)
def test_malformed_and_oversized_answers_are_refused(site, content, status):
    _, study, _, folder = site
    client = opened(site)
    task = to_tasks(client, study)["tasks"][0]["id"]
    answer = client.put(f"/api/answer/{task}/{study.aspects[0]}", content=content, headers=SAYS)
    assert answer.status_code == status
    assert [v for v in stored_votes(folder / "votes.sqlite", study) if v["task"] == task] == []


def test_posts_of_other_sites_are_refused(site):
    _, _study, _, _ = site
    client = opened(site)
    assert client.post("/api/stage", json={"stage": "consent", "accept": True}).status_code == 403
    assert client.get("/api/session").json()["stage"] == "consent"


def test_answers_before_consent_are_refused(site):
    _, study, _, _ = site
    assert put(opened(site), study.sessions["s001"].tasks[0], study.aspects[0]).status_code == 409


def test_one_session_cannot_flood_the_server(site):
    client, server = opened(site), site[0].state.server
    server.clock = lambda: 0.0
    answers = [client.get("/api/session").status_code for _ in range(int(BURST) + 1)]
    assert answers == [200] * int(BURST) + [429]
    server.clock = lambda: 1.0
    assert client.get("/api/session").status_code == 200
    assert opened(site, "s002").get("/api/session").status_code == 200


def test_every_response_carries_the_security_headers(site):
    client = opened(site)
    for path in ("/", "/api/session", "/nothing", "/healthz"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site):
    app, _, key, _ = site
    cookie = (
        visitor(app)
        .get("/s", params={"token": key.token("s001")}, follow_redirects=False)
        .headers["set-cookie"]
    )
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_a_frame_of_another_site_gets_its_cookie_over_https(study_folder):
    key = read_key(study_folder)
    app = application(study_folder, frame_ancestors="https://crowd.example")
    for address, site in (("https://h", "SameSite=none; Secure"), ("http://h", "SameSite=lax")):
        client = TestClient(app, base_url=address)
        answer = client.get("/s", params={"token": key.token("s001")}, follow_redirects=False)
        assert site in answer.headers["set-cookie"]
        assert "frame-ancestors https://crowd.example" in answer.headers["content-security-policy"]
    app.state.server.store.close()


def test_a_port_in_use_is_refused_in_one_line_and_the_links_stay(study_folder):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UserError, match="name another --host or --port"),
    ):
        serve(study_folder, port=taken.getsockname()[1])
    assert not (study_folder / "votes.sqlite").exists()
    assert not (study_folder / "private" / "links.csv").exists()


def test_status_needs_the_administrators_word(site):
    _app, study, key, _ = site
    client = opened(site)
    to_tasks(client, study)
    assert client.get("/api/status").status_code == 404
    answer = client.get("/api/status", headers={"Authorization": f"Bearer {key.token('admin')}"})
    assert answer.json()["states"] == {"free": len(study.sessions) - 1, "taken": 1}


def test_tokens_lie_hashed_in_the_database(site):
    _, _, key, folder = site
    opened(site)
    content = (folder / "votes.sqlite").read_bytes() + (folder / "votes.sqlite-wal").read_bytes()
    assert key.token("s001").encode() not in content


def test_instructions_stay_data(site):
    """An instruction with HTML reaches the page as JSON; the page's scripts never parse HTML."""
    for name, (content, _) in site[0].state.server.static.items():
        if name.endswith(".js"):
            assert b"innerHTML" not in content
            assert b"insertAdjacentHTML" not in content
            assert b"document.write" not in content


def test_a_database_of_another_version_is_refused(site, study_folder):
    store = site[0].state.server.store
    store.submit(lambda c: c.execute("UPDATE meta SET value = 'other'").rowcount).result()
    with pytest.raises(UserError, match="another version"):
        application(study_folder)
