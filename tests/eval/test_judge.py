import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from data.types import ArrayClip, Edit
from data.video import write_lossless
from eval import judge as judging
from eval import suite
from eval.commands import score_files
from eval.features import Features
from eval.judge_replies import Unreadable, both_orders, read_preference, read_score
from eval.models import Models
from eval.score import Pair, missing, ok


def test_golden_replies_are_read_or_are_errors(golden):
    inputs = golden.document("judge_replies")["inputs"]
    values = {}
    for item in inputs["score"]:
        try:
            values[item["id"]] = read_score(item["reply"]).score
        except Unreadable:
            values[item["id"]] = "error"
    for item in inputs["preference"]:
        try:
            values[item["id"]] = read_preference(item["reply"]).better
        except Unreadable:
            values[item["id"]] = "error"
    for item in inputs["orders"]:
        try:
            outcome, bias = both_orders(item["reply_ab"], item["reply_ba"])
        except Unreadable:
            outcome, bias = "error", False
        values[item["id"]] = outcome
        values[f"{item['id']}.position_bias"] = int(bias)
    golden.check("judge_replies", values)


class Server(ThreadingHTTPServer):
    """A server that speaks the chat API and answers from a list of replies in turn, the last one for ever."""

    daemon_threads = True

    def __init__(self, replies):
        self.replies, self.requests = list(replies), []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        replies = self.server.replies
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        status = reply if isinstance(reply, int) else 200
        refusal = reply == "REFUSE"
        message = {"role": "assistant", "content": None if refusal else reply}
        if refusal:
            message["refusal"] = "not allowed"
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "tiny-judge-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        data = json.dumps(answer if status == 200 else {"error": {"message": "down"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture(name="serve")
def _serve():
    servers = []

    def start(*replies):
        servers.append(Server(replies))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(score):
    return json.dumps({"score": score, "reason": "so"})


def better(which):
    return json.dumps({"better": which, "reason": "so"})


def scored(name, pair, judge):
    metric = suite.load(name)
    return suite.score(pair, [metric], Features(models=Models(judge=judge)))[metric.name]


def pair_of(moving):
    return Pair(moving, ArrayClip(255 - moving.frames, moving.fps), Edit(instruction="make it a negative"))


def test_score_is_the_mean_of_three_with_its_spread(serve, moving, tmp_path):
    server = serve(reply(5), reply(4), reply(3))
    judge = judging.Judge("tiny", tmp_path, server.url, api_key="secret", price=(10.0, 100.0))
    score = scored("judge_instruction", pair_of(moving), judge)
    assert score.value == 4
    assert score.details["scores"] == [5, 4, 3]
    assert score.details["spread"] == 2
    assert judge.cost() == {
        "tokens_in": 300,
        "tokens_out": 30,
        "dollars": pytest.approx((300 * 10 + 30 * 100) / 1e6),
        "replies": 3,
        "refused": 0,
        "unreadable": 0,
    }
    assert "secret" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))


def test_same_scores_come_from_the_record_without_a_server(serve, moving, tmp_path):
    server = serve(reply(5), reply(4), reply(3))
    online = scored("judge_instruction", pair_of(moving), judging.Judge("tiny", tmp_path, server.url))
    asked = len(server.requests)
    replayed = judging.Judge("tiny", tmp_path, server.url, replay=True)
    again = scored("judge_instruction", pair_of(moving), replayed)
    assert (again.value, again.details) == (online.value, online.details)
    assert len(server.requests) == asked
    other = scored("judge_consistency", pair_of(moving), replayed)
    assert other.status == "skipped"
    assert "record" in other.reason


def test_what_is_sent_is_quoted_forced_into_a_schema_and_red_where_it_is_red(serve, tmp_path):
    server = serve(reply(3))
    red = np.zeros((4, 40, 64, 3), np.uint8)
    red[..., 0] = 200
    pair = Pair(ArrayClip(red), ArrayClip(red), Edit(instruction="make it rain"))
    scored("judge_instruction", pair, judging.Judge("tiny", tmp_path, server.url))
    body = server.requests[0]
    assert body["temperature"] == 0
    assert body["response_format"]["json_schema"]["schema"]["properties"]["score"]["maximum"] == 5
    text, image = body["messages"][0]["content"]
    assert '"make it rain"' in text["text"]
    data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr[100, 100].tolist() == [0, 0, 200]
    assert bgr.shape == (40 + 2 * 320, 4 * 512, 3)
    assert len({request["seed"] for request in server.requests}) == 3


def test_unreadable_replies_are_tried_again_and_then_an_error(serve, moving, tmp_path):
    server = serve("I would give 5.", reply(4))
    judge = judging.Judge("tiny", tmp_path / "a", server.url)
    assert scored("judge_instruction", pair_of(moving), judge).value == 4
    assert judge.cost()["unreadable"] == 1
    stubborn = serve("I would give 5.")
    score = scored("judge_instruction", pair_of(moving), judging.Judge("tiny", tmp_path / "b", stubborn.url))
    assert (score.value, score.status) == (None, "error")
    assert len(stubborn.requests) == 3


def test_transport_errors_are_tried_again_at_most_twice(serve, moving, tmp_path):
    server = serve(500, 500, reply(2))
    assert (
        scored("judge_instruction", pair_of(moving), judging.Judge("t", tmp_path / "a", server.url)).value
        == 2
    )
    down = serve(500)
    score = scored("judge_instruction", pair_of(moving), judging.Judge("t", tmp_path / "b", down.url))
    assert score.status == "error"
    assert len(down.requests) == 3


