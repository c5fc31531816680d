"""One training loop for all pocket models: workers that average gradients, checkpoints, a log, pictures.

On a CPU each worker is a process of one thread, which draws its own data; a GPU has one worker, larger
batches, and processes beside it that draw. What a step draws depends on (seed, step, worker) alone, so a run
that was killed goes on as it would have.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.types import UserError
from via.backbones.pocket.training import TASKS
from via.backbones.pocket.training.feed import batches, further_cores, task_of
from via.backbones.pocket.weights import WEIGHTS, load_into

EVERY = 250  # steps between checkpoints, pictures and held-out figures
MATRIX = 64  # least side of a weight that is moved as a matrix
LARGER = 8  # a batch on a GPU, in batches on a CPU


@dataclass(frozen=True)
class Plan:
    """How long and how fast: `samples` in all, `batch` a step over all workers, peak learning rate, weight
    decay."""

    samples: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-3
    warmup: int = 100  # steps
    hold: float = 0.3  # share of the run at the peak rate, before it falls linearly
    floor: float = 0.02  # last rate, as a share of the peak
    ema: float = 0.9995

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        done = step * self.batch / self.samples
        fall = 1 - (1 - self.floor) * min(1.0, max(0.0, (done - self.hold) / (1 - self.hold)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * fall

    def with_batch(self, batch: int) -> Plan:
        """The same run in batches of another size: the rate follows the square root (Malladi et al. 2022),
        warm-up and average last as many samples as before."""
        larger = batch / self.batch
        return replace(
            self,
            batch=batch,
            learning_rate=self.learning_rate * larger**0.5,
            warmup=max(1, round(self.warmup / larger)),
            ema=self.ema**larger,
        )


class Training(Protocol):
    """What the loop needs of a task. The model is built in float32 on the device."""

    model: nn.Module
    plan: Plan

    def __init__(self, device: torch.device) -> None: ...

    sampler: Any

    @staticmethod
    def open_sampler() -> Any:
        """What samples are drawn from; made once in each process that draws."""
        ...

    @staticmethod
    def draw(sampler: Any, count: int, rng: np.random.Generator) -> Any:
        """A batch of `count` fresh samples, which another process can be sent."""
        ...

    def loss(
        self, batch: Any, rng: np.random.Generator, precision: torch.dtype
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch and the figures to log; `rng` draws noise."""
        ...

    def evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        """Held-out figures of the model as it is, and a picture (H, W, 3) uint8."""
        ...

    def finish(self, log: list[dict[str, float]], hours: float) -> Path:
        """Write weights and card, and return their folder."""
        ...


def fastest_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where this machine multiplies it at least twice as fast as float32, else float32."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(512, 512, dtype=dtype, device=device)
        for _ in range(3):
            a @ a
        start = time.perf_counter()
        for _ in range(10):
            b = a @ a
        float(b[0, 0])
        return time.perf_counter() - start

    return torch.bfloat16 if 2 * seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


