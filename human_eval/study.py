"""A study on disk: what was asked for (study.yaml), the design (study.json) and the key that unblinds it
(private/).

STUDY/
  study.json            sessions, tasks, questions, rules; names slots, never methods
  clips/NAME.mp4        one tiled clip per comparison and side order, named by an HMAC
  private/key.json      methods of the slots, expected answers of checks, the secret behind all names
  votes.sqlite          written by `via study serve`
  votes.jsonl           what `via study import` accepted, still blind
  imports/import-N.json counts in and out of every import
  report/               made by `via study report`, deletable
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data.types import UserError

SCHEMA = 1
Answer = Literal["left", "right", "tie", "both_fail"]
Kind = Literal["real", "training", "identical", "degraded", "repeat", "instructed"]
CheckKind = Literal["identical", "degraded", "repeat", "instructed"]
# names that sheets, crowd tables and Label Studio give to columns of their own
TAKEN_NAMES = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time",
               "task_id", "session", "instruction", "video", "fps"}  # fmt: skip


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Aspect(_Closed):
    """One question of every task; `name` is the column of tables, `question` what raters read."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    question: str


class Comprehension(_Closed):
    """A question on the meaning of the answers; `answer` is the index of the right option."""

    question: str
    options: tuple[str, ...] = Field(min_length=2)
    answer: int = Field(ge=0)

    @model_validator(mode="after")
    def answer_is_an_option(self) -> Comprehension:
        if self.answer >= len(self.options):
            raise ValueError(f"answer {self.answer} counts from 0, there are {len(self.options)} options")
        return self


class Exclusions(_Closed):
    """The rules for leaving a rater out, part of the study's hash and so fixed before the first vote."""

    failed_checks: int = Field(default=2, ge=1)  # of the instructed and degraded checks of a session
    median_seconds_per_clip_second: float = Field(default=1.3, ge=0)
    one_side_share: float = Field(default=0.85, ge=0.5, le=1)
    one_side_decisive: int = Field(default=20, ge=1)
    never_used_tasks: int = Field(default=40, ge=1)  # a flag only


class About(_Closed):
    """What the data cannot tell and a reader needs; the methods paragraph refuses to print while one is
    empty.
    """

    raters: str = ""  # who they were and where they were recruited
    payment: str = ""
    told: str = ""  # what they were told of the purpose
    viewing: str = ""  # device, distance, or "own computer, not controlled"


ASPECTS = (
    Aspect(name="instruction_following", question="Which edit follows the instruction better?"),
    Aspect(
        name="consistency",
        question="Which edit is more consistent over time, and with the source where nothing should change?",
    ),
    Aspect(name="overall_quality", question="Which edit is better overall?"),
)

COMPREHENSION = (
    Comprehension(
        question="Which of the three clips is the original?",
        options=("The one above", "A", "B"),
        answer=0,
    ),
    Comprehension(
        question="A follows the instruction and B does not. What do you answer to the first question?",
        options=("A", "B", "No clear difference"),
        answer=0,
    ),
    Comprehension(
        question="You looked at both edits twice and see no difference that matters. What do you answer?",
        options=("A, because it is on the left", "Any of the two", "No clear difference"),
        answer=2,
    ),
)

CONSENT = """You will see short video clips and two edited versions of each. For each pair we ask which one
you prefer. The clips are silent and contain nothing disturbing. The task is visual: you need to be able to
see the clips well.

Taking part is voluntary. You may stop at any time by closing the page; the answers given so far are kept
unless you ask us to delete them.

We store your answers, the time they took, and technical facts about your browser. We store no name. The
answers are published without anything that identifies you."""


