"""Records that are tables: an audit and the pairs of some classes, in cells safe to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from whyclass.records import Audit, Pairs, Record, SpuriousFeatures
from whyclass.report import pairs_table, paper_tables, table_formats
from whyclass.report.words import clean, count, percent


@dataclass(frozen=True)
class Shown:
    """A table as it is shown: its title, names of the columns, cells of each row, and sentences under it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def tables(found: Record) -> tuple[str, list[Shown]]:
    """A record's heading and tables."""
    heading, shown = MADE[type(found)](found)
    return clean(heading), [
        Shown(
            clean(one.title),
            tuple(map(clean, one.columns)),
            tuple(tuple(map(clean, row)) for row in one.rows),
            tuple(map(clean, one.notes)),
        )
        for one in shown
    ]


def _audit(found: Audit) -> tuple[str, list[Shown]]:
    heading = (
        f"Audit of {found.model.name}, layer {found.model.layer}: {count(len(found.classes))} of "
        f"{count(found.n_classes)} classes"
    )
    return heading, [
        Shown(
            table_formats.title(one),
            tuple(table_formats.heading(one)),
            tuple(tuple(table_formats.cells(one, row)) for row in one.rows),
            one.notes,
        )
        for one in paper_tables.made([found])
    ]


def _pairs(found: Pairs) -> tuple[str, list[Shown]]:
    columns, *rows = pairs_table.lines(found)
    names = ", ".join(one.name for one in found.classes)
    title = f"Shifting test of all ordered pairs of {names}"
    notes = tuple(pairs_table.notes(found))
    shown = Shown(title, tuple(columns), tuple(map(tuple, rows)), notes)
    return f"Pairs at {found.model.name}, layer {found.model.layer}", [shown]


def _spurious(found: SpuriousFeatures) -> tuple[str, list[Shown]]:
    heading = (
        f"Concepts that raise their class in images without it: {found.model.name}, layer {found.model.layer}"
    )
    columns = ("class", "concept", "raises by", "random", "p", "score", "called so", "without it", "images")
    rows = tuple(
        (
            one.target.name,
            str(one.number + 1),
            f"{one.raised:+.3f}",
            f"{one.random:+.3f}",
            f"{one.p:.3f}",
            f"{one.target.score:.3f}",
            percent(one.predicted),
            percent(one.without),
            str(one.n),
        )
        for one in found.features
    )
    by = "by their labels" if found.labelled else "by what the model predicts"
    notes = (
        f"Images without a class {by}, those nearest to the concept. Raises by: mean score as they are, less "
        f"that without the concept in the activations; random: {found.draws} directions of the same energy.",
        *found.warnings,
    )
    return heading, [Shown("Spurious features", columns, rows, notes)]


MADE: dict[type[Record], Callable[[Any], tuple[str, list[Shown]]]] = {
    Audit: _audit,
    Pairs: _pairs,
    SpuriousFeatures: _spurious,
}
"""Heading and tables of each kind of record that is tables."""
