"""What a long run tells while it works, and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Progress:
    """Silent progress: counts the seconds of each step. Displays build on it.

    Attributes
    ----------
    seconds
        Wall-clock seconds of each finished step, by name, in the order they ran.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
        """Time a step; call what it yields with the number of units just done."""
        started = time.perf_counter()
        try:
            with self._shown(name, total, unit) as advance:
                yield advance
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def note(self, message: str) -> None:
        """Something the user should know, that is no error."""

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield lambda done: None
