"""`via models`: train the pocket models, and recompute their held-out figures beside their bars."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from data.types import Report, UserError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The embedded pocket models: train, check."
)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="vae, editor, mask, clip, or all")],
    folder: Annotated[
        Path, typer.Option(help="Checkpoints, log and pictures; training goes on from here.")
    ] = Path("runs/training"),
    samples: Annotated[int | None, typer.Option(help="Length of the run, if not the plan's.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on a CPU; by default one for each core.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    batch: Annotated[
        int | None,
        typer.Option(min=2, help="Samples a step; by default the plan's, on a GPU eight times that."),
    ] = None,
    from_committed: Annotated[
        bool, typer.Option("--from-committed", help="Without a checkpoint, start from the committed weights.")
    ] = False,
) -> None:
    """Train a pocket model; resumes from its last checkpoint."""
    from via.backbones.pocket.training import TASKS
    from via.backbones.pocket.training.loop import train as run

    if name != "all" and name not in TASKS:
        raise UserError(f"{name}: no such model; choose from {', '.join(TASKS)}, all")
    for task in TASKS if name == "all" else [name]:
        print(f"{task}: {run(task, folder / task, samples, workers, device, from_committed, batch)}")


@dataclass(frozen=True)
class Bar:
    """A figure, what it should at least be, and what guessing would give where that can be said."""

    what: str
    value: float
    least: float
    unit: str = ""  # "dB", or nothing for a share
    chance: float | None = None

    @property
    def holds(self) -> bool:
        return self.value >= self.least

    def __str__(self) -> str:
        value, least = (f"{x:.1f} dB" if self.unit else f"{x:.0%}" for x in (self.value, self.least))
        chance = "" if self.chance is None else f" (chance {self.chance:.0%})"
        return f"{'holds ' if self.holds else 'MISSED'} {self.what}: {value}, at least {least}{chance}"


def vae_bars(figures: dict[str, float]) -> list[Bar]:
    """Of the VAE."""
    return [
        Bar("VAE, sources", figures["source_db"], 32, "dB"),
        Bar("VAE, edited frames", figures["edited_db"], 30, "dB"),
        Bar("VAE, Big Buck Bunny", figures["bunny_db"], 30, "dB"),
    ]


def editor_bars(table: dict[str, dict[str, float]]) -> list[Bar]:
    """Of the editor: the local kinds, alone and their mean, and each global edit.

    A global edit whose copy has more than 20 dB is judged by its gain over the copy alone.
    """
    local = {kind: row for kind, row in table.items() if "/" not in kind and kind != "global"}
    mean, chance = (sum(row[of] for row in local.values()) / len(local) for of in ("valid", "chance"))
    bars = [Bar("valid answers, mean of local kinds", mean, 0.8, chance=chance)]
    for kind, row in local.items():
        bars.append(Bar(f"valid answers, {kind}", row["valid"], 0.5, chance=row["chance"]))
        if kind != "background":  # outside of a background edit is the subject, reported in the table
            bars.append(Bar(f"{kind}, outside the mask", row["outside_db"], 22, "dB"))
    for edit, row in table.items():
        if not edit.startswith("global/"):
            continue
        if row["copy_db"] <= 20:
            bars.append(Bar(f"{edit}, nearest answer", row["answer_db"], 21, "dB"))
        bars.append(Bar(f"{edit}, gain over a copy", row["answer_db"] - row["copy_db"], 6, "dB"))
    return bars


def mask_bars(figures: dict[str, float]) -> list[Bar]:
    """Of text to mask."""
    least = {
        "name": 0.85,
        "class": 0.85,
        "background": 0.85,
        "head": 0.85,
        "occluded_name": 0.7,
        "occluded_background": 0.7,
        "absent": 0.9,
        "pair_named": 0.9,
    }
    chance = {"pair_named": 0.5}
    return [
        Bar(f"mask, {name}", figures[name], value, chance=chance.get(name)) for name, value in least.items()
    ]


def clip_bars(figures: dict[str, float]) -> list[Bar]:
    """Of CLIP."""
    return [
        Bar(f"CLIP, zero-shot {name}", figures[name], 0.95, chance=1 / figures[f"{name}_classes"])
        for name in ("subject", "place", "style")
    ]


def check_vae(folder: Path, count: int, report: Report) -> tuple[dict[str, Any], list[Bar]]:
    from benchmarks.pocket_figures import vae_figures
    from via.backbones.pocket import weights
    from via.backbones.pocket.vae import PocketVAE

    figures = vae_figures(weights.load(PocketVAE, folder / "vae"))
    return {"psnr": figures}, vae_bars(figures)


def check_editor(folder: Path, count: int, report: Report) -> tuple[dict[str, Any], list[Bar]]:
    """The kinds, strengths and tokens are measured beside each other, each in a process of one thread."""
    from data.pocket.coupling import ORDER
    from data.pocket.edits import KINDS

    clips = max(1, count // 20)
    jobs: list[tuple[str, dict[str, Any]]] = [
        *(("kind_figures", {"kind": kind, "count": count}) for kind in KINDS),
        *(("drift_figures", {"strength": strength, "clips": clips}) for strength in ORDER),
        ("token_figures", {}),
    ]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _one_thread) as pool:
        found = [pool.submit(_editor_job, folder, name, arguments) for name, arguments in jobs]
        for done, _ in enumerate(as_completed(found), start=1):
            report("kinds, drift, tokens", done, len(jobs))
    results = [future.result() for future in found]
    lines = {name: line for table in results[: len(KINDS)] for name, line in table.items()}
    kinds = dict(sorted(lines.items(), key=lambda item: "/" in item[0]))  # kinds before their edits
    drift = dict(zip(ORDER, results[len(KINDS) : -1]))
    return {"kinds": kinds, "drift": drift, "tokens": results[-1]}, editor_bars(kinds)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _editor_job(folder: Path, name: str, arguments: dict[str, Any]) -> Any:
    from benchmarks import pocket_figures
    from via.backbones.pocket.backbone import load

    return getattr(pocket_figures, name)(load(folder), **arguments)


def check_mask(folder: Path, count: int, report: Report) -> tuple[dict[str, Any], list[Bar]]:
    from benchmarks.pocket_figures import mask_figures
    from via.backbones.pocket import weights
    from via.backbones.pocket.mask import PocketMask

    figures = mask_figures(weights.load(PocketMask, folder / "mask"))
    return {"iou": figures}, mask_bars(figures)


def check_clip(folder: Path, count: int, report: Report) -> tuple[dict[str, Any], list[Bar]]:
    from benchmarks.pocket_figures import clip_figures
    from eval.models import ClipFolder
    from via.backbones.pocket import weights

    weights.check(folder / "clip", "model.safetensors")
    figures = clip_figures(ClipFolder(folder / "clip"))
    return {"zero_shot": figures}, clip_bars(figures)


CHECKS: dict[str, Callable[[Path, int, Report], tuple[dict[str, Any], list[Bar]]]] = {
    "vae": check_vae,
    "editor": check_editor,
    "mask": check_mask,
    "clip": check_clip,
}


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="vae, editor, mask, clip; by default all.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Frames for each kind of edit.")] = 100,
    write: Annotated[bool, typer.Option(help="Write the figures into the models' cards.")] = False,
    output: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Recompute the models' held-out figures on dev scenes; exit 1 if a bar is missed or a model missing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from via.backbones.pocket import weights

    for name in names or ():
        if name not in CHECKS:
            raise UserError(f"{name}: no such model; choose from {', '.join(CHECKS)}")
    console, figures, bars, absent = Console(), {}, [], []
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    for name in names or CHECKS:
        if not (weights.WEIGHTS / name / "card.json").is_file():
            absent.append(f"{name}: no model here; train it with: via models train {name}")
            continue
        began = time.monotonic()
        with Progress(*columns, console=console, transient=True) as progress:
            shown = progress.add_task(name)

            def report(stage: str, done: int, total: int, name: str = name, shown: Any = shown) -> None:
                progress.update(shown, description=f"{name}, {stage}", completed=done, total=total)

            figures[name], own = CHECKS[name](weights.WEIGHTS, count, report)
        bars += own
        missed = [bar.what for bar in own if not bar.holds]
        seconds = round(time.monotonic() - began)
        figures[name] = {**_rounded(figures[name]), "missed": missed, "seconds": seconds}
        for table in _tables(figures[name]):
            console.print(table)
        if write:
            _write_into_card(weights.WEIGHTS / name, figures[name], f"via models check --count {count}")
    for line in (*bars, *absent):
        print(line)
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")
    raise typer.Exit(1 if absent or not all(bar.holds for bar in bars) else 0)


@app.command()
def picture(
    output: Annotated[Path, typer.Argument(help="Where to write it: a .jpg or .png file.")],
) -> None:
    """Draw what the editor does to a few dev scenes with two seeds, beside the true answers."""
    from PIL import Image

    from benchmarks.pocket_picture import editor_picture
    from via.backbones.pocket.backbone import load

    if output.suffix not in (".jpg", ".png"):
        raise UserError(f"{output}: pictures are written as .jpg or .png")
    drawn = Image.fromarray(editor_picture(load()))
    beside = output.with_name(f".part{output.suffix}")
    drawn.save(beside, quality=88)
    beside.replace(output)
    print(output)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _tables(figures: dict[str, Any]) -> list[Any]:
    """A table for each group of figures: one row if the group is flat, else a row for each of its lines."""
    from rich.table import Table

    tables = []
    for title, group in figures.items():
        if not isinstance(group, dict):
            continue
        lines = group if isinstance(next(iter(group.values())), dict) else {"": group}
        columns = list(dict.fromkeys(name for line in lines.values() for name in line))
        table = Table()
        table.add_column(title, no_wrap=True)
        for column in columns:
            table.add_column(column.replace("_", " "))
        for name, line in lines.items():
            table.add_row(name, *(f"{line[c]:.4g}" if c in line else "" for c in columns))
        tables.append(table)
    return tables


def _write_into_card(folder: Path, figures: dict[str, Any], command: str) -> None:
    from via.backbones.pocket import weights

    card = weights.read_card(folder)
    card["check"] = {"command": command, "date": date.today().isoformat(), **figures}
    weights.write(folder / "card.json", json.dumps(card, indent=2) + "\n")
