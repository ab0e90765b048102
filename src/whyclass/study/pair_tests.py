"""The shifting test of very many pairs: which are drawn, their hyperplanes, and each source's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from whyclass.progress import Report, Within
from whyclass.records import AuditedPair, Planes, Shifts
from whyclass.settings import OF_NO_RESULT, plain, seed_of
from whyclass.store import key_of
from whyclass.study import contrast, contrast_tests
from whyclass.study.class_evidence import Subject, subject
from whyclass.study.context import Scene
from whyclass.study.contrast_tests import Duel

TARGETS, RUNS = 10, 5
"""Random targets of each source, and how often they are drawn (paper, 5.2.1)."""

TOGETHER = 5000
"""Pairs whose hyperplanes are fitted and kept together, about: always the same ones, so that no result
depends on where a run was stopped."""

HEAD = 0.3
"""Work of an image finished from the layer against a pass through the trunk; only for the time that is told
to be left."""


@dataclass(frozen=True)
class Draw:
    """Which targets are sought in the images of which sources.

    Attributes
    ----------
    words
        The draw, for people.
    group
        The same for all sources of one draw, and for no other draw.
    runs
        How often targets were drawn.
    targets
        By source, its targets with the runs in which each was drawn.
    """

    words: str
    group: str
    runs: int
    targets: dict[int, dict[int, tuple[int, ...]]] = field(repr=False)


def work(scene: Scene, classes: Sequence[int], every_pair: bool) -> float:
    """About how much there is to do, in images through the trunk."""
    targets = len(classes) - 1 if _all(classes, every_pair) else TARGETS * RUNS
    images = sum(len(subject(scene, k).chosen) for k in classes)
    return images * _work(scene, targets)


def draw(scene: Scene, classes: Sequence[int], every_pair: bool) -> Draw:
    """Pairs of those classes that have cells: all of them, or the paper's random targets.

    The targets of a source depend on the seed and the classes, and on nothing else.
    """
    able = [k for k in classes if len(subject(scene, k).cells.image)]
    every = _all(able, every_pair)
    if every:
        targets: dict[int, dict[int, tuple[int, ...]]] = {b: {a: (0,) for a in able if a != b} for b in able}
        words = f"all ordered pairs of {len(able)} classes"
    else:
        targets = {b: _drawn(scene, able, b) for b in able}
        words = f"{TARGETS} random targets for each of {len(able)} classes, {RUNS} runs"
    numbers = scene.key(settings=plain(scene.settings, OF_NO_RESULT))
    group = key_of(classes=able, every=every, numbers=numbers)
    return Draw(words, group, 1 if every else RUNS, targets)


def shifts(
    scene: Scene, classes: Sequence[int], every_pair: bool, tests: Sequence[str], report: Report
) -> None:
    """Each source's tests, made and kept where they are missing."""
    drawn = draw(scene, classes, every_pair)
    sources = sorted(drawn.targets)
    if len(sources) < 2:
        scene.progress.note(
            f"{len(sources)} classes have cells that speak for them; shifting needs two or more"
        )
        return
    together = max(1, TOGETHER // max(map(len, drawn.targets.values())))
    done = 0
    with scene.progress.step("shifting", len(sources), "sources") as advance:
        for number, start in enumerate(range(0, len(sources), together)):
            group = sources[start : start + together]
            missing = {b: [t for t in tests if not shifts_file(scene, drawn, b, t).exists()] for b in group}
            planes = _planes(scene, drawn, group, number) if any(missing.values()) else None
            for b in group:
                if planes is not None and missing[b]:
                    _test(scene, drawn, b, planes, missing[b])
                advance(1)
                done += 1
                images = len(subject(scene, b).chosen)
                report(
                    images * _work(scene, len(drawn.targets[b])),
                    f"shifting: {done} of {len(sources)} sources",
                )
            scene.store.drop("planes", _planes_key(drawn, number))


def shifts_file(scene: Scene, drawn: Draw, source: int, test: str) -> Path:
    """Where a test of a source is kept."""
    key = key_of(
        group=drawn.group, source=source, test=test, names=scene.names_digest, model=scene.loaded.name
    )
    return scene.store.record("shifts", key)


def _work(scene: Scene, targets: int) -> float:
    """Of one image of a source."""
    return 1 + HEAD * targets * len(scene.settings.shifts)


def _all(classes: Sequence[int], every_pair: bool) -> bool:
    return every_pair or len(classes) - 1 <= TARGETS


def _drawn(scene: Scene, able: Sequence[int], source: int) -> dict[int, tuple[int, ...]]:
    others = np.array([k for k in able if k != source])
    found: dict[int, tuple[int, ...]] = {}
    for run in range(RUNS):
        generator = np.random.default_rng(seed_of("targets", scene.settings.seed, f"{run} {source}"))
        for target in generator.choice(others, TARGETS, replace=False).tolist():
            found[target] = (*found.get(target, ()), run)
    return dict(sorted(found.items()))


def _planes_key(drawn: Draw, number: int) -> str:
    return key_of(group=drawn.group, number=number)


def _planes(scene: Scene, drawn: Draw, sources: Sequence[int], number: int) -> Planes:
    """The hyperplanes of some sources with all their targets: kept, or fitted together and kept."""
    file = scene.store.record("planes", _planes_key(drawn, number))
    if (kept := scene.kept(Planes, file)) is not None:
        return kept
    pairs = [(a, b) for b in sources for a in drawn.targets[b]]
    with scene.progress.step("hyperplanes", len(pairs), "pairs") as advance:
        found = contrast.fit(scene, contrast.kept_cells(scene, sorted(drawn.targets)), pairs)
        advance(len(pairs))
    rows = range(len(pairs))
    made = Planes(
        pairs=np.array(pairs),
        weights=found.weights,
        biases=found.biases,
        training=tuple(contrast.separation(found.training, row) for row in rows),
        held_out=tuple(contrast.held_out(found, row) for row in rows),
    )
    made.save(file)
    return made


def _test(scene: Scene, drawn: Draw, source: int, planes: Planes, tests: Sequence[str]) -> None:
    """Make and keep tests of a source; its images and activations are in memory meanwhile."""
    own = subject(replace(scene, progress=Within(scene.progress)), source)  # told source by source instead
    rows = np.flatnonzero(planes.pairs[:, 1] == source).tolist()
    for test in tests:
        made = Shifts(
            model=scene.model_info(),
            pool=scene.pool_info(),
            names=scene.names_digest,
            test=test,
            source=scene.prediction(source, own.score),
            n=len(own.chosen),
            draw=drawn.words,
            group=drawn.group,
            runs=drawn.runs,
            pairs=tuple(_pair(own, drawn, planes, row, test, row == rows[0]) for row in rows),
            settings=plain(scene.settings, OF_NO_RESULT),
            versions=scene.versions,
        )
        made.save(shifts_file(scene, drawn, source, test))


def _pair(own: Subject, drawn: Draw, planes: Planes, row: int, test: str, controlled: bool) -> AuditedPair:
    target = int(planes.pairs[row, 0])
    duel = Duel(own, target, planes.weights[row], float(planes.biases[row]))
    shift = test == "shift"
    moved, control = (
        contrast_tests.best_shift(duel, controlled) if shift else (contrast_tests.best_mask(duel), None)
    )
    default = float(duel.before[:, target].mean())
    return AuditedPair(
        target=own.scene.prediction(target, default),
        runs=drawn.targets[own.target][target],
        moved=moved,
        control=control,
        training=planes.training[row],
        held_out=planes.held_out[row],
    )