class Settings(_Closed):
    """`study.yaml`: everything a study decides. Each field has a working default except what `about` asks."""

    name: str = Field(default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    seed: int = 0
    design: Literal["star", "round_robin"] = "star"
    ours: str | None = None  # a star's centre; by default the first method of the first run
    methods: tuple[str, ...] | None = None  # by default every method of the runs but the source copy
    source: str = "copy"  # the method whose video is the unedited source
    run_seed: int | None = None  # which seed of the runs; by default the first
    # by default the most clips that a multiple of the session length allows
    clips: int | None = Field(default=None, ge=1)
    votes: int = Field(default=5, ge=1)  # judgements of each (clip, pair)
    session_length: int | None = Field(default=None, ge=1)
    checks: tuple[CheckKind, ...] = ("identical", "degraded", "degraded", "repeat", "instructed")
    training: int = Field(default=2, ge=0)
    shorter_side: int = Field(default=384, ge=32)  # clips are never enlarged
    aspects: tuple[Aspect, ...] = Field(default=ASPECTS, min_length=1, max_length=5)
    both_fail: bool = False  # offer "both fail" as a fourth answer
    tie_means: str = "no clear difference"
    consent: str = CONSENT
    comprehension: tuple[Comprehension, ...] = COMPREHENSION
    feedback: tuple[str, ...] = (
        "How did you decide when both edits had flaws?",
        "Did anything not work, or was anything unclear?",
    )
    exclusions: Exclusions = Exclusions()
    about: About = About()
    repeat: bool = False  # may one participant do several sessions?
    synthetic: bool = False  # simulated raters: every output is stamped, and refused as a result

    @field_validator("aspects")
    @classmethod
    def names_are_free_and_differ(cls, aspects: tuple[Aspect, ...]) -> tuple[Aspect, ...]:
        names = [aspect.name for aspect in aspects]
        for name in names:
            if name in TAKEN_NAMES or names.count(name) > 1:
                raise ValueError(f"the name '{name}' is taken; give the question another")
        return aspects

    @property
    def answers(self) -> tuple[Answer, ...]:
        return ("left", "right", "tie", "both_fail") if self.both_fail else ("left", "right", "tie")


class Panel(_Closed):
    """Geometry of a tiled clip: three panels (width, height) px, source above, A | B below, `gap` px
    between.
    """

    width: int
    height: int
    gap: int


class TaskPlan(BaseModel):
    """A comparison of one session, blind: `left` and `right` are slot names, the key knows their methods."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: str
    order: int
    kind: Kind
    clip: str
    source: str = ""  # what statistics cluster by
    pair: str
    left: str
    right: str
    check: str = ""  # the check digit of printed sheets
    instruction: str
    media: str = ""  # public name of the tiled clip
    fps: float = 0.0
    frames: int = 0
    panel: Panel | None = None
    normalised: str = ""  # how the three clips were brought to one size, rate and length

    @property
    def seconds(self) -> float:
        return self.frames / self.fps if self.fps else 0.0


class SessionPlan(BaseModel):
    """One sitting of one rater: training, then tasks in their final order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    list: int
    replicate: int
    block: int = 0
    training: tuple[str, ...] = ()
    tasks: tuple[str, ...]


class Study(BaseModel):
    """`study.json`: the whole design, without any method's name."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: int = Field(default=SCHEMA, alias="schema")
    study: str
    study_hash: str = ""
    settings: Settings = Settings()
    aspects: tuple[str, ...]
    answers: tuple[Answer, ...]
    sessions: dict[str, SessionPlan]
    tasks: dict[str, TaskPlan]
    numbers: dict[str, int] = {}  # clips, pairs, votes, session_length, methods, sources
    runs: dict[str, str] = {}  # name of each run -> sha256 of its suite
    warnings: tuple[str, ...] = ()

    @property
    def synthetic(self) -> bool:
        return self.settings.synthetic

    def sealed(self) -> Study:
        """A copy that carries the hash of everything else."""
        return self.model_copy(update={"study_hash": content_hash(self)})


class Key(BaseModel):
    """`private/key.json`: what unblinds the votes. Never leaves the server's private folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: str  # hex, 256 bits
    design: Literal["star", "round_robin"] = "star"
    ours: str | None
    methods: dict[str, dict[Literal["left", "right"], str]]
    pairs: tuple[tuple[str, str], ...] = ()  # (first, second), in the order of p0, p1, ...
    expected: dict[str, Answer] = {}
    repeats: dict[str, str] = {}  # a swapped repeat -> the task it repeats
    files: dict[str, str] = {}  # task -> file in clips/

    @property
    def names(self) -> tuple[str, ...]:
        """Every method, first members first."""
        seen = [m for pair in self.pairs for m in pair] or [
            m for t in self.methods.values() for m in t.values()
        ]
        return tuple(dict.fromkeys(seen))

    def mac(self, *parts: str) -> bytes:
        """HMAC-SHA256 of the joined parts."""
        return hmac.new(bytes.fromhex(self.secret), "|".join(parts).encode(), hashlib.sha256).digest()

    def name(self, *parts: str) -> str:
        """20 characters of a-z2-7 that only this key links to its parts."""
        return base64.b32encode(self.mac(*parts)).decode()[:20].lower()

    def token(self, *parts: str) -> str:
        """128 bits as hex: the link of a session, the administrator's word."""
        return self.mac("token", *parts).hex()[:32]

    def pseudonym(self, identity: str) -> str:
        """What stands for a person's id in every file that leaves `private/`."""
        return "r" + self.name("rater", identity)[:11]


def content_hash(study: Study) -> str:
    """sha256 of the study's canonical JSON without the hash itself."""
    whole = study.model_dump(mode="json", by_alias=True, exclude={"study_hash"})
    return hashlib.sha256(canonical(whole)).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: what hashes and checksums are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def check_digit(study: str, task: str) -> str:
    """One digit that a printed sheet carries beside the task, so that a slip of the row is noticed."""
    return str(hashlib.sha256(f"{study}|{task}".encode()).digest()[0] % 10)


Model = TypeVar("Model", bound=BaseModel)


def validated(model: Callable[[Any], Model], content: Any, where: str) -> Model:
    """`model(content)`, with the first problem as one line that names the file and the field."""
    try:
        return model(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{where}: {place}: {first['msg']}") from None


def read_settings(path: Path) -> Settings:
    """Settings of a YAML file. Raises UserError naming the first wrong field."""
    if not path.exists():
        raise UserError(f"{path}: no such file; write one with `via study new {path} --template`")
    return validated(Settings.model_validate, read_yaml(path), str(path))


def read_exclusions(path: Path) -> Exclusions:
    """Exclusion rules of a YAML file with the fields of `exclusions`. Raises UserError."""
    if not path.exists():
        raise UserError(f"{path}: no such file; it holds the fields of `exclusions:` of a study file")
    return validated(Exclusions.model_validate, read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise UserError(f"{path}: not YAML:{line} {error.problem}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: not a list of `field: value` lines; `via study new FILE --template` shows them"
        )
    return content


def read_study(folder: Path) -> Study:
    """`study.json` of a folder, its hash checked."""
    path = folder / "study.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a study (it has no study.json); make one with `via study new`")
    study = validated(Study.model_validate_json, path.read_bytes(), str(path))
    if content_hash(study) != study.study_hash:
        raise UserError(
            f"{path}: was changed after it was made (its hash differs); restore it or make a new study"
        )
    return study


def read_key(folder: Path) -> Key:
    """`private/key.json` of a study."""
    path = folder / "private" / "key.json"
    if not path.is_file():
        raise UserError(f"{folder}: the key is missing (private/key.json); without it votes cannot be joined")
    return validated(Key.model_validate_json, path.read_bytes(), str(path))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, beside and then renamed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with os.fdopen(
        os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    beside.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a file beside and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8", newline="")
    beside.replace(path)
