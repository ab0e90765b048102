"""What a record says, in words: the verdict, and the rows of a summary.

Every word follows from a number of the record; nothing here is decided by the look of a picture.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from whyclass.records import (
    COMPLETENESS_BOUND,
    Completeness,
    Concept,
    Control,
    Explanation,
    PredictionTest,
    Shifts,
    Trial,
)

Level = Literal["trust", "careful", "distrust"]
Outcome = Literal["passed", "failed", "chance", "unchecked"]

LABELS: dict[Level, str] = {
    "trust": "Supported by both tests",
    "careful": "Read with care",
    "distrust": "Not supported by the tests",
}
"""What a level is called where a reader sees it."""

FEWEST_DRAWS = 19
"""Beating all of ``n`` random draws happens by accident once in ``n + 1`` times: 19 make it 5 %."""

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SPACE = re.compile(r"[\t\n\r]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Verdict:
    """Whether to trust an explanation, and why, for a reader who has not seen the method."""

    level: Level
    sentence: str


def verdict(explanation: Explanation) -> Verdict:
    """Judge an explanation by its two prediction tests, their controls and its completeness.

    Returns
    -------
    Verdict
        ``"trust"`` when both tests pass and the attribution adds up; ``"careful"`` when one test
        passes, or when the model says the class but no control tells what that is worth;
        ``"distrust"`` when neither test speaks for the concepts.
    """
    tests = explanation.prediction_test
    first = outcome(tests.including)
    second = outcome(tests.excluding) if tests.excluding else None
    level = _level(first, second, explanation.completeness)
    parts = [
        f"{_opening(first, second, explanation)}: {_evidence(explanation)}.",
        _controls(explanation),
        *_remarks(explanation),
        "" if level == "trust" else "The explanation should not be trusted by itself.",
    ]
    return Verdict(level, clean(" ".join(part for part in parts if part)))


def outcome(test: PredictionTest | Trial) -> Outcome:
    """What one prediction test says: passed, failed, no better than chance, or unchecked.

    It passes when the class is predicted, its score lies above the 97.5 % quantile of random
    crops, and fewer than half of the random draws are predicted as the class.
    """
    control = test.control
    if not test.predicted:
        return "failed"
    if control is None or control.n < FEWEST_DRAWS:
        return "unchecked"
    return "passed" if test.score > control.high and control.predicted < 0.5 else "chance"


def rows(explanation: Explanation) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print: no control characters."""
    judged = verdict(explanation)
    tests = explanation.prediction_test
    model, pool = explanation.model, explanation.pool
    skipped = f", {count(len(pool.skipped))} skipped" if pool.skipped else ""
    found = [
        ("Class", f"{explanation.target.name} (index {explanation.target.index})"),
        ("Verdict", f"{LABELS[judged.level]}. {judged.sentence}"),
        ("Test, whole pool", _test_line(tests.including)),
        (
            "Test, other images",
            _test_line(tests.excluding) if tests.excluding else f"not run: {not_run(explanation)}",
        ),
        *(("Rival", rival_line(explanation)) for _ in [explanation.rival] if explanation.rival),
        ("Concepts", ", ".join(percent(concept.share) for concept in explanation.concepts)),
        *(("Drawn pictures", drawn_result(explanation)) for _ in [0] if explanation.drawn_test),
        ("Images", images_line(explanation)),
        ("Pool", f"{pool.name}: {count(pool.size)} images{skipped}"),
        ("Model", f"{model.name}, {model.layer} ({shape(model.shape)})"),
        ("Completeness", completeness_line(explanation.completeness)),
        *(("Warning", warning) for warning in explanation.warnings),
    ]
    return [(label, clean(value)) for label, value in found]


def clean(text: str) -> str:
    """Text without characters that could act on a terminal or a page: they become U+FFFD.

    Controls move a cursor, direction marks reorder what a reader sees, and lone surrogates (paths
    that are not UTF-8) cannot be written to a file at all. White space becomes a plain space.
    """
    return _UNSAFE.sub("\ufffd", _SPACE.sub(" ", text))


def score(value: float) -> str:
    """A score or a cosine with two digits: ``0.93``."""
    return f"{value:.2f}"


