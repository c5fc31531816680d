"""The counterbalanced design: who sees which pair, on which side, in which order.

A star compares ours with each of P baselines; a round robin compares all P = M (M - 1) / 2 pairs of M
methods. Both use one construction in which position i of list j in replicate r shows clip i with pair (i +
j) mod P, first member left iff (i // P + r + j) is even. Everything here is a pure function of its
arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.types import UserError

Side = Literal["left", "right"]

BASELINE_RUN = 2  # a pair may follow itself once, never twice
SIDE_RUN = 3
REJECTIONS = 10_000
REPEAT_DISTANCE = 8


@dataclass(frozen=True)
class Placed:
    """One comparison of a list: the clip's index in the shuffled order, the pair, and the side of its first
    member.
    """

    clip: int
    pair: int
    first: Side


@dataclass(frozen=True)
class Block:
    """One session's comparisons: consecutive positions of list `list` in replicate `replicate`."""

    replicate: int
    list: int
    block: int
    tasks: tuple[Placed, ...]


def nearest_multiples(value: int, step: int) -> list[int]:
    """The positive multiples of `step` next to `value`, below and above."""
    below = value // step * step
    return sorted({m for m in (below, below + step) if m > 0}) if value % step else [value]


def refuse_length(length: int, pairs: int, *, half_sessions: bool = False) -> None:
    """Raise unless sides and pairs balance in a session of `length`; the message offers the nearest
    lengths.
    """
    step = pairs if half_sessions else 2 * pairs
    if length <= 0 or length % step:
        offers = " or ".join(map(str, nearest_multiples(max(length, 0), step)))
        raise UserError(f"session_length: {length} is no multiple of {step} ({pairs} pairs); use {offers}")


def refuse_clips(clips: int, length: int) -> None:
    """Raise unless `clips` is a multiple of the session length; the message offers the nearest numbers."""
    if clips <= 0 or clips % length:
        offers = " or ".join(map(str, nearest_multiples(clips, length)))
        raise UserError(f"clips: {clips} is no multiple of session_length {length}; use {offers}")


