"""The command that compares methods on the same classes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from whyclass import files
from whyclass.cli.engines import Engine, Workers, begun
from whyclass.cli.options import Asked, Page, app, page_file, with_study
from whyclass.errors import SettingsError
from whyclass.setting_checks import told
from whyclass.settings import COMPARED_METHODS, NAMED_METHODS, TABLE_FILES


@app.command()
@with_study
def compare(
    asked: Asked,
    classes: Annotated[
        list[str], typer.Option("--class", metavar="CLASS", help="name or index; may be given again")
    ],
    methods: Annotated[
        str,
        typer.Option(
            help=f"with commas; also {', '.join(NAMED_METHODS)}, and file:PATH of a .safetensors or .npz "
            "matrix of directions (k, channels)"
        ),
    ] = ",".join(COMPARED_METHODS),
    table: Annotated[
        Path | None, typer.Option(help="write every class's and method's numbers as .parquet or .csv")
    ] = None,
    page: Page = None,
    engine: Engine = "local",
    workers: Workers = None,
) -> None:
    """Compare methods that find concepts: the same classes, tests, nulls and measures for all of them."""
    from whyclass.report import comparison_measures, table_files
    from whyclass.store import key_of

    if page is not None:
        page_file(page)  # refused before anything is computed
    if table is not None and table.suffix not in TABLE_FILES:
        raise SettingsError(f"--table is {told(str(table))}; needed is a file {' or '.join(TABLE_FILES)}")
    with redirect_stdout(sys.stderr):
        named = [name.strip() for name in methods.split(",") if name.strip()]
        found = asked.study.compare(classes, named, **begun(engine, workers))
    if table is not None:
        files.write(table, table_files.table_file(comparison_measures.columns(found), table.suffix))
    targets = [one.target.index for one in found.classes]
    key = key_of(question=asked.study.key(*targets), methods=list(found.methods))
    place = asked.study.store.page(f"comparison of {found.classes[0].target.name}", key)
    asked.tell(found, page or place, {} if table is None else {"table": str(table)})
