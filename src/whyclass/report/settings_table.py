"""The settings as rows: what each does, its value in each preset, and the paper's."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass, fields
from typing import Any

from whyclass.settings import CHOICES, PRESETS, Settings

PAPER = {
    **{"images": "60", "copies": "20", "noise": "0.25", "baseline": "white", "relu": "after"},
    **{"method": "deeplift", "concepts": "6", "crops": "8", "pool": "2", "crop_at": "paper"},
    **{"layout": "stacked", "cut": "0.25", "epochs": "100", "rate": "0.01", "fill": "zero"},
    "shift_unit": "normal",
    "shifts": "0,0.5,1,2,10,15,20,35,50,200",
}
"""What the paper's text gives; it is silent on the others, or has no such thing."""


@dataclass(frozen=True)
class SettingRow:
    """One setting.

    Attributes
    ----------
    name
        As in ``--set NAME=VALUE``.
    value
        Here, as ``--set`` takes it.
    presets
        Its value in each preset.
    paper
        The paper's; None where the paper has no such thing.
    choices
        The words that it may be; none where it is a number.
    does
        What it does. Settings that are described together have the same text.
    """

    name: str
    value: str
    presets: dict[str, str]
    paper: str | None
    choices: tuple[str, ...]
    does: str


def rows(settings: Settings) -> list[SettingRow]:
    """Every setting, in the order of its description."""
    described = descriptions()
    names = {field.name for field in fields(Settings)}
    ordered = [name for name in described if name in names]
    return [_row(name, settings, described[name]) for name in ordered]


def descriptions() -> dict[str, str]:
    """What the docstring of `Settings` says of each, by name."""
    text = inspect.cleandoc(Settings.__doc__ or "").partition("----------\n")[2]
    found: dict[str, str] = {}
    for names, body in re.findall(r"^(\S.*)\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE):
        plain = " ".join(textwrap.dedent(body).split()).replace("``", "`")
        said = re.sub(r'`("[^"`]*")`', r"\1", plain)  # a word that a setting may be is quoted already
        found |= dict.fromkeys([name.strip() for name in names.split(",")], said)
    return found


def shown(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(name: str, settings: Settings, does: str) -> SettingRow:
    presets = {preset: shown(getattr(values, name)) for preset, values in PRESETS.items()}
    value = shown(getattr(settings, name))
    return SettingRow(name, value, presets, PAPER.get(name), CHOICES.get(name, ()), does)
