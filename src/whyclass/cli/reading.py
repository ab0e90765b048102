"""What is read from an option's text: numbers, and changes of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from whyclass.errors import SettingsError
from whyclass.setting_checks import told
from whyclass.settings import WORDS, Settings


def numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    """Numbers with commas, of the option ``name``."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--{name} is {told(text)}; needed are numbers such as 0.5,0.5,0.5") from error


def changes(pairs: list[str]) -> dict[str, Any]:
    """Settings from ``NAME=VALUE``, each read as its own kind."""
    defaults = {field.name: getattr(Settings(), field.name) for field in fields(Settings)}
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals and isinstance(defaults.get(name), tuple):
            raise SettingsError(f"--set is {told(pair)}; needed is NAME=VALUE, such as images=30")
        found[name] = value if value in WORDS.get(name, ()) else _read(pair, defaults.get(name, ""))
    return found


def _read(pair: str, default: Any) -> Any:
    """The value of ``NAME=VALUE``, of the kind of the setting's default."""
    value = pair.partition("=")[2]
    several = isinstance(default, tuple)
    kind: Callable[[str], Any] = type(default[0]) if several else type(default)
    try:
        return tuple(kind(v) for v in value.split(",") if v) if several else kind(value)
    except ValueError as error:
        what = f"list of {kind.__name__}" if several else kind.__name__  # type: ignore[attr-defined]
        raise SettingsError(f"--set {pair[:60]}: {told(value)} is no {what}") from error
