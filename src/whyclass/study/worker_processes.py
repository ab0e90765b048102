"""Processes that compute beside this one, and end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

Submit = Callable[..., Future[Any]]
"""Has a function called in a process, with arguments."""


@contextmanager
def worker_processes(count: int) -> Iterator[Submit]:
    """So many processes; where the block is left by an error or by Ctrl-C, they are killed.

    What they compute then is lost, and waiting for it could take minutes.
    """
    # started anew rather than forked: threads and a GPU do not survive a fork
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_stand_by)

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with _deaf():
            return executor.submit(function, *arguments)

    try:
        yield submit
    except BaseException:  # also Ctrl-C and whatever a factorisation raises: it goes on
        for process in list((getattr(executor, "_processes", None) or {}).values()):
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are begun in here never hear Ctrl-C, which a terminal sends to all of a group.

    They would raise it while they import. Here it is only put off.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which unblocks signals when it begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stand_by() -> None:
    """A worker leaves Ctrl-C to its parent, and ends when the parent does, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
