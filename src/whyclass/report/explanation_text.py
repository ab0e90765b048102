"""An explanation as rows of a summary, and the lines that pages share with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from whyclass.intervals import share_within
from whyclass.records import Completeness, Concept, Control, Explanation, PredictionTest, Shifts
from whyclass.report import pool_text, sources_text
from whyclass.report.verdict import LABELS, not_run, says, verdict
from whyclass.report.verdict_checks import decisive, outcome
from whyclass.report.words import clean, count, error, percent, quoted, score, score_of, shape
from whyclass.report.worth_text import UNSTABLE, fit_line, null_line, set_line


def rows(explanation: Explanation) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print: no control characters."""
    judged = verdict(explanation)
    tests = explanation.prediction_test
    model, pool = explanation.model, explanation.pool
    found = [
        ("Class", f"{explanation.target.name} (index {explanation.target.index})"),
        ("Verdict", f"{LABELS[judged.level]}. {judged.sentence}"),
        ("Test, whole pool", _test_line(tests.including)),
        (
            "Test, other images",
            _test_line(tests.excluding) if tests.excluding else f"not run: {not_run(explanation)}",
        ),
        *(("Test, not so labelled", _test_line(test)) for test in [tests.unlabelled] if test),
        *_sources(explanation),
        *(("Rival", rival_line(explanation)) for _ in [explanation.rival] if explanation.rival),
        ("Concepts", ", ".join(map(_concept_part, explanation.concepts))),
        *(("The set", set_line(explanation)) for _ in [0] if set_line(explanation)),
        *(("Null", null_line(null)) for null in decisive(explanation).nulls),
        *(("Drawn pictures", drawn_result(explanation)) for _ in [0] if explanation.drawn_test),
        ("Images", images_line(explanation)),
        ("Pool", f"{pool.name}: {pool_text.size_line(pool)}"),
        ("Model", f"{model.name}, {model.layer} ({shape(model.shape)})"),
        ("Completeness", completeness_line(explanation.completeness)),
        *(("Fit", fit_line(explanation)) for _ in [explanation.fit] if explanation.fit),
        *(("Warning", warning) for warning in (*explanation.warnings, *pool_text.cautions(pool))),
    ]
    return [(label, clean(value)) for label, value in found]


def _concept_part(concept: Concept) -> str:
    """A concept's share, and what marks it."""
    marks = [
        *(
            "not needed"
            for _ in [concept.contribution]
            if concept.contribution and not concept.contribution.needed
        ),
        *(
            "unstable"
            for _ in [concept.stability]
            if concept.stability and concept.stability.least < UNSTABLE
        ),
    ]
    return percent(concept.share) + (f" ({', '.join(marks)})" if marks else "")


def images_line(explanation: Explanation) -> str:
    """How many images were factorised, and the class's mean score on them."""
    used, found = explanation.n_images, explanation.n_predicted
    return (
        f"{count(used)} of the {count(found)} predicted as the class, "
        f"mean score {score(explanation.target.score)}"
    )


def completeness_line(completeness: Completeness) -> str:
    """The relative completeness error: of all images together, of the worst, and of how many."""
    each = "" if completeness.copies is None else f", {completeness.copies} of each image"
    return (
        f"off by {error(completeness.mean)} in all, {error(completeness.worst)} of the worst image "
        f"(n = {count(completeness.n)}{each})"
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
    """What random crops reach: mean, how probably one more draw lies where, number of draws."""
    return (
        f"{score(control.mean)} on average, one more draw between {score(control.low)} and "
        f"{score(control.high)} in {percent(share_within(control.n))} of cases, predicted as the class in "
        f"{percent(control.predicted)} (n = {count(control.n)})"
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
    made = f"The model {says(test, explanation)}. These pictures{begun} were made to excite the layer"
    if (control := explanation.drawn_control) is None:
        return f"{made}; with no control the test decides nothing about the explanation."
    same = "begun from the same images, " if image else ""
    return (
        f"{made}. To pictures of as many random directions, {same}the concepts with their channels in "
        f"another order, it {says(control, explanation)}."
    )


def _sources(explanation: Explanation) -> list[tuple[str, str]]:
    """Where the crops of each test come from."""
    tests = explanation.prediction_test
    named = {
        "Sources, whole pool": tests.including,
        "Sources, other images": tests.excluding,
        "Sources, not so labelled": tests.unlabelled,
    }
    found = ((name, sources_text.of_test(test, explanation.target)) for name, test in named.items())
    return [(name, told) for name, told in found if told]


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
