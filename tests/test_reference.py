"""The options of the command line are what docs/cli.md says: a changed option must be written down.

When one of these fails on purpose, run `python docs/reference.py` and note the change in CHANGELOG.md.
"""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import via
from via.cli import COMMANDS

HOME = Path(via.__file__).parents[1]


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", HOME / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_says_what_the_commands_do(reference: Any) -> None:
    for path, text in reference.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python docs/reference.py`"


def test_a_changed_option_changes_the_reference(reference: Any) -> None:
    command = reference.command("ablate")
    before = reference.section("via ablate", command, 2)
    option = next(option for option in command.params if option.name == "seeds")
    option.default = 7
    assert reference.section("via ablate", command, 2) != before


def test_the_readme_names_only_commands_that_exist() -> None:
    text = (HOME / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`via ([a-z]+)", text))
    assert named
    assert named <= set(COMMANDS)


def test_every_page_that_the_documentation_links_to_is_there() -> None:
    for page in [*HOME.glob("*.md"), *(HOME / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
