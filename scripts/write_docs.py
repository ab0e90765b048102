"""Write the reference pages from what they are of: commands, settings, public names, JSON Schemas.

``PYTHONPATH=src python scripts/write_docs.py``; a test writes them again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
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
        yield from (f"**{panel}**", "", "| option | default | what it does |", "|---|---|---|")
        for one in params:
            default = one.default
            plain = default is None or callable(default) or default is False or default == ()
            shown = "" if plain else f"`{default}`"
            needed = "needed" if one.required else shown
            yield f"| `{_spelt(one)}` | {needed} | {_escaped(getattr(one, 'help', None) or '')} |"
        yield ""


def _spelt(one: Any) -> str:
    if one.param_type_name == "argument":
        return str(one.metavar or one.name.upper())
    value = "" if one.is_flag else f" {one.metavar or 'VALUE'}"
    return f"{one.opts[0]}{value}"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def settings() -> Iterator[str]:
    """Every setting with its value in each preset, and the paper's."""
    yield from ("# Settings", "")
    yield "Changed by `--set NAME=VALUE`, in `whyclass.toml` under `[settings]`, or in Python by"
    yield "`whyclass.Settings(NAME=VALUE)`. `whyclass settings` prints this list. A dash: not in the paper,"
    yield "whose sections are the numbers in brackets."
    yield from ("", f"| setting | {' | '.join(PRESETS)} | the paper | what it does |")
    yield "|---" * (len(PRESETS) + 3) + "|"
    for row in settings_table.rows(Settings()):
        values = " | ".join(f"`{row.presets[name]}`" for name in PRESETS)
        paper = "-" if row.paper is None else f"`{row.paper}`"
        yield f"| `{row.name}` | {values} | {paper} | {_escaped(row.does)} |"


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
