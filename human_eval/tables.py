"""Table 1 in the paper's layout, and the other tables, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .analyse import Analysis, Board, Cell
from .proportions import clopper_pearson
from .study import Study
from .votes import csv_text

MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def title(name: str) -> str:
    """instruction_following -> Instruction following."""
    return name.replace("_", " ").capitalize()


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def p_value(p: float) -> str:
    """Three significant digits; small values in powers of ten, never `0`."""
    if math.isnan(p):
        return "–"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def mark(cell: Cell) -> str:
    """Stars for the Holm p, which stands beside them in the table of cells."""
    return (
        "" if math.isnan(cell.holm_p) else next((stars for level, stars in MARKS if cell.holm_p <= level), "")
    )


def groups(analysis: Analysis) -> list[tuple[str, str]]:
    """Pairs in the order of the columns."""
    return list(dict.fromkeys((cell.first, cell.second) for cell in analysis.cells))


def escaped(text: str) -> str:
    """Text for LaTeX."""
    return "".join(
        "\\" + c if c in "&%$#_{}" else {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": "/"}.get(c, c)
        for c in text
    )


def table1_markdown(study: Study, analysis: Analysis) -> str:
    """Percentages of ours, theirs and ties per pair, counts under them."""
    pairs = groups(analysis)
    header = "| |" + "".join(f" {first} | {second} | Tie |" for first, second in pairs)
    lines = [header, "|---|" + "---:|---:|---:|" * len(pairs)]
    for aspect in study.aspects:
        row, counts = [f"**{title(aspect)}**"], ["n"]
        for first, second in pairs:
            cell = analysis.cell(aspect, first, second)
            ours, theirs, tie = (percent(p) for p in cell.counts.percents)
            row += [ours + mark(cell), theirs, tie]
            counts += [str(cell.counts.ours), str(cell.counts.theirs), str(cell.counts.tie)]
        lines += ["| " + " | ".join(row) + " |", "| " + " | ".join(counts) + " |"]
    return "\n".join(lines) + "\n"


def table1_latex(study: Study, analysis: Analysis) -> str:
    """The same with booktabs."""
    pairs = groups(analysis)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{tabular}{l" + "rrr" * len(pairs) + "}",
        "\\toprule",
        " & "
        + " & ".join(f"{escaped(first)} & {escaped(second)} & Tie" for first, second in pairs)
        + " \\\\",
        " ".join(f"\\cmidrule(lr){{{2 + 3 * i}-{4 + 3 * i}}}" for i in range(len(pairs))),
    ]
    for aspect in study.aspects:
        row, counts = [title(aspect)], [""]
        for first, second in pairs:
            cell = analysis.cell(aspect, first, second)
            values = [percent(p) for p in cell.counts.percents]
            stars = mark(cell)
            row += [values[0] + (f"$^{{{stars}}}$" if stars else ""), *values[1:]]
            counts += [f"\\scriptsize {n}" for n in (cell.counts.ours, cell.counts.theirs, cell.counts.tie)]
        lines += [" & ".join(row) + " \\\\", " & ".join(counts) + " \\\\"]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def table1_csv(study: Study, analysis: Analysis, stamp: str = "") -> str:
    """The same for spreadsheets: a row of percentages and a row of counts for each question."""
    pairs = groups(analysis)
    header = [
        stamp or "question",
        "unit",
        *(name for first, second in pairs for name in (first, second, "Tie")),
    ]
    rows: list[list[object]] = []
    for aspect in study.aspects:
        counts = [analysis.cell(aspect, *pair).counts for pair in pairs]
        percents = [None if math.isnan(value) else value for c in counts for value in c.percents]
        rows.append([title(aspect), "%", *percents])
        rows.append([title(aspect), "n", *(n for c in counts for n in (c.ours, c.theirs, c.tie))])
    return csv_text(header, rows)


CELL_COLUMNS = (
    "aspect", "first", "second", "ours", "theirs", "tie", "both_fail", "n", "percent_ours", "percent_theirs",
    "percent_tie", "ours_low", "ours_high", "theirs_low", "theirs_high", "tie_low", "tie_high", "sign_p",
    "holm_p", "clustered_p", "verdict", "win_rate", "win_rate_low", "win_rate_high", "win_rate_exact_low",
    "win_rate_exact_high", "half_win_rate", "net_preference", "low", "high", "design_effect",
    "loses_significance_at_design_effect",
)  # fmt: skip


def cell_row(cell: Cell) -> dict[str, object]:
    """A cell as one flat record; what is undefined is None.

    Shares with `_low` and `_high` are in [0, 1]: Goodman's of the three answers, Wilson's and the exact ones
    of the win rate; `low` and `high` are the clustered interval of the net preference.
    """
    c = cell.counts
    limits = {
        f"{name}_{end}": bound
        for name, interval in zip(
            ("ours", "theirs", "tie", "win_rate", "win_rate_exact"),
            (*cell.shares, cell.win_rate, clopper_pearson(c.ours, c.theirs)),
        )
        for end, bound in zip(("low", "high"), interval)
    }
    values: dict[str, object] = {
        "aspect": cell.aspect, "first": cell.first, "second": cell.second, "ours": c.ours, "theirs": c.theirs,
        "tie": c.tie, "both_fail": cell.both_fail, "n": c.n, "percent_ours": c.percents[0],
        "percent_theirs": c.percents[1], "percent_tie": c.percents[2], "sign_p": cell.sign_p,
        "holm_p": cell.holm_p, "clustered_p": cell.clustered_p, "verdict": cell.verdict if c.n else None,
        "net_preference": c.net_preference, "low": cell.preference.low, "high": cell.preference.high,
        "design_effect": cell.preference.design_effect, "loses_significance_at_design_effect": cell.fragility,
        "win_rate": c.win_rate, "half_win_rate": c.half_win_rate, **limits,
    }  # fmt: skip
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def cells_csv(analysis: Analysis, synthetic: bool = False) -> str:
    """Every cell with counts, tests and intervals, and whether raters were simulated."""
    rows = [cell_row(cell) for cell in analysis.cells]
    header = (*CELL_COLUMNS, "synthetic")
    return csv_text(header, ([*(row[name] for name in CELL_COLUMNS), synthetic] for row in rows))


def interval(low: float, high: float, scale: float = 1.0, digits: int = 3) -> str:
    return "–" if math.isnan(low) else f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"


def cells_table(analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    """Header and rows: tests and intervals of each cell; in a round robin the verdict is a method's name."""
    is_star = all(board.is_star for board in analysis.boards)
    one, two = ("ours", "theirs") if is_star else ("first", "second")
    header = [
        "question", "pair", f"{one} / {two} / tie", "sign test p", "Holm p", "clustered p", "verdict",
        f"{one} % (Goodman)", "win rate without ties (Wilson, iid)", "win rate, clustered",
        "net preference, clustered", "design effect", "lost at",
    ]  # fmt: skip
    rows = []
    for cell in analysis.cells:
        c = cell.counts
        note = f"{cell.both_fail} both fail" if cell.both_fail else ""
        verdict = cell.verdict if c.n else "no votes"
        if not is_star:
            verdict = {"ours": cell.first, "theirs": cell.second}.get(verdict, verdict)
        if cell.contested:
            verdict += "; exact and clustered p disagree at .05"
        if cell.equivalent:
            verdict += "; equivalent within 0.10"
        rows.append(
            [
                title(cell.aspect),
                f"{cell.first} against {cell.second}",
                f"{c.ours} / {c.theirs} / {c.tie}" + (f" ({note})" if note else ""),
                p_value(cell.sign_p),
                p_value(cell.holm_p),
                p_value(cell.clustered_p),
                verdict,
                interval(*cell.shares[0], 100, 1),
                f"{percent(c.win_rate)} ({interval(*cell.win_rate, 1, 2)})",
                interval(*cell.win_rate_clustered, 1, 2),
                f"{cell.preference.mean:+.2f} ({interval(cell.preference.low, cell.preference.high, 1, 2)})",
                percent(cell.preference.design_effect),
                percent(cell.fragility),
            ]
        )
    return header, rows


def ranking_table(board: Board) -> tuple[list[str], list[list[str]]]:
    """Header and rows: rank interval and abilities under the four treatments of ties, strongest first."""
    header = ["method", "rank (95 %)", *board.fits]
    first = next(iter(board.fits.values()), None)
    rows = []
    for item in first.order() if first else board.items:
        place = board.items.index(item)
        low, high = board.ranks.get(item, (1, len(board.items)))
        rank = f"{low}" if low == high else f"{low}–{high}"
        cells = []
        for model, fit in board.fits.items():
            error = (
                f" ± {1.96 * math.sqrt(board.design_effect) * fit.standard_error[place]:.2f}" if place else ""
            )
            cells.append(f"{fit.ability[place]:+.3f}" + (error if model == "davidson" else ""))
        rows.append([item, rank, *cells])
    return header, rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
