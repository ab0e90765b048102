"""Progress as a person sees it: bars in a terminal or a notebook, lines elsewhere, or nothing."""

from __future__ import annotations

import contextvars
import html
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import rich.progress as parts
from rich.console import Console
from rich.markup import escape

from whyclass.plain_text import clean
from whyclass.progress import Advance, Progress, Report

LONG = 2.0
"""Seconds after which a step, or a call from Python, is worth telling about."""

EVERY = 30.0
"""Seconds between lines that tell how far a long run is, where there is no terminal."""


def shown(progress: Progress | bool | None) -> Progress:
    """What a call from Python tells: its own progress, nothing (False), or by default bars.

    The default shows bars on standard error in a terminal and in a notebook, once a call takes more than
    ``LONG`` seconds; elsewhere notes alone, on standard error too.
    """
    if isinstance(progress, Progress):
        return progress
    return Progress() if progress is False else Shown(after=LONG, lines=False)


class Shown(Progress):
    """Progress as a person sees it: bars in a terminal or a notebook, lines elsewhere.

    Parameters
    ----------
    console
        Where; the default is standard error.
    after
        Seconds that a call takes before it has bars; steps that follow each other within ``LONG`` seconds
        are one call.
    lines
        Whether long steps and runs are told as lines where there can be no bars.
    """

    def __init__(self, console: Console | None = None, after: float = 0.0, lines: bool = True) -> None:
        super().__init__()
        self.console, self.after, self.lines = console or _standard_error(), after, lines
        self._bars: _Bars | None = None
        self._begun = self._ended = -LONG

    @contextmanager
    def whole(self, name: str, total: float) -> Iterator[Report]:
        """A run of several steps: a bar above theirs, or a line now and then."""
        work = _Work(name, total)
        with self._showing() as bars:
            bars.add(work)

            def report(done: float, doing: str) -> None:
                work.done += done
                work.name = clean(f"{name}: {doing}")
                bars.show(work)

            try:
                yield report
            finally:
                bars.remove(work)

    def note(self, message: str) -> None:
        """A line that stays."""
        self.console.print(f"[yellow]note:[/] {escape(clean(message))}", highlight=False, emoji=False)

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        work = _Work(f"  {name}" if self._bars else name, total, unit)
        with self._showing() as bars:
            bars.add(work)

            def advance(done: int) -> None:
                work.done += done
                bars.show(work)

            try:
                yield advance
            except BaseException:  # whatever it is, it goes on; a step that was stopped has no line
                work.stopped = True
                raise
            finally:
                bars.remove(work)

    @contextmanager
    def _showing(self) -> Iterator[_Bars]:
        """The bars of the run that this is a part of, or else new ones, there when the call is old enough."""
        if self._bars is not None:
            yield self._bars
            return
        if time.monotonic() - self._ended > LONG:
            self._begun = time.monotonic()
        bars = self._bars = self._made()
        wait = max(0.0, self._begun + self.after - time.monotonic())
        # a thread of its own starts them, since a step may tell nothing for minutes; a notebook knows by the
        # context which cell it belongs to
        timer = threading.Timer(wait, contextvars.copy_context().run, [bars.start])
        timer.daemon = True
        (timer.start if wait else bars.start)()
        try:
            yield bars
        finally:
            self._bars = None
            timer.cancel()
            if timer.ident:
                timer.join()
            bars.stop()
            self._ended = time.monotonic()

    def _made(self) -> _Bars:
        if self.console.is_jupyter:
            return _InNotebook()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            # streams are only redirected by the thread that works, which redirects them itself
            return _InTerminal(self.console, redirect=not self.after)
        return _Lines(self.console) if self.lines else _Bars()


def _standard_error() -> Console:
    return Console(stderr=True, soft_wrap=True)


