"""`via study ...`: the human study from the command line."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from data.types import UserError

app = typer.Typer(help="The pairwise human study: sheets out, answers in, Table 1.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")]
Runs = Annotated[list[Path], typer.Option("--run", help="A run folder; repeat for several.")]
Synthetic = Annotated[
    bool, typer.Option("--allow-synthetic", help="Print a study of simulated raters, stamped.")
]


class Format(StrEnum):
    sheets = "sheets"
    label_studio = "label-studio"
    crowd = "crowd"
    link = "link"
    offline = "offline"


def progress(stage: str, done: int, total: int) -> None:
    """One line that counts up, on a terminal only."""
    import sys

    if sys.stderr.isatty():
        print(f"\r{stage} {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


@app.command()
def new(
    settings: Annotated[Path, typer.Argument(help="The study file (YAML).", metavar="STUDY.yaml")],
    run: Runs = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder of the study; by default studies/NAME.")] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write a commented study file and stop.")
    ] = False,
) -> None:
    """Make a study from runs: balanced sessions, checks, blinded clips, a key."""
    from .new import new_study
    from .study import read_settings, write_text
    from .template import TEMPLATE

    if template:
        if settings.exists():
            raise UserError(f"{settings}: exists already and was not overwritten; name another file")
        write_text(settings, TEMPLATE)
        typer.echo(f"{settings}: fill in `about`, then `via study new {settings} --run RUN`")
        return
    asked = read_settings(settings)
    if not run:
        raise UserError("name at least one run: --run RUN")
    folder = out or Path("studies") / asked.name
    study = new_study(asked, run, folder, report=progress)
    n = study.numbers
    typer.echo(
        f"{folder}: {len(study.sessions)} sessions of {n['session_length']} comparisons and "
        f"{len(asked.checks)} checks; {n['clips']} clips of {n['sources']} sources, {n['pairs']} pairs, "
        f"{n['votes']} votes each"
    )
    for warning in study.warnings:
        typer.echo(f"note: {warning}")
    typer.echo(f"next: `via study serve {folder}`, or `via study export {folder} sheets`")


@app.command()
def power(
    clips: Annotated[int, typer.Option(min=1, help="Clips in the study.")] = 80,
    votes: Annotated[int, typer.Option(min=1, help="Votes for each clip and pair.")] = 5,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs: baselines of a star.")] = 5,
    raters: Annotated[
        int | None, typer.Option(min=1, help="People; by default one for each session.")
    ] = None,
    session_length: Annotated[int, typer.Option(min=1, help="Comparisons in a session.")] = 20,
    win_rate: Annotated[
        float, typer.Option(help="True win rate to be seen, without ties, above .5 and below 1.")
    ] = 0.60,
    tie_share: Annotated[float, typer.Option(help="Expected share of ties, from 0 to below 1.")] = 0.15,
    icc: Annotated[
        float, typer.Option(min=0, max=1, help="Correlation of votes on the same clip, 0 to 1.")
    ] = 0.2,
    tests: Annotated[int, typer.Option(min=1, help="Cells of the table (Holm): pairs times questions.")] = 15,
    seconds: Annotated[
        float, typer.Option(min=0, help="Seconds for one comparison; a session takes 4 minutes more.")
    ] = 40.0,
    wage: Annotated[float, typer.Option(min=0, help="Cost of an hour, in any currency.")] = 12.0,
) -> None:
    """How many judgements does it take? Exact power of the sign test with ties."""
    from .power import plan

    found = plan(
        clips=clips,
        votes=votes,
        pairs=pairs,
        session_length=session_length,
        win_rate=win_rate,
        tie_share=tie_share,
        icc=icc,
        tests=tests,
        seconds_per_task=seconds,
        wage=wage,
    )
    smallest = "none below 1" if found.smallest_effect is None else f"{found.smallest_effect:.3f}"
    people = found.sessions if raters is None else raters
    typer.echo(
        f"needed       {found.needed} judgements a cell to see a win rate of {win_rate:g} with power .80 at "
        f"alpha .05/{tests}\n"
        f"planned      {found.judgements} a cell ({clips} clips x {votes} votes), worth {found.independent} "
        f"independent ones (design effect {found.inflation:.2f})\n"
        f"sees         a win rate of {smallest} or more\n"
        f"takes        {found.sessions} sessions, {found.hours:.0f} hours, {found.hours / people * 60:.0f} "
        f"minutes for each of {people} people, cost {found.cost:.0f}"
    )
    if found.independent < found.needed / found.inflation:
        typer.echo("too small: more clips help more than more votes on the same clips")


@app.command()
def export(
    study: Folder,
    format: Annotated[Format, typer.Argument(help="What to write.")],
    out: Annotated[Path | None, typer.Option(help="Folder; by default STUDY/exports/FORMAT.")] = None,
    session: Annotated[
        list[str], typer.Option(help="Only this session (s001, ...); repeat for several.")
    ] = [],  # noqa: B006
    clips_at: Annotated[
        str, typer.Option(help="label-studio, crowd: address under which raters find clips/, with its slash.")
    ] = "clips/",
    host: Annotated[str, typer.Option(help="link: the server's public address.")] = "https://HOST",
) -> None:
    """Write sheets, a Label Studio project, crowd pages, a platform link or offline bundles."""
    from . import export_crowd, export_label_studio, export_offline, export_sheets
    from .study import read_key, read_study

    made, key = read_study(study), read_key(study)
    sessions = list(session) or list(made.sessions)
    unknown = [name for name in sessions if name not in made.sessions]
    if unknown:
        raise UserError(
            f"{study}: has no session '{unknown[0]}' (it has {next(iter(made.sessions))} and so on)"
        )
    folder = out or study / "exports" / format.value
    if format is Format.link:
        typer.echo(export_crowd.external_link(host))
        return
    if format is Format.sheets:
        written = export_sheets.export_sheets(study, made, key, sessions, folder)
    elif format is Format.label_studio:
        written = export_label_studio.export_label_studio(study, made, key, sessions, folder, clips_at)
    elif format is Format.crowd:
        written = export_crowd.export_crowd(study, made, key, sessions, folder, clips_at)
    else:
        written = export_offline.export_offline(study, made, key, sessions, folder)
    typer.echo(f"{folder}: {len(written)} written, {written[0].name} and so on")


@app.command()
def serve(
    study: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; loopback unless told otherwise.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8640,
    address: Annotated[
        str | None,
        typer.Option(help="Public address, as https://HOST, for the links; by default host and port."),
    ] = None,
    frame_ancestors: Annotated[
        str, typer.Option(help="Sites that may show the page in a frame, as in CSP; over https only.")
    ] = "'none'",
) -> None:
    """Serve the study to raters until interrupted."""
    from importlib.util import find_spec

    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise UserError(f"the server needs {package}, which is missing: pip install 'via-bench[study]'")
    from . import serve as server
    from .export_crowd import external_link
    from .study import write_private
    from .votes import csv_text

    address = (address or f"http://{f'[{host}]' if ':' in host else host}:{port}").rstrip("/")
    links, codes = server.links(study, address), server.completion_codes(server.read_key(study))
    path = study / "private" / "links.csv"
    with server.listen(host, port) as listening:
        write_private(path, csv_text(["session", "link"], links))
        typer.echo(f"preview     {address}/s")
        typer.echo(f"links       {path} (one for each session)")
        typer.echo(f"platform    {external_link(address)}")
        typer.echo("codes       " + ", ".join(f"{what} {code}" for what, code in codes.items()))
        if host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo(
                f"note: other machines reach {host}, port {port}: the page; behind links clips and answers"
            )
        server.serve(study, listening, frame_ancestors=frame_ancestors)


@app.command()
def status(
    study: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again every five seconds.")] = False,
    sessions: Annotated[bool, typer.Option("--sessions", help="One line for each session.")] = False,
) -> None:
    """Where the study stands: sessions, answers, the server's speed."""
    from .store import counts

    path = study / "votes.sqlite"
    if not path.exists():
        raise UserError(
            f"{study}: nobody was served yet (no votes.sqlite); start with `via study serve {study}`"
        )
    while True:
        now = counts(path)
        typer.echo(status_line(now))
        if sessions:
            for row in now["sessions"]:
                typer.echo(
                    f"  {row['session']}  {row['state']:<13} {row['stage']:<14} {row['answers']} answers"
                )
        if not watch:
            return
        time.sleep(5)


