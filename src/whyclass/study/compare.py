"""Methods that find concepts of a class, on equal terms: the same material, nulls, tests and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from whyclass.errors import AttributionError, ClassError, SettingsError
from whyclass.pool.nearest_crops import Place, Query
from whyclass.records import (
    AuditedConcept,
    ComparedClass,
    ComparedConcept,
    Comparison,
    Concept,
    Factors,
    MethodResult,
    PredictionTest,
    PredictionTests,
    Spot,
    Strip,
)
from whyclass.settings import COMPARED_METHODS, plain
from whyclass.store import key_of
from whyclass.study import explain, searching, trust
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.comparisons import of_explanation
from whyclass.study.concept_methods import Method, found_by, material_of, method_of
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.method_halves import halves_of
from whyclass.study.method_measures import HeadAsked, HeadMeasures, evenly, head_asked, head_measures
from whyclass.study.prediction_test_and_control import Controls, Places, Tester, masks_of
from whyclass.study.refits import Half
from whyclass.study.trust import Checked, Judged, Searched

SMALL = 160
"""Longer side of the example images, in pixels."""


@dataclass(frozen=True)
class OfMethod(ClassEvidence):
    """A class whose concepts a method found."""

    found: Factors = field(repr=False)

    @property
    def factors(self) -> Factors:  # type: ignore[override]
        """What the method found."""
        return self.found


@dataclass(frozen=True)
class Candidate:
    """A method's concepts of a class, and of halves of its images."""

    method: Method
    own: OfMethod = field(repr=False)
    halves: tuple[Half, ...] = field(repr=False)


@dataclass(frozen=True)
class Shared:
    """What all methods of a class are compared with, made once."""

    own: ClassEvidence
    tester: Tester = field(repr=False)
    masks: dict[str, np.ndarray] = field(repr=False)
    checked: Checked | None = field(repr=False)
    head: HeadAsked = field(repr=False)


def methods_of(channels: int, names: Sequence[str] | None) -> list[Method]:
    """The methods of these names for a layer's ``channels``; all but files unless told.

    Raises
    ------
    SettingsError
        If there is none, one is unknown, or one is named twice.
    DataError
        If a file holds no directions of the layer.
    """
    wanted = list(COMPARED_METHODS if names is None else names)
    if not wanted or len(set(wanted)) < len(wanted):
        raise SettingsError(f"methods are {', '.join(wanted) or 'none'}; name one or more, each once")
    return [method_of(name, channels) for name in wanted]


def comparison(context: Context, targets: Sequence[int], methods: Sequence[Method]) -> Comparison:
    """Every method on every class; what is in the store is not made again."""
    owns = [evidence_of(context, target) for target in targets]  # a class without images is refused first
    controls = Controls(context)
    classes = tuple(compared(own, methods, controls) for own in owns)
    warnings = dict.fromkeys(line for own in owns for line in explain.warnings_of(own, own.factors))
    return Comparison(
        model=context.model_info(),
        pool=context.pool_info(),
        names=context.names_digest,
        methods=tuple(method.name for method in methods),
        classes=classes,
        warnings=tuple(warnings),
        settings=plain(context.settings),
        versions=context.versions,
    )


def compared(
    own: ClassEvidence, methods: Sequence[Method], controls: Controls | None = None
) -> ComparedClass:
    """What each method found of a class, and how it does; all classes can share the controls."""
    context = own.context
    kept = {one.name: context.kept(MethodResult, _file(own, one)) for one in methods}
    todo = [one for one in methods if kept[one.name] is None]
    made = make(own, todo, controls) if todo else {}
    results = tuple(kept[one.name] or made[one.name] for one in methods)
    pictures = Pictures(context, [own.target])
    examples = tuple(pictures.small(int(own.chosen[row]), SMALL) for row in _examples(own))
    target = context.prediction(own.target, own.score)
    return ComparedClass(target, len(own.chosen), len(own.predicted), examples, results)


