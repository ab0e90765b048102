"""The paper's tables as text, CSV, JSON, Markdown and LaTeX; and every class's numbers as columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from whyclass.records import Audit, ClassResult, Trial, codec
from whyclass.report import audits_in_store, standings
from whyclass.report.paper_tables import Row, Table
from whyclass.report.published_numbers import Value
from whyclass.report.table_files import marked, table_file
from whyclass.report.verdict_checks import ALPHA
from whyclass.report.words import clean

WIDTH = 80
"""Characters of a line of the text form."""


def text(tables: Sequence[Table]) -> str:
    """For a terminal."""
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, color_system=None)
    for table in tables:
        drawn = Drawn(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
        for name in heading(table):
            drawn.add_column(name, overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, cells(table, row)))
        console.print(Text(title(table)))
        console.print(drawn)
        for note in table.notes:
            console.print(Text(f"  {clean(note)}"))
        console.print()
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def csv_form(tables: Sequence[Table]) -> str:
    """One row for each number, with what belongs to it; for programs that read no JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = ("value", "low", "high", "runs", "spread")
    writer.writerow(("table", "kind", "model", "layer", "n", "column", *numbers))
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                if (value := row.values.get(column)) is not None:
                    plain = [getattr(value, name) for name in numbers]
                    shown = ["" if number is None else repr(number) for number in plain]
                    writer.writerow(
                        (
                            table.number,
                            row.kind,
                            marked(clean(row.label)),
                            marked(clean(row.layer)),
                            row.n,
                            column,
                            *shown,
                        )
                    )
    return out.getvalue().rstrip("\n")


def json_form(tables: Sequence[Table]) -> str:
    """Every number with its n, interval and spread."""
    return json.dumps([codec.to_json(table) for table in tables], indent=2, allow_nan=False)


def markdown(tables: Sequence[Table]) -> str:
    """Tables as GitHub draws them."""
    lines: list[str] = []
    for table in tables:
        names = heading(table)
        lines += [f"**{title(table)}**", "", _bars(names), _bars(["---"] * len(names))]
        lines += [_bars([_marked(cell) for cell in cells(table, row)]) for row in table.rows]
        lines += ["", *(f"- {_marked(clean(note))}" for note in table.notes), ""]
    return "\n".join(lines).rstrip()


def latex(tables: Sequence[Table]) -> str:
    """``table`` environments for the ``booktabs`` package."""
    lines: list[str] = []
    for table in tables:
        names = heading(table)
        rows = [" & ".join(map(_tex, cells(table, row))) + r" \\" for row in table.rows]
        lines += [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}. {_tex(' '.join(map(clean, table.notes)))}}}",
            rf"\begin{{tabular}}{{{'l' * len(names)}}}",
            r"\toprule",
            " & ".join(map(_tex, names)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines).rstrip()


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "text": text,
    "csv": csv_form,
    "json": json_form,
    "markdown": markdown,
    "latex": latex,
}
"""Forms of the printed tables, by name."""


def title(table: Table) -> str:
    """What stands above a table."""
    return f"Table {table.number}. {table.title}" if table.number else table.title


def heading(table: Table) -> list[str]:
    """Names of the columns."""
    return ["model", "layer", "n", *table.columns]


def cells(table: Table, row: Row) -> list[str]:
    """A row as people read it; a control stands indented under its row."""
    label = f"  {row.label}" if row.kind == "control" else row.label
    shown = [_told(row.values.get(column), column, column in BOUNDED) for column in table.columns]
    return [clean(label), clean(row.layer), f"{row.n:,}", *shown]


BOUNDED = ("average", "predicts class", "shifted", "swap 0.1")
"""Columns printed with their interval; the others have it in CSV and JSON."""


def _told(value: Value | None, column: str, bounded: bool) -> str:
    if value is None:
        return ""
    mean = column in ("average", "default", "shifted")
    number = (lambda x: f"{x:.3f}") if mean else (lambda x: f"{100 * x:.1f}%")
    parts = [number(value.value)]
    if value.runs is not None:
        parts.append(f"± {number(value.runs)}")
    if value.spread is not None:
        parts.append(f"(± {number(value.spread)})" if value.runs is not None else f"± {number(value.spread)}")
    if bounded and value.low is not None and value.high is not None:
        parts.append(f"[{number(value.low).rstrip('%')}, {number(value.high)}]")
    return " ".join(parts)


def per_class(audits: Sequence[Audit], suffix: str) -> bytes:
    """Every class's numbers as a file: ``.parquet`` or ``.csv``.

    Raises
    ------
    SettingsError
        If the suffix is another one, or pyarrow, which writes Parquet, is not installed.
    """
    return table_file(class_columns(audits), suffix)


def class_columns(audits: Sequence[Audit]) -> dict[str, list[Any]]:
    """One list for each column, one entry for each class of each audit."""
    rows = [_class_row(audit, number) for audit in audits for number in range(len(audit.classes))]
    names = list(rows[0]) if rows else []
    return {name: [row[name] for row in rows] for name in names}


def _class_row(audit: Audit, number: int) -> dict[str, Any]:
    found = audit.classes[number]
    row = {
        "model": clean(audit.model.name),
        "layer": clean(audit.model.layer),
        "audit": audits_in_store.identity(audit),
        "class_index": found.target.index,
        "class_name": clean(found.target.name),
        "class_score": found.target.score,
        "images": found.n_images,
        "predicted_images": found.n_predicted,
        "completeness_error": found.completeness.mean,
        "nmf_residual": found.residual,
        "problem": clean(found.problem),
        "result": standings.standing(found),
        **_worth_row(found),
    }
    for kind in ("including", "excluding"):
        row |= {f"{kind}_{name}": value for name, value in _test_row(getattr(found, kind)).items()}
    return row


def _worth_row(found: ClassResult) -> dict[str, Any]:
    """What the decisive test is worth: p and q of each kind of null, over all classes."""
    test = found.excluding or found.including
    nulls = {one.kind: one for one in test.nulls} if test else {}
    row: dict[str, Any] = {"backing": test.backing if test else None}
    for kind in ALPHA:
        one, name = nulls.get(kind), kind.replace(" ", "_")
        row |= {f"{name}_{part}": getattr(one, part) if one else None for part in ("n", "p", "q")}
    return row | {
        "concepts_needed": sum(found.needed) if found.needed else None,
        "refits_same": found.refits.same if found.refits else None,
    }


def _test_row(test: Trial | None) -> dict[str, Any]:
    control = test.control if test else None
    return {
        "score": test.score if test else None,
        "predicted": test.predicted if test else None,
        "winner": clean(test.winner.name) if test else None,
        "winner_score": test.winner.score if test else None,
        "control_score": control.mean if control else None,
        "control_high": control.high if control else None,
        "control_draws": control.n if control else None,
    }


def _bars(found: Iterable[str]) -> str:
    return "| " + " | ".join(found) + " |"


def _marked(found: str) -> str:
    for character in "\\|*_`<>[]":
        found = found.replace(character, f"\\{character}")
    return found.strip()


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
}  # fmt: skip


def _tex(found: str) -> str:
    return "".join(_TEX.get(character, character) for character in found)
