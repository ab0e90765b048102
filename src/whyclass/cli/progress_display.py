"""Progress as a person sees it: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import rich.progress as bars
from rich.console import Console
from rich.markup import escape

from whyclass.progress import Advance, Progress, Report

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

LONG = 2.0
"""Seconds after which a step is worth telling about."""


EVERY = 30.0
"""Seconds between lines that tell how far a long run is, where there is no terminal."""


class Shown(Progress):
    """Progress on standard error: bars in a terminal, lines elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._live: bars.Progress | None = None

    @contextmanager
    def whole(self, name: str, total: float) -> Iterator[Report]:
        """A run of several steps: a bar above theirs, or a line now and then."""
        if not err.is_terminal:
            yield _Lines(name, total).report
            return
        columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), _Count()]
        columns += [bars.TimeElapsedColumn(), bars.TextColumn("left"), bars.TimeRemainingColumn()]
        with bars.Progress(*columns, console=err, transient=True, speed_estimate_period=600) as live:
            task = live.add_task(name, total=total)
            self._live = live
            try:
                yield lambda done, doing: live.update(task, advance=done, description=f"{name}: {doing}")
            finally:
                self._live = None

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        if not err.is_terminal:
            with self._line(name, unit) as advance:
                yield advance
            return
        if (live := self._live) is not None:
            step = live.add_task(f"  {name}", total=total, unit=unit)
            try:
                yield lambda done: live.advance(step, done)
            finally:
                live.remove_task(step)
            return
        columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn()]
        columns += [
            _Rate(unit),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
        ]
        with bars.Progress(*columns, console=err, transient=True) as shown:
            task = shown.add_task(name, total=total)
            yield lambda done: shown.advance(task, done)

    @contextmanager
    def _line(self, name: str, unit: str) -> Iterator[Advance]:
        started, count = time.perf_counter(), 0

        def advance(done: int) -> None:
            nonlocal count
            count += done

        yield advance
        if (seconds := time.perf_counter() - started) > LONG:
            rate = f", {count / seconds:.1f} {unit}/s" if count else ""
            err.print(f"{name}: {seconds:.1f} s{rate}", highlight=False)

    def note(self, message: str) -> None:
        """A line that stays."""
        err.print(f"[yellow]note:[/] {escape(message)}", highlight=False)


class _Lines:
    """How far a run of several steps is, as a line now and then."""

    def __init__(self, name: str, total: float) -> None:
        self._name, self._total, self._done = name, total, 0.0
        self._begun = self._told = time.perf_counter()

    def report(self, done: float, doing: str) -> None:
        """Count the work, and tell of it where the last line is old."""
        self._done += done
        now = time.perf_counter()
        if now - self._told < EVERY or not self._done:
            return
        self._told = now
        share = min(self._done / self._total, 1.0)
        left = (now - self._begun) * (1 - share) / share
        err.print(f"{self._name}: {doing}, {share:.0%}, {_span(left)} left", highlight=False)


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


class _Count(bars.ProgressColumn):
    """Units done and units a second of a step; the share of a run of several steps."""

    def render(self, task: bars.Task) -> str:
        """The count as text."""
        unit = task.fields.get("unit")
        if unit is None or task.total is None:
            return f"{task.percentage:.0f}%"
        rate = f", {task.speed:.1f} {unit}/s" if task.speed else ""
        return f"{task.completed:.0f}/{task.total:.0f} {unit}{rate}"


class _Rate(bars.ProgressColumn):
    """Units a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: bars.Task) -> str:
        """The speed as text."""
        return f"{task.speed:.1f} {self.unit}/s" if task.speed else ""
