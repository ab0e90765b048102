"""Options that need not be given again: those of ``whyclass.toml``, and those that made a store."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from whyclass import files
from whyclass.addresses import is_url
from whyclass.cli.consoles import err
from whyclass.cli.panels import option_of
from whyclass.errors import SettingsError
from whyclass.setting_checks import told as shown

FILE = "whyclass.toml"

TEXT, PLACE, PLACES, WHOLE, NUMBERS = "a text", "a path", "paths", "a whole number", "numbers"

TAKEN: dict[str, Any] = {TEXT: str, PLACE: str, PLACES: str, WHOLE: int, NUMBERS: (int, float, str)}
"""Kinds of values that TOML has for each."""

KEYS = {
    "model": TEXT,
    "layer": TEXT,
    "weights": PLACE,
    "class_names": PLACE,
    "resize": WHOLE,
    "crop": WHOLE,
    "mean": NUMBERS,
    "std": NUMBERS,
    "task": TEXT,
    "device": TEXT,
    "images": PLACES,
    "labels": PLACE,
    "store": PLACE,
    "variant": TEXT,
    "seed": WHOLE,
    "precision": TEXT,
}
"""Shared parameters that a file may give, and what each is."""

OF_MODEL = ("model", "layer", "task", "weights", "class_names", "resize", "crop", "mean", "std", "store")
"""What makes no sense beside another model: where one is named on the command line, these are not taken."""

CODE = ("model", "task")
"""What may name a function in a file, which is then run."""

FACTORY, MATRIX = ".py:", "embedding:"
"""In the text of what names a function in a file; before the file of a matrix."""

SETTINGS = "settings"
"""The table of changed settings."""

HERE = ("device",)
"""What depends on the machine, and is not remembered with a store."""


def completed(given: dict[str, Any], line: frozenset[str], told: bool) -> dict[str, Any]:
    """Options with what ``whyclass.toml`` gives and, where no model is named, with what made the store.

    Those of the command line stay; ``told`` says on standard error which came from elsewhere.
    """
    found = dict(given)
    taken: dict[str, Any] = {}
    if (file := find(Path.cwd())) is not None:
        taken = _missing(read(file), found, line)
        found |= taken
        _tell(file, taken, told)
    if found.get("model") is None and found.get("store") is not None:
        kept = _missing(_remembered(found["store"]), found, line | set(taken))
        found |= kept
        _tell(found["store"], kept, told)
    return found


@contextmanager
def remembering(given: dict[str, Any]) -> Iterator[None]:
    """Keep the options of a command with its store, once it has answered; paths are whole."""
    try:
        yield
    except typer.Exit:  # with an answer that fell short
        _remember(given)
        raise
    _remember(given)


def _remember(given: dict[str, Any]) -> None:
    from whyclass.store import MARK, remember

    if given.get("store") is None or given.get("model") is None or not (given["store"] / MARK).is_file():
        return
    plain = {
        name: _plain(name, value) for name, value in given.items() if value and name in (*KEYS, "change")
    }
    spelt = {name: SETTINGS if name == "change" else option_of(name) for name in plain}
    remember(given["store"], {spelt[name]: plain[name] for name in plain if name not in (*HERE, "store")})


def find(folder: Path) -> Path | None:
    """The nearest ``whyclass.toml``, from a folder upwards; None where there is none."""
    for place in (folder, *folder.parents):
        if (place / FILE).is_file():
            return place / FILE
    return None


def read(file: Path) -> dict[str, Any]:
    """What a ``whyclass.toml`` gives, by parameter; its paths are relative to its own folder.

    Raises
    ------
    SettingsError
        If it is no TOML, or holds a key or a value that no option takes.
    """
    try:
        values = tomllib.loads(files.read(file).decode("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no TOML: {error}") from error
    try:
        found = _parsed(values, file.parent)
        if apart := sorted({"seed", "precision"} & set(values.get(SETTINGS, ()))):
            raise SettingsError(f"{apart[0]} stands outside [{SETTINGS}], since it is an option of its own")
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error
    return found


def _parsed(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Values by parameter, each as its option has it."""
    named = {option_of(name): name for name in KEYS}
    known = [*named, SETTINGS]
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == SETTINGS:
            found["change"] = _changes(value)
        elif key in named:
            found[named[key]] = _read(key, KEYS[named[key]], value, folder)
        else:
            raise SettingsError(f"there is no option {shown(key)}; known are {', '.join(known)}")
    return found


def _changes(table: Any) -> list[str]:
    """The table of settings, in the form of ``--set``."""
    if not isinstance(table, dict):
        raise SettingsError(
            f"{SETTINGS} is {shown(table)}; needed is a table [{SETTINGS}] of names and values"
        )
    return [f"{name}={_listed(value)}" for name, value in table.items()]


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(key: str, kind: str, value: Any, folder: Path) -> Any:
    """One value, as the command line would have read it."""
    several = value if isinstance(value, list) and kind in (PLACES, NUMBERS) else [value]
    if any(not isinstance(one, TAKEN[kind]) or isinstance(one, bool) for one in several):
        raise SettingsError(f"{key} is {shown(value)}; needed is {kind}")
    placed: dict[str, Any] = {
        NUMBERS: _listed,
        PLACES: lambda _: [one if is_url(one) else folder / one for one in several],
        PLACE: lambda one: folder / one,
        TEXT: lambda one: _with_place(one, folder.joinpath) if key in CODE else one,
    }
    return placed.get(kind, lambda one: one)(value)


def _missing(values: dict[str, Any], given: dict[str, Any], line: frozenset[str]) -> dict[str, Any]:
    """Values of options that a command has and that were not given; settings go before the line's."""
    without = OF_MODEL if line & {"model", "net"} else ()
    taken = {name: value for name, value in values.items() if name in given and name not in {*line, *without}}
    taken.pop("change", None)
    if values.get("change") and "change" in given:  # an empty table changes nothing, and is not told
        taken["change"] = [*values["change"], *(given["change"] or [])]
    return taken


def _remembered(store: Path) -> dict[str, Any]:
    from whyclass.store import remembered

    try:
        found = _parsed(remembered(store), Path())
    except SettingsError:  # of another version
        return {}
    # a store may come from anybody: it must not bring code that its options then run
    return {} if any(_brought(str(found.get(name, "")), store) for name in CODE) else found


def _brought(text: str, store: Path) -> bool:
    """Whether what names a function names one in the store, or in a file that depends on where one is."""
    file, code, _ = text.partition(FACTORY)
    return bool(code) and (not os.path.isabs(file) or Path(file).resolve().is_relative_to(store.resolve()))


def _with_place(text: str, place: Callable[[str], Any]) -> str:
    """The text of an option with the file in it put somewhere; a library's model has none."""
    if text.startswith(MATRIX):
        return f"{MATRIX}{place(text.removeprefix(MATRIX))}"
    return str(place(text)) if FACTORY in text else text


def _plain(name: str, value: Any) -> Any:
    """A value as TOML and JSON have it; paths are whole, so that they hold from any folder."""
    if name == "change":
        return dict(pair.split("=", 1) for pair in value)
    if KEYS[name] == PLACES:
        return [one if is_url(one) else os.path.abspath(one) for one in value]
    if KEYS[name] == PLACE:
        return os.path.abspath(value)
    return _with_place(value, os.path.abspath) if name in CODE else value


def _tell(where: Path, taken: dict[str, Any], told: bool) -> None:
    if told and taken:
        options = ", ".join(f"--{option_of(name)}" for name in taken)
        err.print(f"[yellow]note:[/] {escape(f'from {where}: {options}')}", highlight=False)
