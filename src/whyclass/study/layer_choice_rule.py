"""The rule that chooses among tested layers: averages over classes, the choice, and its warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from whyclass import intervals
from whyclass.records import Average, Candidate, ChosenScore, ClassResult, Trial
from whyclass.report import paper_tables
from whyclass.settings import seed_of
from whyclass.study.layer_choice_sample import ENOUGH

RESAMPLED = 200
"""Draws of classes through the choice."""

FEWEST_CLASSES = 5
"""Fewer decide nothing: the mean of so few says too little of all classes."""


def decide(found: Sequence[Candidate]) -> tuple[Candidate, str]:
    """What ``pick`` picks, or the largest crops, whatever they score, where too few classes were tested."""
    count = len(found[0].classes)
    if count >= FEWEST_CLASSES:
        return pick(found)
    largest = max(found, key=area)  # of equal ones the first
    told = f"of {len(found)} candidate{'s' if len(found) > 1 else ''}"
    return largest, (
        f"{told} {_named(largest)} has the largest crops and was taken for that: {count} classes are too few "
        f"to choose by their scores ({FEWEST_CLASSES} are needed)"
    )


def after_choice(found: Sequence[Candidate], chosen: Candidate, seed: int) -> ChosenScore | None:
    """The chosen one's score as far as the choice lets it be known; None of too few classes."""
    count = len(chosen.classes)
    if count < FEWEST_CLASSES:
        return None
    scores = _decisive_scores(found)
    generator = np.random.default_rng(seed_of("choice", seed, ""))
    ends = intervals.interval_together(scores, generator)
    optimism = []
    for _ in range(RESAMPLED):
        rows = generator.integers(count, size=count)
        drawn = [_only(one, [one.classes[row] for row in rows], seed) for one in found]
        best = drawn.index(pick(drawn)[0])
        optimism.append(_decisive(drawn[best]).score - _decisive(found[best]).score)
    at, more = found.index(chosen), float(np.mean(optimism))
    assert ends is not None
    low, high = float(ends[0][at]), float(ends[1][at])
    score = min(max(_decisive(chosen).score - more, low), high)
    return ChosenScore(scores.shape[1], score, low, high, _decisive(chosen).score - score)


def _decisive_scores(found: Sequence[Candidate]) -> np.ndarray:
    """Scores (candidates, n) in the test that decides; a class that was not explained has 0."""
    second = any(one.excluding for one in found)

    def score(own: ClassResult) -> float:
        if test := own.excluding if second else own.including:
            return test.score
        return 0.0 if own.problem else np.nan

    scores = np.array([list(map(score, one.classes)) for one in found])
    return np.asarray(scores[:, ~np.isnan(scores).any(0)])


def _only(one: Candidate, classes: Sequence[ClassResult], seed: int) -> Candidate:
    including, excluding = of_classes(classes, seed)
    return replace(one, including=including, excluding=excluding, classes=tuple(classes))


def of_classes(classes: Sequence[ClassResult], seed: int) -> tuple[Average, Average | None]:
    """Both tests over classes; in the second a class to which all images belong has none."""
    tests = [one.excluding for one in classes if one.excluding or one.problem]
    including = averaged([one.including for one in classes], seed)
    return including, averaged(tests, seed) if any(tests) else None


