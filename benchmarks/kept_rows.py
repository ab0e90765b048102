"""Rows that a benchmark writes one by one, so that a run goes on where the last one stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read(*files: Path) -> list[Row]:
    """The rows of files, those that there are; a line that was cut off is left out."""
    rows = []
    for file in files:
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


def add(file: Path, rows: Sequence[Row]) -> None:
    """Write rows behind those of a file, together."""
    with file.open("a") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
