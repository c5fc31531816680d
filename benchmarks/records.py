"""A run on disk: `run.json`, `results.jsonl`, `scores.jsonl`, and how they are read and written.

    runs/NAME/
      run.json        what was asked: suite and its hash, methods with configs, seeds, versions, hardware
      results.jsonl   one line per (task, method, seed) that ended: ok | error | skipped
      scores.jsonl    one line per (result, metric@version)
      videos/METHOD-HASH8/TASK.SEED.mkv

Lines are only ever appended, by one writer at a time, and only whole lines count. A later line with the same
key replaces an earlier one for the reader. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from data.types import UserError
from data.video import frames_sha256 as frames_sha256  # the hash that names decoded frames

FORMAT = 1

Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
ResultStatus = Literal["ok", "error", "skipped"]
ScoreStatus = Literal["ok", "skipped", "undefined", "refused", "error"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskRecord(_Record):
    """What tables and pages say of a task. `source` names the clip that statistics cluster by."""

    id: str
    source: str
    instruction: str
    region: str | None = None  # None: the whole frame is edited
    kind: str | None = None
    conditions: dict[str, str] = {}


class SuiteRecord(_Record):
    """Which tasks were asked for. `sha256` covers the manifest and the rules that decide its content."""

    name: str
    sha256: str = Sha256
    tasks: tuple[TaskRecord, ...]


class MethodRecord(_Record):
    """One row: its name, what opens its editor (a name or `package.module:Name`), and its whole config."""

    name: str
    editor: str
    version: str
    config: dict[str, Any]
    weights: dict[str, str] = {}  # file or model -> sha256
    config_hash: str = Sha256


class RunRecord(_Record):
    """`run.json`: what this folder was asked for. `hardware` and `versions` are the last command's."""

    format: Literal[1] = 1
    created: str  # ISO 8601, UTC
    command: str
    suite: SuiteRecord
    methods: tuple[MethodRecord, ...]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    hardware: dict[str, str]


class Key(_Record):
    """What makes a cell: another value in any part is another cell."""

    suite: str = Sha256
    task: str
    method: str
    config_hash: str = Sha256
    seed: int


class Result(Key):
    """One line of `results.jsonl`: how a cell ended. What describes a video is None unless it is ok."""

    format: Literal[1] = 1
    status: ResultStatus
    reason: str | None = None
    seconds: dict[str, FiniteFloat] = {}  # by stage, as measured; what the cache spared is not in it
    seconds_alone: FiniteFloat | None = None  # what the cell costs with an empty cache
    host_bytes: int | None = None  # peak resident memory of the process
    device_bytes: int | None = None  # peak memory of the accelerator
    frames: int | None = None
    fps: Fraction | None = None
    size: tuple[int, int] | None = None  # (height, width)
    video: str | None = None  # relative to the run's folder
    video_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    frames_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    facts: dict[str, Any] = {}  # what the editor says about this edit (its root frame, ...)
    device: str
    versions: dict[str, str] = {}
    ended: str  # ISO 8601, UTC

    @property
    def key(self) -> Key:
        return Key(**{name: getattr(self, name) for name in Key.model_fields})


class Score(Key):
    """One line of `scores.jsonl`: a metric of the frames that `frames_sha256` names."""

    format: Literal[1] = 1
    metric: str = Field(pattern=r"^[A-Za-z0-9_.]+@\d+(:\w+)?$")  # id@version, :variant where there is one
    value: FiniteFloat | None
    status: ScoreStatus
    reason: str | None = None
    details: dict[str, Any] = {}
    seconds: FiniteFloat
    frames_sha256: str = Sha256

    @property
    def key(self) -> Key:
        return Key(**{name: getattr(self, name) for name in Key.model_fields})


