"""Write the reference pages from what they are of: commands, settings, public names, JSON Schemas.

``PYTHONPATH=src python scripts/write_docs.py``; a test writes them again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

import whyclass
from whyclass.cli import main as cli_main
from whyclass.cli.options import ENDS, app
from whyclass.report import schemas, settings_table
from whyclass.settings import PRESETS, Settings

PLACE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def pages() -> dict[str, str]:
    """Texts of the pages by name of file."""
    made = {
        "cli.md": commands(),
        "settings.md": settings(),
        "api.md": names(),
        "json.md": objects(),
    }
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}


def commands() -> Iterator[str]:
    """Every command with its options by group."""
    for name in cli_main.COMMANDS:
        import_module(f"whyclass.cli.{name}")
    app.registered_commands.sort(key=cli_main.place)
    group: Any = typer.main.get_command(app)
    yield from ("# Command line", "", ENDS, "")
    yield "`whyclass --install-completion` lets the shell complete commands and options."
    yield "Options that are needed may stand in `whyclass.toml` under the same name (`class-names`,"
    yield "`images`, `mean`), and changed settings in its table `[settings]`."
    for name, command in group.commands.items():
        yield from ("", f"## whyclass {name}", "", _escaped(command.help or ""), "")
        yield from _options(command)


def _options(command: Any) -> Iterator[str]:
    groups: dict[str, list[Any]] = {}
    for one in command.params:
        panel = getattr(one, "rich_help_panel", None)
        kind = "Arguments" if one.param_type_name == "argument" else "Options"
        groups.setdefault(panel or kind, []).append(one)
    for panel, params in groups.items():
        yield from (f"**{panel}**", "", "| option | what it does | default |", "|---|---|---|")
        for one in params:
            default = one.default
            plain = default is None or callable(default) or default is False or default == ()
            shown = "" if plain else f"`{default}`"
            needed = "needed" if one.required else shown
            yield f"| `{_spelt(one)}` | {_escaped(getattr(one, 'help', None) or '')} | {needed} |"
        yield ""


def _spelt(one: Any) -> str:
    if one.param_type_name == "argument":
        return str(one.metavar or one.name.upper())
    value = "" if one.is_flag else f" {one.metavar or 'VALUE'}"
    return f"{one.opts[0]}{value}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def settings() -> Iterator[str]:
    """Every setting with its default, what it does, the paper's value, and where presets differ."""
    yield from ("# Settings", "")
    yield "Each with its default. Changed by `--set NAME=VALUE`, in `whyclass.toml` under `[settings]`, or"
    yield "in Python by `whyclass.Settings(NAME=VALUE)`. `whyclass settings` prints them; `--preset NAME`"
    yield f"takes all values of a preset ({', '.join(f'`{name}`' for name in PRESETS)}). Numbers in brackets"
    yield "are sections of the paper, which is silent where none of its values is told."
    rows = settings_table.rows(Settings())
    for does, together in groupby(rows, lambda row: row.does):
        mine = list(together)
        yield from ("", ", ".join(f"**{row.name}** `{row.value}`" for row in mine), f": {_escaped(does)}")
        if said := [told for row in mine for told in _elsewhere(row, len(mine) > 1)]:
            yield from ("", f"  {' '.join(f'{told}.' for told in said)}")


def _elsewhere(row: settings_table.SettingRow, named: bool) -> Iterator[str]:
    """What the paper gives, and the presets in which the value is not the default."""
    of = f" **{row.name}**" if named else ""
    if row.paper is not None:
        yield f"In the paper:{of} `{row.paper}`"
    others = {name: value for name, value in row.presets.items() if value != row.value}
    for value in dict.fromkeys(others.values()):
        names = ", ".join(f"`{name}`" for name, other in others.items() if other == value)
        yield f"In preset {names}:{of} `{value}`"


GROUPS = {
    "Studies": ("Study", "choose_layer", "load", "Loaded", "Preprocessing", "Progress"),
    "Settings": ("Settings", "preset", "PRESETS"),
}
"""Public names that stand first; records and errors follow, each found by what it is."""


def names() -> Iterator[str]:
    """Every public name from its docstring."""
    yield from ("# API", "", "Everything that `import whyclass` gives.", "")
    left = [name for name in whyclass.__all__ if name not in sum(GROUPS.values(), ())]
    errors = [name for name in left if name.endswith("Error")]
    modules = [name for name in left if name[0].islower() and not callable(getattr(whyclass, name))]
    records = [name for name in left if name not in (*errors, *modules)]
    groups = {**GROUPS, "Records": records, "Pictures by optimisation": modules, "Errors": errors}
    for title, members in groups.items():
        yield from (f"## {title}", "")
        for name in members:
            yield from ("```{eval-rst}", *_directive(name), "```", "")


def _directive(name: str) -> list[str]:
    found = getattr(whyclass, name)
    if isinstance(found, type):
        return [f".. autoclass:: whyclass.{name}", "   :members:", "   :show-inheritance:"]
    if callable(found):
        return [f".. autofunction:: whyclass.{name}"]
    if hasattr(found, "__path__"):
        return [f".. automodule:: whyclass.{name}", f"   :members: {', '.join(found.__all__)}"]
    # a value has no docstring of its own
    return [f".. py:data:: whyclass.{name}", "", f"   The presets by name: {', '.join(found)}."]


def objects() -> Iterator[str]:
    """Every kind of object that ``--json`` prints, with what it always holds."""
    yield from ("# JSON", "")
    yield "With `--json` a command prints one object, and nothing else, on standard output. `schema` names"
    yield "its kind and version. Keys may be added within a version; one that goes or means something else"
    yield "raises it."
    yield "Errors are objects too (`whyclass/error/1`), beside the exit code and the line on standard error."
    yield from ("", "The schemas (JSON Schema 2020-12) come with the package:", "", "```python")
    yield from ("from whyclass.report import schemas", "", "schemas.names()")
    yield from ('schemas.read("explanation")["required"]', "```", "")
    yield from ("| kind | always holds |", "|---|---|")
    for name in schemas.names():
        found = json.loads(json.dumps(schemas.read(name)))
        yield f"| `{found['$id']}` | {', '.join(f'`{key}`' for key in found['required'])} |"


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for file, text in pages().items():
        (PLACE / file).write_text(text, encoding="utf-8")
        print(file)
