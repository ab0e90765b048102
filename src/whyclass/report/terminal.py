"""A record as Rich prints it."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from whyclass.records import Record
from whyclass.report.record_tables import MADE, Shown, tables
from whyclass.report.summary import ROWS, rows


def terminal(found: Record) -> RenderableType:
    """Labels and values, or the record's tables; of a record that has neither its line."""
    if type(found) in ROWS:
        return _labelled(rows(found))
    if type(found) in MADE:
        heading, shown = tables(found)
        return Group(Text(heading, style="bold"), *(part for one in shown for part in _tabled(one)))
    return Text(repr(found))


def _labelled(found: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, value in found:
        table.add_row(Text(label, style="bold"), Text(value))
    return table


def _tabled(one: Shown) -> list[RenderableType]:
    columns = [Column(Text(name), overflow="fold") for name in one.columns]
    table = Table(*columns, box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for row in one.rows:
        table.add_row(*map(Text, row))
    return [Text(f"\n{one.title}"), table, *map(Text, one.notes)]
