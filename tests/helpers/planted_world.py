"""The planted world as a user would bring it: a file with a factory, weights, names and pictures."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from whyclass import Settings
from whyclass.cli import main
from whyclass.planted import world

NAMES = [planted.name for planted in world.CLASSES]
WEIGHTS = Path(world.__file__).parent / "net.safetensors"

QUICK = {
    "images": 6,
    "copies": 2,
    "starts": 1,
    "iterations": 200,
    "controls": 2,
    "null_crops": 2,
    "null_cells": 0,
    "null_scores": 0,
    "audit_nulls": 0,
    "fillings": 0,
    "refits": 0,
    "crops": 4,
    "examples": 2,
    "precision": "float32",  # one trunk serves all
}
"""Changes to the settings under which an explanation takes a fraction of a second."""

FACTORY = """
from whyclass.planted.nets import PlantedNet

def net():
    return PlantedNet()
"""


@dataclass(frozen=True)
class Ran:
    """A finished call of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON value and nothing else."""
        return json.loads(self.out, parse_constant=_no_number)

    @property
    def message(self) -> str:
        """What standard error says, without the ends of lines."""
        return " ".join(self.err.split())


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def whyclass(*arguments: str | Path) -> Ran:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["whyclass", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main.main()
        except SystemExit as left:
            code = left.code or 0
        except KeyboardInterrupt:
            raise AssertionError("Ctrl-C was not caught") from None
    return Ran(code, out.getvalue(), err.getvalue())


def model_arguments(folder: Path, factory: str = FACTORY) -> list[str]:
    """Write a factory and the class names into ``folder``; the options that name them."""
    folder.mkdir(exist_ok=True)
    (folder / "factory.py").write_text(factory)
    (folder / "names.txt").write_text("\n".join(NAMES))
    found = {
        "model": f"{folder / 'factory.py'}:net",
        "weights": WEIGHTS,
        "class-names": folder / "names.txt",
        "layer": world.LAYER,
        "resize": world.SIZE,
        "crop": world.SIZE,
        "mean": 0.5,
        "std": "0.25,0.25,0.25",
    }
    return [text for name, value in found.items() for text in (f"--{name}", str(value))]


def quick_arguments() -> list[str]:
    """The options that set ``QUICK``."""
    return [text for name, value in QUICK.items() for text in ("--set", f"{name}={value}")]


def quick(**changes: Any) -> Settings:
    """``QUICK`` settings."""
    return Settings(**QUICK | changes)


def files_of(store: Path, pattern: str) -> dict[str, bytes]:
    """Bytes of the store's files by name."""
    return {path.name: path.read_bytes() for path in sorted(store.glob(pattern))}


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store but its log, by path."""
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.name != "log.txt"]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def leftovers(store: Path) -> list[str]:
    """Files that are no whole result, nor what an unfinished pass goes on with."""
    kept = (
        "*.lock",
        "*.whyclass",
        "*.html",
        "*.json",
        "items.jsonl",
        "*.f16",
        "*.f32",
        "*.u8",
        "*.crc",
        "log.txt",
    )
    files = [path for path in store.rglob("*") if path.is_file()]
    return [
        str(path.relative_to(store))
        for path in files
        if path.name.startswith(".") or not any(path.match(pattern) for pattern in kept)
    ]


def nth(number: int, act: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; before its ``number``-th call something else is done."""
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return function(*arguments, **named)

    return counted
