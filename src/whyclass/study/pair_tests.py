"""The shifting and masking tests of very many pairs: their hyperplanes, and each source's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from whyclass.progress import Report, Within
from whyclass.records import AuditedPair, Planes, Shifts
from whyclass.settings import OF_NO_RESULT, plain, seed_of
from whyclass.store import key_of
from whyclass.study import contrast, narrowed_masking, sweeps
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import Attempt
from whyclass.study.pair_sampling import RUNS, TARGETS, PairSample, sample_pairs, takes_every

TOGETHER = 5000
"""Pairs whose hyperplanes are fitted and kept together, about: always the same ones, so that no result
depends on where a run was stopped."""

HEAD = 0.3
"""Work of an image finished from the layer against a pass through the trunk; only for the time that is told
to be left."""


def work(context: Context, classes: Sequence[int], every_pair: bool) -> float:
    """About how much there is to do, in images through the trunk."""
    targets = len(classes) - 1 if takes_every(classes, every_pair) else TARGETS * RUNS
    images = sum(len(evidence_of(context, k).chosen) for k in classes)
    return images * _work(context, targets)


Run = Callable[[Context, PairSample, Planes, dict[int, list[str]]], Iterable[int]]
"""What makes and keeps the missing tests of some sources; gives each source when it is done."""


def here(
    context: Context, sampled: PairSample, planes: Planes, missing: dict[int, list[str]]
) -> Iterator[int]:
    """One source after the other, in this process."""
    for b, lacking in missing.items():
        test_source(context, sampled, b, planes, lacking)
        yield b


def shifts(
    context: Context,
    classes: Sequence[int],
    every_pair: bool,
    tests: Sequence[str],
    report: Report,
    run: Run = here,
) -> None:
    """Each source's tests, made and kept where they are missing."""
    sampled = sample_pairs(context, classes, every_pair)
    sources = sorted(sampled.targets)
    if len(sources) < 2:
        context.progress.note(
            f"{len(sources)} classes have cells that speak for them; shifting needs two or more"
        )
        return
    together = max(1, TOGETHER // max(map(len, sampled.targets.values())))
    done = 0
    with context.progress.step("shifting", len(sources), "sources") as advance:
        for number, start in enumerate(range(0, len(sources), together)):
            group = sources[start : start + together]
            missing = {
                b: [
                    test
                    for test in tests
                    if context.kept(Shifts, shifts_file(context, sampled, b, test)) is None
                ]
                for b in group
            }
            left = {b: lacking for b, lacking in missing.items() if lacking}
            tested = run(context, sampled, _planes(context, sampled, group, number), left) if left else ()
            for b in chain((b for b in group if b not in left), tested):
                advance(1)
                done += 1
                images = len(evidence_of(context, b).chosen)
                report(
                    images * _work(context, len(sampled.targets[b])),
                    f"shifting: {done} of {len(sources)} sources",
                )
            context.store.drop("planes", _planes_key(sampled, number))


def shifts_file(context: Context, sampled: PairSample, source: int, test: str) -> Path:
    """Where a test of a source is kept."""
    key = key_of(
        group=sampled.group, source=source, test=test, names=context.names_digest, model=context.loaded.name
    )
    return context.store.record("shifts", key)


def _work(context: Context, targets: int) -> float:
    """Of one image of a source."""
    return 1 + HEAD * targets * (len(context.settings.shifts) + context.settings.finer)


def _planes_key(sampled: PairSample, number: int) -> str:
    return key_of(group=sampled.group, number=number)


def _planes(context: Context, sampled: PairSample, sources: Sequence[int], number: int) -> Planes:
    """The hyperplanes of some sources with all their targets: kept, or fitted together and kept."""
    file = context.store.record("planes", _planes_key(sampled, number))
    if (kept := context.kept(Planes, file)) is not None:
        return kept
    pairs = [(a, b) for b in sources for a in sampled.targets[b]]
    with context.progress.step("hyperplanes", len(pairs), "pairs") as advance:
        found = contrast.fit(context, contrast.kept_cells(context, sorted(sampled.targets)), pairs)
        advance(len(pairs))
    rows = range(len(pairs))
    made = Planes(
        pairs=np.array(pairs),
        weights=found.weights,
        biases=found.biases,
        apart=found.apart,
        training=tuple(contrast.separation(found.training, row) for row in rows),
        held_out=tuple(contrast.held_out(found, row) for row in rows),
    )
    context.store.keep(made, file)
    return made


def test_source(
    context: Context, sampled: PairSample, source: int, planes: Planes, tests: Sequence[str]
) -> None:
    """Make and keep tests of a source; its images and activations are in memory meanwhile."""
    own = evidence_of(
        replace(context, progress=Within(context.progress)), source
    )  # told source by source instead
    rows = np.flatnonzero(planes.pairs[:, 1] == source).tolist()
    controlled = min(rows, key=lambda row: _lot(context, planes.pairs[row]))
    for test in tests:
        made = Shifts(
            model=context.model_info(),
            pool=context.pool_info(),
            names=context.names_digest,
            test=test,
            source=context.prediction(source, own.score),
            n=len(own.chosen),
            draw=sampled.words,
            group=sampled.group,
            runs=sampled.runs,
            pairs=tuple(_pair(own, sampled, planes, row, test, row == controlled) for row in rows),
            settings=plain(context.settings, OF_NO_RESULT),
            versions=context.versions,
        )
        context.store.keep(made, shifts_file(context, sampled, source, test))


def _lot(context: Context, pair: np.ndarray) -> int:
    """Drawn for a pair: that of the least lot of each source has controls."""
    return seed_of("controlled", context.settings.seed, f"{pair[0]} from {pair[1]}")


def _pair(
    own: ClassEvidence, sampled: PairSample, planes: Planes, row: int, test: str, controlled: bool
) -> AuditedPair:
    target = int(planes.pairs[row, 0])
    unit = None if planes.apart is None else contrast.unit_of(own.context, float(planes.apart[row]))
    attempt = Attempt(own, target, planes.weights[row], float(planes.biases[row]), unit)
    shift = test == "shift"
    moved, control = (
        sweeps.best_shift(attempt, controlled) if shift else (narrowed_masking.best_mask(attempt), None)
    )
    default = float(attempt.before[:, target].mean())
    return AuditedPair(
        target=own.context.prediction(target, default),
        runs=sampled.targets[own.target][target],
        moved=moved,
        control=control,
        training=planes.training[row],
        held_out=planes.held_out[row],
    )
