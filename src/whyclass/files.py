"""Writes files whole or not at all, never half of one; only the store's rows are written otherwise."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from whyclass.errors import StoreError

PATIENCE = 2.0
"""Seconds that a lock of another process is waited for in silence."""

OFTEN = 60.0
"""Seconds between lines that say who is waited for."""

HALF = re.compile(r"\..+\.\w{8}\.tmp")
"""Names of files that are being written."""


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
        handle, temporary = _begun(path)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes a private file; a result is not one
            if _able():
                os.replace(temporary, path)  # while it is locked, so that no sweep takes it before
        if not _able():
            os.replace(temporary, path)  # Windows moves no file that is open
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        if _holds(path, data):  # as on a disk that can only be read
            return
        raise StoreError(
            f"cannot write {path}: {_why(error)}; choose a folder that you may write to and "
            "that has space left"
        ) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _begun(path: Path) -> tuple[int, str]:
    """A new file beside ``path``, locked: another process's sweep may take one in the moment before that."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            if not _able() or (_claim(handle) and os.path.exists(temporary)):
                return handle, temporary
        except BaseException:  # also Ctrl-C: whatever it is, it goes on
            _left(handle, temporary)
            raise
        _left(handle, temporary)


def _left(handle: int, temporary: str) -> None:
    os.close(handle)
    Path(temporary).unlink(missing_ok=True)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except (OSError, ValueError):
        return False


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def sweep(folder: Path, deep: bool = True) -> None:
    """Remove half-written files of runs that were killed; those that a living run is writing stay.

    With ``deep`` also those in folders below.
    """
    for path in folder.rglob(".*.tmp") if deep else folder.glob(".*.tmp"):
        if not HALF.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                if _claim(file):
                    path.unlink(missing_ok=True)
        except OSError:  # gone already, or not ours to remove
            continue


def append(path: Path, line: str) -> None:
    """Add a line to a text file, whose folder is there."""
    try:
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
    with path.open("rb" if _able() else "r+b") as file:  # Windows syncs no file that is only read
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold a lock file, whose folder is there; another process's lock is waited for, and told.

    The lock dies with its process. One that was stopped (Ctrl-Z) keeps it for ever, so that who is
    waited for is told by number.
    """
    with path.open("a") as file:
        begun, pause = time.monotonic(), 0.01
        telling = begun + PATIENCE
        while _able() and not _claim(file):
            if (now := time.monotonic()) > telling:
                telling = now + OFTEN
                tell(f"waiting for {holder(path)}, which works on the same ({now - begun:.0f} s so far)")
            time.sleep(pause)
            pause = min(2 * pause, 0.25)
        yield


def holder(path: Path) -> str:
    """Who holds a lock file, in words, as far as the system tells."""
    try:
        place = path.stat()
        major, minor = os.major(place.st_dev), os.minor(place.st_dev)
        here = f"{major:02x}:{minor:02x}:{place.st_ino}"
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        process = next(line[4] for line in lines if line[1] == "FLOCK" and line[5] == here)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, StopIteration, IndexError):
        return "another process"
    stopped = f", which is stopped (to let it go on: kill -CONT {process}; to end it: kill -KILL {process})"
    return f"process {process}{stopped if state in 'Tt' else ''}"


def _able() -> bool:
    """Whether files can be locked: on a POSIX system. Elsewhere two runs at once are the user's own care."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return False
    return True


def _claim(file: IO[bytes] | IO[str] | int) -> bool:
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
        if not path.is_file():  # a pipe would be waited for
            why = "it is no file" if path.exists() else "there is no such file"
            raise StoreError(f"cannot read {path}: {why}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {_why(error)}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
