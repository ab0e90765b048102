"""What an explanation is worth: what its concepts do, what nothing reaches, whether it comes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np

from whyclass.checks.statistics import nonsense
from whyclass.pool.nearest_crops import Place, Query
from whyclass.records import AuditedConcept, Concept, NullSet, PredictionTest, PredictionTests, Refits
from whyclass.settings import seed_of
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.comparisons import Counts, comparisons
from whyclass.study.concept_contributions import Fillings, contributions, fillings
from whyclass.study.context import Context
from whyclass.study.null_explanations import backing, nulls, of_random_crops
from whyclass.study.prediction_test_and_control import Places, Tester, alike
from whyclass.study.refits import Half, agreement, matched, stabilities

OneConcept = TypeVar("OneConcept", Concept, AuditedConcept)


@dataclass(frozen=True)
class Checked:
    """What is searched beside a class's concepts: explanations of nothing, and of halves of its images."""

    nulls: tuple[NullSet, ...]
    halves: tuple[Half, ...]
    nonsense: np.ndarray | None
    counts: Counts

    def queries(self, context: Context, masks: dict[str, np.ndarray]) -> list[Query]:
        """What is searched for: for the nulls the decisive test's images alone."""
        decisive = decisive_of(masks)
        found = [Query(one.concepts, {decisive: masks[decisive]}, context.clipped) for one in self.nulls]
        found += [Query(one.concepts, masks, context.clipped) for one in self.halves]
        if self.nonsense is not None:
            found.append(Query(self.nonsense, {decisive: masks[decisive]}, context.clipped))
        return found


@dataclass(frozen=True)
class Searched:
    """Where everything was found: the concepts' places, and for each query of `Checked` its own."""

    tester: Tester = field(repr=False)
    masks: dict[str, np.ndarray] = field(repr=False)
    places: Places = field(repr=False)
    others: Sequence[Places] = field(repr=False)


@dataclass(frozen=True)
class Judged(Generic[OneConcept]):
    """Concepts and tests with what they are worth."""

    concepts: tuple[OneConcept, ...]
    tests: PredictionTests
    refits: Refits | None


def decisive_of(masks: dict[str, np.ndarray]) -> str:
    """The name of the stronger test: without the class's images, where there are others."""
    return "excluding" if masks["excluding"].any() else "including"


def checks_of(own: ClassEvidence, counts: Counts) -> Checked | None:
    """What is asked for; None where that is nothing but random crops."""
    if not counts.any:
        return None
    found, concepts = comparisons(own, counts), own.factors.concepts
    most = len(concepts)  # of random cells no more are taken than there are concepts
    sets = tuple(NullSet(one.kind, one.concepts[:most], one.shares[:most]) for one in found.sets)
    seed = seed_of("nonsense", own.context.settings.seed, "")
    directions = nonsense(concepts, seed, counts.directions) if counts.directions else None
    return Checked(sets, tuple(matched(own.factors, half) for half in found.halves), directions, counts)


def judged(
    own: ClassEvidence,
    concepts: tuple[OneConcept, ...],
    tests: PredictionTests,
    checked: Checked,
    found: Searched,
) -> Judged[OneConcept]:
    """Concepts and tests of an explanation, with what they are worth filled in."""
    name = decisive_of(found.masks)
    places = [nearest for nearest in found.places[name] if nearest]
    controls, read = found.tester.controls, found.tester.pictures.sample
    size = (checked.counts.fillings, len(places))
    fill = fillings(own.context, controls, read, own.target, found.masks[name], size)
    fill = replace(fill, shown=checked.counts.shown)
    tests = _with_next_crops(own, tests, found)
    test = tests.excluding if tests.excluding and name == "excluding" else tests.including
    test = _measured(own, fill, test, places, checked, found)
    tests = replace(tests, **{name: test})
    if checked.nonsense is not None:
        done, smallest = contributions(fill, places, test.score, found.others[-1][name])
        concepts = tuple(replace(one, contribution=mine) for one, mine in zip(concepts, done, strict=True))
        tests = replace(tests, **{name: replace(test, smallest=smallest)})
    if not checked.halves:
        return Judged(concepts, tests, None)
    return _refitted(own, concepts, tests, checked, found)


def _with_next_crops(own: ClassEvidence, tests: PredictionTests, found: Searched) -> PredictionTests:
    """The tests with the class's scores for what lies next nearest to the concepts."""
    read, controls = found.tester.pictures.sample, found.tester.controls
    asked: dict[str, list[tuple[Place, ...]]] = {}
    for name, test in (("including", tests.including), ("excluding", tests.excluding)):
        if test is not None:
            ranks = min(RANKS, *map(len, found.places[name]))
            asked[name] = [tuple(nearest[rank] for nearest in found.places[name]) for rank in range(1, ranks)]
    controls.expect([one for sets in asked.values() for one in sets], read)
    again = {}
    for name, sets in asked.items():
        scores = controls.scores(sets, read)[:, own.target] if sets else np.empty(0)
        again[name] = replace(getattr(tests, name), again=tuple(scores.tolist()))
    return replace(tests, **again)


RANKS = 4
"""Test images are made of so many nearest crops: one nearest crop may be a chance find."""


def _measured(
    own: ClassEvidence,
    fill: Fillings,
    test: PredictionTest,
    places: Sequence[Sequence[Place]],
    checked: Checked,
    found: Searched,
) -> PredictionTest:
    """The decisive test with its backing and the nulls that were asked for."""
    best = [nearest[0] for nearest in places]
    made = [of_random_crops(fill, test.score, alike(best))] if own.context.settings.null_crops else []
    if not checked.nulls:
        return replace(test, nulls=tuple(made))
    real = backing(fill, places, own.factors.shares)
    theirs = [one[decisive_of(found.masks)] for one in found.others[: len(checked.nulls)]]
    return replace(test, backing=real, nulls=(*made, *nulls(fill, real, checked.nulls, theirs)))


def _refitted(
    own: ClassEvidence,
    concepts: tuple[OneConcept, ...],
    tests: PredictionTests,
    checked: Checked,
    found: Searched,
) -> Judged[OneConcept]:
    """Concepts with their stability, and whether the halves' tests end as the whole's."""
    name, others = decisive_of(found.masks), found.others[len(checked.nulls) :][: len(checked.halves)]
    best = [[nearest[0] for nearest in one[name]] for one in others]
    steady = stabilities(checked.halves, best, [nearest[0] for nearest in found.places[name]])
    concepts = tuple(replace(one, stability=mine) for one, mine in zip(concepts, steady, strict=True))
    asked = [one for half in others for one in _best_of(found, half)]
    found.tester.controls.expect(asked, found.tester.pictures.sample)
    whole = [test.predicted for test in (tests.including, tests.excluding, tests.unlabelled) if test]
    same = [_ends(own, found, one) == whole for one in others]
    return Judged(concepts, tests, agreement(checked.halves, same))


def _ends(own: ClassEvidence, found: Searched, places: Places) -> list[bool]:
    """Whether the best crops of a half are predicted as the class, in each test."""
    scores = found.tester.controls.scores(_best_of(found, places), found.tester.pictures.sample)
    return [bool(one) for one in own.context.task.counts(scores, own.target)]


def _best_of(found: Searched, places: Places) -> list[tuple[Place, ...]]:
    """The best crops of a half within each mask that holds an image."""
    asked = [name for name, mask in found.masks.items() if mask.any()]
    return [tuple(nearest[0] for nearest in places[name]) for name in asked]
