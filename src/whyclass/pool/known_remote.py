"""Content hashes of files in an object store, kept beside results so that the next command reads none.

What is trusted is the mark that the store itself gives each content (its ETag). Whoever then decodes a file
hashes it once more, so that a wrong mark ends in an error and in no result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from whyclass import files

FILE = "remote.json"
"""Name of the file, in a store."""

Known = Mapping[str, tuple[str, ...]]
"""By the path of a file its mark, and the hash of each picture in it."""


def kept(folder: str | Path | None) -> Known:
    """What was kept in a store; nothing where there is none, or it is damaged."""
    if folder is None:
        return {}
    try:
        held = json.loads(Path(folder, FILE).read_bytes())
        return {path: tuple(map(str, told)) for path, told in held.items() if len(told) > 1}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep(known: Known, folder: Path) -> None:
    """Add to what a store holds, where it can be written to."""
    before = kept(folder)
    if (now := {**before, **known}) != before and os.access(folder, os.W_OK):
        files.write(folder / FILE, json.dumps(now, sort_keys=True).encode())