@dataclass(frozen=True)
class Run:
    """A run as read. `results` and `scores` hold each key's last line, also of earlier configurations."""

    folder: Path
    record: RunRecord
    results: Mapping[Key, Result]
    scores: Mapping[tuple[Key, str], Score]

    def video(self, result: Result) -> Path:
        """Where the video of an ok result lies; never outside the run's folder."""
        return inside(self.folder, result.video or "")

    def cells(self) -> Iterator[tuple[Key, Result | None]]:
        """Every cell that `run.json` asks for, method by method, with its result if it has ended."""
        for method in self.record.methods:
            for task in self.record.suite.tasks:
                for seed in self.record.seeds:
                    key = cell_key(self.record.suite, task.id, method, seed)
                    yield key, self.results.get(key)

    def score(self, key: Key, metric: str) -> Score | None:
        """The score of a cell's present video; None where there is none or a stale one (other frames)."""
        score, result = self.scores.get((key, metric)), self.results.get(key)
        return score if score and result and score.frames_sha256 == result.frames_sha256 else None


def cell_key(suite: SuiteRecord, task: str, method: MethodRecord, seed: int) -> Key:
    return Key(suite=suite.sha256, task=task, method=method.name, config_hash=method.config_hash, seed=seed)


def config_hash(editor: str, version: str, config: Mapping[str, Any], weights: Mapping[str, str]) -> str:
    """sha256 of what decides a method's output: its code's name and version, its config, its weights."""
    whole = {"editor": editor, "version": version, "config": dict(config), "weights": dict(weights)}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def video_name(method: str, config_hash: str, task: str, seed: int) -> str:
    """The path of a cell's video in the run's folder; letters that file systems dislike become `_`."""
    return f"videos/{_plain(method)}-{config_hash[:8]}/{_plain(task)}.{seed}.mkv"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, relative: str) -> Path:
    """A path of a record resolved in its folder; raises UserError when it leads outside."""
    pure = PurePosixPath(relative)
    path = (folder / pure).resolve()
    if not relative or pure.is_absolute() or not path.is_relative_to(folder.resolve()):
        raise UserError(f"{folder}: the path '{relative}' leads out of the run's folder: do not use this run")
    return path


Line = TypeVar("Line", Result, Score)


def read_run(folder: Path) -> Run:
    """A run folder, anybody's. Raises UserError, naming file and line, where it breaks the format."""
    path = folder / "run.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: not a run (it has no run.json): name a folder that `via ablate` or `via bench` wrote"
        )
    record = _parse(RunRecord, path.read_text(encoding="utf-8"), str(path))
    results = {line.key: line for line in read_lines(folder / "results.jsonl", Result)}
    scores = {(line.key, line.metric): line for line in read_lines(folder / "scores.jsonl", Score)}
    return Run(folder, record, results, scores)


def read_lines(path: Path, kind: type[Line]) -> list[Line]:
    """All whole lines of a file, none if it is missing; a torn last one is dropped, with a message."""
    if not path.exists():
        return []
    whole, newline, torn = path.read_bytes().rpartition(b"\n")
    if torn:
        print(f"{path}: the last line is torn and was dropped; its cell will be done again", file=sys.stderr)
    texts = whole.decode("utf-8").split("\n") if newline else []
    return [_parse(kind, text, f"{path}:{number}") for number, text in enumerate(texts, 1)]


_Model = TypeVar("_Model", bound=BaseModel)


def _parse(kind: type[_Model], text: str, where: str) -> _Model:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or kind.__name__
        raise UserError(f"{where}: {place}: {first['msg']}: this is not run format {FORMAT}") from None


def append(path: Path, line: Result | Score) -> None:
    """Append one line and have it on disk; a torn tail that a killed writer left is cut off first."""
    with path.open("ab+") as file:
        _cut_torn_tail(file)
        file.write(line.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_tail(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    file.truncate(end)


def write_record(folder: Path, record: RunRecord) -> None:
    """Put `run.json` in place whole: written beside, flushed, renamed."""
    beside = folder / "run.json.part"
    with beside.open("w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / "run.json")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the folder's one writer lock; raises UserError at once when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder}: another process is writing here: wait for it, or name another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def schemas() -> dict[str, Any]:
    """The JSON schemas of the three files, as the docs show them."""
    models: dict[str, type[BaseModel]] = {
        "run.json": RunRecord,
        "results.jsonl": Result,
        "scores.jsonl": Score,
    }
    return {name: model.model_json_schema() for name, model in models.items()}
