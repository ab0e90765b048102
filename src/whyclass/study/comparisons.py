"""Explanations of nothing and of halves of a class's images: their concepts, kept or made.

*Random cells*: the directions of cells drawn from the class's own images, which show the class and explain
nothing. *Shuffled scores*: the attribution's scores are shuffled within each image, and factorised as the
class's own are. *Halves*: the class's own scores of a half of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from whyclass.concepts.nmf import side_by_side
from whyclass.concepts.nmf_on_device import Given, factorise_all, tried
from whyclass.errors import AttributionError
from whyclass.records import Comparisons, Factors, HalfConcepts, NullSet
from whyclass.settings import Settings, seed_of
from whyclass.study.class_evidence import ClassEvidence

FEWEST = 4
"""Images of a class without two of which a half holds nothing to compare."""

DIRECTIONS, AUDITED_DIRECTIONS = 29, 9
"""Of nonsense: for an explanation, and for each class of an audit the fewest that allow p = 0.1."""

ROUNDS = 200
"""Of the factorisations here at most: as good as all of them are to be compared with, and half the time."""

AUDITED_FILLINGS = 4
"""Random crops that concepts are shown among in an audit, at most so many draws."""


@dataclass(frozen=True)
class Counts:
    """How much an explanation is compared with.

    Attributes
    ----------
    cells, scores, refits, directions
        Sets of random cells and of shuffled scores, pairs of halves, and directions of nonsense.
    fillings, shown
        Draws of random crops that crops are shown among, and in how many of them each is shown alone.
    """

    cells: int
    scores: int
    refits: int
    directions: int
    fillings: int
    shown: int

    @property
    def any(self) -> bool:
        """Whether anything is to be made."""
        return any((self.cells, self.scores, self.refits, self.directions))


def of_explanation(settings: Settings) -> Counts:
    """What an explanation is compared with."""
    directions = DIRECTIONS if settings.fillings else 0
    sets = (settings.null_cells, settings.null_scores, settings.refits)
    return Counts(*sets, directions, settings.fillings, shown=2)


def of_audit(settings: Settings) -> Counts:
    """What each class of an audit is compared with: little by itself, and much over all classes."""
    if not settings.audit_nulls:
        return Counts(0, 0, 0, 0, 0, 0)
    directions = AUDITED_DIRECTIONS if settings.fillings else 0
    sets = (settings.audit_nulls, settings.audit_nulls, settings.refits)
    return Counts(*sets, directions, min(settings.fillings, AUDITED_FILLINGS), shown=1)


@dataclass(frozen=True)
class Material:
    """What the concepts of a class are made of.

    ``activations`` (n, c, h, w), ``scores`` (n, h, w), ``digests`` of the n images; ``count`` is of concepts.
    """

    target: int
    activations: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    digests: tuple[str, ...] = field(repr=False)
    settings: Settings = field(repr=False)
    signed: bool = False


def material(own: ClassEvidence) -> Material:
    """Of a class."""
    items = own.context.index.items
    digests = tuple(items[int(position)].digest for position in own.chosen)
    settings, signed = own.context.settings, own.context.split.signed
    return Material(own.target, own.activations, own.evidence.scores, digests, settings, signed)


def comparisons(own: ClassEvidence, counts: Counts) -> Comparisons:
    """A class's: kept, or made and kept."""
    file = comparisons_file(own, counts)
    if (kept := own.context.kept(Comparisons, file)) is not None:
        return kept
    given, device = material(own), own.context.split.example.device
    with own.context.progress.step("null concepts"):
        found = made(given, counts) if device.type != "cuda" else made_together([given], counts, device)[0]
    own.context.store.keep(found, file)
    return found


def comparisons_file(own: ClassEvidence, counts: Counts) -> Path:
    """Where they are kept."""
    asked = {"cells": counts.cells, "scores": counts.scores, "refits": counts.refits}
    return own.file("comparisons", asked)


def made(given: Material, counts: Counts, threads: int | None = None) -> Comparisons:
    """Make them, each factorisation on one thread."""
    fits = list(_fits(given, counts))
    return _of_fits(given, counts, fits, side_by_side(lambda one: tried(one.given, 1), fits, threads))


