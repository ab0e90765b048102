"""Rows of numbers in a file, with a checksum of each beside it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from whyclass.errors import StoreError


class Rows:
    """Rows of numbers appended to a file, readable back as a memory-mapped array.

    Written with plain writes, so that a full disk is an error rather than a crash. Beside them lies a
    checksum of each row, which also tells rows of another place or another key.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str, key: str = "") -> None:
        self.path, self.shape, self.dtype, self.key = path, shape, np.dtype(dtype), key
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self.sums = path.with_name(f"{path.name}.crc")

    def hold(self, count: int) -> bool:
        """Whether the first ``count`` rows are on disk, and as they were written."""
        return not count or self.wrong(count) is None

    def wrong(self, count: int) -> int | None:
        """The first of ``count`` rows that is not what was written; None where all are."""
        kept = self._kept_sums(count)
        whole = self.path.is_file() and self.path.stat().st_size >= count * self.row_bytes
        if kept is None or not whole:
            return 0
        rows = np.memmap(self.path, self.dtype, "r", shape=(count, *self.shape))
        return next((row for row in range(count) if self._sum(row, rows[row]) != kept[row]), None)

    def checked(self, count: int) -> Callable[[int], np.ndarray | None]:
        """From a row's number to the row, or to None where it is not what was written."""
        rows, kept = self.read(count), self._kept_sums(count)

        def row(number: int) -> np.ndarray | None:
            found = np.array(rows[number])
            return found if kept is not None and self._sum(number, found) == kept[number] else None

        return row

    def append(self, start: int, rows: np.ndarray) -> None:
        """Write ``rows`` from row ``start`` on; whatever an interrupted run left behind it is cut off."""
        data = np.ascontiguousarray(rows, self.dtype)
        sums = np.array([self._sum(start + number, row) for number, row in enumerate(data)], "<u4")
        _put(self.path, start * self.row_bytes, data.tobytes())
        _put(self.sums, start * sums.itemsize, sums.tobytes())

    def read(self, count: int) -> np.ndarray:
        """All ``count`` rows, memory-mapped, read-only."""
        if not self.path.is_file() or self.path.stat().st_size != count * self.row_bytes:
            raise StoreError(f"{self.path} is damaged; delete its folder and run again")
        return np.memmap(self.path, self.dtype, "r", shape=(count, *self.shape))

    def _sum(self, number: int, row: np.ndarray) -> int:
        return zlib.crc32(row, zlib.crc32(f"{self.key} {number}".encode()))  # type: ignore[arg-type]

    def _kept_sums(self, count: int) -> np.ndarray | None:
        try:
            found = np.fromfile(self.sums, "<u4", count)
        except OSError:
            return None
        return found if len(found) == count else None


def _put(path: Path, start: int, data: bytes) -> None:
    """Write at a place of a file, and cut off what lies behind."""
    try:
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the note that these rows are there must not outlive them
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}; make space or choose another folder, "
            "then run the same again: it continues"
        ) from error
