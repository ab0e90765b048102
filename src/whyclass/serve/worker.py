"""The process that does the explorer's long work: one study, one job after the other."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from whyclass.errors import WhyclassError
from whyclass.progress import Advance, Progress, Report
from whyclass.serve import brought, maps
from whyclass.store import Store, key_of
from whyclass.study.study import Study

OFTEN = 0.15
"""Seconds between two lines of progress."""

Tell = Callable[[str, Any], None]


class Told(Progress):
    """Progress that is told through a pipe."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell, self._last = tell, 0.0
        self._within = False

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        count = 0
        self._step((name, 0, total or 0), True)

        def advance(done: int) -> None:
            nonlocal count
            count += done
            self._step((name, count, total or 0))

        yield advance

    @contextmanager
    def whole(self, name: str, total: float) -> Iterator[Report]:
        """A run of several steps."""
        done_so_far = 0.0
        self._within = True

        def report(done: float, doing: str) -> None:
            nonlocal done_so_far
            done_so_far += done
            self._tell("step", (doing, round(1000 * done_so_far / max(total, 1e-9)), 1000))

        try:
            yield report
        finally:
            self._within = False

    def note(self, message: str) -> None:
        """Something the user should know."""
        self._tell("note", message)

    def _step(self, said: tuple[str, int, int], now: bool = False) -> None:
        if not self._within and (now or time.monotonic() - self._last > OFTEN):
            self._last = time.monotonic()
            self._tell("step", said)


def main(opener: Callable[[], Study], store: Store, pipe: Connection) -> None:
    """Do jobs as they come through the pipe, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the server's to hear
    _follow_parent()
    lock = threading.Lock()

    def tell(what: str, value: Any) -> None:
        with lock:
            pipe.send((what, value))

    study: Study | None = None
    while True:
        try:
            kind, given = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            store.check()  # else opening the model would make a new one in its place
            if study is None:
                study = opener()
                study.progress = Told(tell)
            KINDS[kind](study, tell, **given)
            tell("done", None)
        except WhyclassError as error:
            tell("failed", str(error))
        except Exception as error:  # whatever a model raises: the next job may go well
            tell("failed", f"{type(error).__name__}: {error}")


def _follow_parent() -> None:
    """The process ends when the server does, however that ended."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


# ---------------------------------------------------------------- kinds of work


def _index(study: Study, tell: Tell) -> None:
    study.index()


def _explain(study: Study, tell: Tell, target: int) -> None:
    found = study.explain(target)
    tell("result", (f"Why “{found.target.name}”?", "explanations", study.key(target)))


def _contrast(study: Study, tell: Tell, target: int, against: int) -> None:
    _explain(study, tell, target)
    _explain(study, tell, against)
    found = study.contrast(target, against)
    names = (found.a.explanation.target.name, found.b.explanation.target.name)
    tell("result", ("“{}” against “{}”".format(*names), "contrasts", study.key(target, against)))


def _audit(study: Study, tell: Tell) -> None:
    study.audit()


def _insert(study: Study, tell: Tell, classes: list[int], picture: str, box: list[int], at: str) -> None:
    """A part of a picture, as the model sees it, put into images of a class."""
    (target, against), (patch, origin) = classes, brought.part_of(study, picture, box)
    found = study.insert(target, against, patch, at, origin)
    key = key_of(
        asked=study.key(target, against),
        patch=hashlib.blake2b(found.insertion.patch.data).hexdigest(),
        box=found.insertion.box,
    )
    study.store.keep(found, study.store.record("insertions", key))
    tell("result", (f"Does it turn “{found.source.name}” into “{found.target.name}”?", "insertions", key))


def _image(study: Study, tell: Tell, picture: str) -> None:
    """Which concepts are in a picture, and what each counts there."""
    context = study.context()
    if picture.startswith("pool:"):
        given: Any = context.pool.read(int(picture.removeprefix("pool:")))
        name = context.pool.items[int(picture.removeprefix("pool:"))].path
    else:
        shown, name = brought.picture_of(context, picture)
        given = brought.sample(shown, context.preprocessing).tensor
    found = study.explain_image(given)
    found = replace(found, image=replace(found.image, path=name))
    key = key_of(asked=study.key(), picture=hashlib.blake2b(found.picture.data).hexdigest(), name=name)
    study.store.keep(found, study.store.record("images", key))
    tell("result", (f"Why “{found.target.target.name}” for this picture?", "images", key))


def _map(study: Study, tell: Tell, group: str) -> None:
    with study.progress.step("concept map"):
        maps.make(study.store, group)
    tell("result", ("The map of concepts", "maps", group))


KINDS: dict[str, Callable[..., None]] = {
    "index": _index,
    "explain": _explain,
    "contrast": _contrast,
    "audit": _audit,
    "insert": _insert,
    "image": _image,
    "map": _map,
}
"""What the process can be asked."""
