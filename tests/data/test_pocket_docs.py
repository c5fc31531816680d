"""The example in docs/pocket.md runs, and its tables agree with the code."""

import re
from pathlib import Path

import numpy as np

from data.pocket.coupling import COUPLING
from data.suites import names

TEXT = (Path(__file__).parents[2] / "docs" / "pocket.md").read_text()


def test_the_example_runs() -> None:
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    said: dict = {}
    exec(example[1], said)
    assert said["take"].source[0].shape == (128, 128, 3)
    assert not np.array_equal(said["a"][0], said["b"][0])


def test_the_tables_name_every_edit_with_its_coupling_and_every_suite() -> None:
    rows = dict(re.findall(r"^\| (\w+/[\w ]+) \| (\w+) \|", TEXT, re.MULTILINE))
    assert rows == COUPLING
    assert all(f"| `{name}` |" in TEXT for name in names())
