"""Edits that authors put on their project pages, fetched on request: `via data fetch published`.

The project carries addresses and hashes (data/suites/published.json), never a frame: nothing of it is ours
to pass on. `fetch` downloads, resumes and verifies; `pairs` opens what is there, with boxes cut out,
repeated frames dropped and offsets applied, so that frame t of the edit belongs to frame t of the source.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from data.types import Clip, Report, UserError, silent
from data.video import open_clip

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds without a byte


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Remote(_Model):
    """A file on somebody's page: its public address and what must come back from it."""

    address: str
    sha256: str
    bytes: int
    frames: int
    size: tuple[int, int]
    fps: float


class Side(_Model):
    """A clip in a file: the part in `box` (x, y, w, h) where one file shows several; `distinct` frames
    after repeats."""

    file: str
    box: tuple[int, int, int, int] | None = None
    distinct: int | None = None

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("a file stays inside its folder")
        return value


class Published(_Model):
    """One edit of one source. Frame t of the edit belongs to frame step * t + offset of the source."""

    clip: str
    method: str
    by: str  # who ran it: the method's authors, or the page's
    source: Side
    edited: Side
    kind: str
    page: str
    prompt_source: str | None = None
    prompt_target: str | None = None
    instruction: str | None = None
    correspond: Literal["yes", "weak", "no"]
    why: str | None = None
    step: int = 1
    offset: int = 0


class PublishedSuite(_Model):
    """The whole manifest."""

    about: str
    version: int
    files: dict[str, Remote]
    pairs: tuple[Published, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one file: present (was there), fetched, gone (the address answers 404 or 410), or
    failed."""

    file: str
    status: Literal["present", "fetched", "gone", "failed"]
    reason: str | None = None


def published(path: Path | None = None) -> PublishedSuite:
    """The manifest that comes with the project, or another of its form."""
    text = (path or files("data.suites").joinpath("published.json")).read_text(encoding="utf-8")
    try:
        return PublishedSuite.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UserError(f"{path or 'published.json'}: {where}: {fault['msg']}") from error


def fetch(suite: PublishedSuite, folder: Path, report: Report = silent) -> list[Outcome]:
    """Download what is not yet in the folder, one file after another; each is there only once its hash is
    right.

    A broken download is kept as `.part` and resumed by the next call. An address that is gone is said so,
    and the rest goes on.
    """
    outcomes = []
    for done, (name, remote) in enumerate(suite.files.items()):
        report("fetch", done, len(suite.files))
        outcomes.append(fetch_one(name, remote, folder))
    report("fetch", len(suite.files), len(suite.files))
    return outcomes


def fetch_one(name: str, remote: Remote, folder: Path) -> Outcome:
    """One file of the manifest."""
    target = folder / name
    if target.is_file() and _sha256(target) == remote.sha256:
        return Outcome(name, "present")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _download(remote, part)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return Outcome(name, "gone", f"{remote.address} is gone ({error.code})")
        return Outcome(name, "failed", f"{remote.address} answered {error.code}")
    except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
        return Outcome(name, "failed", f"{remote.address}: {error}; the next call resumes")
    if _sha256(part) != remote.sha256:
        size = part.stat().st_size
        if size < remote.bytes:
            return Outcome(
                name, "failed", f"{name}: {size} of {remote.bytes} bytes came; the next call resumes"
            )
        part.unlink()
        return Outcome(name, "failed", f"{name}: not the file that was measured (sha256 differs)")
    os.replace(part, target)
    return Outcome(name, "fetched")


def _download(remote: Remote, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have >= remote.bytes:
        have = 0  # whole but wrong: from the start
    request = urllib.request.Request(remote.address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        resumed = reply.status == 206
        with part.open("ab" if resumed else "wb") as file:
            while chunk := reply.read(CHUNK):
                file.write(chunk)
                if file.tell() > remote.bytes:
                    break  # more than there should be: the hash will say so


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Part:
    """Chosen frames of a clip, cut to a box."""

    clip: Clip
    indices: Sequence[int]
    fps: Fraction
    box: tuple[int, int, int, int]  # x, y, w, h

    @property
    def name(self) -> str:
        return self.clip.name

    @property
    def size(self) -> tuple[int, int]:
        return self.box[3], self.box[2]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return np.stack([self[i] for i in range(*index.indices(len(self)))])
        x, y, w, h = self.box
        return np.ascontiguousarray(self.clip[self.indices[index]][y : y + h, x : x + w])


def pairs(
    suite: PublishedSuite, folder: Path, frames: int | None = None
) -> Iterator[tuple[Published, Clip, Clip]]:
    """(entry, source, edit) of every pair whose files are there and whose frames correspond, of equal length.

    `frames` limits their number. The edit keeps its own size.
    """
    for entry in suite.pairs:
        paths = [folder / entry.source.file, folder / entry.edited.file]
        if entry.correspond == "no" or not all(path.is_file() for path in paths):
            continue
        source, edited = (opened(path, side) for path, side in zip(paths, (entry.source, entry.edited)))
        matched = [
            (entry.step * t + entry.offset, t)
            for t in range(len(edited))
            if 0 <= entry.step * t + entry.offset < len(source)
        ][:frames]
        rate = source.fps / entry.step
        yield (
            entry,
            Part(source.clip, [source.indices[s] for s, _ in matched], rate, source.box),
            Part(edited.clip, [edited.indices[e] for _, e in matched], rate, edited.box),
        )


def opened(path: Path, side: Side) -> Part:
    """A side's clip in its box, without repeated frames where the manifest says that there are some."""
    clip = open_clip(path)
    box = side.box or (0, 0, clip.size[1], clip.size[0])
    indices = list(range(len(clip)))
    if side.distinct is not None:
        indices = distinct(clip, side.distinct)
    return Part(clip, indices, clip.fps, box)


def distinct(clip: Clip, count: int) -> list[int]:
    """The frames that are not repeats: the `count` frames that differ most from the one before, the first
    among them."""
    steps = [np.inf]
    before = clip[0].astype(np.int16)
    for t in range(1, len(clip)):
        now = clip[t].astype(np.int16)
        steps.append(float(np.abs(now - before).mean()))
        before = now
    order = np.argsort(np.array(steps), kind="stable")[::-1][:count]
    return sorted(int(t) for t in order)
