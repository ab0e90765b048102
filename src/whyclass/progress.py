"""What a long run tells while it works, and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]

Report = Callable[[float, str], None]
"""Told the units of work just done, and what is being done, in words."""


class Progress:
    """Silent progress: counts the seconds of each step. Base class of every display, also of your own.

    A display overrides any of three methods: ``step``, ``whole`` and ``note``. ``step`` should enter
    its parent's, which keeps the time.

    Attributes
    ----------
    seconds
        Wall-clock seconds of each finished step, by name, in the order they ran.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> import whyclass
    >>> class Printed(whyclass.Progress):
    ...     @contextmanager
    ...     def step(self, name, total=None, unit="images"):
    ...         with super().step(name, total, unit):
    ...             yield lambda done: print(f"{name}: {done} more of {total} {unit}")
    ...
    ...     def note(self, message):
    ...         print(message)
    >>> progress = Printed()  # whyclass.Study(..., progress=progress)
    >>> with progress.step("crops", 8) as advance:
    ...     advance(3)
    crops: 3 more of 8 images
    >>> list(progress.seconds)
    ['crops']
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

    @contextmanager
    def whole(self, name: str, total: float) -> Iterator[Report]:
        """A run of several steps as one piece of work of so many units, whatever they are.

        What it yields is called with the units just done, and with what is being done, in words.
        """
        yield lambda done, doing: None

    def note(self, message: str) -> None:
        """Something the user should know, that is no error."""

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        yield lambda done: None


class Logged(Progress):
    """Another progress, told besides to a log: each step with its time and rate, and each note.

    Parameters
    ----------
    inner
        What shows it.
    write
        Takes a line.
    """

    def __init__(self, inner: Progress, write: Callable[[str], None]) -> None:
        self.inner, self.write = inner, write
        self.seconds = inner.seconds

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Advance]:
        """Time a step; its end, or what stopped it, is a line of the log."""
        started, count, ended = time.perf_counter(), 0, "stopped"

        def counted(done: int) -> None:
            nonlocal count
            count += done
            advance(done)

        try:
            with self.inner.step(name, total, unit) as advance:
                yield counted
            ended = "done"
        finally:
            seconds = time.perf_counter() - started
            rate = f", {count} {unit}, {count / seconds:.2f} {unit}/s" if count and seconds else ""
            self.line(f"{name}: {ended} after {seconds:.1f} s{rate}")

    @contextmanager
    def whole(self, name: str, total: float) -> Iterator[Report]:
        """A run of several steps."""
        with self.inner.whole(name, total) as report:
            yield report

    def note(self, message: str) -> None:
        """Something the user should know, that is no error."""
        self.line(message)
        self.inner.note(message)

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        """A whole run: its beginning, and its end or what stopped it, are lines of the log."""
        self.line(f"{name}: begun")
        try:
            yield
        except BaseException as error:  # also Ctrl-C and whatever a model raises: told, and raised again
            self.line(f"{name}: stopped by {type(error).__name__}: {error}")
            raise
        self.line(f"{name}: done")

    def line(self, text: str) -> None:
        """A line of the log alone."""
        self.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")


class Within(Progress):
    """Steps inside a step of another progress: timed there, shown nowhere."""

    def __init__(self, outer: Progress) -> None:
        self.seconds = outer.seconds
