"""Writes files whole or not at all, never half of one; only the store's rows are written otherwise."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import StoreError


def write(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder; a reader sees the old file or the new one.

    Raises
    ------
    StoreError
        If the folder cannot be written to, or the disk is full; nothing is left behind.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes a private file; a result is not one
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that you may write to and "
            "that has space left"
        ) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def read(path: Path) -> bytes:
    """The bytes of a file; one that is missing or unreadable is a ``StoreError``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
