"""A vision-language model as judge: `judge_instruction`, `judge_consistency`, `judge_preference`.

Any server that speaks OpenAI's chat API, by base URL. What is sent and what comes back is kept in a
folder, from which the same scores can be made again without a server or a key (`replay`). A reply that
cannot be read is an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from data.types import Clip, UserError
from eval.features import Features
from eval.judge_replies import (
    PreferenceReply,
    ScoreReply,
    Unreadable,
    both_orders,
    read_preference,
    read_score,
)
from eval.metric import Card
from eval.score import Missing, Pair, Score, missing, ok

COLUMNS, WIDTH, HEADER = (
    8,
    512,
    40,
)  # moments shown, pixels of each frame's longer side, pixels of the time stamps
REPEATS = 3
RETRIES = 2  # for transport or a reply that cannot be read
T = TypeVar("T")


class Refused(Exception):
    """The server's content filter would not answer."""


@dataclass
class Judge:
    """A judge: its server, its model, and the folder that keeps every request (without the key) and raw
    reply.

    price: US dollars per million tokens, in and out, for the record's sums. replay: never ask, only read
    the record.
    """

    model: str
    record: Path
    base_url: str | None = None
    api_key: str | None = None
    seed: int | None = 0
    price: tuple[float, float] = (0.0, 0.0)
    replay: bool = False

    @cached_property
    def client(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise Missing("openai is not installed: pip install 'via-bench[lvlm]'") from error
        return OpenAI(base_url=self.base_url, api_key=self.api_key or "none", max_retries=0)

    def ask(self, prompt: str, instruction: str, image: bytes, form: type[Any], repeat: int) -> str:
        """The raw reply to one contact sheet (PNG); from the record where it is there.

        Raises Refused, Missing (replay without a record), and what the client raises.
        """
        text = prompt_text(prompt).replace("{instruction}", instruction)
        request = {
            "prompt": prompt,
            "prompt_sha256": hashlib.sha256(prompt_text(prompt).encode()).hexdigest(),
            "text": text,
            "image_sha256": hashlib.sha256(image).hexdigest(),
            "model": self.model,
            "base_url": self.base_url,
            "temperature": 0,
            "seed": None if self.seed is None else self.seed + repeat,
            "repeat": repeat,
        }
        name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        path = self.record / f"{name}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept.get("refused"):
                raise Refused(kept["refused"])
            return str(kept["reply"])
        if self.replay:
            raise Missing(f"the record {self.record} has no reply to this question: judge without --replay")
        answer = self._sent(request, image, form)
        kept = {"request": request, **answer}
        self.record.mkdir(parents=True, exist_ok=True)
        sheet_path = self.record / f"{request['image_sha256']}.png"
        if not sheet_path.is_file():
            _write(sheet_path, image)
        if answer.get("refused"):
            _write(path, json.dumps(kept, indent=1).encode())
            raise Refused(answer["refused"])
        if readable(form, str(answer["reply"])):  # what cannot be read is asked again, and counted
            _write(path, json.dumps(kept, indent=1).encode())
        else:
            with (
                FileLock(self.record / "unreadable.lock"),
                (self.record / "unreadable.jsonl").open("a") as log,
            ):
                log.write(json.dumps(kept) + "\n")
        return str(answer["reply"])

    def _sent(self, request: dict[str, Any], image: bytes, form: type[Any]) -> dict[str, Any]:
        content = [
            {"type": "text", "text": request["text"]},
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"},
            },
        ]
        schema = {
            "name": form.__name__,
            "schema": {**form.model_json_schema(), "additionalProperties": False},
        }
        options = {} if request["seed"] is None else {"seed": request["seed"]}
        reply = self.client.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": content}],
            temperature=0,
            response_format={"type": "json_schema", "json_schema": {**schema, "strict": True}},
            **options,
        )
        choice = reply.choices[0]
        used = (reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.usage else (0, 0)
        refused = getattr(choice.message, "refusal", None)
        if choice.finish_reason == "content_filter":
            refused = refused or "content filter"
        return {
            "reply": choice.message.content or "",
            "refused": refused,
            "reported_model": reply.model,
            "tokens": list(used),
            "dollars": (used[0] * self.price[0] + used[1] * self.price[1]) / 1e6,
        }

    def answered(self, ask: Callable[[], T]) -> T:
        """`ask` at most 3 times: transport errors and unreadable replies are tried again. Raises the last
        one."""
        for attempt in range(RETRIES + 1):
            try:
                return ask()
            except Exception as error:
                if attempt == RETRIES or self.replay or not transient(error):
                    raise
        raise AssertionError("unreachable")

    def cost(self) -> dict[str, float]:
        """Tokens in and out, dollars, replies and refusals of the whole record."""
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.record.glob("*.json"))]
        log = self.record / "unreadable.jsonl"
        unreadable = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        every = kept + unreadable
        return {
            "tokens_in": sum(one["tokens"][0] for one in every),
            "tokens_out": sum(one["tokens"][1] for one in every),
            "dollars": sum(one["dollars"] for one in every),
            "replies": len(kept),
            "refused": sum(bool(one.get("refused")) for one in kept),
            "unreadable": len(unreadable),
        }


