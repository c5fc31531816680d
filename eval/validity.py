"""The validity study: does a metric rise and fall with the true error, and which degenerate clips beat an
honest edit?

On tasks whose every valid answer is known. Correlations are computed within a task and averaged over
tasks; intervals are clustered by source clip (eval.statistics). Every metric is turned so that more is
worse; a metric without a direction keeps its own sign.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from data.types import ArrayClip, Report, Task, UserError, silent
from eval.damage import DAMAGES, Known, applies, degenerate, honest
from eval.features import Features
from eval.lines import append_line, read_lines
from eval.score import Metric, Pair
from eval.statistics import clustered_interval
from eval.suite import score

RED = 0.05  # a degenerate clip that beats more honest edits than this
TOLD_APART = 0.8  # of the tasks
FEWEST_POINTS = 4
TRUTH = ("answer_error@1", "answer_error_outside@1")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One clip of one task: what was done to it, at which grade (0: honest), and every metric's value or
    None."""

    task: str
    source: str
    damage: str
    grade: int
    values: dict[str, float | None]

    @property
    def truth(self) -> float | None:
        """The overall true error: inside plus outside; None where the answers are not known."""
        inside, outside = (self.values.get(name) for name in TRUTH)
        return None if inside is None else inside + (outside or 0.0)


def measure(
    tasks: Sequence[Task],
    metrics: Sequence[Metric],
    features: Features,
    report: Report = silent,
    kept: Path | None = None,
) -> list[Row]:
    """Every clip of the study, scored. Tasks without masks or answers are refused (UserError).

    `kept` gets one line a task, and what it holds of the same tasks and metrics is not computed again.
    """
    there = read_rows(kept) if kept else {}
    todo = [(index, task) for index, task in enumerate(tasks) if task.id not in there]
    for index, task in todo:
        report("validity", len(there), len(tasks))
        rows: list[Row] = []
        known = known_of(task, tasks[(index + 1) % len(tasks)], index)
        edit = honest(known)
        clips: dict[tuple[str, int], NDArray[np.uint8]] = {("honest", 0): edit}
        for name, (damage, grades, _) in DAMAGES.items():
            if applies(name, known):
                clips |= {(name, g): damage(edit, known, grade) for g, grade in enumerate(grades, start=1)}
        clips |= {(name, 0): clip for name, clip in degenerate(edit, known).items()}
        source = ArrayClip(known.source, task.clip.fps, task.id)
        answers = [ArrayClip(answer, task.clip.fps) for answer in known.answers]
        for (name, grade), frames in clips.items():
            edited = ArrayClip(frames, task.clip.fps, f"{task.id} {name} {grade}")
            pair = Pair(source, edited, task.edit, mask=known.mask, answers=answers)
            values = {key: one.value for key, one in score(pair, metrics, features).items()}
            rows.append(Row(task.id, task.source, name, grade, values))
        there[task.id] = rows
        if kept:
            append_line(kept, [asdict(row) for row in rows])
    report("validity", len(tasks), len(tasks))
    return [row for task in tasks for row in there[task.id]]


def read_rows(path: Path) -> dict[str, list[Row]]:
    """The tasks that were measured whole, by id."""
    tasks = [[Row(**row) for row in rows] for rows in read_lines(path)]
    return {rows[0].task: rows for rows in tasks}


def known_of(task: Task, other: Task, seed: int) -> Known:
    """A task as arrays, with an answer of another task at its size and length."""
    if task.masks is None or task.answers is None or other.answers is None:
        raise UserError(f"{task.id}: the validity study needs tasks with masks and answers (a pocket suite)")
    n, (height, width) = len(task.clip), task.clip.size
    foreign = other.answers()[0]
    frames = [
        np.asarray(cv2.resize(foreign[t % len(foreign)], (width, height), interpolation=cv2.INTER_AREA))
        for t in range(n)
    ]
    return Known(
        source=np.array(task.clip[0:n]),
        mask=np.asarray(task.masks() > 0.5),
        answers=[np.array(answer[0:n]) for answer in task.answers()],
        foreign=np.stack(frames).astype(np.uint8),
        seed=seed,
    )


def analyse(rows: Sequence[Row], directions: Mapping[str, str], weights: Mapping[str, str]) -> dict[str, Any]:
    """validity.json: cells (metric x damage), overall, beats (metric x degenerate clip), redundancy; all
    with n.

    `weights` says which network each metric used: what holds for one CLIP is no statement about another.
    """
    names = list(directions)
    turned = {name: -1.0 if directions[name] == "up" else 1.0 for name in names}
    tasks = list(dict.fromkeys(row.task for row in rows))
    by_task = {task: [row for row in rows if row.task == task] for task in tasks}
    damages = [name for name in DAMAGES if any(row.damage == name for row in rows)]
    return {
        "tasks": len(tasks),
        "clips": len({row.source for row in rows}),
        "metrics": {name: {"direction": directions[name], "weights": weights.get(name)} for name in names},
        "cells": [cell(by_task, name, damage, turned[name]) for name in names for damage in damages],
        "overall": [overall(by_task, name, turned[name]) for name in names],
        "beats": [
            beat(by_task, name, control, turned[name], directions[name])
            for name in names
            for control in dict.fromkeys(
                row.damage for row in rows if row.grade == 0 and row.damage != "honest"
            )
        ],
        "redundancy": redundancy(by_task, names),
    }


