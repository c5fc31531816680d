"""`via study ...`: the human study from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The pairwise human study: sheets out, answers in, Table 1.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The study's folder.", metavar="STUDY")]


@app.command()
def serve(
    study: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; loopback unless told otherwise.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8640,
    frame_ancestors: Annotated[str, typer.Option(help="Sites that may show the page in a frame.")] = "'none'",
) -> None:
    """Serve the study to raters until interrupted."""
    from .serve import links
    from .serve import serve as run

    address = f"http://{host}:{port}"
    path = study / "private" / "links.csv"
    from .study import write_private
    from .votes import csv_text

    write_private(path, csv_text(["session", "link"], links(study, address)))
    typer.echo(f"preview     {address}/s")
    typer.echo(f"links       {path} (one for each session)")
    typer.echo(
        f"crowd link  {address}/s?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}&STUDY_ID={{{{%STUDY_ID%}}}}"
        "&SESSION_ID={{%SESSION_ID%}}"
    )
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo(
            f"{address} is reachable from other machines: clips and questions, behind links; status is not"
        )
    run(study, host, port, frame_ancestors=frame_ancestors)
