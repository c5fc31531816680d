"""The batches of a training run, in order: drawn in line on a CPU, and ahead, by processes of their own,
beside a GPU, which would wait for them otherwise.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np

AHEAD = 2  # batches that each process is asked for before the first is taken


def batches(
    task_class: str, sampler: Any, count: int, steps: range, rank: int, processes: int
) -> Iterator[Any]:
    """What the task draws for each step, `count` samples each: it depends on (step, rank) alone, not on the
    number of processes (0: drawn here, from `sampler`; others open samplers of their own)."""
    if processes == 0:
        for step in steps:
            yield task_of(task_class).draw(sampler, count, generator(step, rank))
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        later = iter(steps)
        asked: deque[Future[Any]] = deque(
            pool.submit(_drawn, task_class, count, step, rank) for step in islice(later, AHEAD * processes)
        )
        while asked:
            batch = asked.popleft().result()
            asked.extend(pool.submit(_drawn, task_class, count, step, rank) for step in islice(later, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def generator(step: int, rank: int) -> np.random.Generator:
    """What a step draws its samples from."""
    return np.random.default_rng([0, step, rank])


def further_cores() -> int:
    """How many processes may draw beside the one that trains."""
    return max(1, (os.cpu_count() or 1) - 1)


@cache
def task_of(task_class: str) -> Any:
    """The class that "module:Class" names."""
    module, _, attribute = task_class.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _sampler(task_class: str) -> Any:
    return task_of(task_class).open_sampler()


def _drawn(task_class: str, count: int, step: int, rank: int) -> Any:
    return task_of(task_class).draw(_sampler(task_class), count, generator(step, rank))