def score_of(test: PredictionTest) -> str:
    """The class's score; of a segmentation net with the mean over the map beside it."""
    return score(test.score) + ("" if test.share is None else f" (mean over the map {score(test.share)})")


def percent(value: float) -> str:
    """A share as a percentage: ``31%``; one more digit below one per cent."""
    return f"{100 * value:.1f}%" if 0 < value < 0.00995 else f"{100 * value:.0f}%"


def error(value: float) -> str:
    """A relative error: ``24%`` when it matters, ``1.8 × 10⁻⁶`` when it is small."""
    if not math.isfinite(value):
        return "an unknown amount"
    if value == 0 or value >= 0.01:
        return percent(value)
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}\u00a0×\u00a010{str(int(power)).translate(_RAISED)}"


def count(value: int) -> str:
    """A whole number with thousands marked: ``50,000``."""
    return f"{value:,}"


def shape(value: tuple[int, ...]) -> str:
    """Sizes joined as ``2048 × 7 × 7``."""
    return " × ".join(str(size) for size in value)


def word(value: int) -> str:
    """A small number in words, a large one in digits."""
    return _WORDS[value] if value < len(_WORDS) else count(value)


def plural(value: int, noun: str) -> str:
    """``six crops``, ``one crop``."""
    return f"{word(value)} {noun}" if value == 1 else f"{word(value)} {noun}s"


def images_line(explanation: Explanation) -> str:
    """How many images were factorised, and the class's mean score on them."""
    used, found = explanation.n_images, explanation.n_predicted
    return (
        f"{count(used)} of the {count(found)} predicted as the class, "
        f"mean score {score(explanation.target.score)}"
    )


def completeness_line(completeness: Completeness) -> str:
    """The relative completeness error: mean, worst, and over how many images."""
    return (
        f"off by {error(completeness.mean)} on average, {error(completeness.worst)} at worst "
        f"(n = {count(completeness.n)})"
    )


def rival_line(explanation: Explanation) -> str:
    """Which class won a failed prediction test, and how to ask why not that one."""
    if explanation.rival is None:
        return ""
    names = [shlex.quote(named.name) for named in (explanation.target, explanation.rival)]
    return (
        f"“{explanation.rival.name}” won; to see what speaks for {quoted(explanation)} against it: "
        f"whyclass contrast … --class {names[0]} --against {names[1]} (or explain … --repair)"
    )


def control_line(control: Control) -> str:
    """What random crops reach: mean, interval, number of draws."""
    return (
        f"{score(control.mean)} on average, 95% of draws between {score(control.low)} and "
        f"{score(control.high)}, predicted as the class in {percent(control.predicted)} "
        f"(n = {count(control.n)})"
    )


def moved_images(shift: Shifts) -> str:
    """How many images a source's tests were made on: ``60 images``, or ``12 to 60 images`` by pair."""
    each = [pair.moved.n if pair.moved.n is not None else shift.n for pair in shift.pairs] or [shift.n]
    return (
        f"{count(min(each))} to {count(max(each))} images"
        if min(each) < max(each)
        else f"{count(each[0])} images"
    )


def drawn_line(concept: Concept, settings: Mapping[str, Any]) -> str:
    """What a concept would itself draw: how close that comes, beside its best crop and plain noise."""
    drawn = concept.drawn
    if drawn is None:
        return ""
    crop = f", its best crop's {score(concept.including[0].cosine)}" if concept.including else ""
    early = f"; {drawn.problem}" if drawn.problem else ""
    made = f"What it would itself draw, optimised in {count(drawn.steps)} steps{drawn_how(settings)}"
    random = "a random picture of the decoder's" if settings.get("pictures") == "generator" else "noise"
    return f"{made}: cosine {score(drawn.cosine)}{crop}, {random} {score(drawn.random)}{early}"


def drawn_how(settings: Mapping[str, Any]) -> str:
    """In which space pictures were drawn and from what they were begun, where that is not the usual one."""
    space = " in the decoder's space" if settings.get("pictures") == "generator" else ""
    start = " from its best crop's image" if settings.get("picture_start") == "image" else ""
    return space + start


