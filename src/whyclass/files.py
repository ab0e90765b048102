"""Writes files whole or not at all, never half of one; only the store's rows are written otherwise."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

from whyclass.errors import StoreError


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
            _claim(file)
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


def sweep(folder: Path) -> None:
    """Remove half-written files of runs that were killed; those that a living run is writing stay."""
    for path in folder.rglob(".*.tmp"):
        try:
            with path.open("rb") as file:
                if _claim(file):
                    path.unlink(missing_ok=True)
        except OSError:  # gone already, or not ours to remove
            continue


def append(path: Path, line: str) -> None:
    """Add a line to a text file, making its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(line + "\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; make space, then run again"
        ) from error


def free(lock: Path) -> bool:
    """Whether no living process holds a lock file; False where that cannot be told."""
    try:
        with lock.open("rb") as file:
            return _claim(file)
    except OSError:
        return False


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _claim(file: IO[bytes]) -> bool:
    """Lock an open file, which its process's death undoes; False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing is swept
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