def cell(by_task: Mapping[str, Sequence[Row]], name: str, damage: str, turn: float) -> dict[str, Any]:
    """Rank correlation of a metric with the grade of a damage, the smallest grade it tells from the honest
    edit, and its change at the highest grade in units of its spread within the task."""
    correlations, effects, clips = [], [], []
    worse: dict[int, list[bool]] = {}
    for task_rows in by_task.values():
        chosen = [row for row in task_rows if row.damage in ("honest", damage)]
        points = [(row.grade, turn * value) for row in chosen if (value := row.values.get(name)) is not None]
        if len(chosen) < 2 or len(points) < FEWEST_POINTS or points[0][0] != 0:
            continue
        grades, values = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        correlations.append(rank_correlation(grades, values))
        clips.append(chosen[0].source)
        spread = np.std([value for row in task_rows if (value := row.values.get(name)) is not None])
        effects.append((values[-1] - values[0]) / spread if spread > 0 else 0.0)
        for grade, value in points[1:]:
            worse.setdefault(grade, []).append(bool(value > values[0]))
    told = [grade for grade, found in sorted(worse.items()) if np.mean(found) >= TOLD_APART]
    return {
        "metric": name,
        "damage": damage,
        "breaks": DAMAGES[damage][2],
        **estimate("rho", correlations, clips),
        "smallest_grade_told_apart": DAMAGES[damage][1][told[0] - 1] if told else None,
        "effect": float(np.mean(effects)) if effects else None,
    }


def overall(by_task: Mapping[str, Sequence[Row]], name: str, turn: float) -> dict[str, Any]:
    """Kendall's tau-b of a metric with the overall true error over all clips of a task, mean over tasks."""
    values, clips = [], []
    for task_rows in by_task.values():
        points = [
            (truth, turn * value)
            for row in task_rows
            if (value := row.values.get(name)) is not None and (truth := row.truth) is not None
        ]
        if len(points) >= FEWEST_POINTS:
            tau = stats.kendalltau([p[0] for p in points], [p[1] for p in points]).statistic
            values.append(float(tau) if np.isfinite(tau) else 0.0)
            clips.append(task_rows[0].source)
    return {"metric": name, **estimate("tau", values, clips)}


def beat(
    by_task: Mapping[str, Sequence[Row]], name: str, control: str, turn: float, direction: str
) -> dict[str, Any]:
    """In which share of tasks a degenerate clip scores strictly better than an honest edit; red above 5 %."""
    won = []
    for task_rows in by_task.values():
        values = {row.damage: row.values.get(name) for row in task_rows if row.grade == 0}
        edit, other = values.get("honest"), values.get(control)
        if edit is not None and other is not None:
            won.append(turn * other < turn * edit)
    share = float(np.mean(won)) if won and direction != "none" else None
    return {"metric": name, "control": control, "share": share, "n": len(won), "red": (share or 0) > RED}


