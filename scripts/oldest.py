"""Print the oldest versions that ``pyproject.toml`` allows, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def oldest() -> dict[str, str]:
    """By library the version after ``>=``, of dependencies and of the extras that users install."""
    found = Path(__file__).resolve().parent.parent / "pyproject.toml"
    project = tomllib.loads(found.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in extras if name not in OURS for one in extras[name])]
    parts = [re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", one) for one in wanted if "whyclass" not in one]
    return {part[1]: part[2] for part in parts if part}


OURS = ("dev", "docs", "release")
"""Extras of whoever develops."""

if __name__ == "__main__":
    for name, version in oldest().items():
        print(f"{name}=={version}" + (".0" if version.count(".") < 2 else ""))