def pick(found: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The one-standard-error rule (Breiman et al. 1984) over candidates, with the reason in words.

    Of those that random crops do not equal, the smallest crops whose mean score lies within one standard
    error of the best one's; of these the fewest concepts, then the highest score. The score is that of
    the test without the class's images, where there is one. Where random crops equal all, the best.
    """
    able = [one for one in found if _decisive(one).above is not False]
    best = max(able or found, key=lambda one: _decisive(one).score)
    top, of = _decisive(best), f"of {len(found)} candidate{'s' if len(found) > 1 else ''} "
    if not able:
        return best, f"{of}none does better than random crops, and {_named(best)} scores best, {_told(best)}"
    near = [one for one in able if _decisive(one).score >= top.score - top.error]
    chosen = min(near, key=lambda one: (area(one), one.concepts, -_decisive(one).score))
    if chosen is best:
        smaller = any(area(one) < area(best) for one in found)
        rest = f", and no smaller crops come within one standard error of it ({top.error:.2f})"
        return chosen, f"{of}{_named(chosen)} scores best, {_told(chosen)}{rest if smaller else ''}"
    has = "smallest crops" if chosen.crop != best.crop else "fewest concepts"
    return chosen, (
        f"{of}{_named(chosen)} has the {has} that score within one standard error ({top.error:.2f}) of the "
        f"best: {_told(chosen)}, and {_named(best)} {top.score:.2f}"
    )


def area(one: Candidate) -> int:
    """Pixels of its crops."""
    return one.crop[0] * one.crop[1]


def _decisive(one: Candidate) -> Average:
    return one.excluding or one.including


def _named(one: Candidate) -> str:
    height, width = one.crop
    side = f"{height} px" if height == width else f"{height} x {width} px"
    return f"{one.layer} with {one.concepts} concepts (crops of {side})"


def _told(one: Candidate) -> str:
    which = "without the class's images" if one.excluding else "with the class's images"
    return f"{_decisive(one).score:.2f} {which}"


def averaged(tests: Sequence[Trial | None], seed: int) -> Average:
    """A test over classes; None is a class that could not be explained."""
    scores = np.array([test.score if test else 0.0 for test in tests])
    share = paper_tables.share([bool(test and test.predicted) for test in tests])
    generator = np.random.default_rng(seed_of("bootstrap", seed, ""))
    ends = intervals.interval(scores, generator)
    control, called = _controls(tests)
    assert share.low is not None
    assert share.high is not None
    return Average(
        n=len(scores),
        score=float(scores.mean()),
        low=None if ends is None else float(ends[0]),
        high=None if ends is None else float(ends[1]),
        error=(intervals.deviation(scores) or 0.0) / len(scores) ** 0.5,
        predicted=share.value,
        predicted_low=share.low,
        predicted_high=share.high,
        control=control,
        control_predicted=called,
        above=None
        if control is None or called is None or ends is None
        else bool(ends[0] > control and share.low > called),
    )


def _controls(tests: Sequence[Trial | None]) -> tuple[float | None, float | None]:
    """The mean score that random crops reach, and the share of them that is predicted."""
    controls = [test.control for test in tests if test and test.control]
    if not controls:
        return None, None
    return float(np.mean([one.mean for one in controls])), float(np.mean([one.predicted for one in controls]))


def warnings_of(
    found: Sequence[Candidate], chosen: Candidate, wanted: int, images: Sequence[int]
) -> Iterable[str]:
    """What a reader must see beside a choice; ``images`` of the whole pool are predicted as each class."""
    if all(_decisive(one).above is False for one in found):
        yield (
            "At no candidate layer do the concepts' crops do better than random crops. The model may not "
            "be trained, or these images may not be what it knows; do not trust explanations of it here."
        )
    if any(_decisive(one).control is None for one in found):
        yield "There were no random crops to compare with, so it is not known whether any crops would do."
    if chosen.excluding is None:
        yield "No class leaves an image that is not predicted as it, so the weaker test decided."
    if len(chosen.classes) < wanted:
        yield f"Only {len(chosen.classes)} of {wanted} classes are predicted for an image of the pool."
    if few := sum(count < ENOUGH for count in images):
        yield (
            f"{few} of {len(chosen.classes)} classes are predicted for fewer than {ENOUGH} images; what "
            "is found from so few is unsure."
        )
    yield from _unexplained(found)
    if len(chosen.classes) < FEWEST_CLASSES:
        yield (
            f"{len(chosen.classes)} classes are too few to choose a layer by; test {FEWEST_CLASSES} or more, "
            "or name the layer."
        )


def _unexplained(found: Sequence[Candidate]) -> Iterable[str]:
    for one in found:
        if lost := sum(bool(each.problem) for each in one.classes):
            yield (
                f"{_named(one)}: {lost} of {len(one.classes)} classes could not be explained and count as 0."
            )