def test_refusal_by_a_content_filter_is_an_error_and_counted(serve, moving, tmp_path):
    judge = judging.Judge("tiny", tmp_path, serve("REFUSE").url)
    score = scored("judge_instruction", pair_of(moving), judge)
    assert score.status == "error"
    assert score.reason.startswith("refused")
    assert judge.cost()["refused"] == 1


def test_preference_counts_only_when_both_orders_agree(serve, moving, tmp_path):
    pair = pair_of(moving)
    rival = Pair(pair.source, pair.edited, pair.edit, rival=moving)
    always_a = serve(better("A"))
    score = scored("judge_preference", rival, judging.Judge("tiny", tmp_path / "a", always_a.url))
    assert score.value == 0.5
    assert score.details["position_bias"] == 1
    honest = serve(*[better(which) for which in "ABABAB"])
    score = scored("judge_preference", rival, judging.Judge("tiny", tmp_path / "b", honest.url))
    assert score.value == 1
    assert score.details["position_bias"] == 0
    assert scored("judge_preference", pair, judging.Judge("tiny", tmp_path, honest.url)).status == "skipped"


def test_without_a_judge_the_metrics_are_skipped(moving):
    for score in suite.score(pair_of(moving), suite.suite("judge"), Features()).values():
        assert score.status == "skipped"


def test_controls_expose_a_judge_that_praises_everything(moving):
    pairs = [Pair(moving, moving, Edit(instruction=f"edit {i}"), answers=[moving]) for i in range(30)]
    items = judging.controls(pairs, np.random.default_rng(0))
    assert len(items) == 6
    assert {item.kind for item in items} == {"source copy", "shuffled instruction", "true answer"}
    for item in items:
        if item.kind == "shuffled instruction":
            assert item.instruction != item.pair.edit.instruction
    praise, sense = ok(5.0), [ok(4.5) if item.kind == "true answer" else ok(1.0) for item in items]
    assert not judging.trusted([item.passed(praise) for item in items])
    assert judging.trusted([item.passed(score) for item, score in zip(items, sense)])
    assert not judging.trusted([item.passed(missing("error", "x")) for item in items])


@pytest.mark.parametrize(("says", "stands"), [(5, False), (1, True)])
def test_judge_is_sent_its_controls_and_they_are_told_apart(says, stands, serve, moving, tmp_path):
    server = serve(reply(says))
    judge = judging.Judge("tiny", tmp_path, server.url)
    pairs = [pair_of(moving)]
    found = judging.examined(judge, pairs, np.random.default_rng(0))
    assert [(item["kind"], item["score"]) for item in found["items"]] == [("source copy", says)]
    assert found["trusted"] is stands
    assert found["failed"] == (0 if stands else 1)
    asked = len(server.requests)
    assert asked == judging.REPEATS
    replayed = judging.Judge("tiny", tmp_path, server.url, replay=True)
    assert judging.examined(replayed, pairs, np.random.default_rng(0))["items"] == found["items"]
    assert len(server.requests) == asked


def test_scores_of_a_judge_that_failed_its_controls_are_struck_out_with_the_reason():
    scores = {
        "judge_instruction@1": ok(4.0, model="tiny", scores=[4, 4, 4]),
        "judge_consistency@1": ok(4.0, model="another"),
        "judge_preference@1": missing("skipped", "no rival edit to compare with, or no instruction"),
        "flicker@1": ok(0.1),
    }
    found = {"model": "tiny", "items": [{}, {}, {}], "failed": 2, "trusted": False}
    struck = judging.struck(scores, found)
    assert list(struck) == ["judge_instruction@1"]
    fallen = struck["judge_instruction@1"]
    assert (fallen.value, fallen.status) == (None, "error")
    assert fallen.reason == "untrusted: tiny failed 2 of 3 control items"
    assert fallen.details["scores"] == [4, 4, 4]
    assert judging.struck(scores, {**found, "failed": 1, "trusted": True}) == {}


@pytest.mark.parametrize("copy_scores", [5, 1])
def test_one_edits_score_stands_only_if_the_judge_sees_that_a_copy_is_no_edit(
    copy_scores, serve, moving, tmp_path, capsys
):
    server = serve(*[reply(4)] * judging.REPEATS, reply(copy_scores))
    models = Models(judge=judging.Judge("tiny", tmp_path / "judge", server.url))
    paths = tmp_path / "source.mkv", tmp_path / "edited.mkv"
    for path, frames in zip(paths, (moving.frames, 255 - moving.frames)):
        write_lossless(path, frames, moving.fps)
    scores = score_files(*paths, "make it a negative", metrics="judge_instruction", models=models)
    printed = capsys.readouterr().out.split()
    if copy_scores == 1:
        assert scores["judge_instruction@1"].value == 4
        assert "untrusted:" not in printed
    else:
        assert scores["judge_instruction@1"].value is None
        assert printed[1:3] == ["error", "untrusted:"]


def test_judge_that_cannot_be_asked_has_failed_its_controls(moving, tmp_path):
    judge = judging.Judge("tiny", tmp_path, replay=True)
    found = judging.examined(judge, [pair_of(moving)], np.random.default_rng(0))
    assert not found["trusted"]
    assert "record" in found["items"][0]["reason"]


def test_contact_sheet_shows_first_and_last_moment_and_every_row(moving):
    marked = moving.frames.copy()
    marked[0], marked[-1] = 10, 250
    sheet = judging.contact_sheet([moving, ArrayClip(marked, moving.fps)])
    height = (sheet.shape[0] - 40) // 2
    lower = sheet[40 + height :]
    assert (lower[:, :512] == 10).all()
    assert (lower[:, -512:] == 250).all()
    assert sheet.shape[1] == 8 * 512
