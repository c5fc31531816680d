"""The method: VIA, every equation one function. Imports `data` only.

Doors: `via.edit` (the whole method), `via.config` (every decision a field), `via.backbones` (image editors).
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType


class Shadowed(ImportError):
    """Another file or folder is found where this project's own package is meant."""


def _check_rooms() -> None:
    """Raises Shadowed unless the sibling packages are those beside this one; executes none of them."""
    home = Path(__file__).resolve().parents[1]
    for room in ("data", "eval", "baselines", "benchmarks", "human_eval"):
        spec = find_spec(room)
        if spec is None:
            raise Shadowed(f"via-bench lacks its package '{room}' in {home}: install it again")
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        if not any(Path(place).resolve() in (home / room, home / room / "__init__.py") for place in places):
            raise Shadowed(
                f"{places[0] if places else room} is in the way of via-bench's own package '{room}': "
                "run from another folder, or with python -P"
            )


def _one_line_hook() -> None:
    """Let an uncaught Shadowed be printed as its one line; every other exception is printed as before."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, Shadowed):
            print(error, file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = hook


try:
    _check_rooms()
except Shadowed:
    _one_line_hook()
    raise
