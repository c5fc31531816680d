"""The directions of imports between the rooms: who may know whom."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

import via

HOME = Path(via.__file__).parents[1]
ROOMS = ("via", "baselines", "eval", "benchmarks", "human_eval", "data")
MAY_IMPORT = {
    "data": {"data"},
    "via": {"via", "data"},
    "eval": {"eval", "data"},
    "baselines": {"baselines", "via", "data"},
    "benchmarks": {"benchmarks", "baselines", "eval", "via", "data"},
    "human_eval": {"human_eval", "data", "eval.statistics", "benchmarks.records"},
}
TORCH = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "open_clip", "lpips"}
WITHOUT_TORCH = {"data", "human_eval"}
FILES = [path for room in ROOMS for path in sorted((HOME / room).rglob("*.py"))]


def imports(source: str, package: str) -> Iterator[tuple[str, str | None]]:
    """Every (module, name) that a source text imports, anywhere in it; name is None for `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            yield from ((module, alias.name) for alias in node.names)


def within(module: str, name: str | None, allowed: set[str]) -> bool:
    whole = f"{module}.{name}" if name else module
    return any(path == one or path.startswith(f"{one}.") for one in allowed for path in (module, whole))


def faults(room: str, source: str, package: str) -> list[str]:
    """What a module of a room may not import: other rooms against the arrows, private names, tests, torch."""
    found = []
    for module, name in imports(source, package):
        top = module.split(".")[0]
        if top == "tests":
            found.append("imports tests")
        if top in ROOMS and not within(module, name, MAY_IMPORT[room]):
            found.append(f"{room} imports {module}.{name}")
        if top in ROOMS and top != room:
            parts = [*module.split("."), *([name] if name else [])]
            if any(part.startswith("_") for part in parts):
                found.append(f"{room} reaches into {module}.{name}")
        if room in WITHOUT_TORCH and top in TORCH:
            found.append(f"{room} imports {top}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_imports_follow_the_arrows(path: Path) -> None:
    relative = path.relative_to(HOME)
    package = ".".join(relative.parts[:-1])
    assert faults(relative.parts[0], path.read_text(encoding="utf-8"), package) == []


def test_the_front_door_imports_rooms_only_inside_functions() -> None:
    tree = ast.parse((HOME / "via" / "cli.py").read_text(encoding="utf-8"))
    top_level = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
    modules = {module.split(".")[0] for module, _ in imports(ast.unparse(top_level), "via")}
    assert modules.isdisjoint({*ROOMS, "torch", "diffusers", "pandas", "typer", "numpy"})


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("data", "def f():\n    import torch"),
        ("data", "from via.edit import Via"),
        ("via", "import eval.statistics"),
        ("via", "from tests.via import something"),
        ("eval", "from benchmarks import records"),
        ("baselines", "from via.edit import _gather"),
        ("baselines", "from eval import statistics"),
        ("human_eval", "from eval import warp"),
        ("human_eval", "from benchmarks.run import run"),
        ("human_eval", "from transformers import CLIPModel"),
    ],
)
def test_planted_faults_are_found(room: str, source: str) -> None:
    assert faults(room, source, room) != []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("human_eval", "from eval import statistics"),
        ("human_eval", "from eval.statistics import interval"),
        ("human_eval", "from benchmarks.records import read_run"),
        ("benchmarks", "import baselines.tokenflow, eval.truth, via.edit, data.types"),
        ("via", "from .attention import _own_private_name"),
        ("baselines", "from __future__ import annotations"),
    ],
)
def test_what_is_allowed_is_not_called_a_fault(room: str, source: str) -> None:
    assert faults(room, source, room) == []
