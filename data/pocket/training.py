"""Training pairs, drawn without end from one split: a frame, the instruction, and the answer shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as changed_to

import numpy as np
from numpy.typing import NDArray

from data.pocket import words
from data.pocket.backgrounds import DRAWN, Canvas, kinds, make_canvas
from data.pocket.coupling import answers, draw_answer
from data.pocket.edits import ARGUMENTS, KINDS, SUBJECTS, dress, edit_mask, fits, kind_of, worn
from data.pocket.layers import Look, paint, post_layer, post_span, warp_accessory, warp_subject
from data.pocket.motion import MOTIONS, Instant, Path, Pose, draw_path, instant
from data.pocket.operators import Plane
from data.pocket.sprites import class_of, subject_texture

SHARES = {  # of kinds of edit; those with more arguments, or harder to learn, are seen more often
    "replace": 0.30,
    "recolour": 0.11,
    "local_style": 0.15,
    "background": 0.12,
    "accessory": 0.12,
    "global": 0.20,
}
OFTEN = {"global/black and white": 4, "global/pencil sketch": 2}  # in training, times as often as others
GLOBAL_SHARE = 0.2  # of the frames with named regions, those that a global edit was made to
WEARABLE = [(argument, answer) for argument in ("hat", "sunglasses") for answer in (0, 1)]
FRAMES, FPS = 24, 6.0  # the clips that instants are drawn from
REGIONS = (  # the phrases that name something
    *(f"the {subject}" for subject in SUBJECTS),
    "the animal",
    "the vehicle",
    "the background",
    *(f"the head of the {subject}" for subject in SUBJECTS if class_of(subject) == "animal"),
    "the head of the animal",
)
GLOBAL = [edit for edit in ARGUMENTS if kind_of(edit) == "global"]


@dataclass(frozen=True)
class Sample:
    """One training pair. Images are uint8 RGB (size, size, 3), masks uint8 (size, size), 0..255."""

    source: NDArray[np.uint8]
    edited: NDArray[np.uint8]  # the answer shown
    other_answer: NDArray[np.uint8] | None  # the one that is not; None where it was not asked for
    mask: NDArray[np.uint8]  # where the edit may act; 255 everywhere for global edits
    instruction: str
    kind: int  # of KINDS
    argument: int  # of ARGUMENTS
    subject: int  # of SUBJECTS
    answer: int  # 0 is A, 1 is B
    subject_mask: NDArray[np.uint8]  # the visible subject
    caption: str
    target_caption: str
    other_subject: int | None  # of SUBJECTS, where a second subject is in the scene
    other_mask: NDArray[np.uint8]  # zero where there is none
    x: float  # the subject's centre, 0..1


def _bytes(plane: Plane) -> NDArray[np.uint8]:
    return np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)


class Sampler:
    """Draws samples of one split. Canvases are made once; sprites and their variants are cached as they are
    met.

    Args:
        split: "train", "dev" or "report".
        seed: which canvases are made (numbers `seed * canvases` onwards of each kind).
        size: side of the frames in pixels.
        edits: names or kinds of edits to draw from (None: all).
        canvases: how many canvases to make.

    Raises:
        ValueError: a name in `edits` is neither a kind nor an edit.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        size: int = 128,
        edits: Sequence[str] | None = None,
        canvases: int = 200,
    ) -> None:
        unknown = [name for name in edits or () if name not in ARGUMENTS and name not in KINDS]
        if unknown:
            raise ValueError(f"no edit or kind is called {unknown[0]}")
        self.split, self.size = split, size
        wanted = [e for e in ARGUMENTS if edits is None or e in edits or kind_of(e) in edits]
        often = OFTEN if split == "train" else {}
        self.edits = {
            kind: [e for e in wanted if kind_of(e) == kind for _ in range(often.get(e, 1))] for kind in KINDS
        }
        self.kinds = [kind for kind in KINDS if self.edits[kind]]
        shares = np.array([SHARES[kind] for kind in self.kinds])
        self.cumulative = np.cumsum(shares / shares.sum())
        available = 3 * DRAWN + kinds(split)[len(DRAWN) :]  # two of three are drawn
        first = seed * canvases
        self.names = [f"{available[i % len(available)]}/{first + i}" for i in range(canvases)]
        self.canvases: list[Canvas] = [make_canvas(split, name, size) for name in self.names]

    def _edit_and_subject(self, rng: np.random.Generator) -> tuple[str, str, int]:
        kind = self.kinds[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.kinds) - 1)]
        while True:
            edit = self.edits[kind][int(rng.integers(len(self.edits[kind])))]
            subject, family = SUBJECTS[int(rng.integers(len(SUBJECTS)))], int(rng.integers(2))
            if fits(edit, subject, family):
                return edit, subject, family

    def _scene(
        self, subject: str, family: int, rng: np.random.Generator
    ) -> tuple[Look, Path, Instant, str, tuple[str, int] | None]:
        motion = (*MOTIONS, "pair")[int(rng.integers(len(MOTIONS) + 1))]
        path = draw_path(motion, self.split, rng, shots=2 if motion == "cut" else 1)
        for _ in range(4):  # frames without the subject are kept, but seldom
            at = instant(path, int(rng.integers(FRAMES)), FRAMES, FPS)
            if abs(at.subject.x - 0.5) < 0.5 + 0.3 * at.subject.s:
                break
        other = None
        if motion == "pair":
            rest = [s for s in SUBJECTS if s != subject]
            other = rest[int(rng.integers(len(rest)))], int(rng.integers(2))
        which = int(rng.integers(len(self.canvases)))
        look = Look(
            canvases=(self.canvases[which],),
            subject=subject_texture(subject, family, self.size),
            other=None if other is None else subject_texture(*other, self.size),
            post=post_layer(path, self.size) if motion == "occlusion" else None,
        )
        return look, path, changed_to(at, shot=0), self.names[which], other

    def draw(self, rng: np.random.Generator, coupling: str = "strong", both: bool = False) -> Sample:
        """One pair. `coupling` caps the strength of every edit's coupling ("strong" caps nothing); `both`
        asks for the answer not shown as well (the same one where an edit has a single answer)."""
        edit, subject, family = self._edit_and_subject(rng)
        look, path, at, background, other = self._scene(subject, family, rng)
        kind = kind_of(edit)
        answer = draw_answer(edit, at.subject.x, rng, coupling)

        def painted(answer: int) -> NDArray[np.uint8]:
            return paint(
                dress(look, edit, subject, family, answer, self.size, other), path, at, self.size
            ).frame

        source, edited = paint(look, path, at, self.size), painted(answer)
        unshown = answer if answers(edit) == 1 else 1 - answer
        visible = self._visible(look, path)
        mask = edit_mask(kind, source.subject, source.other, self._changed(edit, at), visible)
        caption, target_caption = words.captions(subject, background, edit)
        return Sample(
            source=source.frame,
            edited=edited,
            other_answer=painted(unshown) if both else None,
            mask=_bytes(mask),
            instruction=words.draw_instruction(edit, subject, rng, None if other is None else other[0]),
            kind=KINDS.index(kind),
            argument=ARGUMENTS.index(edit),
            subject=SUBJECTS.index(subject),
            answer=answer,
            subject_mask=_bytes(source.subject * visible),
            caption=caption,
            target_caption=target_caption,
            other_subject=None if other is None else SUBJECTS.index(other[0]),
            other_mask=_bytes(source.other * (1 - source.subject) * visible),
            x=at.subject.x,
        )

    def _visible(self, look: Look, path: Path) -> Plane:
        """1 minus the post, (size, size)."""
        visible = np.ones((self.size, self.size), np.float32)
        if look.post is not None:
            left, right = post_span(path, self.size)
            visible[:, left:right] = 0
        return visible

    def _changed(self, edit: str, at: Instant) -> list[Plane]:
        """Alpha of what both answers put into the frame, where that is more than the subject."""
        kind, _, argument = edit.partition("/")
        if kind == "replace":
            layers = [
                warp_subject(subject_texture(argument, f, self.size), at.subject, self.size) for f in (0, 1)
            ]
        elif kind == "accessory":
            layers = [warp_accessory(worn(argument, f, self.size), at.subject, self.size) for f in (0, 1)]
        else:
            return []
        return [layer[..., 3] * np.float32(1 / 255) for layer in layers]

    def draw_regions(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]:
        """A frame, uint8 RGB (size, size, 3), and the mask, uint8 (size, size), of every phrase of
        REGIONS that names something in it.

        One frame in five shows a global edit.
        """
        _, subject, family = self._edit_and_subject(rng)
        look, path, at, _, other = self._scene(subject, family, rng)
        painted = paint(look, path, at, self.size)
        frame = painted.frame
        if rng.random() < GLOBAL_SHARE:
            edit = GLOBAL[int(rng.integers(len(GLOBAL)))]
            answer = int(rng.integers(answers(edit)))
            shown = dress(look, edit, subject, family, answer, self.size, other)
            frame = paint(shown, path, at, self.size).frame
        visible = self._visible(look, path)
        planes = {"the background": edit_mask("background", painted.subject, painted.other, [], visible)}
        stands = [(subject, at.subject, painted.subject, visible)]
        if other is not None and at.other is not None:
            stands.append((other[0], at.other, painted.other, visible * (1 - painted.subject)))
        for name, pose, plane, free in stands:
            called = [name, class_of(name)]
            for phrase in called:
                planes[f"the {phrase}"] = np.maximum(planes.get(f"the {phrase}", 0), plane * free)
            if class_of(name) == "animal":
                head = self.head(pose) * free
                for phrase in called:
                    whole = planes.get(f"the head of the {phrase}", 0)
                    planes[f"the head of the {phrase}"] = np.maximum(whole, head)
        return frame, {phrase: _bytes(plane) for phrase, plane in planes.items()}

    def head(self, pose: Pose) -> Plane:
        """Where a subject can wear something, float32 (size, size) in [0, 1]."""
        layers = [warp_accessory(worn(*what, self.size), pose, self.size) for what in WEARABLE]
        return np.maximum.reduce([layer[..., 3] for layer in layers]) * np.float32(1 / 255)

    def frame(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A source (30 %) or an edited frame (70 %), uint8 RGB (size, size, 3): what frames look like."""
        sample = self.draw(rng)
        return sample.source if rng.random() < 0.3 else sample.edited

    def classes(self) -> tuple[str, ...]:
        """The class word ("animal", "vehicle") of every subject, in the order of SUBJECTS."""
        return tuple(class_of(subject) for subject in SUBJECTS)
