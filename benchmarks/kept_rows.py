"""Rows that a benchmark writes one by one, so that a run goes on where the last one stopped."""

from __future__ import annotations

import argparse
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


def part(text: str) -> slice:
    """Every n-th of a list from the i-th on, for ``i/n``: what one of several processes makes."""
    try:
        number, of = map(int, text.split("/"))
    except ValueError:
        number = of = 0
    if not 1 <= number <= of:
        raise argparse.ArgumentTypeError(f"{text} is no part; needed is i/n, such as 1/6")
    return slice(number - 1, None, of)


def add_part(parser: argparse.ArgumentParser) -> None:
    """Which share of it all this process makes."""
    parser.add_argument(
        "--part", type=part, default="1/1", help="i/n: of n processes, each with its own --out"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where rows are written, from which store and on what, and for how long."""
    parser.add_argument("--device", default="cpu")
    add_part(parser)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=9, help="nothing is begun later")
