"""The front door: a table from command to the function that does it, imported when it is called.

Each room keeps its commands in `<room>/commands.py`. What a user can mend is answered by one line and
exit code 2; an interrupt by one line and 130; a bug keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

# name -> (module:attribute, help). The attribute is a function, or a typer application (a group of commands).
COMMANDS: dict[str, tuple[str, str]] = {
    "edit": ("via.commands:edit", "Edit a video by an instruction."),
    "ablate": ("benchmarks.commands:ablate", "Run variants of VIA on a suite: Fig. 10 as picture and table."),
    "bench": ("benchmarks.commands:bench", "Run any editors on a suite, resumably."),
    "score": ("benchmarks.commands:score", "Compute metrics for a run."),
    "report": ("benchmarks.commands:report", "Write the tables, pictures and pages of a run."),
    "compare": ("benchmarks.commands:compare", "Compare two methods, or two runs, clip by clip."),
    "validate": ("benchmarks.commands:validate", "Check a run folder against the run format."),
    "metrics": ("eval.commands:app", "Metrics of video editing: list them, run them on files."),
    "study": ("human_eval.commands:app", "The pairwise human study: design, serve, import, analyse."),
    "data": ("data.commands:app", "Suites and clips: list, show, render."),
    "models": ("benchmarks.models:app", "The embedded pocket models: train, check."),
}


# what a user can mend about a place, and how
UNUSABLE = {
    errno.ENOSPC: "the disk is full: make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up: make room and run the same command again",
    errno.EACCES: "permission denied: name another place, or change its rights",
    errno.EPERM: "permission denied: name another place, or change its rights",
    errno.EROFS: "cannot be written to: name another place",
    errno.ENOTDIR: "there is a file where a folder should be: name another place",
    errno.EISDIR: "is a folder, not a file: name a file",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}
NAMELESS = (errno.ENOSPC, errno.EDQUOT)  # come from a write, which names no file

HEAD = """Usage: via COMMAND [OPTIONS] [ARGUMENTS]

Text-driven video editing: run it, take it apart, compare it, judge it.

Commands:
"""
TAIL = "\n\n`via COMMAND --help` explains one; `via --version` names this version."


def overview() -> str:
    """The text of `via --help`."""
    width = max(map(len, COMMANDS))
    return HEAD + "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()) + TAIL


def command(name: str) -> Any:
    """The typer command behind a name of the table (imports its module)."""
    import typer
    from typer.main import get_command, get_group

    module, attribute = COMMANDS[name][0].split(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return get_group(target)
    app = typer.Typer(add_completion=False)
    app.command()(target)
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0)
    if name == "--version":
        print(f"via {_version()}")
        sys.exit(0)
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        advice = f"did you mean '{near[0]}'?" if near else "`via --help` lists them"
        _leave(2, f"there is no command '{name}': {advice}")
    _run(name, rest)


def _run(name: str, arguments: list[str]) -> NoReturn:
    import typer

    from data.types import UserError

    misused: Any = typer.BadParameter.__base__  # of every wrong argument; typer names only this subclass
    called = command(name)
    if not arguments and getattr(called, "no_args_is_help", False):
        arguments = ["--help"]
    try:
        with called.make_context(f"via {name}", arguments) as context:
            called.invoke(context)
    except UserError as error:
        _leave(2, str(error))
    except misused as error:
        path = error.ctx.command_path if error.ctx else f"via {name}"
        message = " ".join(error.format_message().split()).rstrip(".")
        _leave(2, f"{message} (`{path} --help` shows what it takes)")
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except BrokenPipeError:  # `via ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        said = "nothing can be written there: name another place" if _refused(error) else None
        said = said or UNUSABLE.get(error.errno or 0)
        if said is None or not (error.filename or error.errno in NAMELESS):
            raise
        _leave(2, f"{error.filename}: {said}" if error.filename else said)
    except typer.Abort:
        _leave(130, "interrupted")
    except KeyboardInterrupt as error:
        _leave(130, str(error) or "interrupted")
    sys.exit(0)


def _refused(error: OSError) -> bool:
    """Whether a path is missing because its folder takes no files, as /proc does; else it is missing by a
    bug."""
    if error.errno != errno.ENOENT or not error.filename:
        return False
    folder = Path(os.fsdecode(error.filename)).absolute().parent
    while not folder.is_dir():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return True
    return False


def _leave(code: int, message: str) -> NoReturn:
    print(f"via: {message}", file=sys.stderr)
    sys.exit(code)


def _version() -> str:
    try:
        return version("via-bench")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
