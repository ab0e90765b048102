"""The JSON Schemas of what ``--json`` prints: package data, one file for each kind of object."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("json_schemas")


def name_of(kind: type) -> str:
    """The name of the schema of a record: ``layer-choice`` of ``LayerChoice``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def names() -> list[str]:
    """Of all kinds of objects."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def read(name: str) -> dict[str, Any]:
    """The schema of a kind of object (JSON Schema 2020-12)."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
