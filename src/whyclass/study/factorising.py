"""The factorisations of one class after the other, here or in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyclass.concepts.nmf import factorise
from whyclass.errors import AttributionError, SettingsError
from whyclass.records import Record
from whyclass.store import key_in
from whyclass.study import comparisons
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.comparisons import of_audit
from whyclass.study.worker_processes import worker_processes

Problems = dict[int, str]
"""Of classes without concepts, why."""

Submit = Callable[[ClassEvidence, Problems], None]


@dataclass(frozen=True)
class Job:
    """A record of a class that factorisations make: its file, and what is called with which arguments."""

    file: Path
    make: Callable[..., Record]
    arguments: Callable[[], tuple[Any, ...]]


def jobs(own: ClassEvidence) -> list[Job]:
    """The concepts of a class, and those that they are compared with."""
    settings = own.context.settings
    jobs = [
        Job(own.factors_file, factorise, lambda: (own.activations, own.evidence.scores, settings)),
    ]
    if (counts := of_audit(settings)).any:
        file = comparisons.comparisons_file(own, counts)
        jobs.append(Job(file, comparisons.made, lambda: (comparisons.material(own), counts)))
    return jobs


@contextmanager
def factorising(workers: int) -> Iterator[Submit]:
    """What takes a class whose concepts are to be made and kept, here or in processes of their own."""

    def keep(own: tuple[int, Path, Problems], found: Callable[[], Record]) -> None:
        target, file, problems = own
        try:
            found().save(file, key_in(file))
        except AttributionError as error:
            problems[target] = str(error)
        except BrokenProcessPool as error:
            raise SettingsError(
                "a process of the factorisations was killed, perhaps for memory; run the same again with "
                "fewer workers: it goes on"
            ) from error

    def missing(own: ClassEvidence) -> Iterator[Job]:
        return (job for job in jobs(own) if not job.file.exists())

    if workers < 2:

        def here(own: ClassEvidence, problems: Problems) -> None:
            for job in missing(own):
                keep((own.target, job.file, problems), lambda job=job: job.make(*job.arguments()))  # type: ignore[misc]

        yield here
        return
    pending: dict[Future[Record], tuple[int, Path, Problems]] = {}

    def collect(most: int) -> None:
        while len(pending) > most:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                keep(pending.pop(future), future.result)

    def submit(own: ClassEvidence, problems: Problems) -> None:
        for job in missing(own):
            collect(2 * workers)  # so many classes' activations wait in memory at most
            pending[process(job.make, *job.arguments(), 1)] = (own.target, job.file, problems)

    with worker_processes(workers) as process:
        yield submit
        collect(0)
