"""The commands of this room: `via metrics`, `via metrics show`, `via metrics validate`; scoring anybody's
files."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.types import Clip, Report
    from eval.models import Models
    from eval.score import Metric, Score

app = typer.Typer(help="Metrics of video editing: list them, show one, put them to the test.")

ClipName = Annotated[
    str, typer.Option(help="A CLIP: pocket, a folder of CLIPModel, or open_clip:ViT-L-14/openai.")
]


@app.callback(invoke_without_command=True)
def metrics(context: typer.Context) -> None:
    """List all metrics: direction, suite, what each needs and costs."""
    if context.invoked_subcommand is not None:
        return
    from eval.suite import METRICS, load

    for name in METRICS:
        metric = load(name)
        needs = f"needs {', '.join(metric.needs)}" if metric.needs else ""
        typer.echo(
            f"{metric.name:32} {metric.direction:5} {metric.suite:8} {needs:28} {metric.cost}".rstrip()
        )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="id, id@version, id:variant, or package.module:Name.")],
) -> None:
    """Print a metric's card: formula, source, what fools it, published variants, its row of the validity
    study."""
    from eval.suite import load

    metric = load(name)
    typer.echo(metric.card())
    if row := _validity_row(metric):
        typer.echo(row)


@app.command()
def validate(
    suite: Annotated[str, typer.Option(help="A suite whose answers are known.")] = "pocket",
    tasks: Annotated[int | None, typer.Option(min=1, help="Only so many tasks: the quick form.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Metrics or suites of metrics, with commas.")
    ] = "default,clip,motion,deep,pocket",
    run: Annotated[
        Path | None, typer.Option(help="A scored run: the same question over its real outputs.")
    ] = None,
    clip: ClipName = "pocket",
    out: Annotated[Path, typer.Option(help="Folder for validity.json, .md and .png.")] = Path("validity"),
) -> None:
    """Put the metrics to the test: graded damage to true answers, and which degenerate clips beat an honest
    edit. The same command goes on where it stopped."""
    from data.suites import load as load_suite
    from data.suites import suite_hash
    from eval.features import FLOW_VERSION, Features
    from eval.models import Models
    from eval.suite import suite as metric_suite
    from eval.validity import analyse, measure, pooled, rows_of_run, write

    chosen = metric_suite(metrics)
    directions = {metric.name: metric.direction for metric in chosen}
    if run is not None:
        found = pooled(rows_of_run(run), directions)
        for one in found:
            typer.echo(f"{one['metric']:32} {_interval(one)}")
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "validity-run.json", json.dumps({"run": run.name, "overall": found}, indent=1))
        return
    features = Features(models=Models(clip=clip))
    every = load_suite(suite)
    step = max(1, len(every) // tasks) if tasks else 1
    picked = every[::step][:tasks] if tasks else every  # spread over the suite, not its first few
    used = weights(chosen, features.models)
    asked = [suite_hash(suite), [task.id for task in picked], list(directions), used, FLOW_VERSION]
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    rows = measure(picked, chosen, features, _progress(), out / f"rows-{name}.jsonl")
    result = {"suite": suite, **analyse(rows, directions, used)}
    write(result, out)
    for one in result["overall"]:
        typer.echo(f"{one['metric']:32} {_interval(one)}")
    typer.echo(f"{out / 'validity.md'}: {len(rows)} clips of {len(picked)} tasks")


@app.command()
def published(
    folder: Annotated[Path, typer.Argument(help="Where `via data fetch published` has put the files.")],
    out: Annotated[
        Path, typer.Option(help="Lines of JSON, one a pair; the same command goes on there.")
    ] = Path("published.jsonl"),
) -> None:
    """Score the edits that authors published, and print the tables."""
    from data.published import published as manifest
    from data.types import UserError
    from eval.published import measure, page

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `via data fetch published --out {folder}` fills it")
    typer.echo(page(measure(manifest(), folder, out, _progress())))


def score_files(
    source: Path,
    edited: Path,
    instruction: str | None = None,
    source_caption: str | None = None,
    target_caption: str | None = None,
    mask: Path | None = None,
    metrics: str = "default",
    align: str | None = None,
    resize: str | None = None,
    fps: float = 6,
    models: Models | None = None,
    cache: Path | None = None,
    out: Path | None = None,
) -> dict[str, Score]:
    """Score one edit against its source, files or folders of frames: what `via score --source --edited` does.

    mask: a clip of the same length, or one picture, white where the edit may act. Prints a table and the
    guards' flags; `out` gets the same as JSON. A judge that fails its control (the source as its own edit)
    has its scores struck out. Raises UserError where the two do not match, naming the
    option that helps.
    """
    from fractions import Fraction

    import numpy as np

    from data.types import Edit
    from data.video import open_clip
    from eval.features import Features
    from eval.frames import aligned
    from eval.judge import examined, struck
    from eval.score import Pair
    from eval.suite import flags, score
    from eval.suite import suite as metric_suite

    rate = Fraction(fps).limit_denominator(1001)
    before, after, record = aligned(open_clip(source, rate), open_clip(edited, rate), align, resize)
    region = read_mask(mask, before) if mask else None
    wanted = metric_suite(metrics)
    edit = Edit(instruction=instruction or "", source_caption=source_caption, target_caption=target_caption)
    pair = Pair(before, after, edit, mask=region, mask_origin="given")
    scores = score(pair, wanted, Features(cache, models))
    if models and models.judge and any("judge" in metric.needs for metric in wanted):
        found = examined(models.judge, [pair], np.random.default_rng(0))
        scores |= struck(scores, found)
    for metric in wanted:
        typer.echo(line_of(metric, scores[metric.name]))
    raised = flags(scores)
    if raised:
        typer.echo(f"flagged: {', '.join(raised)}")
    if out:
        written: dict[str, Any] = {
            "source": str(source),
            "edited": str(edited),
            "instruction": instruction,
            **record,
            "flags": raised,
            "scores": {name: one.model_dump() for name, one in scores.items()},
        }
        _write(out, json.dumps(written, indent=1, allow_nan=False))
    return scores


def read_mask(path: Path, clip: Clip) -> NDArray[np.bool_]:
    """(n, H, W) from a clip or picture, white where the edit may act; one picture serves all frames."""
    import numpy as np

    from data.types import UserError
    from data.video import open_clip

    shown = open_clip(path, clip.fps)
    if len(shown) not in (1, len(clip)):
        raise UserError(f"{path}: a mask has one frame or {len(clip)}, this has {len(shown)}")
    frames = np.stack([shown[t].mean(axis=-1) > 127.5 for t in range(len(shown))])
    return np.repeat(frames, len(clip), axis=0) if len(frames) == 1 else frames


def line_of(metric: Metric, score: Score) -> str:
    """One line of the table: name, value or status, direction, reason."""
    arrow = {"up": "higher is better", "down": "lower is better", "none": "context"}[metric.direction]
    if score.value is None:
        return f"{metric.name:32} {score.status:>12}  {score.reason}"
    flag = score.details.get("flag") or score.details.get("warning")
    return f"{metric.name:32} {score.value:12.6g}  {arrow}" + (f"  [{flag}]" if flag else "")


def weights(chosen: list[Metric], models: Models) -> dict[str, str]:
    """Which network each metric uses, in words."""
    from eval.score import Missing

    found = {}
    for metric in chosen:
        if "clip" in metric.needs:
            try:
                found[metric.name] = models.open_clip().name
            except Missing as error:
                found[metric.name] = f"missing: {error}"
    return found


def _validity_row(metric: Metric) -> str | None:
    """The metric's correlations from the study that comes with the project, where it is there."""
    from importlib.resources import files

    try:
        study = json.loads(files("eval").joinpath("validity.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    cells = [cell for cell in study["cells"] if cell["metric"] == metric.name and cell["rho"] is not None]
    if not cells:
        return None
    parts = ", ".join(f"{cell['damage']} {cell['rho']:.2f}" for cell in cells)
    return f"validity (rank correlation with damage, {study['tasks']} tasks): {parts}"


def _interval(one: dict[str, Any]) -> str:
    if one["tau"] is None:
        return "no value"
    low, high = one["low"], one["high"]
    interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    return f"tau {one['tau']:.2f}{interval}, n {one['n']}"


def _progress() -> Report:
    """Writes a line for every step that is done, with the time left by the pace so far."""
    began: list[tuple[float, int]] = []

    def report(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began[:] = began or [(now, done)]
        since, first = began[0]
        left = (
            f", {(total - done) * (now - since) / (done - first) / 60:.0f} min left" if done > first else ""
        )
        typer.echo(f"{stage} {done}/{total}{left}", err=True)

    return report


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
