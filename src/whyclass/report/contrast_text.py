"""What a contrast says, in words: the verdict, and the rows of a summary.

As in `whyclass.report.text`, every word follows from a number of the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from whyclass.records import (
    Contrast,
    Explanation,
    Insertion,
    InsertionTest,
    Prediction,
    PredictionTest,
    Separation,
    Side,
    Sweep,
)
from whyclass.report import explanation_text as text
from whyclass.report.explanation_text import FEWEST_DRAWS, Level, Outcome, Verdict

LABELS: dict[Level, str] = {
    "trust": "Supported by the tests",
    "careful": "Read with care",
    "distrust": "Not supported by the tests",
}
"""What a level of a contrast is called where a reader sees it."""

INSERTION_LABELS: dict[Level, str] = {
    "trust": "It does",
    "careful": "It may",
    "distrust": "It does not",
}
"""What a level is called where a patch was asked about."""

Direction = tuple[Side, Side]
"""The class sought, and the class whose images are changed."""


def directions(found: Contrast) -> tuple[Direction, Direction]:
    """A sought in B's images, and B in A's."""
    return (found.a, found.b), (found.b, found.a)


def verdict(found: Contrast) -> Verdict:
    """Judge what speaks for A against B, by the shifting test, the prediction test and the hyperplane.

    Returns
    -------
    Verdict
        ``"trust"`` when all tests pass their controls, the hyperplane tells the classes apart and the
        attribution of both adds up; ``"distrust"`` when there is no concept, neither test
        speaks for them, or the hyperplane does not tell the classes apart and shifting along it does no
        better; else ``"careful"``. Classes that differ in one part share most of their cells, and few
        cells can tell them apart: then the shifting test decides.
    """
    shifted, crops = outcome(found.a.shifting), crops_outcome(found.a)
    level = _level(found, shifted, crops)
    own, other = name(found.a), name(found.b)
    parts = [
        f"{_opening(level, own, other)}: {_shifted(found.a, found.b)}; {_shown(found.a)}.",
        _controls(found.a),
        _separates(found),
        "" if level == "trust" else "The contrast should not be trusted by itself.",
    ]
    return Verdict(level, text.clean(" ".join(part for part in parts if part)))


def outcome(sweep: Sweep | None) -> Outcome:
    """What a shifting or masking test says: passed, failed, no better than chance, or unchecked.

    It passes when the target wins at its best step and its mean score there lies above that of every
    random direction and of the reversed one, each at its own best step.
    """
    if sweep is None:
        return "unchecked"
    if not sweep.swapped:
        return "failed"
    if sweep.random is None or sweep.random.n < FEWEST_DRAWS:
        return "unchecked"
    others = max(*sweep.random.highest, *sweep.reversed.highest)
    return "passed" if highest(sweep) > others else "chance"


def crops_outcome(side: Side) -> Outcome:
    """What the prediction test of the concepts says; failed where there are none."""
    return text.outcome(side.prediction_test.including) if side.prediction_test else "failed"


def inserted_outcome(found: Insertion) -> Outcome:
    """What an insertion says: passed when the target wins with the patch, and not with what controls it."""
    if not found.swapped:
        return "failed"
    if found.third is None or found.third.n < FEWEST_DRAWS:
        return "unchecked"
    others = max(found.third.high, found.blank.target)
    return "passed" if found.pasted.target > others else "chance"


def insertion_verdict(found: InsertionTest) -> Verdict:
    """Judge an insertion test by its two controls."""
    own, tested = f"“{found.target.name}”", found.insertion
    levels: dict[Outcome, tuple[Level, str]] = {
        "passed": ("trust", f"The patch turns the model to {own}"),
        "chance": ("distrust", f"The patch turns the model to {own}, but so does what is not the patch"),
        "unchecked": ("careful", f"The patch turns the model to {own}; too few controls to say why"),
        "failed": ("distrust", f"The patch does not turn the model to {own}"),
    }
    level, opening = levels[inserted_outcome(tested)]
    return Verdict(level, text.clean(f"{opening}: {insertion_line(tested, found.target, found.source)}."))


def insertion_line(found: Insertion, target: Prediction, source: Prediction) -> str:
    """Mean scores of both classes: untouched, with the patch, and with each control."""
    third = found.third
    crops = (
        f"; with crops of other classes {text.score(third.mean)}, at most {text.score(third.high)} "
        f"(n = {text.count(third.n)})"
        if third
        else ""
    )
    return (
        f"“{target.name}” goes from {text.score(found.original.target)} to {text.score(found.pasted.target)} "
        f"(95% interval {text.score(found.low)} to {text.score(found.high)}) and “{source.name}” from "
        f"{text.score(found.original.source)} to {text.score(found.pasted.source)} in "
        f"{text.count(found.n)} images, {text.percent(found.turned)} of which turn; blank in its place, "
        f"“{target.name}” has {text.score(found.blank.target)}{crops}"
    )


def rows(found: Contrast) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print."""
    judged = verdict(found)
    made = [
        ("Contrast", f"{name(found.a)} against {name(found.b)}"),
        ("Verdict", f"{LABELS[judged.level]}. {judged.sentence}"),
        ("Hyperplane", hyperplane_line(found)),
    ]
    for own, other in directions(found):
        label = f"Towards {own.explanation.target.name}"
        made += [(label, line) for line in _lines(own, other)]
        if own.drawn_test and (alone := with_concepts(own)):
            made.append(("Drawn pictures", text.drawn_result(alone)))
    made.append(("Pool", f"{found.pool.name}: {text.count(found.pool.size)} images"))
    made.append(("Model", f"{found.model.name}, {found.model.layer} ({text.shape(found.model.shape)})"))
    made += [("Warning", warning) for warning in found.warnings]
    return [(text.clean(label), text.clean(value)) for label, value in made]


