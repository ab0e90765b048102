"""What an explanation has to pass before it is called supported: a table of checks, each told by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from whyclass.records import (
    COMPLETENESS_BOUND,
    ClassResult,
    Completeness,
    Explanation,
    Null,
    PredictionTest,
    Refits,
    Trial,
)
from whyclass.report.words import count, plural, score

Result = Literal["passed", "failed", "not run"]
Outcome = Literal["passed", "failed", "chance", "unchecked"]

OUTCOMES: dict[Outcome, Result] = {
    "passed": "passed",
    "failed": "failed",
    "chance": "failed",
    "unchecked": "not run",
}
"""What a test with its random crops comes to as a check."""

ALPHA: dict[str, float] = {"random crops": 0.1, "random cells": 0.1, "shuffled scores": 0.05}
"""By kind of null, the rank p-value up to which an explanation beats it."""

HALF = 0.5
"""Of random draws: where as many are predicted as the class, the test shows nothing, whatever its score."""

FEWEST_DRAWS = 19
"""Beating all of ``n`` random draws happens by accident once in ``n + 1`` times: 19 make it 5 %."""

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


@dataclass(frozen=True)
class Facts:
    """What the checks look at, of an explanation or of a class of an audit.

    ``needed`` says of each concept whether the test needs it; empty where that was not measured.
    """

    including: PredictionTest | Trial
    excluding: PredictionTest | Trial | None
    unlabelled: PredictionTest | Trial | None
    needed: tuple[bool, ...]
    refits: Refits | None
    n_images: int
    completeness: Completeness

    @property
    def decisive(self) -> PredictionTest | Trial:
        """The stronger of the tests that were run."""
        return self.excluding or self.including


def facts(found: Explanation | ClassResult) -> Facts:
    """Of an explanation, or of a class of an audit that could be explained."""
    if isinstance(found, ClassResult):
        assert found.including is not None
        tests = (found.including, found.excluding, found.unlabelled)
        return Facts(*tests, found.needed, found.refits, found.n_images, found.completeness)
    made = found.prediction_test
    needed = tuple(one.contribution.needed for one in found.concepts if one.contribution)
    return Facts(
        *(made.including, made.excluding, made.unlabelled),
        needed,
        found.refits,
        found.n_images,
        found.completeness,
    )


def checks(found: Explanation | ClassResult) -> tuple[Check, ...]:
    """Every check of an explanation, in the order of the table."""
    given = facts(found)
    return tuple(check for row in TABLE for check in row(given))


def decisive(explanation: Explanation) -> PredictionTest:
    """The stronger of the tests that were run: without the class's images, where there are others."""
    tests = explanation.prediction_test
    return tests.excluding or tests.including


def _tests(tests: Facts) -> Iterator[Check]:
    yield _all_images(tests.including)
    if tests.excluding is None:
        yield Check("images it calls something else", "not run", "there are none")
        return
    result: Result = "passed" if tests.excluding.predicted else "failed"
    yield Check("images it calls something else", result, score(tests.excluding.score))
    if tests.unlabelled is not None:
        result = "passed" if tests.unlabelled.predicted else "failed"
        yield Check("images that are not labelled so either", result, score(tests.unlabelled.score))


def _all_images(test: PredictionTest | Trial) -> Check:
    """Where random crops do as well, a test that is predicted shows nothing."""
    found = outcome(test)
    also = ", and random crops do as well" if found == "chance" else ""
    return Check("all images", OUTCOMES[found], score(test.score) + also)


def outcome(test: PredictionTest | Trial) -> Outcome:
    """What one prediction test says: passed, failed, no better than chance, or unchecked.

    It passes when the class is predicted, few enough random draws reach its score (rank p-value), and
    fewer than half of them are predicted as the class. Where only the draws' range is known, the score
    has to lie above it.
    """
    control = test.control
    if not test.predicted:
        return "failed"
    if control is None or control.n < FEWEST_DRAWS:
        return "unchecked"
    above = test.score > control.high if control.p is None else control.p <= ALPHA["random crops"]
    return "passed" if above and control.predicted < HALF else "chance"


def _nulls(given: Facts) -> Iterator[Check]:
    found = {one.kind: one for one in given.decisive.nulls}
    for kind, most in ALPHA.items():
        one = found.get(kind)
        if one is None or 1 / (one.n + 1) > most:
            yield Check(kind, "not run", "" if one is None else f"only {plural(one.n, 'draw')}")
        else:
            told = f"p = {one.p:.3f}" if one.q is None else f"q = {one.q:.3f}"
            beaten = p_of(one) <= most and (kind != "random crops" or one.predicted < HALF)
            yield Check(kind, "passed" if beaten else "failed", f"{told}, n = {one.n}")


def p_of(null: Null) -> float:
    """The p-value that decides: over the classes of an audit where there are several."""
    return null.p if null.q is None else null.q


def _members(given: Facts) -> Iterator[Check]:
    if not given.needed:
        yield Check("each concept by itself", "not run", "")
        return
    idle, of = given.needed.count(False), len(given.needed)
    told = f"{count(idle)} of {count(of)} not needed"
    yield Check("each concept by itself", "failed" if 2 * idle >= of else "passed", told)


def _refits(given: Facts) -> Iterator[Check]:
    found = given.refits
    if found is None:
        yield Check("halves of the images", "not run", "")
        return
    told = f"{found.same:.0%} of {count(found.n)} end the same"
    yield Check("halves of the images", "passed" if found.same > 0.5 else "failed", told)


def _images(given: Facts) -> Iterator[Check]:
    enough = given.n_images >= FEWEST_IMAGES
    yield Check("ten images", "passed" if enough else "failed", count(given.n_images))


def _completeness(given: Facts) -> Iterator[Check]:
    yield Check("completeness", "passed" if adds_up(given.completeness) else "failed", "")


def adds_up(completeness: Completeness) -> bool:
    """Whether the attribution is exact enough to be what it claims; not a number is a no."""
    return completeness.mean <= COMPLETENESS_BOUND


TABLE: tuple[Callable[[Facts], Iterator[Check]], ...] = (
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