def made_together(every: Sequence[Material], counts: Counts, device: torch.device) -> list[Comparisons]:
    """Those of some classes, all at once on a card."""
    fits = [list(_fits(given, counts)) for given in every]
    found = iter(factorise_all([one.given for mine in fits for one in mine], device))
    return [
        _of_fits(given, counts, mine, list(islice(found, len(mine))))
        for given, mine in zip(every, fits, strict=True)
    ]


@dataclass(frozen=True)
class _Fit:
    """A factorisation that is asked for, and the record that its concepts make."""

    given: Given
    record: Callable[[Factors], NullSet | HalfConcepts]


def _fits(given: Material, counts: Counts) -> Iterator[_Fit]:
    """Of scores shuffled within each image, and of halves of the images."""
    for draw in range(counts.scores):
        seed = seed_of("shuffled scores", given.settings.seed, f"{given.target} {draw}")
        yield _Fit(_fit(given, _shuffled(given.scores, seed), seed), _null_set)
    for half in _halves(given, counts.refits):
        scores = np.zeros_like(given.scores)
        scores[half.rows] = given.scores[half.rows]
        seed = seed_of("refit", given.settings.seed, half.name)
        yield _Fit(_fit(given, scores, seed), partial(_half_concepts, images=len(half.rows)))


def _null_set(found: Factors) -> NullSet:
    return NullSet("shuffled scores", found.concepts, found.shares)


def _half_concepts(found: Factors, images: int) -> HalfConcepts:
    return HalfConcepts(found.concepts, images)


def _fit(given: Material, scores: np.ndarray, seed: int) -> Given:
    rounds = min(given.settings.iterations, ROUNDS)
    settings = replace(given.settings, starts=1, iterations=rounds, seed=seed % 2**31)
    return Given(given.activations, scores, settings, given.signed)


def _of_fits(
    given: Material, counts: Counts, fits: Sequence[_Fit], found: Sequence[Factors | AttributionError]
) -> Comparisons:
    """The record; without those in which nothing speaks for the class."""
    cells = [_of_cells(given, draw) for draw in range(counts.cells)]
    made_of = zip(fits, found, strict=True)
    every = [fit.record(one) for fit, one in made_of if not isinstance(one, AttributionError)]
    sets = [one for one in every if isinstance(one, NullSet)]
    return Comparisons((*cells, *sets), tuple(one for one in every if isinstance(one, HalfConcepts)))


def _of_cells(given: Material, draw: int) -> NullSet:
    """Random cells of the images; those without any activation have no direction."""
    count, activations = given.settings.concepts, given.activations
    generator = np.random.default_rng(seed_of("random cells", given.settings.seed, f"{given.target} {draw}"))
    flat = activations.reshape(*activations.shape[:2], -1)
    alive = np.argwhere(np.abs(flat).sum(1) > 0)
    picked = alive[generator.choice(len(alive), count, replace=len(alive) < count)]
    found = np.stack([flat[image, :, cell] for image, cell in picked])
    unit = np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)
    return NullSet("random cells", unit, np.full(count, 1 / count))


@dataclass(frozen=True)
class _Half:
    """Which images (m,) a half holds, and its name."""

    rows: np.ndarray
    name: str


def _halves(given: Material, refits: int) -> list[_Half]:
    """Two disjoint halves of the images for each refit."""
    n = len(given.digests)
    if n < FEWEST:
        return []
    found = []
    for refit in range(refits):
        lots = [seed_of(f"half {refit}", given.settings.seed, digest) for digest in given.digests]
        order = np.argsort(lots, kind="stable")
        parts = (order[: n // 2], order[n // 2 :])
        found += [_Half(np.sort(rows), f"{refit} {part}") for part, rows in enumerate(parts)]
    return found


def _shuffled(scores: np.ndarray, seed: int) -> np.ndarray:
    """Scores (n, h, w), those of each image in another order."""
    generator = np.random.default_rng(seed)
    found = scores.copy()
    for row in found.reshape(len(scores), -1):
        generator.shuffle(row)
    return found