class Weights:
    """Float32 weights of a model that may compute in bfloat16, their optimisers, and their moving average.

    Hidden matrices and convolutions move by Muon (Jordan et al. 2024), scaled to AdamW's step; embeddings,
    biases, norms and narrow layers by AdamW.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.plan = plan
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.master = [p.detach().float().clone() for p in self.parameters]
        self.average = [p.clone() for p in self.master]
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        hidden = [
            id(p) not in tables and p.ndim > 1 and min(p.flatten(1).shape) >= MATRIX for p in self.parameters
        ]
        self.moved = [p.flatten(1) if matrix else p for p, matrix in zip(self.master, hidden)]  # views
        matrices = [p for p, matrix in zip(self.moved, hidden) if matrix]
        others = [p for p, matrix in zip(self.moved, hidden) if not matrix]
        decay = plan.weight_decay
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=decay, fused=True)
        ]
        if matrices:
            self.optimisers.append(
                torch.optim.Muon(matrices, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, step: int, workers: int) -> None:
        """Average the gradients over the workers, clip them to norm 1, move weights and average."""
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in self.parameters]
        )
        if workers > 1:
            dist.all_reduce(flat)
            flat /= workers
        flat *= torch.clamp(1.0 / (flat.norm() + 1e-6), max=1.0)
        at = 0
        for moved, parameter in zip(self.moved, self.parameters):
            moved.grad = flat[at : at + moved.numel()].view_as(moved)
            parameter.grad = None
            at += moved.numel()
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.plan.rate(step)
            optimiser.step()
        torch._foreach_lerp_(self.average, self.master, 1 - min(self.plan.ema, 1 - 1 / (1 + 0.1 * step)))
        self.show(self.master)

    @torch.no_grad()
    def show(self, weights: list[torch.Tensor]) -> None:
        """Copy weights (the masters, or the average) into the model."""
        for parameter, value in zip(self.parameters, weights):
            parameter.copy_(value)

    def state(self) -> dict[str, Any]:
        return {
            "master": self.master,
            "average": self.average,
            "optimisers": [o.state_dict() for o in self.optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        for mine, saved in [(self.master, state["master"]), (self.average, state["average"])]:
            for tensor, value in zip(mine, saved):
                tensor.copy_(value)
        for optimiser, saved in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
        self.show(self.master)


def train(
    name: str,
    folder: Path,
    samples: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    from_committed: bool = False,
    batch: int | None = None,
    renderers: int | None = None,
) -> Path:
    """Train a pocket model to the end of its plan, resuming from `folder`, and return the folder of its
    weights.

    `samples` overrides the plan's length (also of a run that is resumed). `workers` is the number of
    processes on a CPU, by default one for each core. A run without a checkpoint starts from the committed
    weights if `from_committed`, else anew. `batch` is the plan's, or eight times that on a GPU; `renderers`
    is the number of processes that draw beside each worker, none on a CPU.

    Raises UserError when `folder` holds a run in batches of another size.
    """
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    count = 1 if where != "cpu" else (workers or os.cpu_count() or 1)
    if renderers is None:
        renderers = 0 if where == "cpu" else further_cores()
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    asked = Asked(name, TASKS[name], folder, where, samples, batch, renderers, from_committed)
    if count == 1:
        _work(0, 1, asked)
    else:
        spawn(_work, (count, asked), nprocs=count)
    return Path((folder / "finished").read_text())


@dataclass(frozen=True)
class Asked:
    """What every worker of a run is told."""

    name: str
    task_class: str
    folder: Path
    device: str
    samples: int | None
    batch: int | None
    renderers: int
    from_committed: bool


def _work(rank: int, workers: int, asked: Asked) -> None:
    name, folder, where = asked.name, asked.folder, asked.device
    if where == "cpu":
        torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=workers
        )
    device = torch.device(where)
    torch.manual_seed(0)
    task: Training = task_of(asked.task_class)(device)
    size = asked.batch or (task.plan.batch if where == "cpu" else LARGER * task.plan.batch)
    plan = task.plan.with_batch(size)
    if asked.samples is not None:
        plan = replace(plan, samples=asked.samples)
    task.plan = plan  # the card states it
    checkpoint, log_file = folder / "checkpoint.pt", folder / "log.jsonl"
    if asked.from_committed and not checkpoint.exists():
        load_into(task.model, WEIGHTS / name)
    weights = Weights(task.model, plan)
    precision = fastest_precision(device)
    if workers > 1:  # every worker takes the first one's choice
        choice = [precision]
        dist.broadcast_object_list(choice)
        precision = choice[0]
    step, hours = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        weights.restore(saved["weights"])
        step, hours = saved["step"], saved["hours"]
        if saved.get("batch", plan.batch) != plan.batch:
            raise UserError(
                f"{folder} holds a run in batches of {saved['batch']}, not of {plan.batch}: "
                f"give --batch {saved['batch']}, or another --folder"
            )
    task.model.to(precision)
    weights.show(weights.master)
    steps = plan.samples // plan.batch
    start = time.monotonic()
    seen: dict[str, float] = {}
    with Progress(
        TextColumn(name),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps {task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=rank > 0,
    ) as progress:
        bar = progress.add_task(name, total=steps, completed=step, figures="")
        drawn = batches(
            asked.task_class,
            task.sampler,
            plan.batch // workers,
            range(step, steps),
            rank,
            asked.renderers,
        )
        for batch in drawn:
            # the CPU's fused attention is slow backwards
            with sdpa_kernel(SDPBackend.MATH) if where == "cpu" else nullcontext():
                loss, figures = task.loss(batch, np.random.default_rng([1, step, rank]), precision)
            loss.backward()
            weights.step(step, workers)
            step += 1
            seen = {key: 0.98 * seen.get(key, value) + 0.02 * value for key, value in figures.items()}
            if rank == 0:
                progress.update(
                    bar, completed=step, figures=" ".join(f"{k} {v:.3f}" for k, v in seen.items())
                )
            if step % EVERY == 0 or step == steps:
                if rank == 0:
                    spent = hours + (time.monotonic() - start) / 3600
                    task.model.float()
                    weights.show(weights.average)
                    held_out, picture = task.evaluate()
                    line = {"step": step, "samples": step * plan.batch, "hours": spent, **seen, **held_out}
                    _keep(folder, checkpoint, weights, step, plan.batch, spent, picture)
                    with log_file.open("a") as file:
                        file.write(json.dumps({key: round(value, 5) for key, value in line.items()}) + "\n")
                    print(" ".join(f"{key} {value:.4g}" for key, value in line.items()), flush=True)
                    if step == steps:
                        log = [json.loads(line) for line in log_file.read_text().splitlines()]
                        (folder / "finished").write_text(str(task.finish(log, spent)))
                    task.model.to(precision)
                    weights.show(weights.master)
                if workers > 1:
                    dist.barrier()
    if workers > 1:
        dist.destroy_process_group()


def _keep(
    folder: Path,
    checkpoint: Path,
    weights: Weights,
    step: int,
    batch: int,
    hours: float,
    picture: np.ndarray,
) -> None:
    beside = checkpoint.with_suffix(".part")
    torch.save({"weights": weights.state(), "step": step, "batch": batch, "hours": hours}, beside)
    os.replace(beside, checkpoint)
    Image.fromarray(picture).save(folder / f"samples-{step:06d}.png")
