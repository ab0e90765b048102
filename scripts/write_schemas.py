"""Write the JSON Schemas of ``--json`` anew, from one real object or more of every command.

``PYTHONPATH=tests:src python scripts/write_schemas.py``; that of the demonstration, which takes a minute,
only with ``--demo``. A key that is always there is required; a schema
allows others, so that a later version may add some. A test holds every command's output against them,
and there refuses a key that no schema knows.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.outputs import asked, made_up
from helpers.planted_world import whyclass
from whyclass.cli.consoles import VERSION
from whyclass.report.schemas import FOLDER

MAPS = (
    *("settings", "versions", "seconds", "pages", "stores", "alone", "options", "findings", "presets"),
    *("values", "tests"),
)
"""Objects whose keys are names of their own: of settings, libraries, steps, classes, files."""

TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def described(values: Sequence[Any], name: str = "") -> dict[str, Any]:
    """What some values have in common."""
    objects = [value for value in values if isinstance(value, dict)]
    lists = [value for value in values if isinstance(value, list)]
    kinds = {TYPES[type(value)] for value in values if not isinstance(value, (dict, list))}
    kinds |= {"object"} if objects else set()
    kinds |= {"array"} if lists else set()
    if "number" in kinds:
        kinds.discard("integer")
    found: dict[str, Any] = {"type": sorted(kinds)[0] if len(kinds) == 1 else sorted(kinds)}
    if not kinds:
        return {}
    if objects and name in MAPS:
        found["additionalProperties"] = described([value for one in objects for value in one.values()])
    elif objects:
        keys = list(dict.fromkeys(key for one in objects for key in one))
        found["properties"] = {
            key: described([one[key] for one in objects if key in one], key) for key in keys
        }
        found["required"] = [key for key in keys if all(key in one for one in objects)]
    if lists:
        found["items"] = described([value for one in lists for value in one], f"{name}[]")
    return found


def main() -> None:
    """Run every command, and write one file for each kind of object."""
    objects: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, ran in asked(Path(folder)):
            print(kind, ran.code, round(time.process_time()), flush=True)
            objects.setdefault(kind, []).append(ran.json)
        if "--demo" in sys.argv:
            place = Path(folder) / "demo"
            objects["demo"] = [whyclass("demo", "--store", place, "--json", "--quiet").json]
    for kind, found in made_up():
        objects[kind].append(found)
    for kind, values in objects.items():
        named = f"whyclass/{kind}/{VERSION}"
        schema = described(values)
        schema["properties"]["schema"] = {"const": named}
        schema["required"] = ["schema", *(key for key in schema["required"] if key != "schema")]
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": named, **schema}
        file = FOLDER / f"{kind}.json"
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        print(file.name, len(values))


if __name__ == "__main__":
    main()
