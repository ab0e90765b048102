"""The whole path on the planted world, judged against the truth.

A planted part counts as *found* when two things that know nothing of each other agree on one
concept: its heat lies on the part in the class's own pictures, and its nearest crops, from anywhere
in the pool, show the part. Each has a control that is judged the same way:

- heat: the same heat maps laid over masks of *other* pictures of the class;
- crops: the same number of crops drawn from the pool at random.

The threshold of each is the 97.5 % quantile of the control's *best* concept, because the best of the
class's concepts is what is compared with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from whyclass.models.described import Loaded
from whyclass.planted import nets, world
from whyclass.planted.judgement import Finding, Truth, judge
from whyclass.planted.parts import PARTS
from whyclass.progress import Progress
from whyclass.progress_bars import shown
from whyclass.records import Contrast, Explanation, Side
from whyclass.settings import Settings
from whyclass.study.study import Study

EXPLAINED = tuple(planted.name for planted in world.CLASSES if planted.parts)
"""The classes that have parts."""

STEPS = 64
"""Of the pictures that concepts draw, in the latent space of the planted autoencoder."""


@dataclass(frozen=True)
class Judged:
    """An explanation of a planted class, where its page lies, and a finding for every part."""

    explanation: Explanation
    page: Path
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Turned:
    """Pictures of the class without the shortcut that a pasted part turns into the class with it.

    ``by_shortcut`` and ``by_others`` are shares of ``n`` pictures, 0 to 1; the latter is the mean over
    all parts that neither class has, at the same place.
    """

    n: int
    by_shortcut: float
    by_others: float


@dataclass(frozen=True)
class Contrasted:
    """The twins against each other, where the page lies, and whether the contrast shows the shortcut.

    ``shortcut`` is whether it is found on the side of the class that has it, and on the other one;
    ``crops`` how many of the best concept's nearest crops show it on each side.
    """

    contrast: Contrast
    page: Path
    shortcut: tuple[bool, bool]
    crops: tuple[int, int]


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes
    ----------
    judged
        One for each class that was explained.
    turned
        Whether the network really goes by the shortcut, asked without any explanation.
    planted, found, invented
        Parts planted in these classes, how many of them were found, and how many parts were found in
        a class that does not have them.
    shortcut
        Whether the shortcut was found in its class, and in the class that differs from it by the
        shortcut alone; None where that class was not explained.
    contrasted
        The twins against each other; None where not both were explained.
    seconds
        Wall-clock time.
    """

    judged: tuple[Judged, ...]
    turned: Turned
    planted: int
    found: int
    invented: int
    shortcut: tuple[bool | None, bool | None]
    contrasted: Contrasted | None
    seconds: float


def run(
    folder: str | Path,
    classes: Iterable[str] = EXPLAINED,
    progress: Progress | bool | None = None,
    n_per_class: int = 60,
    seed: int = 0,
) -> DemoResult:
    """Draw a pool of planted pictures, explain classes of it, and compare with the truth.

    Parameters
    ----------
    folder
        Gets the pictures, ``store/`` with the records, and a page for each class.
    classes
        Names of planted classes; the default is every class that has parts.
    progress
        As for ``Study``.
    n_per_class
        Pictures of each class.
    seed
        Of the pool, the explanations and the controls.

    Raises
    ------
    ClassError
        If a class is unknown.
    StoreError
        If the folder cannot be written.
    """
    started = time.perf_counter()
    folder, progress = Path(folder), shown(progress)
    indices = [world.class_index(name) for name in classes]
    pool = folder / f"pool-{n_per_class}-{seed}"  # a pool never holds pictures of another one
    with progress.step("pool"):
        world.write_pool(pool, n_per_class, seed)
    # steps this small gain little from a second thread, and waiting for it costs tenfold where other
    # programs keep the processor busy
    with threadpool_limits(1):
        settings = Settings(seed=seed, examples=12, tests=("shifting", "insertion"))
        study = Study(
            loaded(),
            world.LAYER,
            pool,
            folder / "store",
            settings,
            decoder=nets.planted_decoder(),
            progress=progress,
        )
        with progress.step("truth"):
            truth = {item.path: world.pool_picture(item.path, seed).masks for item in study.pool.items}
        judged = []
        for index in indices:
            study.settings = _drawing(settings, index)
            judged.append(_judged(study, index, folder, truth, seed))
        asked = {one.explanation.target.name for one in judged}
        contrasted = _contrasted(study, folder, truth, seed) if asked >= set(world.TWINS) else None
        return _result(judged, turned(seed=seed), contrasted, time.perf_counter() - started)


def _drawing(settings: Settings, index: int) -> Settings:
    """The settings, with pictures for the twins: those of every class would take longer than all else."""
    if world.CLASSES[index].name not in world.TWINS:
        return settings
    return replace(settings, pictures="generator", picture_steps=STEPS)


def _judged(study: Study, index: int, folder: Path, truth: Truth, seed: int) -> Judged:
    explanation = study.explain(index)
    page = explanation.save(folder / f"{world.CLASSES[index].name}.html")
    return Judged(explanation, page, judge(explanation, truth, seed))


