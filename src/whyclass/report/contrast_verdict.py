"""The verdict on a contrast or an insertion: a level and a sentence that follow from its tests."""

from __future__ import annotations

from collections.abc import Callable

from whyclass.records import (
    Contrast,
    Directions,
    Hyperplane,
    Insertion,
    InsertionTest,
    Prediction,
    PredictionTest,
    Side,
    Sweep,
)
from whyclass.report import verdict_checks, words
from whyclass.report.verdict import Level, Verdict
from whyclass.report.verdict_checks import FEWEST_DRAWS, Outcome

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


def verdict(found: Contrast) -> Verdict:
    """Judge what speaks for A against B, by the tests of ``TESTS``.

    Returns
    -------
    Verdict
        ``"trust"`` when all tests of ``NEEDED`` pass and a picture of B bears it out: one of ``ONE_OF``
        passes, or a crop raises A in it above every control. None may have been left out.
        ``"distrust"`` when there is no concept, neither shifting nor crops
        speak for them, or the hyperplane does not tell the classes apart and shifting along it does no
        better; else ``"careful"``. Classes that differ in one part share most of their cells, and few
        cells can tell them apart: then the shifting test decides.
    """
    level = _level(found)
    own, other = name(found.a), name(found.b)
    parts = [
        f"{_opening(level, own, other)}: {shifted_line(found.a, found.b)}; {shown_line(found.a)}.",
        tally(found),
        _raised_line(found) if level == "trust" else "",
        _controls(found.a),
        _separates(found),
        "" if level == "trust" else "The contrast should not be trusted by itself.",
    ]
    return Verdict(level, words.clean(" ".join(part for part in parts if part)))


def tally(found: Contrast) -> str:
    """Every test that failed or was not run, by name."""
    by_test = outcomes(found)
    failed = [test for test, one in by_test.items() if one in ("failed", "chance")]
    missing = [test for test, one in by_test.items() if one == "unchecked"]
    said = f"{len(failed)} of {len(by_test)} tests failed: {', '.join(failed)}" if failed else ""
    if missing:
        lacks = f"not run or without enough controls: {', '.join(missing)}"
        said = f"{said}; {lacks}" if said else f"{lacks[0].upper()}{lacks[1:]}"
    return f"{said}." if said else f"All {len(by_test)} tests passed."


def outcomes(found: Contrast) -> dict[str, Outcome]:
    """What each test of ``TESTS`` says."""
    return {test: judge(found) for test, judge in TESTS.items()}


def outcome(sweep: Sweep | None) -> Outcome:
    """What a shifting or masking test says: passed, failed, no better than chance, or unchecked.

    It passes when the target wins at its best step and its mean score lies above that of every random
    direction and of the reversed one: of shifting at the first step that wins, where all of them are moved
    as far; else each at its own best step.
    """
    if sweep is None:
        return "unchecked"
    if not sweep.swapped:
        return "failed"
    if sweep.random is None or sweep.random.n < FEWEST_DRAWS:
        return "unchecked"
    return "passed" if _above(sweep, sweep.random) > TIE else "chance"


def _above(sweep: Sweep, random: Directions) -> float:
    """By how much the target's score lies above that of its controls.

    Far enough from every image any direction ends in some class: steps in the layer's own units tell how far
    is needed, so controls are asked there. The paper's steps know no unit.
    """
    if sweep.unit is None or sweep.first is None:
        return highest(sweep) - max(*random.highest, *sweep.reversed.highest)
    at = sweep.first
    return sweep.steps[at].target - max(random.high[at], sweep.reversed.high[at])


def crops_outcome(side: Side) -> Outcome:
    """What the prediction tests of the concepts say, the worse of both; failed where there are none."""
    tests = side.prediction_test
    if tests is None:
        return "failed"
    found = [verdict_checks.outcome(test) for test in (tests.including, tests.excluding) if test]
    return min(found, key=("failed", "chance", "unchecked", "passed").index)


def inserted_best(side: Side) -> Outcome:
    """What inserting the crop that raises the class most says."""
    best = max(side.insertions, key=lambda inserted: inserted.pasted.target, default=None)
    return inserted_outcome(best) if best else "unchecked"


