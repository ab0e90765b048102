"""Columns of plain values as a file: Parquet or CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from whyclass.errors import SettingsError


def table_file(columns: dict[str, list[Any]], suffix: str) -> bytes:
    """Columns of one length as ``.parquet`` or ``.csv``.

    Raises
    ------
    SettingsError
        If the suffix is another one, or pyarrow, which writes Parquet, is not installed.
    """
    if suffix == ".csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if value is None else marked(value) for value in row])
        return out.getvalue().encode()
    if suffix != ".parquet":
        raise SettingsError(
            f"a table is written as .parquet or .csv, not as {suffix or 'a file without a suffix'!r}"
        )
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SettingsError(
            "Parquet needs pyarrow: pip install 'whyclass[parquet]', or write .csv"
        ) from error
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def marked(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t" and value else value