class _Work:
    """A step, or (without a unit) a run of several, and how far it is."""

    def __init__(self, name: str, total: float | None, unit: str = "") -> None:
        self.name, self.total, self.unit = clean(name), total, unit
        self.done, self.stopped = 0.0, False
        self.begun = self.told = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun

    @property
    def rate(self) -> str:
        return f", {self.done / self.seconds:.1f} {self.unit}/s" if self.done and self.seconds else ""

    @property
    def count(self) -> str:
        if not self.unit:
            return f"{self.done / self.total:.0%}" if self.total else ""
        return f"{self.done:.0f}/{self.total:.0f} {self.unit}{self.rate}" if self.total else self.rate[2:]


class _Bars:
    """What shows pieces of work; this shows none."""

    def start(self) -> None:
        """Show from now on."""

    def add(self, work: _Work) -> None:
        """A piece of work begins."""

    def show(self, work: _Work) -> None:
        """It went on."""

    def remove(self, work: _Work) -> None:
        """It ended."""

    def stop(self) -> None:
        """Leave nothing behind."""


class _InTerminal(_Bars):
    def __init__(self, console: Console, redirect: bool) -> None:
        self.live = parts.Progress(
            parts.TextColumn("{task.description}", markup=False),
            parts.BarColumn(),
            parts.TextColumn("{task.fields[count]}", markup=False),
            parts.TimeElapsedColumn(),
            parts.TextColumn("left"),
            parts.TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=600,
            redirect_stdout=redirect,
            redirect_stderr=redirect,
        )
        self.tasks: dict[_Work, Any] = {}

    def start(self) -> None:
        self.live.start()

    def add(self, work: _Work) -> None:
        self.tasks[work] = self.live.add_task(work.name, total=work.total, count=work.count)

    def show(self, work: _Work) -> None:
        task = self.tasks[work]
        self.live.update(task, completed=work.done, description=work.name, count=work.count)

    def remove(self, work: _Work) -> None:
        self.live.remove_task(self.tasks.pop(work))

    def stop(self) -> None:
        if self.live.live.is_started:
            self.live.stop()


class _InNotebook(_Bars):
    """HTML that a notebook updates in place; Rich's own bars there show nothing without ipywidgets."""

    places: ClassVar[dict[int, Any]] = {}
    """The place of the cell that runs, by its number: one for all steps of a cell."""

    def __init__(self) -> None:
        self.works: list[_Work] = []
        self.place: Any = None
        self.told = 0.0

    def start(self) -> None:
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display

        cell = int(getattr(get_ipython(), "execution_count", 0))
        if cell not in self.places:
            self.places.clear()
            self.places[cell] = display(HTML(""), display_id=True)
        self.place = self.places[cell]
        self._draw()

    def add(self, work: _Work) -> None:
        self.works.append(work)
        self._draw()

    def show(self, work: _Work) -> None:
        if time.perf_counter() - self.told > 0.1:
            self._draw()

    def remove(self, work: _Work) -> None:
        self.works.remove(work)

    def stop(self) -> None:
        self.works.clear()
        self._draw()

    def _draw(self) -> None:
        if self.place is None:
            return
        from IPython.display import HTML

        self.told = time.perf_counter()
        rows = []
        for work in self.works:
            at = f'value="{work.done / work.total:.4f}"' if work.total else ""
            rows.append(f"{html.escape(work.name)} <progress {at}></progress> {html.escape(work.count)}")
        self.place.update(HTML("<br>".join(rows)))


class _Lines(_Bars):
    """Long steps as a line when they end, and a run of several as a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def show(self, work: _Work) -> None:
        now = time.perf_counter()
        if work.unit or now - work.told < EVERY or not work.done or not work.total:
            return
        work.told = now
        share = min(work.done / work.total, 1.0)
        left = _span(work.seconds * (1 - share) / share)
        self.console.print(
            f"{work.name}, {share:.0%}, {left} left", highlight=False, markup=False, emoji=False
        )

    def remove(self, work: _Work) -> None:
        if work.unit and not work.stopped and work.seconds > LONG:
            line = f"{work.name.strip()}: {work.seconds:.1f} s{work.rate}"
            self.console.print(line, highlight=False, markup=False, emoji=False)


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
