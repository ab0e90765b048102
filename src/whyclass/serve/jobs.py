"""Long work for the explorer: one after the other in a process of its own, noted in the store.

A browser that closes loses nothing: work goes on, and what came of it is a record of the store. Work that is
cancelled, or whose server ends, keeps what it finished, and the same work goes on from there.
"""

from __future__ import annotations

import json
import multiprocessing
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

from whyclass import files
from whyclass.errors import StoreError, WhyclassError
from whyclass.serve import worker
from whyclass.store import Store

State = Literal["waiting", "running", "done", "failed", "stopped"]

FOLDER, MOST, OPEN = "jobs", 200, 20
"""Of the store; so many jobs are remembered, and so many may wait at once."""

NAMES = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Result:
    """Something that a job brought: what it is, and the record's kind and key."""

    said: str
    kind: str
    key: str


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes
    ----------
    kind
        A row of `worker.KINDS`.
    given
        What it is asked, plain values.
    group
        Of the answers (`catalogue.group_of`).
    state
        Where it is.
    doing, done, total
        The step under way, and its units; ``total`` is 0 where that is not known.
    results
        What it brought so far.
    problem
        Why it failed.
    notes
        What it told besides.
    """

    id: str
    kind: str
    title: str
    given: dict[str, Any]
    state: State = "waiting"
    doing: str = ""
    done: int = 0
    total: int = 0
    results: tuple[Result, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    begun: float = 0.0
    ended: float = 0.0
    made: float = field(default_factory=time.time)

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it unless it is asked again."""
        return self.state in ("done", "failed", "stopped")


class Jobs:
    """The jobs of a store, and the one process that does them.

    Parameters
    ----------
    opener
        Gives the study; called in the process, so that it has to be known by name there.
    """

    def __init__(self, store: Store, opener: Callable[[], Any] | None) -> None:
        self.store, self._opener = store, opener
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._cancelled: set[str] = set()
        for found in self._kept():
            # of another server that ended meanwhile
            self._jobs[found.id] = found if found.over else replace(found, state="stopped", doing="")
        self._thread = threading.Thread(target=self._serve, daemon=True, name="jobs")
        self._thread.start()

    def all(self) -> list[Job]:
        """The jobs, the latest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -job.made)

    def get(self, name: str) -> Job | None:
        """A job."""
        with self._lock:
            return self._jobs.get(name)

    def add(self, kind: str, title: str, given: dict[str, Any]) -> Job:
        """Ask for work; the same work that waits or runs already is that one.

        Raises
        ------
        WhyclassError
            If there is no model to do it with, or too much waits.
        """
        if self._opener is None:
            raise WhyclassError("no model is open; start whyclass serve with --model, --layer and --images")
        with self._lock:
            open_ones = [job for job in self._jobs.values() if not job.over]
            for job in open_ones:
                if (job.kind, job.given) == (kind, given):
                    return job
            if len(open_ones) >= OPEN:
                raise WhyclassError(f"{OPEN} jobs wait already; let some of them end, or stop some")
            job = Job(secrets.token_hex(8), kind, title, given)
            self._put(job)
            self._forget()
        self._waiting.put(job.id)
        return job

    def again(self, name: str) -> Job | None:
        """Let a job that was stopped, or failed, go on."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or not job.over:
                return job
            job = replace(job, state="waiting", problem="", doing="", done=0, total=0, notes=())
            self._put(job)
        self._waiting.put(name)
        return job

    def cancel(self, name: str) -> Job | None:
        """Stop a job; what it finished is kept."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or job.over:
                return job
            if job.state == "waiting":
                job = replace(job, state="stopped")
                self._put(job)
                return job
            self._cancelled.add(name)
            self._end_process()
        return job

    def close(self) -> None:
        """Stop all work; the process ends with the server."""
        self._waiting.put(None)
        with self._lock:
            self._end_process()
        self._thread.join(5)

    # ------------------------------------------------------------ the thread that waits for the process

    def _serve(self) -> None:
        while (name := self._waiting.get()) is not None:
            with self._lock:
                job = self._jobs.get(name)
                if job is None or job.state != "waiting":
                    continue
                self._put(replace(job, state="running", begun=time.time(), doing="opening the model"))
            try:
                self._do(name)
            except (EOFError, OSError, BrokenPipeError):
                self._broken(name)
            except WhyclassError as error:  # the store was removed
                self._changed(name, state="failed", problem=str(error), kept=False)

    def _do(self, name: str) -> None:
        with self._lock:
            job, pipe = self._jobs[name], self._started()
            pipe.send((job.kind, job.given))
        while True:
            what, value = pipe.recv()
            if what == "step":
                doing, done, total = value
                self._changed(name, doing=doing, done=done, total=total, kept=False)
            elif what == "note":
                self._changed(name, note=str(value))
            elif what == "result":
                self._changed(name, result=Result(*value))
            elif what == "done":
                self._changed(name, state="done", doing="", ended=time.time())
                return
            else:
                self._changed(name, state="failed", problem=str(value), doing="", ended=time.time())
                return

    def _changed(
        self, name: str, result: Result | None = None, note: str = "", kept: bool = True, **changes: Any
    ) -> None:
        with self._lock:
            job = self._jobs[name]
            results = (*job.results, result) if result and result not in job.results else job.results
            notes = (*job.notes, note)[-20:] if note else job.notes
            self._put(replace(job, results=results, notes=notes, **changes), kept)

    def _broken(self, name: str) -> None:
        """The process ended before the job did: it was stopped, or killed by the system."""
        with self._lock:
            self._end_process()
            stopped = name in self._cancelled
            self._cancelled.discard(name)
        said = "" if stopped else "the process that did this was killed, perhaps for memory; resume goes on"
        state: State = "stopped" if stopped else "failed"
        try:
            self._changed(name, state=state, problem=said, doing="", ended=time.time())
        except StoreError:  # it is gone, and with it the note
            self._changed(name, state="failed", problem="the store was removed", doing="", kept=False)

    def _started(self) -> Connection:
        if self._process is None or not self._process.is_alive() or self._pipe is None:
            self._end_process()
            # started anew rather than forked: threads and a GPU do not survive a fork
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=worker.main, args=(self._opener, self.store, theirs), daemon=True
            )
            self._process.start()
            theirs.close()
        return self._pipe

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    # ------------------------------------------------------------ what is noted

    def _put(self, job: Job, kept: bool = True) -> None:
        self._jobs[job.id] = job
        if kept:
            self.store.check()
            files.write(self.store.note(FOLDER, job.id), json.dumps(asdict(job)).encode())

    def _kept(self) -> list[Job]:
        found = []
        for file in self.store.notes(FOLDER):
            try:
                values = json.loads(files.read(file))
                results = tuple(Result(**one) for one in values.pop("results"))
                job = Job(**values | {"results": results, "notes": tuple(values["notes"])})
            except (StoreError, ValueError, TypeError, KeyError):
                continue
            if NAMES.fullmatch(job.id) and job.id == file.stem:
                found.append(job)
        return found

    def _forget(self) -> None:
        """Of the jobs that are over only the latest are remembered."""
        over = sorted((job for job in self._jobs.values() if job.over), key=lambda job: -job.made)
        for job in over[MOST:]:
            del self._jobs[job.id]
            self.store.drop_note(FOLDER, job.id)