def _examples(own: ClassEvidence) -> np.ndarray:
    """Rows of the images that heat maps are kept of, chosen by no method."""
    return evenly(len(own.chosen), own.context.settings.examples)


def _file(own: ClassEvidence, method: Method) -> Path:
    key = key_of(question=own.context.named_key(own.target), method=method.name, digest=method.digest)
    return own.context.store.record("methods", key)


def missing(own: ClassEvidence, methods: Sequence[Method]) -> list[Method]:
    """Those whose result of a class is not in the store."""
    return [one for one in methods if own.context.kept(MethodResult, _file(own, one)) is None]


def prepare(own: ClassEvidence) -> Checked | None:
    """What all methods of a class are compared with; its evidence and concepts are kept on the way."""
    return trust.checks_of(own, of_explanation(own.context.settings))


def make(
    own: ClassEvidence, todo: Sequence[Method], controls: Controls | None = None
) -> dict[str, MethodResult]:
    """Results of methods that are not in the store, each kept as soon as it is there."""
    context, results = own.context, {}
    shared = _shared(own, controls or Controls(context))
    found, problems = candidates(own, todo)
    places = searched(own, shared.checked, shared.masks, found)
    with context.progress.step("methods", len(found)) as advance:
        for one, (mine, others) in zip(found, places, strict=True):
            results[one.method.name] = _result(shared, one, mine, others)
            context.store.keep(results[one.method.name], _file(own, one.method))
            advance(1)
    for name, problem in problems.items():
        results[name] = MethodResult(
            name, context.prediction(own.target, own.score), (), None, {}, problem=problem
        )
    return results


def _shared(own: ClassEvidence, controls: Controls) -> Shared:
    context = own.context
    pictures = Pictures(context, [own.target], dict(zip(own.chosen.tolist(), own.samples, strict=True)))
    tester, checked = Tester(pictures, controls, lean=True), prepare(own)
    with context.progress.step("multipliers"):
        head = head_asked(own)
    return Shared(own, tester, masks_of(context, own.target), checked, head)


def candidates(own: ClassEvidence, todo: Sequence[Method]) -> tuple[list[Candidate], dict[str, str]]:
    """Concepts of each method; of those that find none, why."""
    material, found, problems = material_of(own), [], {}
    with own.context.progress.step("concepts of each method", len(todo)) as advance:
        for method in todo:
            try:
                factors = found_by(method, material)
            except AttributionError as error:
                problems[method.name] = str(error)
            else:
                again = halves_of(own, factors, method, material)
                theirs = OfMethod(own.context, own.target, own.predicted, own.chosen, factors)
                found.append(Candidate(method, theirs, tuple(again)))
            advance(1)
    return found, problems


def searched(
    own: ClassEvidence, checked: Checked | None, masks: dict[str, np.ndarray], found: Sequence[Candidate]
) -> list[tuple[Places, list[Places]]]:
    """Places of each candidate's concepts, and of what they are checked with, from one pass over the pool."""
    context = own.context
    # halves are each method's own
    common = replace(checked, halves=()).queries(context, masks) if checked else []
    asked: list[Query] = list(common)
    for one in found:
        asked += [
            Query(concepts, masks, context.clipped)
            for concepts in (one.own.found.concepts, *(half.concepts for half in one.halves))
        ]
    with context.progress.step("crops", len(context.index.items)) as advance:
        places = searching.nearest(context, asked, context.settings.crops, advance)
    n = len(checked.nulls) if checked else 0
    nulls, nonsense, rest = places[:n], places[n : len(common)], iter(places[len(common) :])
    return [(next(rest), [*nulls, *(next(rest) for _ in one.halves), *nonsense]) for one in found]


