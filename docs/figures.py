"""Puts what was measured into the pages: `python docs/figures.py --validity FOLDER --pocket RUN ...`.

The text of docs/validity.md, docs/published.md, docs/results.md and docs/fresh_noise.md stays; what stands
between their marks is replaced.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

HOME = Path(__file__).parents[1]
sys.path.insert(0, str(HOME))

from eval.lines import read_lines  # noqa: E402
from eval.published import page  # noqa: E402

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def filled(text: str, figures: str) -> str:
    """The page with `figures` between its marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}: put the marks back where the figures belong")
    return f"{before}{BEGIN}\n{figures.strip()}\n{END}{after}"


def put_validity(study: Path, home: Path = HOME) -> None:
    """The study's table and picture into docs/, its json into eval/ (for `via metrics show`)."""
    shutil.copyfile(study / "validity.json", home / "eval" / "validity.json")
    shutil.copyfile(study / "validity.png", home / "docs" / "images" / "validity.png")
    table = (study / "validity.md").read_text(encoding="utf-8")
    picture = "![Correlation with damage, and which degenerate clips win](images/validity.png)"
    of_run = study / "validity-run.json"
    real = over_a_run(json.loads(of_run.read_text(encoding="utf-8"))) if of_run.is_file() else ""
    _put(home / "docs" / "validity.md", f"{picture}\n\n{table}\n\n{real}")


def over_a_run(found: dict[str, Any]) -> str:
    """The table of `via metrics validate --run`."""
    rows = [
        f"| `{one['metric']}` | {one['tau']:.2f} [{one['low']:.2f}, {one['high']:.2f}] | {one['n']} |"
        for one in found["overall"]
        if one.get("tau") is not None
    ]
    head = [f"### Over the real outputs of the run `{found['run']}`", ""]
    return "\n".join([*head, "| metric | truth (tau-b) | tasks |", "| --- | --- | --- |", *rows])


def put_published(rows: Path, home: Path = HOME) -> None:
    """The tables of published edits into docs/published.md."""
    _put(home / "docs" / "published.md", page(list(read_lines(rows))))


def put_report(run: Path, name: str, home: Path = HOME, *, tables: bool = False) -> None:
    """Pictures, sentences and tables of a run's report into docs/NAME.md, its pictures as NAME_*.jpg; or its
    tables alone."""
    text = (run / "report" / "report.md").read_text(encoding="utf-8").partition("\n")[2]
    text = re.sub(r" --out [^\s`]+", "", text)  # where it lay says nothing to a reader
    if tables:
        command, _, rest = text.strip().partition("\n")
        text = f"{command}\n\n## All edits{rest.partition('## All edits')[2]}"
    for picture in re.findall(r"\]\((\w+)\.png\)", text):
        with Image.open(run / "report" / f"{picture}.png") as image:
            image.convert("RGB").save(home / "docs" / "images" / f"{name}_{picture}.jpg", quality=88)
        text = text.replace(f"]({picture}.png)", f"](images/{name}_{picture}.jpg)")
    _put(home / "docs" / f"{name}.md", text.replace("\n## ", "\n### "))


def _put(path: Path, figures: str) -> None:
    path.write_text(filled(path.read_text(encoding="utf-8"), figures), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validity", type=Path, metavar="FOLDER", help="what `via metrics validate` wrote")
    parser.add_argument("--published", type=Path, metavar="FILE", help="what `via metrics published` wrote")
    parser.add_argument("--pocket", type=Path, metavar="RUN", help="a run of `pocket`, with its report")
    parser.add_argument("--fresh", type=Path, metavar="RUN", help="the same with noise=per_frame")
    asked = parser.parse_args()
    if asked.validity:
        put_validity(asked.validity)
    if asked.published:
        put_published(asked.published)
    if asked.pocket:
        put_report(asked.pocket, "results")
    if asked.fresh:
        put_report(asked.fresh, "fresh_noise", tables=True)