def transient(error: Exception) -> bool:
    """Whether asking again may help: an unreadable reply, a broken connection, a busy or failing server."""
    if isinstance(error, Unreadable):
        return True
    try:
        import openai
    except ImportError:
        return False
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError | openai.RateLimitError)


def prompt_text(name: str) -> str:
    """A versioned prompt of eval/prompts, in which {instruction} is replaced."""
    return files("eval").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")


def readable(form: type[Any], reply: str) -> bool:
    """Whether a reply has the form."""
    try:
        (read_score if form is ScoreReply else read_preference)(reply)
    except Unreadable:
        return False
    return True


def contact_sheet(clips: Sequence[Clip]) -> NDArray[np.uint8]:
    """RGB picture: 8 moments from first to last as columns, one clip a row, the time in seconds above each
    column."""
    n = len(clips[0])
    moments = np.unique(np.round(np.linspace(0, n - 1, COLUMNS)).astype(int))
    height, width = clips[0].size
    scale = WIDTH / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = []
    for t in moments:
        head = np.full((HEADER, size[0], 3), 255, np.uint8)
        seconds = f"{float(t / clips[0].fps):.2f} s"
        cv2.putText(head, seconds, (8, HEADER - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2, cv2.LINE_AA)
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        shown = [np.asarray(cv2.resize(clip[int(t)], size, interpolation=way)) for clip in clips]
        columns.append(np.concatenate([head, *shown], axis=0))
    return np.asarray(np.concatenate(columns, axis=1), dtype=np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """An RGB picture as PNG."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError("the contact sheet could not be written as PNG: the clip is empty")
    return bytes(data)


def judge_of(features: Features) -> Judge:
    """The judge in use. Raises Missing."""
    judge = features.models.judge
    if judge is None:
        raise Missing("needs a judge: name a model and a server, or a record to replay")
    return judge


def judged(judge: Judge, prompt: str, pair: Pair, instruction: str) -> Score:
    """The mean of k = 3 scores from 1 to 5, with their spread; an error when one cannot be had."""
    sheet = png(contact_sheet([pair.source, pair.edited]))
    replies, scores = [], []
    for repeat in range(REPEATS):
        try:
            reply = judge.answered(
                lambda repeat=repeat: read_score(judge.ask(prompt, instruction, sheet, ScoreReply, repeat))  # type: ignore[misc]
            )
        except Refused as error:
            return missing("error", f"refused: {error}", prompt=prompt)
        except Unreadable as error:
            return missing("error", f"the judge's reply cannot be read: {error}", prompt=prompt)
        replies.append(reply.reason)
        scores.append(reply.score)
    spread = max(scores) - min(scores)
    return ok(
        float(np.mean(scores)),
        scores=scores,
        spread=spread,
        reasons=replies,
        prompt=prompt,
        model=judge.model,
    )


def preferred(judge: Judge, source: Clip, a: Clip, b: Clip, instruction: str) -> Score:
    """1 when a is better, 0 when b is, 0.5 for a tie: mean over k = 3, each shown in both orders."""
    sheets = [png(contact_sheet([source, *shown])) for shown in ((a, b), (b, a))]
    prompt, outcomes, biased = "preference-1", [], 0
    for repeat in range(REPEATS):
        replies = []
        try:
            for sheet in sheets:

                def once(sheet: bytes = sheet, repeat: int = repeat) -> str:
                    reply = judge.ask(prompt, instruction, sheet, PreferenceReply, repeat)
                    read_preference(reply)
                    return reply

                replies.append(judge.answered(once))
        except Refused as error:
            return missing("error", f"refused: {error}", prompt=prompt)
        except Unreadable as error:
            return missing("error", f"the judge's reply cannot be read: {error}", prompt=prompt)
        outcome, bias = both_orders(*replies)
        outcomes.append(outcome)
        biased += bias
    value = float(np.mean([{"first": 1.0, "second": 0.0, "tie": 0.5}[outcome] for outcome in outcomes]))
    return ok(value, outcomes=outcomes, position_bias=biased / REPEATS, prompt=prompt, model=judge.model)


@dataclass(frozen=True)
class Control:
    """An item whose answer is known: the judge must score at most, or at least, so much."""

    kind: Literal["source copy", "shuffled instruction", "true answer"]
    pair: Pair
    instruction: str
    at_most: float = 5.0
    at_least: float = 1.0

    def passed(self, score: Score) -> bool:
        """Whether the judge's score of this item is what it must be; an error is not."""
        return score.value is not None and self.at_least <= score.value <= self.at_most


def controls(pairs: Sequence[Pair], generator: np.random.Generator) -> list[Control]:
    """One control for every 5 pairs, at least one: the source as its own edit, another pair's instruction,
    a true answer."""
    items: list[Control] = []
    for turn in range(max(1, len(pairs) // 5)):
        pair = pairs[int(generator.integers(len(pairs)))]
        instruction = _instruction(pair)
        others = [_instruction(other) for other in pairs if _instruction(other) != instruction]
        if turn % 3 == 1 and others:
            chosen = others[int(generator.integers(len(others)))]
            items.append(Control("shuffled instruction", pair, chosen, at_most=2))
        elif turn % 3 == 2 and pair.answers:
            true = Pair(pair.source, pair.answers[0], pair.edit)
            items.append(Control("true answer", true, instruction, at_least=4))
        else:
            items.append(
                Control("source copy", Pair(pair.source, pair.source, pair.edit), instruction, at_most=2)
            )
    return items


def examined(judge: Judge, pairs: Sequence[Pair], generator: np.random.Generator) -> dict[str, Any]:
    """What the judge says about the `controls` of these pairs: every item, how many it failed, and whether
    its scores may stand. An item without a score is failed."""
    items = []
    for control in controls(pairs, generator):
        try:
            score = judged(judge, JudgeInstruction.prompt, control.pair, control.instruction)
        except Missing as error:
            score = missing("skipped", str(error))
        except Exception as error:  # as in eval.suite: the record says what happened
            score = missing("error", f"{type(error).__name__}: {error}")
        items.append(
            {
                "kind": control.kind,
                "clip": control.pair.source.name,
                "instruction": control.instruction,
                "score": score.value,
                "reason": score.reason,
                "passed": control.passed(score),
            }
        )
    passed = [bool(item["passed"]) for item in items]
    return {
        "model": judge.model,
        "items": items,
        "failed": passed.count(False),
        "trusted": trusted(passed),
        "cost": judge.cost(),
    }


def trusted(outcomes: Sequence[bool]) -> bool:
    """Whether a judge's scores may stand: it failed at most a third of its controls."""
    return sum(not passed for passed in outcomes) <= len(outcomes) / 3


def struck(scores: Mapping[str, Score], found: Mapping[str, Any]) -> dict[str, Score]:
    """The scores of judge metrics among these that may not stand after what `examined` found: without a
    value, as errors, with the reason; what the judge said stays in their details. None of a trusted judge."""
    if found["trusted"]:
        return {}
    why = f"untrusted: {found['model']} failed {found['failed']} of {len(found['items'])} control items"
    return {
        name: missing("error", why, **score.details).model_copy(update={"seconds": score.seconds})
        for name, score in scores.items()
        if name.startswith("judge_") and score.status == "ok" and score.details.get("model") == found["model"]
    }


class JudgeInstruction(Card):
    """1 to 5 by a vision-language model, mean of 3: was the instruction followed? 8 moments, source above
    edit, one PNG.

    Fooled by: brightness, the judge's own family of generators, length of reasons. A judge that fails more
    than a third of its controls (source copy, shuffled instruction, true answer) has its scores struck
    out.
    """

    id, version, direction, range = "judge_instruction", 1, "up", (1.0, 5.0)
    suite, needs, cost = "judge", ("judge",), "3 requests a clip"
    prompt = "instruction-1"

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.edit is None:
            return missing("skipped", "the task has no instruction")
        return judged(judge_of(features), self.prompt, pair, _instruction(pair))


class JudgeConsistency(JudgeInstruction):
    """1 to 5 by a vision-language model, mean of 3: is the edit one and the same in all frames?

    Fooled by: not editing, freezing.
    """

    id, prompt = "judge_consistency", "consistency-1"


class JudgePreference(Card):
    """Is this edit better than the rival's? 1, 0.5 (tie) or 0, shown in both orders, mean of 3; answers
    that depend on the order are ties and counted as position bias. Fooled by: brightness, the judge's own
    family of generators."""

    id, version, direction, range = "judge_preference", 1, "up", (0.0, 1.0)
    suite, needs, cost = "judge", ("judge", "rival"), "6 requests a pair"

    def __call__(self, pair: Pair, features: Features) -> Score:
        if pair.rival is None or pair.edit is None:
            return missing("skipped", "no rival edit to compare with, or no instruction")
        return preferred(judge_of(features), pair.source, pair.edited, pair.rival, _instruction(pair))


def _instruction(pair: Pair) -> str:
    return pair.edit.instruction if pair.edit else ""


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    beside.write_bytes(content)
    os.replace(beside, path)
