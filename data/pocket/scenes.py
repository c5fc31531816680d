"""Scenes with exact answers: `render` films a scene, and knows every valid answer to every edit of it.

A scene says what is seen; the seed draws how it moves. Nothing is kept but the textures: frames are painted
when they are read, so that a clip of any length costs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from data.pocket import words
from data.pocket.backgrounds import Canvas, kinds, make_canvas, stream
from data.pocket.coupling import answers as answer_count
from data.pocket.edits import ARGUMENTS, SUBJECTS, dress, edit_mask, fits, kind_of, worn
from data.pocket.layers import Look, paint, post_layer, post_span, warp_accessory, warp_subject
from data.pocket.motion import MOTIONS, Instant, Path, draw_path, instant
from data.pocket.operators import Plane
from data.pocket.sprites import subject_texture
from data.types import Clip, Edit, Frame, UserError

SIZES = (32, 512)  # sides in pixels that scenes can be rendered at


class Scene(BaseModel):
    """What is seen: a subject, how it moves, and what is behind it (one background per shot)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Literal["train", "dev", "report"]
    subject: str
    family: Literal[0, 1] = 0
    motion: str
    backgrounds: tuple[str, ...]
    other: str | None = None
    other_family: Literal[0, 1] = 0
    swings: float | None = None  # how often the subject swings in the clip; drawn where it is not given

    @model_validator(mode="after")
    def _is_possible(self) -> Scene:
        for subject in (self.subject, self.other):
            if subject is not None and subject not in SUBJECTS:
                raise ValueError(f"no subject is called {subject}: choose from {', '.join(SUBJECTS)}")
        if self.motion not in MOTIONS:
            raise ValueError(f"no motion is called {self.motion}: choose from {', '.join(MOTIONS)}")
        for background in self.backgrounds:
            if background.split("/")[0] not in kinds(self.split):
                raise ValueError(f"{background} is not a background of the split {self.split}")
        if (self.motion == "cut") != (len(self.backgrounds) > 1):
            raise ValueError("a cut, and nothing else, has several backgrounds")
        if not self.backgrounds:
            raise ValueError("a scene needs a background")
        if (self.motion == "pair") != (self.other is not None) or self.other == self.subject:
            raise ValueError("the motion pair, and nothing else, has an other subject, and a different one")
        return self


@lru_cache(maxsize=64)
def _canvas(split: str, background: str, size: int) -> Canvas:
    return make_canvas(split, background, size)


@dataclass(frozen=True)
class Take:
    """A scene, filmed: `frames` frames of `size` x `size` pixels at `fps`. Equal arguments, equal frames."""

    scene: Scene
    seed: int
    frames: int
    size: int
    fps: Fraction
    name: str

    @cached_property
    def path(self) -> Path:
        rng = stream("path", self.scene.split, self.seed)
        return draw_path(
            self.scene.motion, self.scene.split, rng, len(self.scene.backgrounds), self.scene.swings
        )

    @cached_property
    def look(self) -> Look:
        """What the source wears."""
        scene = self.scene
        return Look(
            canvases=tuple(_canvas(scene.split, background, self.size) for background in scene.backgrounds),
            subject=subject_texture(scene.subject, scene.family, self.size),
            other=None
            if scene.other is None
            else subject_texture(scene.other, scene.other_family, self.size),
            post=post_layer(self.path, self.size) if scene.motion == "occlusion" else None,
        )

    @property
    def source(self) -> SceneClip:
        return SceneClip(self, self.look, self.name)

    def instant(self, i: int) -> Instant:
        return instant(self.path, i, self.frames, float(self.fps))

    def centres(self) -> NDArray[np.float64]:
        """Horizontal centre of the subject in every frame, (n,): 0 is the frame's left side, 1 its right."""
        return np.array([self.instant(i).subject.x for i in range(self.frames)])

    @cached_property
    def _visible(self) -> Plane:
        """1 minus the post, (size, size)."""
        visible = np.ones((self.size, self.size), np.float32)
        if self.look.post is not None:
            left, right = post_span(self.path, self.size)
            visible[:, left:right] = 0
        return visible

    def subject_masks(self) -> NDArray[np.float32]:
        """How much of each pixel is the visible subject, (n, size, size) in [0, 1]."""
        warped = (
            warp_subject(self.look.subject, self.instant(i).subject, self.size)[..., 3]
            for i in range(self.frames)
        )
        return np.stack([alpha * np.float32(1 / 255) * self._visible for alpha in warped])

    def answers(self, edit: str) -> tuple[SceneClip, ...]:
        """All valid answers to an edit, each a whole clip, consistent in itself.

        Raises:
            UserError: the edit is unknown, or cannot be asked of this scene.
        """
        self._check(edit)
        scene = self.scene
        other = None if scene.other is None else (scene.other, scene.other_family)
        looks = [
            dress(self.look, edit, scene.subject, scene.family, answer, self.size, other)
            for answer in range(answer_count(edit))
        ]
        return tuple(SceneClip(self, look, f"{self.name}: {edit} {'AB'[i]}") for i, look in enumerate(looks))

    def masks(self, edit: str) -> NDArray[np.float32]:
        """Where the edit may act, (n, size, size) in [0, 1]; elsewhere every valid answer is the source."""
        self._check(edit)
        return np.stack([self._mask(edit, self.instant(i)) for i in range(self.frames)])

    def _mask(self, edit: str, at: Instant) -> Plane:
        kind, _, argument = edit.partition("/")
        valid = range(answer_count(edit))
        changed = []
        if kind == "replace":
            changed = [
                warp_subject(subject_texture(argument, a, self.size), at.subject, self.size) for a in valid
            ]
        elif kind == "accessory":
            changed = [warp_accessory(worn(argument, a, self.size), at.subject, self.size) for a in valid]
        painted = paint(self.look, self.path, at, self.size)
        planes = [layer[..., 3] * np.float32(1 / 255) for layer in changed]
        return edit_mask(kind, painted.subject, painted.other, planes, self._visible)

    def _check(self, edit: str) -> None:
        if edit not in ARGUMENTS:
            raise UserError(f"{edit}: no such edit; choose from {', '.join(ARGUMENTS)}")
        if not fits(edit, self.scene.subject, self.scene.family):
            raise UserError(
                f"{edit}: cannot be asked of a {self.scene.subject}; choose another edit or subject"
            )

    def edit(self, name: str, instruction: str | None = None) -> Edit:
        """An edit of this scene as an editor is asked for it; by default in its first phrasing."""
        self._check(name)
        scene = self.scene
        source, target = words.captions(scene.subject, scene.backgrounds[0], name)
        return Edit(
            instruction=instruction or words.instructions(name, scene.subject, scene.other)[0],
            source_caption=source,
            target_caption=target,
            region=words.region(name, scene.subject),
            blend_words=words.blend_words(name, scene.subject, scene.backgrounds[0]),
            kind=kind_of(name),
        )

    def siblings(self, edit: str) -> tuple[str, ...]:
        """The other edits of the same kind that can be asked of this scene."""
        return tuple(
            e
            for e in ARGUMENTS
            if e != edit and kind_of(e) == kind_of(edit) and fits(e, self.scene.subject, self.scene.family)
        )