def blocks(clips: int, pairs: int, votes: int, length: int, *, half_sessions: bool = False) -> list[Block]:
    """All sessions of a study in the order in which they should be given out: whole replicates first.

    `clips` V is the number of clips, `votes` k the judgements wanted of each (clip, pair), `length` L the
    comparisons of a session. L is a multiple of 2 P, or of P with `half_sessions` (sides then balance over
    two consecutive sessions of a list), and V is a multiple of L; otherwise UserError with the nearest
    sizes. Every (clip, pair) occurs exactly k times, no clip twice in a list, and each session shows every
    pair L / P times, half of them with the first member left.
    """
    if pairs <= 0 or votes <= 0:
        raise UserError(
            f"a design needs at least one pair and one vote, this has {pairs} pairs and {votes} votes"
        )
    refuse_length(length, pairs, half_sessions=half_sessions)
    refuse_clips(clips, length)
    sessions = []
    for replicate in range(votes):
        for number in range(pairs):
            row = [
                Placed(
                    clip=i,
                    pair=(i + number) % pairs,
                    first="left" if (i // pairs + replicate + number) % 2 == 0 else "right",
                )
                for i in range(clips)
            ]
            for block, start in enumerate(range(0, clips, length)):
                sessions.append(Block(replicate, number, block, tuple(row[start : start + length])))
    return sessions


def star_pairs(methods: Sequence[str], ours: str) -> list[tuple[str, str]]:
    """The pairs of a star: (ours, baseline) for every other method, in the given order."""
    return [(ours, method) for method in methods if method != ours]


def round_robin_pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs, first member by the cyclic tournament: i before j iff (j - i) mod M < M / 2.

    The antipodal pairs of an even M alternate along their own order, so that every method is first equally
    often (odd M) or within one (even M).
    """
    count = len(methods)
    pairs = []
    for i in range(count):
        for j in range(i + 1, count):
            ahead = (j - i) % count
            first_is_i = ahead * 2 < count or (ahead * 2 == count and i % 2 == 0)
            pairs.append((methods[i], methods[j]) if first_is_i else (methods[j], methods[i]))
    return pairs


@dataclass(frozen=True)
class Slot:
    """What the order of a session depends on. `repeats` is the index, in the same sequence, of the task it
    repeats.
    """

    pair: int
    first: Side | None
    is_check: bool = False
    repeats: int | None = None


CHECK_FIRST = "the first task is a check"
TOO_NEAR = "a repeat too near to its original"


def order_faults(row: Sequence[Slot], *, pairs_may_run: bool = False) -> list[str]:
    """Everything wrong with this order, each place named once: a check in front, runs of a pair or a side."""
    found = [CHECK_FIRST] if row and row[0].is_check else []
    if not pairs_may_run:
        for start in range(len(row) - BASELINE_RUN):
            if len({slot.pair for slot in row[start : start + BASELINE_RUN + 1]}) == 1:
                found.append("a baseline three times running")
    for start in range(len(row) - SIDE_RUN):
        sides = {slot.first for slot in row[start : start + SIDE_RUN + 1]}
        if len(sides) == 1 and None not in sides:
            found.append("a side four times running")
    return found


def repeats_too_near(order: Sequence[int], slots: Sequence[Slot]) -> bool:
    """Whether a swapped repeat stands nearer to (or before) its original than 8 tasks, or half a short
    session.
    """
    place = {index: position for position, index in enumerate(order)}
    distance = min(REPEAT_DISTANCE, len(slots) // 2)
    return any(
        slot.repeats is not None and place[index] - place[slot.repeats] < distance
        for index, slot in enumerate(slots)
    )


def session_order(slots: Sequence[Slot], rng: np.random.Generator) -> list[int]:
    """A random legal order of `slots`, as indices into it.

    Rejection sampling with a cap of 10 000 draws; then repair: pairs of positions are swapped while a swap
    lowers the weight of the faults. Raises UserError where not even that gives a legal order (for
    example one pair only).
    """
    free = free_rules(slots)
    for _ in range(REJECTIONS):
        order = [int(i) for i in rng.permutation(len(slots))]
        if fault_weight(order, slots, free) == 0:
            return order
    return repaired(order, slots, free)


def free_rules(slots: Sequence[Slot]) -> bool:
    """Whether the rule against runs of a pair cannot be kept: with one or two kinds of pair in a long
    session.
    """
    counts = np.bincount([slot.pair for slot in slots])
    most, rest = int(counts.max()), len(slots) - int(counts.max())
    return most > BASELINE_RUN * (rest + 1)


def fault_weight(order: Sequence[int], slots: Sequence[Slot], pairs_may_run: bool) -> int:
    """How bad an order is, 0 if legal: a check in front or a near repeat outweighs all runs."""
    faults = order_faults([slots[i] for i in order], pairs_may_run=pairs_may_run)
    faults += [TOO_NEAR] * repeats_too_near(order, slots)
    return sum(100 if fault in (CHECK_FIRST, TOO_NEAR) else 1 for fault in faults)


def repaired(order: list[int], slots: Sequence[Slot], free: bool) -> list[int]:
    """Swap pairs of positions, nearest first, while that lowers the weight of the faults."""
    order = list(order)
    faults = fault_weight(order, slots, free)
    improved = True
    while faults and improved:
        improved = False
        for apart in range(1, len(order)):
            for i in range(len(order) - apart):
                trial = list(order)
                trial[i], trial[i + apart] = trial[i + apart], trial[i]
                count = fault_weight(trial, slots, free)
                if count < faults:
                    order, faults, improved = trial, count, True
    if faults:
        raise UserError("no legal order of this session was found: use a longer session or fewer checks")
    return order
