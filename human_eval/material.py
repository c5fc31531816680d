"""What a study is made from: the videos of one or more runs, for every task that all methods finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import read_run
from data.types import UserError

from .study import Settings


@dataclass(frozen=True)
class Item:
    """One clip with its instruction: where its source and every method's result lie."""

    clip: str
    source: str  # what statistics cluster by
    instruction: str
    source_video: Path
    videos: dict[str, Path]


@dataclass(frozen=True)
class Material:
    """Items that every method finished, the methods in order, and what had to be left out."""

    items: tuple[Item, ...]
    methods: tuple[str, ...]
    runs: dict[str, str]
    warnings: tuple[str, ...]


def gather(settings: Settings, folders: Sequence[Path]) -> Material:
    """Read the runs. Raises UserError where no task was finished by all methods."""
    videos: dict[str, dict[str, Path]] = {}
    tasks, methods, runs = {}, [], {}
    for folder in folders:
        run = read_run(folder)
        runs[folder.name] = run.record.suite.sha256
        seed = settings.run_seed if settings.run_seed is not None else run.record.seeds[0]
        tasks |= {task.id: task for task in run.record.suite.tasks}
        wanted = {method.name: method.config_hash for method in run.record.methods}
        methods += [name for name in wanted if name not in methods]
        for key, result in run.results.items():
            if result.status == "ok" and key.seed == seed and wanted.get(key.method) == key.config_hash:
                videos.setdefault(key.task, {})[key.method] = run.video(result)
    chosen = tuple(settings.methods or (m for m in methods if m != settings.source))
    for name in (*chosen, settings.source):
        if name not in methods:
            raise UserError(f"the runs have no method '{name}' (they have {', '.join(methods)})")
    needed = {*chosen, settings.source}
    complete = [task for task in tasks if needed <= videos.get(task, {}).keys()]
    left_out = [task for task in tasks if task not in complete]
    if not complete:
        raise UserError(f"no task was finished by all of {', '.join(sorted(needed))}; finish the run first")
    items = tuple(
        Item(
            clip=task,
            source=tasks[task].source,
            instruction=tasks[task].instruction,
            source_video=videos[task][settings.source],
            videos={method: videos[task][method] for method in chosen},
        )
        for task in complete
    )
    warnings = (f"left out, not finished by all methods: {', '.join(left_out)}",) if left_out else ()
    return Material(items, chosen, runs, warnings)
