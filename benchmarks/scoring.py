"""Metrics of a run: each ok result is read from its video and scored, once per metric and version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Key, Result, Run, Score, append, file_sha256, inside, read_run, writing
from benchmarks.workers import Tell, spread
from data.suites import load
from data.types import Clip, Report, Task, UserError, silent
from data.video import open_clip
from eval.features import Features
from eval.models import Models
from eval.score import Metric, Pair
from eval.score import Score as Outcome
from eval.suite import score as score_pair

if TYPE_CHECKING:
    from eval.judge import Judge


def score(
    folder: Path,
    tasks: Sequence[Task],
    metrics: Sequence[Metric],
    report: Report = silent,
    models: Models | None = None,
    *,
    workers: int = 1,
    origin: str = "",
) -> Run:
    """Compute what is missing or stale in `scores.jsonl`; comes back with the whole run.

    A score is stale when its result has other frames than those it was computed from. What was skipped is
    tried again (its network may be here now), and noted only where the outcome is another. With several
    `workers`, processes of one thread share out the tasks, which they load by the suite's `origin` (its name
    or manifest file). Raises UserError when a video is not the one that its line names.
    """
    with writing(folder):
        run = read_run(folder)
        todo = [(key, wanted) for key, _, wanted in missing(run, metrics)]
        if unknown := {key.task for key, _ in todo} - {task.id for task in tasks}:
            raise UserError(
                f"{folder}: its task {min(unknown)} is not in the suite: name the suite it was run on"
            )
        done = 0
        report("scores", done, len(todo))

        def hear(told: tuple[Key, dict[str, Outcome]]) -> None:
            nonlocal done
            key, outcomes = told
            for name, value in outcomes.items():
                known = run.score(key, name)
                if known and (known.status, known.reason) == (value.status, value.reason):
                    continue
                line = {**value.model_dump(), **key.model_dump(), "metric": name}
                append(
                    folder / "scores.jsonl",
                    Score.model_validate({**line, "frames_sha256": run.results[key].frames_sha256}),
                )
            done += 1
            report("scores", done, len(todo))

        if workers > 1:
            by_task = sorted(todo, key=lambda cell: cell[0].task)  # what its cells share is computed once
            jobs = [list(group) for _, group in groupby(by_task, lambda cell: cell[0].task)]
            spread(partial(opened, folder, origin, models), jobs, workers, hear)
        else:
            Scoring(run, tasks, models)(todo, hear)
    return read_run(folder)


class Scoring:
    """A run's videos and tasks, opened in this process to score cells."""

    def __init__(self, run: Run, tasks: Sequence[Task], models: Models | None) -> None:
        self.run, self.tasks = run, {task.id: task for task in tasks}
        self.features = Features(run.folder / "cache" / "features", models)

    def __call__(self, cells: Sequence[tuple[Key, list[Metric]]], tell: Tell) -> None:
        """Score these cells by these metrics, telling the outcomes by `id@version`."""
        for key, metrics in cells:
            pair = pair_of(self.run, key, self.tasks[key.task])
            tell((key, score_pair(pair, metrics, self.features)))


def opened(folder: Path, origin: str, models: Models | None) -> Scoring:
    return Scoring(read_run(folder), load(origin), models)


def missing(run: Run, metrics: Sequence[Metric]) -> Iterator[tuple[Key, Result, list[Metric]]]:
    """The asked cells that have a video, with the metrics that have no fresh score of it, or skipped it."""
    for key, result in run.cells():
        if result is not None and result.status == "ok":
            scores = [run.score(key, metric.name) for metric in metrics]
            wanted = [m for m, known in zip(metrics, scores) if known is None or known.status == "skipped"]
            if wanted:
                yield key, result, wanted


def examine(folder: Path, tasks: Sequence[Task], judge: Judge) -> dict[str, Any]:
    """Put the judge's control items to it, made of the run's own edits; kept as `judge-controls.json`.

    The scores of a judge that fails them are struck out: a later line of `scores.jsonl` has no value, and
    the reason. The same run has the same items. Returns what eval.judge.examined says.
    """
    from eval.judge import examined, struck

    run = read_run(folder)
    by_id = {task.id: task for task in tasks}
    pairs = [
        pair_of(run, key, by_id[key.task])
        for key, result in run.cells()
        if result is not None and result.status == "ok" and key.task in by_id
    ]
    if not pairs:
        raise UserError(f"{folder}: no edit to judge: run it first")
    found = examined(judge, pairs, np.random.default_rng(0))
    beside = folder / "judge-controls.json.partial"
    beside.write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")
    beside.replace(folder / "judge-controls.json")
    with writing(folder):
        for (_, name), line in run.scores.items():
            known = {field: getattr(line, field) for field in Outcome.model_fields}
            for fallen in struck({name: Outcome(**known)}, found).values():
                append(folder / "scores.jsonl", line.model_copy(update=fallen.model_dump()))
    return found


def pair_of(run: Run, key: Key, task: Task) -> Pair:
    """What a metric is given: the source, the edit as kept, and what is known about the task."""
    result = run.results[key]
    return Pair(
        source=task.clip,
        edited=intact(run, result),
        edit=task.edit,
        mask=task.masks() > 0.5 if task.masks else None,
        answers=list(task.answers()) if task.answers else None,
        root=root_of(run, key),
        predicted_mask=mask_of(run, result),
    )


def intact(run: Run, result: Result) -> Clip:
    """A result's video; raises UserError when it is missing or not the file that the result names."""
    path = run.video(result)
    if not path.is_file():
        raise UserError(f"{path} is missing: run the same command again to make it anew")
    if file_sha256(path) != result.video_sha256:
        raise UserError(
            f"{path} is not the video that results.jsonl names: delete it and run the command again"
        )
    return open_clip(path)


def mask_of(run: Run, result: Result) -> NDArray[np.bool_] | None:
    """Where the editor says it acted (n, H, W), where it named such a video among its facts."""
    video = result.facts.get("mask")
    if not isinstance(video, str) or not (path := inside(run.folder, video)).is_file():
        return None
    masks: NDArray[np.bool_] = open_clip(path)[:][..., 0] > 127
    return masks


def root_of(run: Run, key: Key) -> tuple[int, np.ndarray] | None:
    """The root frame's number and its edit (H, W, 3), where the editor named them among its facts.

    A row that has no root of its own is given the one of `full` with the same task and seed, so that there
    is something to compare with: how often does a clip agree with a root that it never saw?
    """
    wanted = ("full", key.task, key.seed)
    full = (other for other, _ in run.cells() if (other.method, other.task, other.seed) == wanted)
    for one in chain([key], full):  # the other cells are looked through only where it has none
        facts: Mapping[str, object] = run.results[one].facts if one in run.results else {}
        frame, image = facts.get("root_frame"), facts.get("root_edit")
        if isinstance(frame, int) and isinstance(image, str):
            loaded = cv2.imread(str(inside(run.folder, image)), cv2.IMREAD_COLOR)
            return None if loaded is None else (frame, cv2.cvtColor(loaded, cv2.COLOR_BGR2RGB))
    return None