def raised(side: Side) -> Insertion | None:
    """The insertion that raises the class most, if above all its controls; it need not win.

    A class that is several parts together is not made by one of them.
    """
    best = max(side.insertions, key=lambda inserted: inserted.pasted.target, default=None)
    if best is None or best.third is None or best.third.n < FEWEST_DRAWS:
        return None
    least = max(best.original.target, _others(best))
    return best if best.pasted.target > least * (1 + TIE) else None


def plane_outcome(plane: Hyperplane) -> Outcome:
    """Whether the hyperplane tells images that it has not seen apart, and better than permuted labels do."""
    permutations = plane.trust.permutations if plane.trust else None
    if plane.held_out is None:
        return "unchecked"
    if plane.held_out.at_chance:
        return "chance"
    if permutations is None or permutations.n < FEWEST_DRAWS:
        return "unchecked"
    return "passed" if permutations.p <= SURE else "chance"


def images_outcome(found: Contrast) -> Outcome:
    """Whether both classes have as many images as an explanation needs."""
    fewest = min(side.explanation.n_images for side in (found.a, found.b))
    return "passed" if fewest >= verdict_checks.FEWEST_IMAGES else "failed"


def exact_outcome(found: Contrast) -> Outcome:
    """Whether the attribution of both adds up, and of their difference where it was attributed."""
    sides = (found.a, found.b)
    told = [*(side.explanation.completeness for side in sides), *(side.completeness for side in sides)]
    return "passed" if all(verdict_checks.adds_up(one) for one in told if one) else "failed"


TESTS: dict[str, Callable[[Contrast], Outcome]] = {
    "shifting": lambda found: outcome(found.a.shifting),
    "shifting of images not seen": lambda found: outcome(found.a.unseen),
    "masking": lambda found: outcome(found.a.masking),
    "insertion of single crops": lambda found: inserted_best(found.a),
    "hyperplane on images not seen": lambda found: plane_outcome(found.hyperplane),
    "crops alone": lambda found: crops_outcome(found.a),
    "ten images of each class": images_outcome,
    "completeness": exact_outcome,
}
"""The first five look at images of B, and what is claimed of A against B rests on them."""

NEEDED = (
    "shifting",
    "shifting of images not seen",
    "hyperplane on images not seen",
    "crops alone",
    "ten images of each class",
    "completeness",
)

ONE_OF = ("masking", "insertion of single crops")
"""Of the pictures themselves: blanking puts nothing into B that only A has, one crop may be too little to
win. So a crop that raises A above all controls (`raised`) does as well."""

TIE = 1e-6
"""Scores that differ by less are equal; where they may be small, by less than this part of them."""

SURE = 0.05
"""Larger p are chance."""


def inserted_outcome(found: Insertion) -> Outcome:
    """What an insertion says: passed when the target wins with the patch, and not with what controls it."""
    if not found.swapped:
        return "failed"
    if found.third is None or found.third.n < FEWEST_DRAWS:
        return "unchecked"
    return "passed" if found.pasted.target - _others(found) > TIE else "chance"


def _others(found: Insertion) -> float:
    """The highest score of what is not the patch."""
    third = found.third.high if found.third else 0.0
    return max(third, found.blank.target, found.theirs.target if found.theirs else 0.0)


def _fine(value: float) -> str:
    """Scores that may be far below a hundredth."""
    return f"{value:.2g}"


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
    return Verdict(level, words.clean(f"{opening}: {insertion_line(tested, found.target, found.source)}."))


def insertion_line(found: Insertion, target: Prediction, source: Prediction) -> str:
    """Mean scores of both classes: untouched, with the patch, and with each control."""
    third = found.third
    crops = (
        f"; with crops of other classes {words.score(third.mean)}, at most {words.score(third.high)} "
        f"(n = {words.count(third.n)})"
        if third
        else ""
    )
    return (
        f"“{target.name}” goes from {words.score(found.original.target)} to "
        f"{words.score(found.pasted.target)} (95% interval {words.between(found.low, found.high)}) "
        f"and “{source.name}” from "
        f"{words.score(found.original.source)} to {words.score(found.pasted.source)} in "
        f"{words.count(found.n)} images, {words.percent(found.turned)} of which turn; blank in its place, "
        f"“{target.name}” has {words.score(found.blank.target)}{crops}"
    )


def highest(sweep: Sweep) -> float:
    """The target's highest mean score."""
    return sweep.steps[sweep.best].target


