"""`python -m data.suites` says what differs from FROZEN.json; `python -m data.suites freeze` writes it anew.

Freeze again only for a change that leaves every frame as it was (a comment, a new suite). A change of the
rules is a new version: raise `RULES` in data/pocket/__init__.py and the versions of the suites, and keep the
old tables.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from data.suites import current, frozen

PATH = Path(__file__).parent / "FROZEN.json"


def main(arguments: list[str]) -> int:
    if arguments == ["freeze"]:
        beside = PATH.with_suffix(".part")
        beside.write_text(json.dumps(current(), indent=1) + "\n")
        os.replace(beside, PATH)
        return 0
    if arguments:
        print("usage: python -m data.suites [freeze]", file=sys.stderr)
        return 2
    then, now = frozen(), current()
    changed = [
        f"{part}: {name}"
        for part in ("files", "suites")
        for name in sorted({*then[part], *now[part]})  # type: ignore[misc]
        if then[part].get(name) != now[part].get(name)  # type: ignore[attr-defined]
    ]
    print("\n".join(changed) if changed else "as frozen")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
