"""Rows of a pass over the pool on their way to the disk.

After the first ones blocks wait for each other for a moment and are written together: seeing one safely onto
the disk may take longer than a card takes to make it. Whatever ends a pass but a kill writes what waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from whyclass.errors import StoreError
from whyclass.pool.value_ranges import ValueRanges
from whyclass.rows import Rows
from whyclass.store import Pass

AT_ONCE = 16
"""So many blocks wait for nothing: most passes are no longer."""

WAIT, SHARE = 0.2, 0.1
"""Seconds that blocks wait at least, and the share of the time that writing them may take."""

MOST = 64 << 20
"""Bytes that wait at most, about."""


class RowsOnDisk:
    """The files of a pass, and how far it came; an interrupted one goes on at its last whole block.

    Attributes
    ----------
    done
        Positions of the pool before which all rows are there, or wait.
    skipped, ranges
        What else was seen.
    """

    def __init__(self, work: Pass, rows: Sequence[Rows]) -> None:
        self._work, self._rows = work, rows
        self.skipped: dict[str, str] = dict(work.state.get("skipped", {}))
        self.ranges = ValueRanges.of(work.state.get("ranges"))
        self.done = self._written = work.done if all(one.hold(work.done) for one in rows) else 0
        self._waiting: list[Sequence[np.ndarray]] = []
        self._times, self._next = 0, 0.0

    def __enter__(self) -> RowsOnDisk:
        """Nothing is opened."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits; an error of that is told where there is no other."""
        try:
            self._write()
        except StoreError:
            if error is None:
                raise

    def add(self, blocks: Sequence[np.ndarray], skipped: dict[str, str], ranges: ValueRanges) -> None:
        """A block of rows for each file, and what else was seen in the images."""
        self._waiting.append(blocks)
        self.skipped |= skipped
        self.ranges = self.ranges.and_then(ranges)
        self.done += len(blocks[0])
        bytes_of = sum(one.nbytes for several in self._waiting for one in several)
        if time.monotonic() >= self._next or bytes_of >= MOST:
            self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        begun = time.monotonic()
        for file, blocks in zip(self._rows, zip(*waiting, strict=True), strict=True):
            file.append(self._written, np.concatenate(blocks))
        self._written = self.done
        self._work.keep(self.done, {"skipped": self.skipped, "ranges": self.ranges.held()})
        ended = time.monotonic()
        self._times += 1
        self._next = ended + max(WAIT, (ended - begun) / SHARE) if self._times >= AT_ONCE else 0.0