def insertion_rows(found: InsertionTest) -> list[tuple[str, str]]:
    """Label and value of each line of a summary of an insertion test."""
    judged = insertion_verdict(found)
    made = [
        ("Insertion", f"{found.insertion.origin} into images of “{found.source.name}”"),
        ("Verdict", judged.sentence),
        ("Model", f"{found.model.name}"),
        ("Pool", f"{found.pool.name}: {text.count(found.pool.size)} images"),
    ]
    return [(text.clean(label), text.clean(value)) for label, value in made]


def repair_line(alone: Explanation, found: Contrast) -> str:
    """What a contrast made of a failed explanation: both scores."""
    own, other = name(found.a), name(found.b)
    before = text.score(alone.prediction_test.including.score)
    if found.a.prediction_test is None:
        return f"{own} explained against {other}: no concept was found (alone {before})"
    tests = found.a.prediction_test
    after = text.score(tests.including.score)
    line = f"{own} explained against {other}: prediction test {before} alone, {after} in contrast"
    if tests.excluding and alone.prediction_test.excluding:
        old, new = alone.prediction_test.excluding.score, tests.excluding.score
        line += f"; without images of {own} {text.score(old)} alone, {text.score(new)} in contrast"
    return text.clean(line)


def hyperplane_line(found: Contrast) -> str:
    """Accuracy of the hyperplane, on the cells it was fitted to and on images not seen."""
    plane = found.hyperplane
    held = (
        f"; on images not seen {_accuracy(plane.held_out)}" if plane.held_out else "; on no others measured"
    )
    return f"{_accuracy(plane.training)} in training{held}"


def sweep_line(sweep: Sweep, kind: Literal["shifted", "masked"]) -> str:
    """The target's mean score untouched and at the best step, and what the controls reach."""
    step = sweep.steps[sweep.best]
    at = f"t = {step.at:g}" if kind == "shifted" else f"{step.at:.0%} of the cells blank"
    best = f"{text.score(sweep.steps[0].target)} at most" if sweep.best == 0 else _rise(sweep, at)
    random = sweep.random
    others = (
        f"{random.n} random directions at most {text.score(max(random.highest))}, "
        if random
        else "no random directions tried, "
    )
    share = "" if step.share is None else f", its mean over the map {text.score(step.share)}"
    others += f"reversed {text.score(max(sweep.reversed.highest))}"
    return f"{best}{share}; {others} (n = {text.count(sweep.n)})"


def highest(sweep: Sweep) -> float:
    """The target's highest mean score."""
    return sweep.steps[sweep.best].target


def best_insertion(side: Side) -> Insertion | None:
    """The crop that raises the class most."""
    return max(side.insertions, key=lambda inserted: inserted.pasted.target, default=None)


def name(side: Side) -> str:
    """The class's name in quotation marks."""
    return f"“{side.explanation.target.name}”"


def with_concepts(side: Side) -> Explanation | None:
    """The class's explanation with the contrast's concepts and test in place of its own."""
    if side.prediction_test is None:
        return None
    return replace(
        side.explanation,
        concepts=side.concepts,
        images=side.images,
        prediction_test=side.prediction_test,
        drawn_test=side.drawn_test,
        drawn_control=side.drawn_control,
        warnings=(),
    )


def steps(sweep: Sweep, kind: Literal["shifted", "masked"]) -> list[str]:
    """Labels of the steps."""
    return [f"{step.at:g}" if kind == "shifted" else f"{step.at:.0%}" for step in sweep.steps]