def drawn_result(explanation: Explanation) -> str:
    """What the model says to the drawn pictures, stitched, and to those of random directions."""
    test = explanation.drawn_test
    if test is None:
        return ""
    image = explanation.settings.get("picture_start") == "image"
    begun = ", begun from the images of the best crops," if image else ""
    made = f"The model {_says(test, explanation)}. These pictures{begun} were made to excite the layer"
    if (control := explanation.drawn_control) is None:
        return f"{made}; with no control the test decides nothing about the explanation."
    same = "begun from the same images, " if image else ""
    return (
        f"{made}. To pictures of as many random directions, {same}the concepts with their channels in "
        f"another order, it {_says(control, explanation)}."
    )


def not_run(explanation: Explanation) -> str:
    """Why there is no test without images predicted as the class."""
    if explanation.n_predicted >= explanation.pool.size:
        everything = f"every image of the pool is predicted as {quoted(explanation)}"
        return f"{everything}, so none is left to take crops from"
    return "the record does not hold it"


def quoted(explanation: Explanation) -> str:
    """The class's name in quotation marks."""
    return f"“{explanation.target.name}”"


def _level(first: Outcome, second: Outcome | None, completeness: Completeness) -> Level:
    if first == second == "passed":
        return "trust" if adds_up(completeness) else "careful"
    return "careful" if {first, second} & {"passed", "unchecked"} else "distrust"


def adds_up(completeness: Completeness) -> bool:
    """Whether the attribution is exact enough to be what it claims; not a number is a no."""
    return completeness.mean <= COMPLETENESS_BOUND


def _opening(first: Outcome, second: Outcome | None, explanation: Explanation) -> str:
    n = len(explanation.concepts)
    these, are = (f"These {word(n)} concepts", "are") if n != 1 else ("This one concept", "is")
    if first == second == "passed":
        return f"{these} {are} enough"
    if first == "passed" and second == "failed":
        already = f"images the model already calls {quoted(explanation)}"
        return f"{these} {are} enough only while crops may come from {already}"
    if first == "passed" and second is None:
        return f"{these} {are} enough by the weaker of two tests"
    if (first, second) == ("failed", "passed"):
        return "The two tests disagree"
    if "passed" in (first, second):
        return f"{these} {are} enough by only one of two tests"
    if first == "failed" and second in ("failed", "chance", None):
        return f"{these} {are} not enough"
    return f"{these} may or may not be enough"


def _evidence(explanation: Explanation) -> str:
    tests = explanation.prediction_test
    crops = plural(len(explanation.concepts), "crop")
    shown = f"shown only {crops}, the model {_says(tests.including, explanation)}"
    if tests.excluding is None:
        return shown
    whence = "all crops come from images it calls something else"
    if tests.including.predicted and tests.excluding.predicted:
        return f"{shown}, and again ({score(tests.excluding.score)}) when {whence}"
    joint = ", but" if tests.including.predicted != tests.excluding.predicted else ";"
    return f"{shown}{joint} when {whence} it {_says(tests.excluding, explanation)}"


def _says(test: PredictionTest, explanation: Explanation) -> str:
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
        remarks.append(f"The attribution behind the concepts does not add up: it is off by {off} on average.")
    return remarks


def _remark(test: PredictionTest) -> str:
    """Why nothing follows from a test that did not fail; empty when something does."""
    control, found = test.control, outcome(test)
    if found == "unchecked":
        drawn = f"only {plural(control.n, 'random draw')}" if control and control.n else "no random crops"
        return f"there were {drawn} to compare with, so it is not known whether any crops would do"
    if found != "chance" or control is None:
        return ""
    if test.score <= control.high:
        return f"random crops reach up to {score(control.high)} as well, so nothing follows"
    return "at least half of the random draws are called so as well, so nothing follows"


def _test_line(test: PredictionTest) -> str:
    named = {
        "passed": "passed",
        "failed": "failed",
        "chance": "says nothing, random crops do as well",
        "unchecked": "not checked against enough random crops",
    }
    best = test.top[0] if test.top else None
    said = f", the model says “{best.name}” ({score(best.score)})" if best and not test.predicted else ""
    control = f"; random crops {control_line(test.control)}" if test.control and test.control.n else ""
    return f"{score_of(test)}, {named[outcome(test)]}{said}{control}"