def _contrasted(study: Study, folder: Path, truth: Truth, seed: int) -> Contrasted:
    study.settings = _drawing(study.settings, world.class_index(world.TWINS[0]))
    found = study.contrast(*world.TWINS)
    page = found.save(folder / f"{'-against-'.join(world.TWINS)}.html")
    sides = [_shortcut_of(side, truth, seed) for side in (found.a, found.b)]
    return Contrasted(found, page, (sides[0].found, sides[1].found), (sides[0].crops, sides[1].crops))


def _shortcut_of(side: Side, truth: Truth, seed: int) -> Finding:
    """Whether the concepts of a side of the contrast point to the shortcut, judged like an explanation."""
    shown = replace(side.explanation, concepts=side.concepts, images=side.images)
    return next(finding for finding in judge(shown, truth, seed) if finding.part == world.SHORTCUT)


def loaded() -> Loaded:
    """The network of the planted world with its preprocessing and class names."""
    names = tuple(planted.name for planted in world.CLASSES)
    return Loaded("planted", nets.planted_net(), world.PREPROCESSING, names)


@torch.no_grad()
def turned(n: int = 60, seed: int = 0) -> Turned:
    """Paste the shortcut into pictures of the twin that lacks it, and other parts as a control."""
    net = nets.planted_net()
    target, plain = (world.class_index(name) for name in world.TWINS)

    def share(part: str) -> float:
        pictures = [world.planted_picture(plain, seed + i, add=[part]).image for i in range(n)]
        return float((net(nets.as_input(pictures)).argmax(1) == target).float().mean())

    others = [part.name for part in PARTS if part.name not in world.CLASSES[target].needs]
    return Turned(n, share(world.SHORTCUT), float(np.mean([share(part) for part in others])))


def summary(result: DemoResult) -> list[str]:
    """What the demonstration found, in lines of plain text."""
    lines = [f"{'class':10}{'part':10}{'heat on it':>12}{'control':>9}{'crops':>7}{'control':>9}"]
    for judged in result.judged:
        told = [finding for finding in judged.findings if finding.planted or finding.found]
        lines += [_line(judged.explanation.target.name, finding) for finding in told]
    lines.append(
        f"{result.found} of {result.planted} planted parts found, {result.invented} found that are not there."
    )
    if None not in result.shortcut:
        lines.append(_shortcut_line(result))
    if result.contrasted:
        lines.append(_contrast_line(result.contrasted))
    return lines


def _contrast_line(result: Contrasted) -> str:
    (there, absent), (mine, theirs), (target, plain) = result.shortcut, result.crops, world.TWINS
    shifting = result.contrast.a.shifting
    moved = (
        f", and moving {plain} that way gives {target} {shifting.steps[shifting.best].target:.2f}"
        if shifting
        else ""
    )
    return (
        f"What speaks for {target} against {plain}: the {world.SHORTCUT} is {_found(there)} ({mine} crops); "
        f"for {plain} against {target}: {_found(absent)} ({theirs} crops){moved}."
    )


def _shortcut_line(result: DemoResult) -> str:
    (target, plain), (there, absent), turned = world.TWINS, result.shortcut, result.turned
    return (
        f"The shortcut, a {world.SHORTCUT}, is {_found(bool(there))} in {target} and {_found(bool(absent))} "
        f"in {plain}. Pasted into {turned.n} pictures of {plain} it turns {turned.by_shortcut:.0%} of them "
        f"into {target}; other parts turn {turned.by_others:.0%}."
    )


def _line(name: str, finding: Finding) -> str:
    verdict = _found(finding.found) + ("" if finding.planted else ", but not planted")
    return (
        f"{name:10}{finding.part:10}{finding.overlap:>12.0%}{finding.overlap_control:>9.0%}"
        f"{finding.crops:>7}{finding.crops_control:>9.0f}  {verdict}"
    )


def _found(found: bool) -> str:
    return "found" if found else "not found"


def _result(
    judged: Sequence[Judged], turned: Turned, contrasted: Contrasted | None, seconds: float
) -> DemoResult:
    findings = [finding for one in judged for finding in one.findings]
    sought = {
        one.explanation.target.name: f.found
        for one in judged
        for f in one.findings
        if f.part == world.SHORTCUT
    }
    return DemoResult(
        judged=tuple(judged),
        turned=turned,
        planted=sum(finding.planted for finding in findings),
        found=sum(finding.planted and finding.found for finding in findings),
        invented=sum(finding.found and not finding.planted for finding in findings),
        shortcut=(sought.get(world.TWINS[0]), sought.get(world.TWINS[1])),
        contrasted=contrasted,
        seconds=seconds,
    )


def study_of(folder: str | Path, n_per_class: int = 60, seed: int = 0) -> Study:
    """The study that a demonstration in a folder was made by, to ask more of it."""
    folder = Path(folder)
    settings = Settings(seed=seed, examples=12, tests=("shifting", "insertion"))
    return Study(
        loaded(),
        world.LAYER,
        folder / f"pool-{n_per_class}-{seed}",
        folder / "store",
        settings,
        progress=False,
    )
