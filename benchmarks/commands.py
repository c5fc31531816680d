"""The commands about runs: ablate, bench, score, report, compare, validate."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmarks.methods import Method
    from benchmarks.records import Run

Out = Annotated[Path | None, typer.Option(help="Folder of the run; the same command again goes on there.")]
SuiteName = Annotated[str, typer.Option(help="A suite's name, or a manifest file.")]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")]
Retry = Annotated[bool, typer.Option("--retry", help="Try cells again that ended as error.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes of one thread each; one process uses every core as torch does.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="field=value of every row of VIA (and of its baselines).")
]
Metrics = Annotated[str, typer.Option(help="Metrics or suites of metrics, with commas.")]
Folder = Annotated[Path, typer.Argument(help="Folder of a run.")]
DEFAULT_METRICS = "pocket,background_psnr,warp_error_short,clip_direction"


def ablate(
    suite: SuiteName = "pocket-mini",
    seeds: Seeds = 1,
    all_variants: Annotated[
        bool, typer.Option("--all", help="Also the 2 x 2 x 2 design, Fig. 11 and appendix B.")
    ] = False,
    sweep: Annotated[
        list[str] | None, typer.Option(help="field=a,b: `full` with each value instead of the variants.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Rows instead of the default ones, with commas.")
    ] = None,
    settings: Settings = None,
    metrics: Metrics = DEFAULT_METRICS,
    out: Out = None,
    retry: Retry = False,
    workers: Workers = 1,
) -> None:
    """Take VIA apart: run its variants on a suite, draw Fig. 10, say what each component changed."""
    from benchmarks.ablations import ALL, DEFAULT
    from benchmarks.ablations import sweep as swept
    from benchmarks.methods import Method, named

    if methods is not None:
        rows = [named(name) for name in methods.split(",")]
    elif sweep:
        controls = [named(name) for name in ("frame_by_frame", "copy", "oracle")]
        rows = [*controls, *(Method(name, "via", overrides) for name, overrides in swept(sweep).items())]
    else:
        rows = [named(name) for name in (ALL if all_variants else DEFAULT)]
    name = "sweep" if sweep else "ablations"
    folder = out or Path("runs") / f"{name}-{Path(suite).stem}"
    _whole(suite, rows, seeds, settings or [], folder, metrics, retry, workers)


def bench(
    methods: Annotated[str, typer.Option(help="Rows, with commas: names, or package.module:Name.")],
    suite: SuiteName = "pocket",
    seeds: Seeds = 1,
    settings: Settings = None,
    metrics: Metrics = DEFAULT_METRICS,
    out: Out = None,
    retry: Retry = False,
    workers: Workers = 1,
) -> None:
    """Compare editors on a suite; the source and the best valid answer stand beside them."""
    from benchmarks.methods import CONTROLS, named

    names = dict.fromkeys([*methods.split(","), *CONTROLS])
    folder = out or Path("runs") / f"bench-{Path(suite).stem}"
    _whole(suite, [named(name) for name in names], seeds, settings or [], folder, metrics, retry, workers)


def score(
    run: Annotated[Path | None, typer.Argument(help="Folder of a run.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics or suites of metrics, with commas.")] = None,
    suite: Annotated[str | None, typer.Option(help="The suite, where the run's is a manifest file.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="A video or folder of frames, instead of a run.")
    ] = None,
    edited: Annotated[Path | None, typer.Option(help="The edit of --source.")] = None,
    instruction: Annotated[str | None, typer.Option(help="What was asked for.")] = None,
    source_caption: Annotated[str | None, typer.Option(help="For CLIP: what the source shows.")] = None,
    target_caption: Annotated[str | None, typer.Option(help="For CLIP: what the edit should show.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where the edit may act: a clip or a picture.")
    ] = None,
    align: Annotated[str | None, typer.Option(help="trim or resample, where length or rate differ.")] = None,
    resize: Annotated[str | None, typer.Option(help="edited: scale the edit to the source's size.")] = None,
    clip: Annotated[str, typer.Option(help="pocket, a folder, or open_clip:ViT-L-14/openai.")] = "pocket",
    lpips: Annotated[Path | None, typer.Option(help="torchvision's AlexNet weights.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps features by content.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the scores of --edited.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="A vision-language model; OPENAI_API_KEY is its key.")
    ] = None,
    judge_url: Annotated[str | None, typer.Option(help="Its server, with OpenAI's chat API.")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Judge from the record, without a server.")
    ] = False,
    workers: Workers = 1,
) -> None:
    """Compute metrics of a run's videos (what is missing or stale), or of one edit: --source and --edited."""
    from data.types import UserError
    from eval.models import Models

    models = Models(clip=clip, lpips=lpips)
    if judge:
        from eval.judge import Judge

        record = run / "judge" if run else out.with_suffix(".judge") if out else Path("judge")
        key = os.environ.get("OPENAI_API_KEY")
        models.judge = Judge(judge, record, judge_url, key, replay=replay)
    if source or edited:
        if run or not (source and edited):
            raise UserError("one edit is scored with both --source and --edited, and without a run")
        from eval.commands import score_files

        score_files(
            source,
            edited,
            instruction,
            source_caption=source_caption,
            target_caption=target_caption,
            mask=mask,
            metrics=metrics or "default",
            align=align,
            resize=resize,
            models=models,
            cache=cache,
            out=out,
        )
        return
    if run is None:
        raise UserError("nothing to score: name the folder of a run, or --source and --edited")
    from benchmarks.progress import stages
    from benchmarks.records import read_run
    from benchmarks.scoring import examine
    from benchmarks.scoring import score as compute
    from data.suites import load
    from eval.suite import suite as metric_suite

    origin = suite or read_run(run).record.suite.name
    tasks = load(origin)
    wanted = metric_suite(metrics or ("judge_instruction,judge_consistency" if judge else DEFAULT_METRICS))
    with stages() as report:
        done = compute(run, tasks, wanted, report, models, workers=workers, origin=origin)
    for reason in _skipped(done, {metric.name for metric in wanted}):
        print(reason)
    if models.judge:
        found = examine(run, tasks, models.judge)
        verdict = "its scores stand" if found["trusted"] else "its scores are struck out"
        print(f"{judge} failed {found['failed']} of {len(found['items'])} control items: {verdict}")
    print(f"{run / 'scores.jsonl'} is complete")