def status_line(now: dict[str, Any]) -> str:
    """States, answers, last write and p95 in one line."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(now["states"].items()))
    last = "never" if now["last_write"] is None else f"{time.time() - now['last_write']:.0f} s ago"
    speed = "" if now["p95_ms"] is None else f"; p95 of an answer {now['p95_ms']:.0f} ms"
    return f"sessions: {states}; {now['answers']} answers, last {last}{speed}"


@app.command(name="import")
def import_(
    study: Folder,
    files: Annotated[list[Path], typer.Argument(help="Vote files; none: the server's own.")] = [],  # noqa: B006
) -> None:
    """Take answers in: our own, Label Studio, crowd CSV, sheets, offline bundles."""
    from .import_ import import_files, import_served

    if files:
        judged, warnings = import_files(study, files)
    else:
        judged, warnings = import_served(study)
    for file in judged:
        n = file.counts
        typer.echo(
            f"{file.name} ({file.format}): {n['rows_read']} rows = {n['votes_kept']} votes + "
            f"{n['duplicates']} duplicates + {n['refused']} refused + {n['unanswered']} unanswered"
        )
    for warning in warnings:
        typer.echo(f"note: {warning}")


@app.command()
def report(
    study: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder; by default STUDY/report.")] = None,
    allow_synthetic: Synthetic = False,
    regularise: Annotated[
        float,
        typer.Option(min=0, help="Virtual wins each way where no ranking exists, as 0.5; shown everywhere."),
    ] = 0.0,
    exclusions: Annotated[
        Path | None,
        typer.Option(help="YAML file of other exclusion rules: an additional, labelled analysis."),
    ] = None,
) -> None:
    """Table 1 with tests and intervals, rankings, agreement, a methods paragraph."""
    from .report import make_report, text, write_report
    from .study import read_exclusions

    rules = read_exclusions(exclusions) if exclusions is not None else None
    made = make_report(study, allow_synthetic=allow_synthetic, regularise=regularise, rules=rules)
    folder = out or study / "report"
    written = write_report(made, folder)
    typer.echo(text(made))
    typer.echo(f"written: {folder}/{{{', '.join(path.name for path in written)}}}")


@app.command()
def correlate(
    study: Folder,
    run: Runs = [],  # noqa: B006
    lower_is_better: Annotated[
        list[str],
        typer.Option(help="A metric where smaller is better (id or id@version); repeat for several."),
    ] = [],  # noqa: B006
    allow_synthetic: Synthetic = False,
    out: Annotated[Path | None, typer.Option(help="JSON file, beside what is printed.")] = None,
) -> None:
    """Metrics against people: do they order methods and clips alike?"""
    from .correlate import correlate as compare
    from .correlate import rows_of, scores_of_runs
    from .report import make_report
    from .study import write_text
    from .tables import markdown
    from .votes import judgements

    if not run:
        raise UserError("name the scored runs of the study: --run RUN")
    made = make_report(study, allow_synthetic=allow_synthetic, draws=0)
    out_raters = {rater.rater for rater in made.excluded}
    votes = judgements(made.votes, made.study, made.key)
    votes = votes[~votes["rater"].isin(out_raters)]
    asked = made.study.settings
    scores = scores_of_runs(run, lower_is_better, asked.run_seed)
    found = compare(votes, made.study.aspects, scores, asked.seed)
    header, rows, content = rows_of(found)
    typer.echo(markdown(header, rows))
    if out is not None:
        write_text(out, json.dumps({"schema": 1, "rows": content}, indent=1) + "\n")


@app.command()
def demo(
    run: Annotated[
        Path | None, typer.Option(help="A run folder; by default a small run is rendered beside OUT.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("studies/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulated raters.")] = 0,
) -> None:
    """A whole small study with simulated raters, stamped as such: what the report looks like."""
    from .demo import demo_study
    from .report import make_report, text, write_report

    folder = demo_study(out, run, seed, progress)
    made = make_report(folder, allow_synthetic=True)
    write_report(made, folder / "report")
    typer.echo(text(made))
    typer.echo(f"written: {folder}/report/report.html; try `via study serve {folder}`")