def _result(shared: Shared, one: Candidate, places: Places, others: list[Places]) -> MethodResult:
    own, target = one.own, shared.own.target
    tests = shared.tester.both(target, places, shared.masks)
    plain_concepts = tuple(
        Concept(vector, float(share), (), (), ())
        for vector, share in zip(own.found.concepts, own.found.shares, strict=True)
    )
    judged = Judged(plain_concepts, tests, None)
    if shared.checked is not None:
        searched = Searched(shared.tester, shared.masks, places, others)
        judged = trust.judged(
            own, plain_concepts, tests, replace(shared.checked, halves=one.halves), searched
        )
    head = head_measures(shared.own, shared.head, own.found.concepts, one.method.fit)
    return MethodResult(
        method=one.method.name,
        target=own.context.prediction(target, shared.own.score),
        concepts=_concepts(shared, own, judged, places, head),
        prediction_test=judged.tests,
        measures=_numbers(judged) | head.numbers,
        carried=head.classes,
        refits=judged.refits,
    )


def _concepts(
    shared: Shared, own: OfMethod, judged: Judged[Concept], places: Places, head: HeadMeasures
) -> tuple[ComparedConcept, ...]:
    pictures, rows = shared.tester.pictures, _examples(own)
    found = []
    for k, concept in enumerate(judged.concepts):
        heat = np.maximum(own.found.embeddings[..., k], 0)
        excluding = _strip(pictures, places["excluding"][k]) if places["excluding"][k] else None
        shown = AuditedConcept(
            concept.vector, concept.share, _strip(pictures, places["including"][k]), excluding
        )
        found.append(
            ComparedConcept(
                shown=shown,
                heat=(heat[rows] / max(float(heat.max()), np.finfo(np.float32).tiny)).astype(np.float32),
                importance=float(head.importance[k]),
                carried=float(head.carried[k]),
                contribution=concept.contribution,
                stability=concept.stability,
            )
        )
    return tuple(found)


def _strip(pictures: Pictures, places: Sequence[Place]) -> Strip:
    """The crops at some places, with where they come from."""
    context = pictures.context
    size = context.preprocessing.crop
    spots = tuple(
        Spot(context.source(place.position), place.box(context.crops, size), place.cosine) for place in places
    )
    return Strip(spots, pictures.strip(places))


def _numbers(judged: Judged[Concept]) -> dict[str, float]:
    """What the prediction tests, contributions and refits say, by name of the measure."""
    tests, numbers = judged.tests, dict[str, float]()
    for name in ("including", "excluding"):
        if (test := getattr(tests, name)) is not None:
            numbers |= {f"test_{name}": test.score, f"passed_{name}": float(test.predicted)}
    numbers |= _of_nulls(_decisive(tests))
    numbers |= _mean("necessity sufficiency needed", [one.contribution for one in judged.concepts])
    steady = _mean("mean least", [one.stability for one in judged.concepts])
    numbers |= {STEADY[name]: value for name, value in steady.items()}
    return numbers | ({"same_tests": judged.refits.same} if judged.refits else {})


STEADY = {"mean": "stability", "least": "least_stability"}
"""Measures by the name that they have in a `Stability`."""


def _mean(names: str, parts: Sequence[Any]) -> dict[str, float]:
    """Means of fields over the concepts; none where a concept has no such part."""
    if not all(parts):
        return {}
    return {name: float(np.mean([getattr(one, name) for one in parts])) for name in names.split()}


def _decisive(tests: PredictionTests) -> PredictionTest:
    return tests.excluding or tests.including


def _of_nulls(test: PredictionTest) -> dict[str, float]:
    found = {f"p_{null.kind.replace(' ', '_')}": null.p for null in test.nulls}
    return found | ({} if test.backing is None else {"backing": test.backing})


def checked_targets(targets: Sequence[int]) -> list[int]:
    """Classes to compare on, each once; none is refused."""
    if not targets or len(set(targets)) < len(targets):
        raise ClassError(f"{len(set(targets))} classes came; needed are one or more, each once")
    return list(targets)