class SceneClip:
    """A version of a take as a `Clip`: frames are painted when they are read."""

    def __init__(self, take: Take, look: Look, name: str) -> None:
        self.take = take
        self.name = name
        self._look = look

    @property
    def fps(self) -> Fraction:
        return self.take.fps

    @property
    def size(self) -> tuple[int, int]:
        return self.take.size, self.take.size

    def __len__(self) -> int:
        return self.take.frames

    def _frame(self, i: int) -> Frame:
        take = self.take
        return paint(self._look, take.path, take.instant(i), take.size).frame

    def __getitem__(self, index: Any) -> Any:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return self._frame(chosen)
        frames = [self._frame(i) for i in chosen]
        return np.stack(frames) if frames else np.empty((0, *self.size, 3), np.uint8)


def render(
    scene: Scene, frames: int, size: int = 128, fps: Fraction | int = 6, seed: int = 0, name: str = ""
) -> Take:
    """Film a scene. Of the result, `source` is the clip, `subject_masks()` where its subject is, and for an
    edit `answers(edit)` are all valid answers and `masks(edit)` is where it may act.

    Args:
        frames: at least 1.
        size: side of the square frames in pixels, 32 to 512.
        seed: draws the motion, from poses that belong to the scene's split.

    Raises:
        UserError: a number is out of range.
    """
    if frames < 1:
        raise UserError(f"{frames} frames cannot be rendered: ask for 1 or more")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"scenes are rendered at {SIZES[0]} to {SIZES[1]} pixels, not {size}")
    return Take(scene, seed, frames, size, Fraction(fps), name or f"{scene.subject} {scene.motion} {seed}")


def candidates(clip: Clip, edit: str, rng: np.random.Generator, n: int = 8) -> Sequence[SceneClip]:
    """All answers of `n` other edits of the same kind on the same scene (of all others, where there are
    fewer).

    These are the wrong answers that an edited frame could be mistaken for.

    Raises:
        UserError: the clip is no pocket scene.
    """
    if not isinstance(clip, SceneClip):
        raise UserError(f"{clip.name}: only pocket scenes know the answers of other edits")
    siblings = clip.take.siblings(edit)
    chosen = rng.permutation(len(siblings))[:n]
    return [answer for i in sorted(chosen) for answer in clip.take.answers(siblings[i])]


def main() -> None:
    """Write a contact sheet of every edit and motion of the dev split to scenes.png."""
    from data.pocket.sheet import edits_sheet, write_png

    write_png("scenes.png", edits_sheet("dev"))
    print("scenes.png")


if __name__ == "__main__":
    main()
