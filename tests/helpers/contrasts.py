"""Made-up but realistic contrasts, of the pictures of made-up explanations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from helpers.explanations import HOSTILE, explanation
from whyclass.records import (
    Agreement,
    Contrast,
    Directions,
    Explanation,
    Hyperplane,
    Insertion,
    InsertionTest,
    MeanScores,
    Pasted,
    Permutations,
    PlaneTrust,
    Prediction,
    Separation,
    Side,
    Step,
    Sweep,
    ThirdCrops,
)

CASES = ("passed", "chance", "failed", "bare", "hostile")
SHIFTS = (0.0, 0.5, 1.0, 2.0, 10.0, 15.0, 20.0, 35.0, 50.0, 200.0)


def contrast(case: str = "passed", **looks) -> Contrast:
    """One of ``CASES``."""
    hostile = "hostile" if case == "hostile" else "both"
    a = explanation(hostile, **looks)
    b = replace(
        explanation(**looks),
        target=Prediction(1, f"{HOSTILE} too" if case == "hostile" else "cornet", 0.88),
        n_predicted=97,
    )
    sides = (_side(a, b, case), _side(b, a, "failed" if case == "passed" else case))
    seen = Separation(0.97, 0.969, 0.52, False, (912, 1003), (49, 49))
    held = replace(seen, balanced=0.91, cells=(180, 203), images=(10, 10))
    if case == "chance":
        held = replace(held, balanced=0.52, at_chance=True)
    shown = {
        crop.image.path: crop for side in sides for c in side.explanation.concepts for crop in c.including
    }
    whole = {image.image.path: image for e in (a, b) for test in tests(e) for image in test.sources}
    return Contrast(
        model=a.model,
        pool=a.pool,
        size=(64, 64),
        a=sides[0],
        b=sides[1],
        hyperplane=Hyperplane(
            np.ones(16, np.float32), -0.1, seen, None if case == "bare" else held, _trust(case)
        ),
        sources=tuple(replace(next(iter(whole.values())), image=crop.image) for crop in shown.values()),
        warnings=("Only 4 cells.",) if case == "bare" else ((HOSTILE,) if case == "hostile" else ()),
        settings=a.settings,
        versions=a.versions,
    )


def insertion_test(case: str = "passed", **looks) -> InsertionTest:
    """The same patch in front of one of ``CASES``."""
    made = contrast(case, **looks)
    target, source = made.a.explanation.target, made.b.explanation.target
    found = _insertion(made.a.explanation, target, source, case)
    return InsertionTest(
        made.model, made.pool, (64, 64), target, source, found, made.warnings, made.settings, made.versions
    )


def tests(found: Explanation):
    return [found.prediction_test.including, found.prediction_test.excluding]


def sweep(case: str, target: Prediction, source: Prediction, at: tuple[float, ...] = SHIFTS) -> Sweep:
    """A test that passes, that random directions pass as well, or that fails."""
    top = 0.2 if case == "failed" else 0.8
    rise = [0.001, 0.01, 0.02, 0.1, 0.4, 0.6, top, 0.5, 0.3, 0.1]
    steps = tuple(
        Step(t, p, max(0.0, p - 0.05), p + 0.05, 1 - p, target if p >= 0.5 else source)
        for t, p in zip(at, rise, strict=True)
    )
    if case == "failed":
        steps = tuple(replace(step, target=min(step.target, 0.2), winner=source) for step in steps)
    best = max(range(10), key=lambda number: steps[number].target)
    others = 0.95 if case == "chance" else 0.02
    line = (others,) * 10 if case == "chance" else tuple(others * share for share in rise)
    random = None if case == "bare" else Directions(20, 4, line, (0.0,) * 10, line, (others,) * 20)
    opposite = Directions(1, 49, (0.001,) * 10, (0.001,) * 10, (0.001,) * 10, (0.001,))
    first = None if case == "failed" else next(k for k, step in enumerate(steps) if step.winner == target)
    if random and at == SHIFTS:
        random = replace(random, swapped=(0.0,) * 10)
    unit = None if case == "bare" else 2.07
    return Sweep(target, source, 49, steps, best, case != "failed", random, opposite, unit=unit, first=first)


def narrowed(found: Sweep) -> Sweep:
    """A test whose last steps fell behind and whose controls were tried at every other one."""
    steps = tuple(
        replace(step, n=12) if number > found.best + 1 else step for number, step in enumerate(found.steps)
    )

    def coarse(tried: Directions, followed: int | None) -> Directions:
        at = (0, 1, 3, 5, 7, 9)
        mean, low, high = (tuple(one[k] for k in at) for one in (tried.mean, tried.low, tried.high))
        return replace(tried, images=1, mean=mean, low=low, high=high, at=at, followed=followed)

    random = found.random and coarse(found.random, 2)
    return replace(found, steps=steps, random=random, reversed=coarse(found.reversed, None))


def _side(own: Explanation, other: Explanation, case: str) -> Side:
    target, source = own.target, other.target
    if case == "bare":
        return Side(own, (), (), None, 0.0, None, None, ())
    shares = tuple(k / 10 for k in range(10))
    inserted = tuple(
        replace(_insertion(own, target, source, case), origin=f"best crop of concept {k + 1}")
        for k in range(len(own.concepts))
    )
    return Side(
        explanation=own,
        concepts=own.concepts[::-1],
        images=own.images,
        prediction_test=replace(own.prediction_test, neither=own.prediction_test.excluding),
        own_side=0.41,
        shifting=sweep(case, target, source),
        masking=narrowed(sweep(case, target, source, shares)),
        insertions=inserted,
        unseen=replace(sweep(case, target, source), n=10),
    )


def _trust(case: str) -> PlaneTrust | None:
    """As measured, but in ``bare``."""
    if case == "bare":
        return None
    permuted = Permutations(99, 0.91, 0.62, 0.01 if case != "chance" else 0.4)
    return PlaneTrust(0.3, Agreement(5, 0.8, 0.7), Agreement(20, 0.75, 0.5), permuted)


def _insertion(own: Explanation, target: Prediction, source: Prediction, case: str) -> Insertion:
    shown, failed = own.images[0], case == "failed"
    after = MeanScores(0.1, 0.7, source) if failed else MeanScores(0.6, 0.2, target)
    high = 0.7 if case == "chance" else 0.05
    return Insertion(
        patch=own.concepts[0].including[0].picture,
        origin=HOSTILE if case == "hostile" else "person.png",
        box=(48, 48, 64, 64),
        n=49,
        original=MeanScores(0.01, 0.9, source),
        pasted=after,
        low=after.target - 0.05,
        high=after.target + 0.05,
        turned=0.0 if failed else 0.6,
        swapped=not failed,
        blank=MeanScores(0.02, 0.85, source),
        third=None if case == "bare" else ThirdCrops(20, 4, 0.02, 0.0, high, 0.0),
        examples=tuple(Pasted(shown.image, shown.picture, (0.01, 0.9), (0.6, 0.2)) for _ in range(4)),
        theirs=None if case == "bare" else MeanScores(0.01, 0.91, source),
    )