def _level(found: Contrast, shifted: Outcome, crops: Outcome) -> Level:
    measured = found.hyperplane.held_out or found.hyperplane.training
    exact = all(text.adds_up(side.explanation.completeness) for side in (found.a, found.b))
    nothing = found.a.prediction_test is None or not {shifted, crops} & {"passed", "unchecked"}
    if nothing or (measured.at_chance and shifted != "passed"):
        return "distrust"
    tests = found.a.prediction_test
    others = text.outcome(tests.excluding) if tests and tests.excluding else "passed"
    agree = shifted == crops == others == "passed" and not measured.at_chance
    return "trust" if agree and exact else "careful"


def _opening(level: Level, own: str, other: str) -> str:
    return {
        "trust": f"What speaks for {own} against {other} was found",
        "careful": f"Something that speaks for {own} against {other} was found, but not every test says so",
        "distrust": f"What speaks for {own} against {other} was not found",
    }[level]


def _shifted(own: Side, other: Side) -> str:
    sweep = own.shifting
    if sweep is None:
        return "the shifting test was not run"
    step, start = sweep.steps[sweep.best], text.score(sweep.steps[0].target)
    moved = f"moved along the hyperplane's normal, images of {name(other)}"
    if sweep.swapped:
        return f"{moved} become {name(own)} ({start} to {text.score(step.target)})"
    said = f"the model says “{step.winner.name}” there" if sweep.best else "where it started"
    return f"{moved} do not become {name(own)} (at most {text.score(step.target)}, {said})"


def _shown(own: Side) -> str:
    if own.prediction_test is None:
        return f"no concept speaks for {name(own)}"
    tests, crops = own.prediction_test, text.plural(len(own.concepts), "crop")
    shown = f"shown only {crops} of what speaks for it, the model {_says(tests.including, own)}"
    if tests.excluding is None:
        return shown
    joint = "and" if tests.including.predicted == tests.excluding.predicted else "but"
    return f"{shown}, {joint} {_says(tests.excluding, own)} when all come from images it calls something else"


def _says(test: PredictionTest, own: Side) -> str:
    if test.predicted:
        return f"says {name(own)} with {text.score(test.score)}"
    return f"says “{test.top[0].name}” and gives {name(own)} {text.score(test.score)}"


def _controls(own: Side) -> str:
    said = []
    if own.shifting and own.shifting.random:
        random = own.shifting.random
        said.append(
            f"random directions reach at most {text.score(max(random.highest))} (n = {text.count(random.n)})"
        )
    control = own.prediction_test.including.control if own.prediction_test else None
    if control and control.n:
        said.append(f"random crops {text.score(control.mean)} on average (n = {text.count(control.n)})")
    joined = ", ".join(said)
    return f"{joined[0].upper()}{joined[1:]}." if joined else ""


def _separates(found: Contrast) -> str:
    measured = found.hyperplane.held_out
    if measured is None:
        return "The hyperplane could not be measured on images that it has not seen."
    chance = ", which is no better than chance" if measured.at_chance else ""
    return (
        f"On images that it has not seen the hyperplane tells the two apart in {measured.balanced:.0%} of "
        f"cells (half is chance){chance}."
    )


def _lines(own: Side, other: Side) -> Iterable[str]:
    if own.shifting:
        yield f"shifted: {sweep_line(own.shifting, 'shifted')}"
    if own.masking:
        yield f"masked: {sweep_line(own.masking, 'masked')}"
    if own.prediction_test:
        alone, tests = own.explanation.prediction_test, own.prediction_test
        others = (
            f", {_scored(tests.excluding.score, alone.excluding.score)} without its own images"
            if tests.excluding and alone.excluding
            else ""
        )
        yield f"crops: {_scored(tests.including.score, alone.including.score)}{others}"
    if best := best_insertion(own):
        wins = "wins" if best.swapped else f"“{best.pasted.winner.name}” wins"
        third = f", crops of other classes at most {text.score(best.third.high)}" if best.third else ""
        yield (
            f"inserted: {best.origin} into images of {name(other)}, {text.score(best.original.target)} to "
            f"{text.score(best.pasted.target)}, {wins}; blank {text.score(best.blank.target)}{third} "
            f"(n = {text.count(best.n)})"
        )


def _scored(contrast: float, alone: float) -> str:
    return f"{text.score(contrast)} (alone {text.score(alone)})"


def _accuracy(found: Separation) -> str:
    images = sum(found.images)
    return (
        f"{found.balanced:.0%} of cells on their class's side (mean of both classes, half is chance; "
        f"{text.count(sum(found.cells))} cells of {text.count(images)} images)"
    )


def _rise(sweep: Sweep, at: str) -> str:
    step = sweep.steps[sweep.best]
    wins = "wins" if sweep.swapped else f"“{step.winner.name}” wins"
    return f"{text.score(sweep.steps[0].target)} to {text.score(step.target)} at {at}, {wins}"


def sentences(found: Contrast) -> Sequence[str]:
    """One line for each direction of what its tests say, for a page."""
    said = [f"{_shifted(own, other)}; {_shown(own)}." for own, other in directions(found)]
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in said]
