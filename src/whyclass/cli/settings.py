"""The command that lists the settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from whyclass.cli import project
from whyclass.cli.consoles import out, say
from whyclass.cli.options import AsJson, app
from whyclass.cli.reading import changes
from whyclass.errors import SettingsError
from whyclass.setting_checks import told
from whyclass.settings import PRESETS, preset

if TYPE_CHECKING:
    from whyclass.report.settings_table import SettingRow


@app.command("settings")
def show_settings(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="only these; default: all")
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help=f"values of {', '.join(PRESETS)}")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="with this change")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the settings: value, what each does, and the paper's value. Those of whyclass.toml count."""
    chosen, rows = _rows(variant, change or [])
    if unknown := sorted({*(names or [])} - {row.name for row in rows}):
        raise SettingsError(f"there is no setting {told(unknown[0])}; 'whyclass settings' lists them all")
    rows = [row for row in rows if not names or row.name in names]
    if as_json:
        say("settings", {"preset": chosen, "settings": [dataclasses.asdict(row) for row in rows]})
        return
    out.print(_table(rows), soft_wrap=False)
    said = "Change one with --set NAME=VALUE, or in whyclass.toml under [settings]. -: not in the paper"
    out.print(escape(said), highlight=False)


def _rows(variant: str | None, change: list[str]) -> tuple[str, list[SettingRow]]:
    """The preset, and the settings as they would be: of ``whyclass.toml``, then of the command line."""
    from whyclass.report import settings_table

    file = project.find(Path.cwd())
    given = project.read(file) if file else {}
    chosen = variant or given.get("variant") or "default"
    return chosen, settings_table.rows(preset(chosen, **changes([*given.get("change", []), *change])))


def _table(rows: list[SettingRow]) -> Table:
    narrow = [Column(name, max_width=12, overflow="fold") for name in ("value", "paper")]
    named = Column("setting", no_wrap=True)
    table = Table(named, *narrow, "what it does", box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for before, row in zip([None, *rows], rows, strict=False):
        does = "as above" if before and row.does == before.does else row.does
        table.add_row(row.name, row.value, "-" if row.paper is None else row.paper, escape(does))
    return table