def name(side: Side) -> str:
    """The class's name in quotation marks."""
    return f"“{side.explanation.target.name}”"


def _level(found: Contrast) -> Level:
    by_test = outcomes(found)
    if _speaks_against(found, by_test["shifting"]):
        return "distrust"
    agree = all(by_test[test] == "passed" for test in NEEDED)
    shown = any(by_test[test] == "passed" for test in ONE_OF) or raised(found.a) is not None
    whole = "unchecked" not in by_test.values()
    return "trust" if agree and shown and whole else "careful"


def _speaks_against(found: Contrast, shifted: Outcome) -> bool:
    tests, plane = found.a.prediction_test, found.hyperplane
    if tests is None or not {shifted, verdict_checks.outcome(tests.including)} & {"passed", "unchecked"}:
        return True
    at_chance = (plane.held_out or plane.training).at_chance or plane_outcome(plane) == "chance"
    return at_chance and shifted != "passed"


def _opening(level: Level, own: str, other: str) -> str:
    return {
        "trust": f"What speaks for {own} against {other} was found",
        "careful": f"Something that speaks for {own} against {other} was found, but not every test says so",
        "distrust": f"What speaks for {own} against {other} was not found",
    }[level]


def shifted_line(own: Side, other: Side) -> str:
    """What the shifting test says, in words."""
    sweep = own.shifting
    if sweep is None:
        return "the shifting test was not run"
    step, start = sweep.steps[sweep.best], words.score(sweep.steps[0].target)
    moved = f"moved along the hyperplane's normal, images of {name(other)}"
    if sweep.swapped:
        return f"{moved} become {name(own)} ({start} to {words.score(step.target)})"
    said = f"the model says “{step.winner.name}” there" if sweep.best else "where it started"
    return f"{moved} do not become {name(own)} (at most {words.score(step.target)}, {said})"


def shown_line(own: Side) -> str:
    """What the prediction test of the concepts says, in words."""
    if own.prediction_test is None:
        return f"no concept speaks for {name(own)}"
    tests = own.prediction_test
    crops = words.plural(len(tests.including.sources) or len(own.concepts), "crop")
    shown = f"shown only {crops} of what speaks for it, the model {_says(tests.including, own)}"
    if tests.excluding is None:
        return shown
    joint = "and" if tests.including.predicted == tests.excluding.predicted else "but"
    return f"{shown}, {joint} {_says(tests.excluding, own)} when all come from images it calls something else"


def _says(test: PredictionTest, own: Side) -> str:
    if test.predicted:
        return f"says {name(own)} with {words.score(test.score)}"
    return f"says “{test.top[0].name}” and gives {name(own)} {words.score(test.score)}"


def _raised_line(found: Contrast) -> str:
    """What bears a contrast out in pictures of B where no single crop and no mask turns them."""
    best, by_test = raised(found.a), outcomes(found)
    if best is None or best.third is None or any(by_test[test] == "passed" for test in ONE_OF):
        return ""
    own, other = name(found.a), name(found.b)
    return (
        f"No single crop turns images of {other}; the best raises {own} from "
        f"{_fine(best.original.target)} to {_fine(best.pasted.target)}, crops of other classes "
        f"at most to {_fine(best.third.high)} (n = {words.count(best.third.n)})."
    )


def _controls(own: Side) -> str:
    said = []
    if own.shifting and own.shifting.random:
        random = own.shifting.random
        said.append(
            f"random directions reach at most {words.score(max(random.highest))} "
            f"(n = {words.count(random.n)})"
        )
    control = own.prediction_test.including.control if own.prediction_test else None
    if control and control.n:
        said.append(f"random crops {words.score(control.mean)} on average (n = {words.count(control.n)})")
    joined = ", ".join(said)
    return f"{joined[0].upper()}{joined[1:]}." if joined else ""


def _separates(found: Contrast) -> str:
    measured = found.hyperplane.held_out
    if measured is None:
        return "The hyperplane could not be measured on images that it has not seen."
    chance = ", which is no better than chance" if measured.at_chance else ""
    if permutations := found.hyperplane.trust and found.hyperplane.trust.permutations:
        chance += f"; p = {permutations.p:.2g} against {permutations.n} permutations of the images"
    return (
        f"On images that it has not seen the hyperplane tells the two apart in {measured.balanced:.0%} of "
        f"cells (half is chance){chance}."
    )
