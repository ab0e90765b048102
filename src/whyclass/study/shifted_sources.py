"""The shifting tests from the images of some sources, each source's kept until the whole answer is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from whyclass.records import SourceShifts, Sweep
from whyclass.store import key_of
from whyclass.study import sweeps
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import Attempt

KIND = "sources"
"""Folder of the store."""

Move = tuple[int, np.ndarray, float, float | None]
"""The target of a shift, the hyperplane's normal and offset, and the length of a step."""

Shifted = Callable[[Context, Mapping[int, Sequence[Move]]], Iterable[tuple[int, list[Sweep]]]]
"""From the moves of each source to the sources with their tests, whichever comes first."""


def here(context: Context, moves: Mapping[int, Sequence[Move]]) -> Iterator[tuple[int, list[Sweep]]]:
    """One source after the other, in this process."""
    for source, mine in moves.items():
        yield source, of_source(context, source, mine)


def of_source(context: Context, source: int, moves: Sequence[Move]) -> list[Sweep]:
    """The shifting tests of a source."""
    own = evidence_of(context, source)
    return [sweeps.shifting(Attempt(own, *move)) for move in moves]


def kept_or_made(context: Context, moves: Mapping[int, Sequence[Move]], shifted: Shifted) -> list[Sweep]:
    """The tests of all sources in their order: those that the store holds, and the others as they come."""
    classes, found = tuple(moves), dict[int, Sequence[Sweep]]()
    for source in classes:
        if (kept := context.kept(SourceShifts, _file(context, classes, source))) is not None:
            found[source] = kept.tests
    left = {source: mine for source, mine in moves.items() if source not in found}
    for source, tests in shifted(context, left) if left else ():
        context.store.keep(SourceShifts(tuple(tests)), _file(context, classes, source))
        found[source] = tests
    return [one for source in classes for one in found[source]]


def drop(context: Context, classes: Sequence[int]) -> None:
    """Remove what was kept, once the whole answer is."""
    for source in classes:
        context.store.drop(KIND, _key(context, classes, source))


def _file(context: Context, classes: Sequence[int], source: int) -> Path:
    return context.store.record(KIND, _key(context, classes, source))


def _key(context: Context, classes: Sequence[int], source: int) -> str:
    return key_of(pairs=context.named_key(*classes), source=source)
