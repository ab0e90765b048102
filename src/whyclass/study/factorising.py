"""The factorisations of an audit's classes: one after the other, in processes of their own, or on a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whyclass.concepts.nmf import factorise
from whyclass.concepts.nmf_on_device import factorise_all
from whyclass.errors import AttributionError, SettingsError
from whyclass.records import Record
from whyclass.store import key_in
from whyclass.study import comparisons
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.comparisons import comparisons_file, made_together, material, of_audit
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
        file = comparisons_file(own, counts)
        jobs.append(Job(file, comparisons.made, lambda: (material(own), counts)))
    return jobs


CLASSES = 8
"""Classes whose factorisations a card does at once."""


def factorising(workers: int, device: torch.device) -> AbstractContextManager[Submit]:
    """What takes a class whose concepts are to be made and kept: here, in processes, or on a card."""
    if device.type == "cuda":
        return _on_card(device)
    return _here() if workers < 2 else _apart(workers)


def _keep(own: tuple[int, Path, Problems], found: Callable[[], Record]) -> None:
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


def _missing(own: ClassEvidence) -> Iterator[Job]:
    return (job for job in jobs(own) if not job.file.exists())


@contextmanager
def _here() -> Iterator[Submit]:
    def submit(own: ClassEvidence, problems: Problems) -> None:
        for job in _missing(own):
            _keep((own.target, job.file, problems), lambda job=job: job.make(*job.arguments()))  # type: ignore[misc]

    yield submit


@contextmanager
def _apart(workers: int) -> Iterator[Submit]:
    """In processes of their own."""
    pending: dict[Future[Record], tuple[int, Path, Problems]] = {}

    def collect(most: int) -> None:
        while len(pending) > most:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                _keep(pending.pop(future), future.result)

    def submit(own: ClassEvidence, problems: Problems) -> None:
        for job in _missing(own):
            collect(2 * workers)  # so many classes' activations wait in memory at most
            pending[process(job.make, *job.arguments(), 1)] = (own.target, job.file, problems)

    with worker_processes(workers) as process:
        yield submit
        collect(0)


@contextmanager
def _on_card(device: torch.device) -> Iterator[Submit]:
    """Of some classes at once."""
    waiting: list[tuple[ClassEvidence, Problems]] = []

    def submit(own: ClassEvidence, problems: Problems) -> None:
        waiting.append((own, problems))
        if len(waiting) == CLASSES:
            _together(waiting, device)

    yield submit
    _together(waiting, device)


def _together(waiting: list[tuple[ClassEvidence, Problems]], device: torch.device) -> None:
    """Make and keep what the waiting classes lack, which then wait no longer."""
    lacking = [(own, problems) for own, problems in waiting if not own.factors_file.exists()]
    made = factorise_all([own.scored_cells for own, _ in lacking], device)
    for (own, problems), found in zip(lacking, made, strict=True):
        if isinstance(found, AttributionError):
            problems[own.target] = str(found)
        else:
            found.save(own.factors_file, key_in(own.factors_file))
    _compared([own for own, _ in waiting], device)
    waiting.clear()


def _compared(every: Sequence[ClassEvidence], device: torch.device) -> None:
    """Make and keep what classes that lack it are compared with; an audit has the same counts for all."""
    counts = of_audit(every[0].context.settings) if every else None
    if counts is None or not counts.any:
        return
    files = [(own, comparisons_file(own, counts)) for own in every]
    if bare := [(own, file) for own, file in files if not file.exists()]:
        of_each = made_together([material(own) for own, _ in bare], counts, device)
        for (_, file), record in zip(bare, of_each, strict=True):
            record.save(file, key_in(file))
