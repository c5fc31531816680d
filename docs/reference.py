"""Writes docs/cli.md (every command and option) and docs/run-format.json: `python docs/reference.py`."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
sys.path.insert(0, str(HOME))

from benchmarks.records import schemas  # noqa: E402
from via.cli import COMMANDS, command  # noqa: E402

HEAD = """# Commands

Written by `python docs/reference.py`; `via COMMAND --help` says the same. What you can mend is answered by
one line and exit code 2.
"""


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    found = [name for name, (target, _) in COMMANDS.items() if find_spec(target.split(":")[0])]
    text = "\n".join([HEAD, *(section(f"via {name}", command(name), 2) for name in found)])
    return {
        HOME / "docs" / "cli.md": text.rstrip() + "\n",
        HOME / "docs" / "run-format.json": json.dumps(schemas(), indent=1) + "\n",
    }


def section(name: str, what: Any, level: int) -> str:
    """A command, or a group with its commands, as Markdown."""
    lines = [f"{'#' * level} {name}", "", " ".join((what.help or "").split()), ""]
    shown = [
        option for option in what.params if option.name != "help" and not getattr(option, "hidden", False)
    ]
    if shown:
        lines += ["| option | | default |", "|---|---|---|", *map(row, shown), ""]
    for child, inner in getattr(what, "commands", {}).items():
        lines.append(section(f"{name} {child}", inner, level + 1))
    return "\n".join(lines)


def row(option: Any) -> str:
    argument = option.param_type_name == "argument"
    names = [option.metavar or option.name.upper()] if argument else [*option.opts, *option.secondary_opts]
    default = option.default() if callable(option.default) else option.default
    is_unsaid = default is None or default is False or default in ([], ())
    shown = "required" if option.required else "" if is_unsaid else f"`{default}`"
    return f"| {', '.join(f'`{name}`' for name in names)} | {getattr(option, 'help', None) or ''} | {shown} |"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(HOME))
