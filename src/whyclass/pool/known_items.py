"""The images of a pool by name, kept to say what changed since: read only where something did.

A million names take a hundred megabytes, and so they are no part of a note that each opening reads. The first
line is the pool's digest, by which it shows that nothing changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whyclass import files
from whyclass.pool.images import Pool

FILE = "items.jsonl"
"""Name of the file, in a pass's folder and in a store."""


def keep(pool: Pool, file: Path) -> None:
    """Write a pool's names and content hashes, unless it is this pool's already."""
    if not is_of(pool, file):
        lines = (json.dumps([item.path, item.digest]) for item in pool.items)
        files.write(file, "\n".join([json.dumps(pool.digest), *lines]).encode())


def is_of(pool: Pool, file: Path) -> bool:
    """Whether a file names the images of a pool, by its first line alone."""
    return next(_lines(file), None) == pool.digest


def kept(file: Path) -> dict[str, str]:
    """Content hashes by path; none where the file is missing or damaged."""
    try:
        _, *pairs = _lines(file)
        return {str(path): str(digest) for path, digest in pairs}
    except (ValueError, TypeError):
        return {}


def _lines(file: Path) -> Iterator[Any]:
    """What each line holds, up to one that is damaged."""
    try:
        with file.open("rb") as opened:
            for line in opened:
                yield json.loads(line)
    except (OSError, ValueError):
        return
