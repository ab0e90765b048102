"""What an explanation has to pass before it is called supported: a table of checks, each told by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from whyclass.records import COMPLETENESS_BOUND, Completeness, Explanation, Null, PredictionTest
from whyclass.report.words import count, plural, score

Result = Literal["passed", "failed", "not run"]

ALPHA: dict[str, float] = {"random crops": 0.1, "random cells": 0.1, "shuffled scores": 0.05}
"""By kind of null, the rank p-value up to which an explanation beats it."""

FEWEST_IMAGES = 10
"""Of a class: what is found from fewer is never called supported."""


@dataclass(frozen=True)
class Check:
    """One thing that an explanation has to pass, and how that ended.

    ``name`` says what was tried, ``told`` the numbers that decided.
    """

    name: str
    result: Result
    told: str


def checks(explanation: Explanation) -> tuple[Check, ...]:
    """Every check of an explanation, in the order of the table."""
    return tuple(check for row in TABLE for check in row(explanation))


def decisive(explanation: Explanation) -> PredictionTest:
    """The stronger of the tests that were run: without the class's images, where there are others."""
    tests = explanation.prediction_test
    return tests.excluding or tests.including


def _tests(explanation: Explanation) -> Iterator[Check]:
    tests = explanation.prediction_test
    yield Check(
        "all images", "passed" if tests.including.predicted else "failed", score(tests.including.score)
    )
    if tests.excluding is None:
        yield Check("images it calls something else", "not run", "there are none")
        return
    result: Result = "passed" if tests.excluding.predicted else "failed"
    yield Check("images it calls something else", result, score(tests.excluding.score))
    if tests.unlabelled is not None:
        result = "passed" if tests.unlabelled.predicted else "failed"
        yield Check("images that are not labelled so either", result, score(tests.unlabelled.score))


def _nulls(explanation: Explanation) -> Iterator[Check]:
    found = {one.kind: one for one in decisive(explanation).nulls}
    for kind, most in ALPHA.items():
        one = found.get(kind)
        if one is None or 1 / (one.n + 1) > most:
            yield Check(kind, "not run", "" if one is None else f"only {plural(one.n, 'draw')}")
        else:
            yield Check(
                kind, "passed" if p_of(one) <= most else "failed", f"p = {p_of(one):.3f}, n = {one.n}"
            )


def p_of(null: Null) -> float:
    """The p-value that decides: over the classes of an audit where there are several."""
    return null.p if null.q is None else null.q


def _members(explanation: Explanation) -> Iterator[Check]:
    measured = [one.contribution for one in explanation.concepts if one.contribution]
    if not measured:
        yield Check("each concept by itself", "not run", "")
        return
    idle = sum(not one.needed for one in measured)
    told = f"{count(idle)} of {count(len(measured))} not needed"
    yield Check("each concept by itself", "failed" if 2 * idle >= len(measured) else "passed", told)


def _refits(explanation: Explanation) -> Iterator[Check]:
    found = explanation.refits
    if found is None:
        yield Check("halves of the images", "not run", "")
        return
    told = f"{found.same:.0%} of {count(found.n)} end the same"
    yield Check("halves of the images", "passed" if found.same > 0.5 else "failed", told)


def _images(explanation: Explanation) -> Iterator[Check]:
    enough = explanation.n_images >= FEWEST_IMAGES
    yield Check("ten images", "passed" if enough else "failed", count(explanation.n_images))


def _completeness(explanation: Explanation) -> Iterator[Check]:
    yield Check("completeness", "passed" if adds_up(explanation.completeness) else "failed", "")


def adds_up(completeness: Completeness) -> bool:
    """Whether the attribution is exact enough to be what it claims; not a number is a no."""
    return completeness.mean <= COMPLETENESS_BOUND


TABLE: tuple[Callable[[Explanation], Iterator[Check]], ...] = (
    _tests,
    _nulls,
    _members,
    _refits,
    _images,
    _completeness,
)
"""Whatever an explanation has to pass; a new row is the whole change for a new check."""


def summed(found: tuple[Check, ...]) -> str:
    """Every check that failed or was not run, by name; that all passed where all did."""
    failed = [check for check in found if check.result == "failed"]
    absent = [check for check in found if check.result == "not run"]
    if not failed and not absent:
        return f"All {count(len(found))} checks passed."
    said = []
    if failed:
        said.append(f"{count(len(failed))} of {count(len(found))} checks failed: {_listed(failed)}")
    if absent:
        said.append(f"not run: {_listed(absent)}")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _listed(found: list[Check]) -> str:
    return ", ".join(f"{check.name} ({check.told})" if check.told else check.name for check in found)
