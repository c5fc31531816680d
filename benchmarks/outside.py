"""How far decoded pixels outside an edit's region lie from the source's own reconstruction by the VAE.

    python -m benchmarks.outside RUN [ROW]

The final latents outside the region are the source's, bit for bit, but the decoder's norms see the whole
frame. Read from the videos of a run; the region is found again by the row's configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.methods import Models, Pocket
from benchmarks.records import Run, read_run
from benchmarks.scoring import intact
from data.suites import load
from data.types import Task, UserError, silent
from via.config import ViaConfig
from via.edit import Via
from via.local import latent_mask
from via.stages import Stages

AWAY = 2  # cells around the region that are not looked at: what the decoder's convolutions carry across


@dataclass(frozen=True)
class Distance:
    """Grey levels between an edit and the reconstruction, over the pixels (times three) looked at."""

    task: str
    values: int
    largest: int
    within_one: float
    rmse: float


def distances(run: Run, row: str, models: Models, tasks: list[Task]) -> Iterator[Distance]:
    """One distance for each local task of the run's first seed, and last of all tasks together."""
    records = {method.name: method for method in run.record.methods}
    if row not in records:
        raise UserError(f"{run.folder} has no row '{row}': its rows are {', '.join(records)}")
    editor = Via(models.backbone, models.masker, ViaConfig.model_validate(records[row].config))
    by_id = {task.id: task for task in tasks}
    together = []
    for key, result in run.cells():
        if key.method != row or key.seed != run.record.seeds[0] or result is None or result.status != "ok":
            continue
        levels = apart(editor, by_id[key.task], intact(run, result)[:])
        if levels is not None and levels.size:
            together.append(levels)
            yield distance(key.task, levels)
    if together:
        yield distance("together", np.concatenate(together))


@torch.no_grad()
def apart(editor: Via, task: Task, edited: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Differences of the values far from the region, in grey levels; None where the whole frame is edited."""
    backbone, clip = editor.backbone, task.clip
    with Stages() as stages:
        job = editor.job(clip, task.edit, 0, stages, silent)
        region = editor.region(job, task.masks() if editor.config.needs_given_masks and task.masks else None)
        if region is None:
            return None
        frames = range(len(clip))
        rebuilt = job.framing.frames_out(backbone.decode(backbone.encode(editor.pixels(job, frames))))
        near = latent_mask(region.cells, 1, AWAY).float()
        pixels = F.interpolate(near, scale_factor=backbone.latent_factor, mode="nearest")
        height, width = job.framing.scaled
        far = F.interpolate(pixels[..., :height, :width], job.framing.source, mode="nearest")[:, 0] < 0.5
        difference: NDArray[np.int64] = np.abs(edited.astype(np.int64) - rebuilt)[far.numpy()]
        return difference.ravel()


def distance(task: str, levels: NDArray[np.int64]) -> Distance:
    root = float(np.sqrt(np.square(levels).mean()))
    return Distance(task, levels.size, int(levels.max()), float((levels <= 1).mean()), root)


def main(folder: str, row: str = "full") -> None:
    """Print a table of distances."""
    run = read_run(Path(folder))
    print("| task | values | largest difference | within one level | RMSE (levels) |\n|---|---|---|---|---|")
    for found in distances(run, row, Pocket(), list(load(run.record.suite.name))):
        print(
            f"| {found.task} | {found.values} | {found.largest} | {found.within_one:.2%} | {found.rmse:.3f} |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
