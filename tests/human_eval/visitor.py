"""A rater without a browser: the page's requests, for tests of the server."""

from starlette.testclient import TestClient

SAYS = {"X-Study": "1"}


def visitor(app):
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)


def opened(site, session="s001"):
    app, _, key, _ = site
    client = visitor(app)
    answer = client.get("/s", params={"token": key.token(session)}, follow_redirects=False)
    assert answer.status_code == 303
    assert "token" not in answer.headers["location"]
    return client


def body(answer="left", rev=1, **changes):
    return {
        "answer": answer,
        "rev": rev,
        "played": 1.0,
        "shown_at": "2026-01-01T10:00:00+00:00",
        "answered_at": "2026-01-01T10:00:20+00:00",
    } | changes


def put(client, task, aspect, **content):
    return client.put(f"/api/answer/{task}/{aspect}", json=body(**content), headers=SAYS)


def stage(client, **content):
    return client.post("/api/stage", json=content, headers=SAYS)


def to_tasks(client, study):
    stage(client, stage="consent", accept=True)
    stage(client, stage="comprehension", answers=[q.answer for q in study.settings.comprehension])
    state = client.get("/api/session").json()
    for task in state["training"]:
        for aspect in study.aspects:
            assert put(client, task["id"], aspect).status_code == 200
    assert stage(client, stage="training").json()["stage"] == "tasks"
    return client.get("/api/session").json()
