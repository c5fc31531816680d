"""`via models`: train the pocket models, and recompute their held-out figures beside the bars they should reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data.types import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The embedded pocket models: train, check.")

# What the editor should reach on dev scenes, frame by frame: see docs/pocket.md.
LOCAL_VALID, GLOBAL_DB, GLOBAL_GAIN_DB = 0.5, 16.0, 3.0


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="vae, editor, mask, or all")],
    folder: Annotated[Path, typer.Option(help="Checkpoints, log and pictures; training goes on from here.")] = Path(
        "runs/training"
    ),
    samples: Annotated[int | None, typer.Option(help="Length of the run, if not the plan's.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes on a CPU; by default one for each core.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
) -> None:
    """Train a pocket model; resumes from its last checkpoint."""
    from via.backbones.pocket.training import TASKS
    from via.backbones.pocket.training.loop import train as run

    if name != "all" and name not in TASKS:
        raise UserError(f"{name}: no such model; choose from {', '.join(TASKS)}, all")
    for task in TASKS if name == "all" else [name]:
        print(f"{task}: {run(task, folder / task, samples, workers, device)}")


@app.command()
def check(
    count: Annotated[int, typer.Option(help="Frames for each kind of edit.")] = 100,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Recompute the editor's held-out figures on dev scenes; exit 1 if a bar is missed."""
    from json import dumps

    from rich.console import Console
    from rich.table import Table

    from benchmarks.pocket_figures import editor_figures
    from via.backbones.pocket.backbone import load

    figures = editor_figures(load(), count, report=lambda kind, done, total: None)
    table = Table("kind", "frames", "valid", "chance", "answer dB", "copy dB", "VAE dB", "outside dB")
    for kind, row in figures.items():
        cells = [f"{row[name]:.2f}" for name in ("valid", "chance", "answer_db", "copy_db", "oracle_db")]
        table.add_row(kind, str(row["frames"]), *cells, f"{row['outside_db']:.2f}" if "outside_db" in row else "")
    Console().print(table)
    local = [row["valid"] for kind, row in figures.items() if kind != "global"]
    whole = figures["global"]
    met = {
        f"valid answers, mean over local kinds, at least {LOCAL_VALID:.0%}: {sum(local) / len(local):.0%}": sum(local)
        >= LOCAL_VALID * len(local),
        f"global edits at least {GLOBAL_DB} dB: {whole['answer_db']:.1f}": whole["answer_db"] >= GLOBAL_DB,
        f"global edits at least {GLOBAL_GAIN_DB} dB above a copy: {whole['answer_db'] - whole['copy_db']:.1f}": (
            whole["answer_db"] - whole["copy_db"] >= GLOBAL_GAIN_DB
        ),
    }
    for line, holds in met.items():
        print(("holds  " if holds else "MISSED ") + line)
    if json:
        json.write_text(dumps(figures, indent=2) + "\n")
    raise typer.Exit(0 if all(met.values()) else 1)
