"""From items and a design to sessions: which clips are in the study, which are kept for training and
checks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.types import UserError

from .design import (
    Block,
    Slot,
    blocks,
    refuse_clips,
    refuse_length,
    round_robin_pairs,
    session_order,
    star_pairs,
)
from .material import Item, Material
from .media import Treatment
from .study import Answer, Kind, Settings

RESERVE = 6  # sources kept for training and checks where there are enough


@dataclass(frozen=True)
class Shown:
    """One comparison before it has a name: methods by side, what is done to the clips, what should be
    answered.
    """

    kind: Kind
    item: Item
    pair: int
    left: str
    right: str
    treatment: Treatment = ""
    expected: Answer | None = None
    repeats: int | None = None  # index into the session's tasks in their final order


@dataclass(frozen=True)
class Sitting:
    """One session: training and tasks in their final order."""

    block: Block
    training: tuple[Shown, ...]
    tasks: tuple[Shown, ...]


@dataclass(frozen=True)
class Composition:
    """A whole study before files and names. `pairs` are (first, second) methods."""

    pairs: tuple[tuple[str, str], ...]
    sittings: tuple[Sitting, ...]
    clips: int
    session_length: int
    sources_repeat: bool  # whether a source stands in several sessions of one list


def compose(settings: Settings, material: Material) -> Composition:
    """The design of a study over its material. Raises UserError with the sizes that would work."""
    ours = settings.ours or material.methods[0]
    if settings.design == "star" and ours not in material.methods:
        raise UserError(f"ours: the runs have no method '{ours}' (they have {', '.join(material.methods)})")
    pairs = (
        star_pairs(material.methods, ours)
        if settings.design == "star"
        else round_robin_pairs(material.methods)
    )
    if not pairs:
        raise UserError("a study compares at least two methods; the runs have one beside the source")
    rng = np.random.default_rng(settings.seed)
    length, half = session_length(settings, len(pairs))
    refuse_length(length, len(pairs), half_sessions=half)
    if settings.clips is not None:
        refuse_clips(settings.clips, length)
    reserve, pool = set_aside(settings, material.items, length, rng)
    chosen = dealt(settings, pool, length, rng)
    plan = blocks(len(chosen), len(pairs), settings.votes, length, half_sessions=half)
    sittings = [sitting(settings, block, chosen, pairs, reserve, rng) for block in plan]
    repeat = len({item.source for item in chosen}) < len(chosen)
    return Composition(tuple(pairs), tuple(sittings), len(chosen), length, repeat)


def session_length(settings: Settings, pairs: int) -> tuple[int, bool]:
    """Comparisons a session and whether sides balance over two sessions only (round robins of many
    methods).
    """
    if settings.session_length is not None:
        length = settings.session_length
        half = settings.design == "round_robin" and length % (2 * pairs) != 0 and length % pairs == 0
        return length, half
    if settings.design == "round_robin" and 2 * pairs > 24:
        return pairs, True
    return max(1, 20 // (2 * pairs)) * 2 * pairs, False


def set_aside(
    settings: Settings, items: Sequence[Item], length: int, rng: np.random.Generator
) -> tuple[list[Item], list[Item]]:
    """(reserve, pool): items of a few whole sources for training and checks, and the rest for the study.

    A session shows no source twice, so each of its checks (but the repeat) needs a source of its own.
    """
    sources = list(dict.fromkeys(item.source for item in items))
    sources = [sources[i] for i in rng.permutation(len(sources))]
    fewest = max(sum(check != "repeat" for check in settings.checks), min(settings.training, 1))
    wanted = max(fewest, min(RESERVE, fewest + settings.training))
    for count in range(wanted, fewest - 1, -1):
        kept = set(sources[:count])
        pool = [item for item in items if item.source not in kept]
        if len({item.source for item in pool}) >= length or count == fewest:
            if len({item.source for item in pool}) < length:
                raise UserError(
                    f"the runs have {len(sources)} sources, a session of {length} with {fewest} checks and "
                    f"training needs {length + fewest}; add clips, or set session_length, checks or training"
                )
            reserve = {item.source: item for item in items if item.source in kept}
            return [reserve[source] for source in sources[:count]], pool
    raise AssertionError("unreachable: the loop ends at `fewest`")


def dealt(settings: Settings, pool: Sequence[Item], length: int, rng: np.random.Generator) -> list[Item]:
    """V items in the order c_0 .. c_{V-1}, shuffled so that no session-long block holds a source twice."""
    shuffled = [pool[i] for i in rng.permutation(len(pool))]
    by_source: dict[str, deque[Item]] = {}
    for item in shuffled:
        by_source.setdefault(item.source, deque()).append(item)
    total = settings.clips
    if total is None:
        total = len(pool) // length * length
        while total > length and not fits(by_source, total, length):
            total -= length
    if total > len(pool) or total % length or not fits(by_source, total, length):
        most = len(pool) // length * length
        raise UserError(
            f"clips: {total} cannot be dealt into sessions of {length} without a source twice in one; "
            f"beside the reserve there are {len(pool)} clips of {len(by_source)} sources (at most {most})"
        )
    count = total // length
    picked: list[Item] = []
    taken: Counter[str] = Counter()
    while len(picked) < total:  # one of each source in turn, so that sources repeat as little as possible
        for source, waiting in by_source.items():
            if waiting and taken[source] < count and len(picked) < total:
                picked.append(waiting.popleft())
                taken[source] += 1
    grouped = sorted(picked, key=lambda item: (-taken[item.source], item.source))
    session_blocks = [grouped[start::count] for start in range(count)]
    order = []
    for block in session_blocks:
        order += [block[i] for i in rng.permutation(len(block))]
    return order


def fits(by_source: dict[str, deque[Item]], total: int, length: int) -> bool:
    """Whether `total` items can be dealt into blocks of `length` with no source twice in a block."""
    return sum(min(len(items), total // length) for items in by_source.values()) >= total


def sitting(
    settings: Settings,
    block: Block,
    chosen: Sequence[Item],
    pairs: Sequence[tuple[str, str]],
    reserve: Sequence[Item],
    rng: np.random.Generator,
) -> Sitting:
    """Checks mixed into a block, the whole in a legal random order, and its training."""
    shown: list[Shown] = []
    for placed in block.tasks:
        first, second = pairs[placed.pair]
        left, right = (first, second) if placed.first == "left" else (second, first)
        shown.append(Shown("real", chosen[placed.clip], placed.pair, left, right))
    # the reserve is rotated, so that checks differ between sessions
    spare = deque(reserve)
    spare.rotate(int(rng.integers(0, max(1, len(reserve)))))
    training = [lesson(i, spare[i % len(spare)], pairs, rng) for i in range(settings.training)]
    spare.rotate(-settings.training)
    for kind in settings.checks:
        if kind == "repeat":
            original = int(rng.integers(0, len(block.tasks)))
            seen = shown[original]
            shown.append(Shown("repeat", seen.item, seen.pair, seen.right, seen.left, repeats=original))
        else:
            shown.append(check(kind, spare[0], pairs, rng))
            spare.rotate(-1)
    order = session_order([slot(task, pairs) for task in shown], rng)
    place = {index: position for position, index in enumerate(order)}
    tasks = []
    for index in order:
        task = shown[index]
        repeats = place[task.repeats] if task.repeats is not None else None
        tasks.append(Shown(**{**task.__dict__, "repeats": repeats}))
    return Sitting(block, tuple(training), tuple(tasks))


def slot(task: Shown, pairs: Sequence[tuple[str, str]]) -> Slot:
    """What the order of a session may depend on."""
    same = task.left == task.right
    first = None if same else ("left" if task.left == pairs[task.pair][0] else "right")
    return Slot(task.pair, first, task.kind != "real", task.repeats)


def check(kind: str, item: Item, pairs: Sequence[tuple[str, str]], rng: np.random.Generator) -> Shown:
    """An attention check on a clip outside the study: the same edit on both sides, as it is, degraded on
    one, or with a caption that says what to answer."""
    pair = int(rng.integers(0, len(pairs)))
    method = pairs[pair][int(rng.integers(0, 2))]
    if kind == "identical":
        return Shown("identical", item, pair, method, method, expected="tie")
    sides: tuple[Answer, Answer] = ("left", "right")
    side = sides[int(rng.integers(0, 2))]
    if kind == "degraded":
        worse = sides[side == "left"]
        treatment: Treatment = "degraded-left" if worse == "left" else "degraded-right"
        return Shown("degraded", item, pair, method, method, treatment, side)
    says: Treatment = "say-left" if side == "left" else "say-right"
    return Shown("instructed", item, pair, method, method, says, side)


def lesson(number: int, item: Item, pairs: Sequence[tuple[str, str]], rng: np.random.Generator) -> Shown:
    """A training task with a known answer: degraded copies and identical pairs in turn."""
    task = check("identical" if number % 2 else "degraded", item, pairs, rng)
    return Shown(**{**task.__dict__, "kind": "training"})
