"""The commands of this room: `via data suites`, `via data preview SUITE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at what is edited.", no_args_is_help=True)


@app.command()
def suites() -> None:
    """List the suites that come with the project."""
    from data.suites import manifest, names, suite_hash

    for name in names():
        suite = manifest(name)
        typer.echo(f"{name:12} {len(suite.tasks):3} tasks  {suite_hash(name)[:8]}  {suite.about}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="published: edits on the project pages of their authors.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("published"),
) -> None:
    """Download public files that the project measures but does not carry; resumes, verifies every hash."""
    from data.published import fetch as fetch_all
    from data.published import published
    from data.types import UserError

    if name != "published":
        raise UserError(f"nothing to fetch is called '{name}': write `via data fetch published`")
    outcomes = fetch_all(published(), out)
    for outcome in outcomes:
        if outcome.reason:
            typer.echo(outcome.reason)
    here = sum(outcome.status in ("present", "fetched") for outcome in outcomes)
    typer.echo(f"{here} of {len(outcomes)} files are in {out}")


@app.command()
def preview(
    suite: Annotated[str, typer.Argument(help="A suite's name, or the path of a manifest.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG to write (SUITE.png by default).")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="Frames shown of each clip.")] = 8,
    side: Annotated[int, typer.Option(min=16, help="Longer side of a frame in pixels.")] = 72,
) -> None:
    """Write a contact sheet: of every task its source, its true mask, and each valid answer."""
    from data.pocket.sheet import suite_sheet, write_png
    from data.suites import load

    target = out or Path(f"{Path(suite).stem}.png")
    write_png(target, suite_sheet(load(suite), columns, side))
    typer.echo(str(target))
