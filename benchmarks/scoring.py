"""Metrics of a run: each ok result is read from its video and scored, once per metric and version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Key, Result, Run, Score, append, file_sha256, inside, read_run, writing
from data.types import Clip, Report, Task, UserError, silent
from data.video import open_clip
from eval.features import Features
from eval.models import Models
from eval.score import Metric, Pair
from eval.suite import score as score_pair

if TYPE_CHECKING:
    from eval.judge import Judge


def score(
    folder: Path,
    tasks: Sequence[Task],
    metrics: Sequence[Metric],
    report: Report = silent,
    models: Models | None = None,
) -> Run:
    """Compute what is missing or stale in `scores.jsonl`; comes back with the whole run.

    A score is stale when its result has other frames than those it was computed from. What was skipped is
    tried again (its network may be here now), and noted only where the outcome is another. Raises UserError
    when a video is not the one that its line names.
    """
    with writing(folder):
        run = read_run(folder)
        by_id = {task.id: task for task in tasks}
        features = Features(folder / "cache" / "features", models)
        todo = list(missing(run, metrics))
        for done, (key, result, wanted) in enumerate(todo):
            report("scores", done, len(todo))
            if key.task not in by_id:
                raise UserError(
                    f"{folder}: its task {key.task} is not in the suite: name the suite it was run on"
                )
            pair = pair_of(run, result, by_id[key.task])
            for name, value in score_pair(pair, wanted, features).items():
                known = run.score(key, name)
                if known and (known.status, known.reason) == (value.status, value.reason):
                    continue
                line = {**value.model_dump(), **key.model_dump(), "metric": name}
                append(
                    folder / "scores.jsonl",
                    Score.model_validate({**line, "frames_sha256": result.frames_sha256}),
                )
        report("scores", len(todo), len(todo))
    return read_run(folder)


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
    from eval.score import Score as Scored

    run = read_run(folder)
    by_id = {task.id: task for task in tasks}
    pairs = [
        pair_of(run, result, by_id[key.task])
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
            known = {field: getattr(line, field) for field in Scored.model_fields}
            for fallen in struck({name: Scored(**known)}, found).values():
                append(folder / "scores.jsonl", line.model_copy(update=fallen.model_dump()))
    return found


def pair_of(run: Run, result: Result, task: Task) -> Pair:
    """What a metric is given: the source, the edit as kept, and what is known about the task."""
    return Pair(
        source=task.clip,
        edited=intact(run, result),
        edit=task.edit,
        mask=task.masks() > 0.5 if task.masks else None,
        answers=list(task.answers()) if task.answers else None,
        root=root_of(run, result),
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


def root_of(run: Run, result: Result) -> tuple[int, np.ndarray] | None:
    """The root frame's number and its edit (H, W, 3), where the editor named them among its facts."""
    facts: Mapping[str, object] = result.facts
    frame, image = facts.get("root_frame"), facts.get("root_edit")
    if not isinstance(frame, int) or not isinstance(image, str):
        return None
    loaded = cv2.imread(str(inside(run.folder, image)), cv2.IMREAD_COLOR)
    return None if loaded is None else (frame, cv2.cvtColor(loaded, cv2.COLOR_BGR2RGB))