def redundancy(
    by_task: Mapping[str, Sequence[Row]], names: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Rank correlation of every two metrics over the clips of a task, mean over tasks."""
    table: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            found = []
            for task_rows in by_task.values():
                pairs = [(row.values.get(first), row.values.get(second)) for row in task_rows]
                both = np.array([p for p in pairs if p[0] is not None and p[1] is not None], dtype=np.float64)
                if len(both) >= FEWEST_POINTS:
                    found.append(rank_correlation(both[:, 0], both[:, 1]))
            table[first][second] = float(np.mean(found)) if found else None
    return table


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's rho; 0 where either does not change at all: a blind metric, not a missing one."""
    if (a == a[0]).all() or (b == b[0]).all():
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


def estimate(name: str, values: Sequence[float], clips: Sequence[str]) -> dict[str, Any]:
    """A mean over tasks with its interval over source clips, and n."""
    if not values:
        return {name: None, "low": None, "high": None, "n": 0, "clips": 0}
    got = clustered_interval(values, clips)
    low, high = (None if x is None else float(np.clip(x, -1, 1)) for x in (got.low, got.high))
    return {name: got.mean, "low": low, "high": high, "n": got.n, "clips": got.clips}


def rows_of_run(folder: Path) -> list[Row]:
    """The scored results of a run (run.json, scores.jsonl) as rows of a pooled study: the damage is what
    editors do.

    Seeds are averaged; a metric has no value where any of its seeds has none. Raises UserError for another
    folder.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()
        sources = {task["id"]: task["source"] for task in record["suite"]["tasks"]}
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{folder}: not a scored run ({error}): run `via score {folder}` first") from error
    latest: dict[tuple[str, str, str, int], float | None] = {}
    for text in lines:
        try:
            line = json.loads(text)
            latest[line["task"], _row_name(line), line["metric"], int(line["seed"])] = line["value"]
        except (json.JSONDecodeError, KeyError):
            continue  # a torn last line
    seeds: dict[tuple[str, str], dict[str, list[float | None]]] = {}
    for (task, method, metric, _), value in latest.items():
        seeds.setdefault((task, method), {}).setdefault(metric, []).append(value)
    return [
        Row(task, sources[task], method, 1, {metric: _mean(found) for metric, found in values.items()})
        for (task, method), values in seeds.items()
        if task in sources
    ]


def pooled(rows: Sequence[Row], directions: Mapping[str, str]) -> list[dict[str, Any]]:
    """`overall` of every metric over the methods of each task."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    return [overall(by_task, name, -1.0 if way == "up" else 1.0) for name, way in directions.items()]


def page(result: Mapping[str, Any]) -> str:
    """docs/validity.md's tables: correlations with each damage, overall, and which degenerate clips win."""
    damages = list(dict.fromkeys(cell["damage"] for cell in result["cells"]))
    cells = {(cell["metric"], cell["damage"]): cell for cell in result["cells"]}
    tau = {one["metric"]: one for one in result["overall"]}
    controls = list(dict.fromkeys(one["control"] for one in result["beats"]))
    beats = {(one["metric"], one["control"]): one for one in result["beats"]}
    names = list(result["metrics"])
    head = (
        f"{result['tasks']} tasks of {result['clips']} source clips; 95 % intervals clustered by source clip."
    )
    first = _table(
        ["metric", "direction", *damages, "truth (tau-b)"],
        (
            [f"`{n}`", result["metrics"][n]["direction"]]
            + [_shown(cells[n, d], "rho") for d in damages]
            + [_shown(tau[n], "tau")]
            for n in names
        ),
    )
    second = _table(
        ["metric", *controls], ([f"`{n}`", *(_share(beats[n, c]) for c in controls)] for n in names)
    )
    return f"""{head}

Rank correlation with the grade of each damage (1: rises with the damage, as it should where the metric is
meant to see it; 0: blind; below 0: fooled), and with the overall true error:

{first}
Share of tasks in which a degenerate clip scores strictly better than the honest edit (**bold**: above
{RED:.0%}):

{second}"""


def write(result: Mapping[str, Any], folder: Path) -> None:
    """validity.json, validity.md and validity.png, each written beside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "validity.json", json.dumps(result, indent=1, allow_nan=False).encode())
    _replace(folder / "validity.md", page(result).encode())
    _replace(folder / "validity.png", picture(result))


def picture(result: Mapping[str, Any]) -> bytes:
    """Two coloured tables as one PNG: correlation with each damage, and which degenerate clips win."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(result["metrics"])
    damages = list(dict.fromkeys(cell["damage"] for cell in result["cells"]))
    controls = list(dict.fromkeys(one["control"] for one in result["beats"]))
    rho = {(cell["metric"], cell["damage"]): cell["rho"] for cell in result["cells"]}
    share = {(one["metric"], one["control"]): one["share"] for one in result["beats"]}
    columns = len(damages) + len(controls)
    figure = Figure(figsize=(5 + 0.75 * columns, 2 + 0.3 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[len(damages), len(controls)], sharey=True)
    _coloured(left, rho, names, damages, "rank correlation with damage\n1: seen, 0: blind, -1: fooled", -1)
    _coloured(right, share, names, controls, "share of honest edits\nthat this clip beats", 0)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def _coloured(
    axes: Any,
    cells: Mapping[tuple[str, str], float | None],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    low: float,
) -> None:
    """A table of numbers from `low` to 1 as an image; None is left white."""
    values = np.array([[np.nan if cells[r, c] is None else cells[r, c] for c in columns] for r in rows])
    axes.imshow(
        values.astype(np.float64), cmap="RdBu" if low < 0 else "Reds", vmin=low, vmax=1, aspect="auto"
    )
    axes.set_title(title, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    for (i, j), value in np.ndenumerate(values.astype(np.float64)):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _row_name(line: Mapping[str, Any]) -> str:
    return f"{line['method']} {str(line.get('config_hash', ''))[:8]}".strip()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None


def _shown(one: Mapping[str, Any], name: str) -> str:
    if one[name] is None:
        return "-"
    if one["low"] is None:
        return f"{one[name]:.2f}"
    return f"{one[name]:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _share(one: Mapping[str, Any]) -> str:
    if one["share"] is None:
        return "-"
    return f"**{one['share']:.2f}**" if one["red"] else f"{one['share']:.2f}"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    return "\n".join(lines) + "\n"


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(content)
    os.replace(beside, path)
