"""The few types that every room shares: Clip, Edit, Task, Editor, and the error a user is answered with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Frame = NDArray[np.uint8]  # RGB (H, W, 3)
Frames = NDArray[np.uint8]  # RGB (n, H, W, 3)
Report = Callable[[str, int, int], None]  # (stage, done, total)


class UserError(Exception):
    """Something the user can mend: one line that names the thing and the fix. The command line exits with
    2."""


class CannotEdit(UserError):
    """An editor needs what this task does not have (a caption, more frames); the message says what to give
    it."""


class Clip(Protocol):
    """Frames in order, read lazily. `clip[i]` is uint8 RGB (H, W, 3), `clip[a:b]` is (n, H, W, 3)."""

    @property
    def name(self) -> str: ...
    @property
    def fps(self) -> Fraction: ...
    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        ...

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Frames: ...


@dataclass(frozen=True)
class ArrayClip:
    """A clip held in memory. `frames` is uint8 RGB (n, H, W, 3) with n >= 1."""

    frames: Frames
    fps: Fraction = Fraction(6)
    name: str = "clip"

    def __post_init__(self) -> None:
        shape, dtype = self.frames.shape, self.frames.dtype
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or shape[0] < 1:
            raise UserError(
                f"{self.name}: a clip is uint8 RGB (n, H, W, 3) with n >= 1, this is {dtype} {shape}"
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.frames.shape[1], self.frames.shape[2]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        return self.frames[index]


class Edit(BaseModel):
    """What is asked for. `region` is a phrase ("the dog"), or None when the whole frame is edited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruction: str
    source_caption: str | None = None
    target_caption: str | None = None
    region: str | None = None
    blend_words: tuple[str, str] | None = None  # the noun of the source, the noun of the target
    kind: str | None = None


@dataclass(frozen=True)
class Task:
    """A clip and an edit, and, where they are known, the true masks and all valid answers.

    `masks()` is float32 (n, H, W) in [0, 1], 1 where the edit may act. `answers()` holds each valid answer as
    a whole edited clip, consistent in itself. Both are computed when called. `source` names the clip that
    statistics cluster by; `conditions` describes the task for tables (motion, coupling, ...).
    """

    id: str
    clip: Clip
    edit: Edit
    source: str
    masks: Callable[[], NDArray[np.float32]] | None = None
    answers: Callable[[], Sequence[Clip]] | None = None
    conditions: dict[str, str] = field(default_factory=dict)


def silent(stage: str, done: int, total: int) -> None:
    """The `report` that shows nothing."""


class Editor(Protocol):
    """A video editor. `edit` yields uint8 RGB frames (H, W, 3) in order, as many as the clip has, of its
    size.

    `masks` is float32 (n, H, W) in [0, 1] and is passed only where the editor's config says `masks: given`.
    Raises CannotEdit when the task lacks what the editor needs.
    """

    name: str
    config: BaseModel

    def edit(
        self,
        clip: Clip,
        edit: Edit,
        *,
        masks: NDArray[np.float32] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Iterator[Frame]: ...
