"""`via study report`: tables, page, machine-readable results and anonymised votes of one study."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from data.types import UserError

from .analyse import Analysis, Board, analyse
from .exclusions import Rater, raters
from .export_sheets import environment
from .paragraph import methods_paragraph
from .study import Exclusions, Key, Study, read_key, read_study, write_text
from .tables import (
    cell_row,
    cells_csv,
    cells_table,
    markdown,
    ranking_table,
    table1_csv,
    table1_latex,
    table1_markdown,
    title,
)
from .votes import COLUMNS, Vote, csv_text, judgements, read_votes

STAMP = "SYNTHETIC: made by simulated raters, not a result"
NOT_PUBLISHED = ("client", "rev", "seeks", "dropped_frames")


@dataclass(frozen=True)
class Report:
    """Both analyses (all raters, and after the rules fixed before collection) and what is printed around
    them.
    """

    study: Study
    key: Key
    votes: tuple[Vote, ...]
    raters: tuple[Rater, ...]
    everybody: Analysis
    kept: Analysis
    post_hoc: bool  # whether the rules were changed after the study was made

    @property
    def excluded(self) -> list[Rater]:
        return [rater for rater in self.raters if rater.screening.excluded]


def make_report(
    folder: Path,
    *,
    allow_synthetic: bool = False,
    regularise: float = 0.0,
    rules: Exclusions | None = None,
    draws: int = 1000,
) -> Report:
    """Analyse the votes of a study. `rules` replaces its exclusion rules in an additional, labelled analysis.

    Raises UserError where there are no votes, or simulated ones without `allow_synthetic`.
    """
    study, key = read_study(folder), read_key(folder)
    votes = read_votes(folder / "votes.jsonl")
    if not votes:
        raise UserError(
            f"{folder}: no votes yet; `via study import {folder}` reads the server's and others' files"
        )
    simulated = study.synthetic or any(row["origin"] == "synthetic" for row in votes)
    if simulated and not allow_synthetic:
        raise UserError(
            f"{folder}: holds simulated votes, which are no result; --allow-synthetic prints them stamped"
        )
    screened = raters(votes, study, key, rules or study.settings.exclusions)
    out = {rater.rater for rater in screened if rater.screening.excluded}
    joined = judgements(votes, study, key)
    options: dict[str, Any] = dict(
        is_star=key.design == "star", seed=study.settings.seed, regularise=regularise
    )
    return Report(
        study=study,
        key=key,
        votes=tuple(votes),
        raters=tuple(screened),
        everybody=analyse(joined, study.aspects, key.pairs, draws=draws, **options),
        kept=analyse(joined[~joined["rater"].isin(out)], study.aspects, key.pairs, draws=draws, **options),
        post_hoc=rules is not None and rules != study.settings.exclusions,
    )


def write_report(report: Report, out: Path) -> list[Path]:
    """All files of the report; every page of a simulated study carries the stamp."""
    files = {
        "table1.md": stamped(report, table1_markdown(report.study, report.kept)),
        "table1.tex": stamped(report, table1_latex(report.study, report.kept), comment="% "),
        "table1.csv": table1_csv(report.study, report.kept, STAMP if is_synthetic(report) else ""),
        "cells.csv": cells_csv(report.kept, is_synthetic(report)),
        "report.md": text(report),
        "report.html": page(report),
        "report.json": json.dumps(machine_readable(report), indent=1, allow_nan=False) + "\n",
        "anonymised_votes.csv": anonymised(report),
    }
    try:
        files["methods.txt"] = stamped(report, paragraph(report))
    except UserError as missing:
        files["methods-missing.txt"] = f"{missing}\n"
    for name, content in files.items():
        write_text(out / name, content)
    return [out / name for name in files]


def is_synthetic(report: Report) -> bool:
    return report.study.synthetic or any(row["origin"] == "synthetic" for row in report.votes)


def stamped(report: Report, content: str, comment: str = "") -> str:
    """The content under the stamp, if raters were simulated."""
    return f"{comment}{STAMP}\n\n{content}" if is_synthetic(report) else content


def paragraph(report: Report) -> str:
    kept = len(report.raters) - len(report.excluded)
    return methods_paragraph(report.study, report.key, report.kept, report.raters, kept)


def text(report: Report) -> str:
    """The report as Markdown: what the command prints."""
    analysis, study = report.kept, report.study
    lines = [f"# {study.study}", ""]
    if is_synthetic(report):
        lines += [f"**{STAMP}**", ""]
    lines += [flow_line(report), "", "## Table 1", ""]
    if report.post_hoc:
        lines += ["Additional analysis: the exclusion rules were changed after the study was made.", ""]
    lines += [table1_markdown(study, analysis), star_note(analysis), "", "### Cells", ""]
    lines += [markdown(*cells_table(analysis)), ""]
    if report.excluded:
        lines += ["### With all raters", "", table1_markdown(study, report.everybody), ""]
    for board in analysis.boards:
        lines += [f"## Ranking: {title(board.aspect).lower()}", "", *board_lines(board), ""]
    lines += [
        "## Agreement",
        "",
        markdown(*agreement_table(analysis)),
        "",
        "## Position",
        "",
        position_line(analysis),
        "",
    ]
    lines += ["## Raters", "", markdown(*raters_table(report)), ""]
    return "\n".join(lines)


def star_note(analysis: Analysis) -> str:
    n = len([cell for cell in analysis.cells if cell.counts.n])
    return f"\\* Holm p ≤ .05, \\*\\* ≤ .01, \\*\\*\\* ≤ .001 over {n} cells; exact p in the table of cells."


def flow_line(report: Report) -> str:
    """Sessions planned, begun and complete, raters left out and why."""
    study = report.study
    given: dict[str, set[tuple[str, str]]] = {}
    for row in report.votes:
        given.setdefault(row["session"], set()).add((row["task"], row["aspect"]))
    asked = {name: len(plan.tasks) * len(study.aspects) for name, plan in study.sessions.items()}
    complete = sum(len(given.get(name, ())) == n for name, n in asked.items())
    why = Counter(reason for rater in report.excluded for reason in rater.screening.reasons)
    reasons = f" ({', '.join(f'{reason}: {n}' for reason, n in sorted(why.items()))})" if why else ""
    return (
        f"{len(study.sessions)} sessions planned, {len(given)} begun, {complete} complete; "
        f"{len(report.raters)} raters, {len(report.excluded)} excluded{reasons}; "
        f"{report.kept.votes} of {report.everybody.votes} answers on {report.kept.clips} source clips kept."
    )


def board_lines(board: Board) -> list[str]:
    """The ranking of one question with what has to be said about it."""
    lines = []
    if board.is_star:
        lines += ["Star board: the baselines never met; their order rests on the model.", ""]
    if board.fits:
        lines += [markdown(*ranking_table(board))]
        lines += [
            f"Natural-log abilities, {board.items[0]} = 0; rank intervals are Bonferroni over all pairs, "
            f"covariance times the design effect {board.design_effect:.2f}."
        ]
    lines += [f"{model}: {reason}" for model, reason in board.reasons.items()]
    lines += [f"{model}: {'; '.join(fit.notes)}" for model, fit in board.fits.items() if fit.notes]
    fit = board.fits.get("davidson")
    if fit is not None and fit.df > 0:
        lines += [f"Davidson's fit: G² = {fit.deviance:.2f}, {fit.df} df, p = {fit.deviance_p:.3g}."]
    if board.misfit:
        apart = {
            pair: f"{pair[1]} {one.ability[1]:+.3f} (nu {one.tie:.2f})"
            for pair, one in board.per_pair.items()
        }
        lines += ["One tie parameter is rejected; with one for each pair: " + "; ".join(apart.values()) + "."]
        if board.is_star and board.per_pair and fit is not None:
            order = sorted(board.per_pair, key=lambda pair: -board.per_pair[pair].ability[1])
            alone = [board.items[0], *(second for _, second in order)]
            same = [m for m in fit.order() if m != board.items[0]] == alone[1:]
            lines += [
                "The order of the baselines stays."
                if same
                else f"Their order becomes {' > '.join(alone[1:])}."
            ]
    if board.flips:
        pairs = "; ".join(f"{a} and {b}" for a, b in board.flips)
        lines += [f"The treatment of ties decides the order of {pairs}."]
    return lines


def agreement_table(analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    header = ["question", "units", "ordinal alpha", "95 %", "unanimous units", "pairwise agreement"]
    rows = []
    for a in analysis.agreement:
        value = f"{a.alpha:.3f}" if not math.isnan(a.alpha) else "undefined (no variation)"
        rows.append(
            [title(a.aspect), str(a.units), value, span(a.low, a.high), share(a.unanimous), share(a.pairwise)]
        )
    return header, rows


def span(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def position_line(analysis: Analysis) -> str:
    """Left against right, and what it can and cannot do."""
    pooled = analysis.pooled
    flagged = sorted(rater for rater, position in analysis.position.items() if position.flagged)
    odds = [line for line in map(position_odds, analysis.boards) if line]
    return (
        f"Left won {pooled.left}, right {pooled.right} of the decisive answers (exact p = {pooled.p:.3g}); "
        f"raters with p < .001: {len(flagged)}. Odds for the left: {'; '.join(odds) or 'not estimated'}. "
        "Sides are balanced within every session, so a preference for one side adds noise and ties but "
        "cannot favour a method."
    )


def position_odds(board: Board) -> str:
    """exp(delta) of the position model with its interval; empty where it was not fitted."""
    fit = board.position
    if fit is None or fit.position is None:
        return ""
    error = math.sqrt(fit.covariance[-1, -1])
    low, high = math.exp(fit.position - 1.96 * error), math.exp(fit.position + 1.96 * error)
    moved = float(np.max(np.abs(fit.ability - board.fits["davidson"].ability)))
    name = title(board.aspect).lower()
    odds = f"{math.exp(fit.position):.2f} ({low:.2f} to {high:.2f})"
    return f"{name} {odds}, abilities move by at most {moved:.3f}"


def raters_table(report: Report) -> tuple[list[str], list[list[str]]]:
    header = [
        "rater", "sessions", "answers", "failed checks", "median s", "left / right / tie", "repeats kept",
        "excluded", "flags",
    ]  # fmt: skip
    names = renumbered(report)
    rows = [
        [
            names[r.rater], str(len(r.sessions)), str(r.answers), f"{r.failed} of {r.checks}",
            "–" if r.median_seconds is None else f"{r.median_seconds:.0f}", f"{r.left} / {r.right} / {r.tie}",
            f"{r.repeats_kept} of {r.repeats}", ", ".join(r.screening.reasons), ", ".join(r.screening.flags),
        ]
        for r in report.raters
    ]  # fmt: skip
    return header, sorted(rows, key=lambda row: int(row[0]))


def renumbered(report: Report) -> dict[str, str]:
    """Raters as random numbers, drawn from the key, so that the order of joining is not published."""
    order = sorted(
        (rater.rater for rater in report.raters), key=lambda name: report.key.mac("published", name)
    )
    return {name: str(number) for number, name in enumerate(order, 1)}


def anonymised(report: Report) -> str:
    """Votes to publish: methods joined, raters renumbered, times to the second, nothing of the client."""
    names = renumbered(report)
    columns = [name for name in COLUMNS if name not in NOT_PUBLISHED]
    header = [*columns, "left_method", "right_method"]
    rows = []
    for row in report.votes:
        values = row | {"rater": names[row["rater"]]}
        for name in ("shown_at", "answered_at"):
            if values[name]:
                values[name] = datetime.fromisoformat(str(values[name])).isoformat(timespec="seconds")
        shown = report.key.methods[row["task"]]
        rows.append([*(values[name] for name in columns), shown["left"], shown["right"]])
    return csv_text(header, rows)


def machine_readable(report: Report) -> dict[str, Any]:
    """`report.json`: no key, no pseudonym, no NaN."""
    return {
        "schema": 1,
        "synthetic": is_synthetic(report),
        "study": report.study.study,
        "study_hash": report.study.study_hash,
        "numbers": report.study.numbers,
        "post_hoc_exclusions": report.post_hoc,
        "raters": len(report.raters),
        "excluded": len(report.excluded),
        "after_exclusion": machine_analysis(report.kept),
        "all_raters": machine_analysis(report.everybody),
    }


def machine_analysis(analysis: Analysis) -> dict[str, Any]:
    boards = []
    for board in analysis.boards:
        fits = {
            model: {
                "ability": dict(zip(fit.items, fit.ability.tolist())),
                "standard_error": dict(zip(fit.items, fit.standard_error.tolist())),
                "tie": fit.tie,
                "log_likelihood": fit.log_likelihood,
                "deviance": fit.deviance,
                "df": fit.df,
                "regularised": fit.regularised,
            }
            for model, fit in board.fits.items()
        }
        boards.append(
            {
                "aspect": board.aspect,
                "star": board.is_star,
                "design_effect": board.design_effect,
                "fits": fits,
                "refused": board.reasons,
                "rank_intervals": {item: list(rank) for item, rank in board.ranks.items()},
            }
        )
    pooled = analysis.pooled
    return {
        "votes": analysis.votes,
        "raters": analysis.raters,
        "source_clips": analysis.clips,
        "cells": [cell_row(cell) for cell in analysis.cells],
        "boards": boards,
        "agreement": [
            {
                "aspect": a.aspect,
                "units": a.units,
                "alpha_ordinal": None if math.isnan(a.alpha) else a.alpha,
                "unanimous_share": None if math.isnan(a.unanimous) else a.unanimous,
            }
            for a in analysis.agreement
        ],
        "position": {"left": pooled.left, "right": pooled.right, "tie": pooled.tie, "p": pooled.p},
    }


def page(report: Report) -> str:
    """The report as one HTML page with its bars as SVG; every text escaped."""
    try:
        methods, missing = paragraph(report), ""
    except UserError as error:
        methods, missing = "", str(error)
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            study=report.study,
            stamp=STAMP if is_synthetic(report) else "",
            flow=flow_line(report),
            title=title,
            pairs=list(dict.fromkeys((cell.first, cell.second) for cell in report.kept.cells)),
            cells=cells_table(report.kept),
            boards=[(board, ranking_table(board), notes(board)) for board in report.kept.boards],
            agreement=agreement_table(report.kept),
            position=position_line(report.kept),
            raters=raters_table(report),
            methods=methods.split("\n\n") if methods else [],
            missing=missing,
            math=math,
        )
    )


def notes(board: Board) -> Sequence[str]:
    """What stands under a ranking, without the table."""
    return [line for line in board_lines(board) if line and not line.startswith("|")]