def _skipped(run: Run, names: Set[str]) -> list[str]:
    """One line for each metric and reason of what was skipped."""
    counts = Counter(
        f"{name}: {score.reason}"
        for (_, name), score in run.scores.items()
        if name in names and score.status == "skipped"
    )
    return [f"skipped {count} times, {line}" for line, count in counts.items()]


def report(
    run: Folder,
    reference: Annotated[str | None, typer.Option(help="The row that others are compared with.")] = None,
    videos: Annotated[bool, typer.Option(help="Side-by-side videos, made where rows changed.")] = True,
) -> None:
    """Write tables, pictures and pages of a run into its `report/`; reads nothing but the folder."""
    from benchmarks.progress import console, stages
    from benchmarks.records import read_run
    from benchmarks.report import show, write_report

    with stages() as stage:
        page = write_report(run, reference=reference, videos=videos, report=stage)
    show(read_run(run), console())
    print(f"Report: {page}")


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="RUN:ROW", help="A row of a run; RUN alone where it has one row to compare."),
    ],
    second: Annotated[
        str, typer.Argument(metavar="RUN:ROW", help="The row to compare with, of the same run or another.")
    ],
) -> None:
    """Is a difference real? Two rows of one or two runs, paired task by task."""
    from benchmarks.compare import compared
    from benchmarks.report import as_text

    print(as_text(compared(first, second)))


def validate(run: Folder) -> None:
    """Check a run, anybody's: every line, every path, every video against its hashes."""
    from benchmarks.validate import faults
    from data.types import UserError

    found = faults(run)
    for line in found:
        print(line)
    if found:
        raise UserError(f"{run} breaks the run format in {len(found)} place{'s' * (len(found) > 1)}")
    print(f"{run} follows the run format")


def _whole(
    suite_name: str,
    methods: Sequence[Method],
    seeds: int,
    settings: Sequence[str],
    folder: Path,
    metrics: str,
    retry: bool,
    workers: int,
) -> None:
    """Run, score, report: what `ablate` and `bench` do after they have chosen their rows."""
    from benchmarks.methods import Pocket, with_settings
    from benchmarks.progress import Bars, console, stages
    from benchmarks.records import read_run
    from benchmarks.report import show, write_report
    from benchmarks.run import Suite, run
    from benchmarks.scoring import score as compute
    from eval.suite import suite as metric_suite

    wanted = metric_suite(metrics)
    suite, rows = Suite.named(suite_name), with_settings(methods, settings)
    command = shlex.join(["via", *sys.argv[1:]])
    with Bars() as bars:
        run(
            suite,
            rows,
            range(seeds),
            folder,
            models=Pocket(),
            show=bars,
            command=command,
            retry=retry,
            workers=workers,
        )
    with stages() as stage:
        compute(folder, suite.tasks, wanted, stage, workers=workers, origin=suite.origin)
        page = write_report(folder, report=stage)
    show(read_run(folder), console())
    if (picture := page.with_name("fig10.png")).exists():
        print(f"Picture: {picture}")
    print(f"Report: {page}")
