"""The verdict on an explanation: a level and a sentence that follow from its tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whyclass.records import (
    ClassResult,
    Control,
    Explanation,
    PredictionTest,
    PredictionTests,
)
from whyclass.report.verdict_checks import Check, Outcome, adds_up, checks, facts, outcome, summed
from whyclass.report.words import clean, count, error, percent, plural, quoted, score, word

Level = Literal["trust", "careful", "distrust"]

LABELS: dict[Level, str] = {
    "trust": "Supported by the tests",
    "careful": "Read with care",
    "distrust": "Not supported by the tests",
}
"""What a level is called where a reader sees it."""


@dataclass(frozen=True)
class Verdict:
    """Whether to trust an explanation, and why, for a reader who has not seen the method."""

    level: Level
    sentence: str


def verdict(explanation: Explanation) -> Verdict:
    """Judge an explanation by its two prediction tests and all that says what they are worth.

    Returns
    -------
    Verdict
        ``"trust"`` when every check passes (`whyclass.report.verdict_checks`); ``"careful"`` when one test
        passes, or when the model says the class but no control tells what that is worth;
        ``"distrust"`` when neither test speaks for the concepts.
    """
    tests = explanation.prediction_test
    first = outcome(tests.including)
    second = outcome(tests.excluding) if tests.excluding else None
    found = checks(explanation)
    level = _level(first, second, found)
    parts = [
        f"{_opening(first, second, explanation)}: {_evidence(explanation)}.",
        _controls(explanation),
        *_remarks(explanation),
        summed(found),
        "" if level == "trust" else "The explanation should not be trusted by itself.",
    ]
    return Verdict(level, clean(" ".join(part for part in parts if part)))


def one_line(tests: PredictionTests | None) -> str:
    """What the two tests came to, in a few words."""
    if tests is None:
        return "no test could be made"
    said = f"its crops alone score {score(tests.including.score)}"
    other = tests.excluding
    return f"{said}, {score(other.score)} when none may come from its own images" if other else said


def tests_level(found: Explanation | ClassResult) -> Level:
    """What the two prediction tests and completeness say alone, as of an audit without nulls.

    ``"trust"`` where both pass: they certify the set of crops and no more.
    """
    given = facts(found)
    first, second = outcome(given.including), outcome(given.excluding) if given.excluding else None
    if first == second == "passed":
        return "trust" if adds_up(given.completeness) else "careful"
    return _level(first, second, ())


def level(found: Explanation | ClassResult) -> Level:
    """The verdict's level alone; of a class of an audit, that could be explained, by the nulls of all."""
    given = facts(found)
    second = outcome(given.excluding) if given.excluding else None
    return _level(outcome(given.including), second, checks(found))


def not_run(explanation: Explanation) -> str:
    """Why there is no test without images predicted as the class."""
    if explanation.n_predicted >= explanation.pool.size:
        everything = f"every image of the pool is predicted as {quoted(explanation)}"
        return f"{everything}, so none is left to take crops from"
    return "the record does not hold it"


def _level(first: Outcome, second: Outcome | None, found: tuple[Check, ...]) -> Level:
    if first == second == "passed":
        return "trust" if all(check.result == "passed" for check in found) else "careful"
    return "careful" if {first, second} & {"passed", "unchecked"} else "distrust"


def _opening(first: Outcome, second: Outcome | None, explanation: Explanation) -> str:
    n = len(explanation.concepts)
    these = f"This set of {word(n)} crops" if n != 1 else "This one crop"
    if first == second == "passed":
        return f"{these} suffices"
    if first == "passed" and second == "failed":
        already = f"images the model already calls {quoted(explanation)}"
        return f"{these} suffices only while crops may come from {already}"
    if first == "passed" and second is None:
        return f"{these} suffices by the weaker of two tests"
    if (first, second) == ("failed", "passed"):
        return "The two tests disagree"
    if "passed" in (first, second):
        return f"{these} suffices by only one of two tests"
    if first == "failed" and second in ("failed", "chance", None):
        return f"{these} does not suffice"
    return f"{these} may or may not suffice"


def _evidence(explanation: Explanation) -> str:
    tests = explanation.prediction_test
    crops = plural(len(explanation.concepts), "crop")
    shown = f"shown only {crops}, the model {says(tests.including, explanation)}"
    if tests.excluding is None:
        return shown
    whence = "all crops come from images it calls something else"
    if tests.including.predicted and tests.excluding.predicted:
        return f"{shown}, and again ({score(tests.excluding.score)}) when {whence}"
    joint = ", but" if tests.including.predicted != tests.excluding.predicted else ";"
    return f"{shown}{joint} when {whence} it {says(tests.excluding, explanation)}"


def says(test: PredictionTest, explanation: Explanation) -> str:
    """What the model says of a test image, in words."""
    target = explanation.target
    if test.predicted:
        return f"says {quoted(explanation)} with {score(test.score)}"
    rivals = [best for best in test.top if best.index != target.index]
    gives = f"gives {quoted(explanation)} {score(test.score)}"
    return f"says “{rivals[0].name}” ({score(rivals[0].score)}) and {gives}" if rivals else gives


def _controls(explanation: Explanation) -> str:
    tests = explanation.prediction_test
    crops = f"{plural(len(explanation.concepts), 'random crop').capitalize()}:"
    first = _reached(tests.including.control, explanation)
    second = _reached(tests.excluding.control, explanation) if tests.excluding else ""
    if not first and not second:
        return ""
    if not second or first == second:
        return f"{crops} {first}."
    other = f"from images it calls something else, {second}."
    return f"{crops} {first}; {other}" if first else f"{crops} {other}"


def _reached(control: Control | None, explanation: Explanation) -> str:
    if control is None or control.n == 0:
        return ""
    called = f", called {quoted(explanation)} in {percent(control.predicted)} of draws"
    return f"{score(control.mean)}{called if control.predicted else ''} (n = {count(control.n)})"


def _remarks(explanation: Explanation) -> list[str]:
    tests = explanation.prediction_test
    first = _remark(tests.including)
    second = _remark(tests.excluding) if tests.excluding else ""
    if first and first == second:
        remarks = [f"In both tests {first}."]
    else:
        remarks = [f"In the {name} test {it}." for name, it in (("first", first), ("second", second)) if it]
    if tests.excluding is None:
        remarks.append(f"The second, stronger test was not run: {not_run(explanation)}.")
    if not adds_up(explanation.completeness):
        off = error(explanation.completeness.mean)
        remarks.append(f"The attribution behind the concepts does not add up: it is off by {off}.")
    return remarks


def _remark(test: PredictionTest) -> str:
    """Why nothing follows from a test that did not fail; empty when something does."""
    control, found = test.control, outcome(test)
    if found == "unchecked":
        drawn = f"only {plural(control.n, 'random draw')}" if control and control.n else "no random crops"
        return f"there were {drawn} to compare with, so it is not known whether any crops would do"
    if found != "chance" or control is None:
        return ""
    if test.score <= control.high or control.predicted < 0.5:
        return f"random crops reach up to {score(control.high)} as well, so nothing follows"
    return "at least half of the random draws are called so as well, so nothing follows"
