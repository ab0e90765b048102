"""A contrast as rows of a summary, and the lines that pages share with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from whyclass.records import (
    Agreement,
    Contrast,
    Explanation,
    Insertion,
    InsertionTest,
    Separation,
    Side,
    Sweep,
)
from whyclass.report import explanation_text, pool_text, words
from whyclass.report.contrast_verdict import (
    LABELS,
    insertion_verdict,
    name,
    shifted_line,
    shown_line,
    verdict,
)
from whyclass.report.contrast_ways import first_line, made_by, tried

NOT_RUN = "not run"
"""What is said of a test that was left out."""

Direction = tuple[Side, Side]
"""The class sought, and the class whose images are changed."""


def directions(found: Contrast) -> tuple[Direction, Direction]:
    """A sought in B's images, and B in A's."""
    return (found.a, found.b), (found.b, found.a)


def rows(found: Contrast) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print."""
    judged = verdict(found)
    made = [
        ("Contrast", f"{name(found.a)} against {name(found.b)}"),
        ("Verdict", f"{LABELS[judged.level]}. {judged.sentence}"),
        ("Made by", made_by(found)),
        ("Hyperplane", hyperplane_line(found)),
        *((f"Hyperplane, {label}", value) for label, value in plane_rows(found)[2:]),
    ]
    for own, other in directions(found):
        label = f"Towards {own.explanation.target.name}"
        made += [(label, line) for line in _lines(own, other)]
        if own.drawn_test and (alone := with_concepts(own)):
            made.append(("Drawn pictures", explanation_text.drawn_result(alone)))
    made.append(("Pool", f"{found.pool.name}: {pool_text.size_line(found.pool)}"))
    made.append(("Model", f"{found.model.name}, {found.model.layer} ({words.shape(found.model.shape)})"))
    made += [("Warning", warning) for warning in (*found.warnings, *pool_text.cautions(found.pool))]
    return [(words.clean(label), words.clean(value)) for label, value in made]


def insertion_rows(found: InsertionTest) -> list[tuple[str, str]]:
    """Label and value of each line of a summary of an insertion test."""
    judged = insertion_verdict(found)
    made = [
        ("Insertion", f"{found.insertion.origin} into images of “{found.source.name}”"),
        ("Verdict", judged.sentence),
        ("Model", f"{found.model.name}"),
        ("Pool", f"{found.pool.name}: {pool_text.size_line(found.pool)}"),
        *(("Warning", warning) for warning in (*found.warnings, *pool_text.cautions(found.pool))),
    ]
    return [(words.clean(label), words.clean(value)) for label, value in made]


def repair_line(alone: Explanation, found: Contrast) -> str:
    """What a contrast made of a failed explanation: both scores."""
    own, other = name(found.a), name(found.b)
    before = words.score(alone.prediction_test.including.score)
    if found.a.prediction_test is None:
        return f"{own} explained against {other}: no concept was found (alone {before})"
    tests = found.a.prediction_test
    after = words.score(tests.including.score)
    line = f"{own} explained against {other}: prediction test {before} alone, {after} in contrast"
    if tests.excluding and alone.prediction_test.excluding:
        old, new = alone.prediction_test.excluding.score, tests.excluding.score
        line += f"; without images of {own} {words.score(old)} alone, {words.score(new)} in contrast"
    if (
        found.hyperplane.training.at_chance
        or (found.hyperplane.held_out or found.hyperplane.training).at_chance
    ):
        line += f"; the hyperplane is at chance ({hyperplane_line(found)})"
    return words.clean(line)


def hyperplane_line(found: Contrast) -> str:
    """Accuracy of the hyperplane, on the cells it was fitted to and on images not seen."""
    plane = found.hyperplane
    held = (
        f"; on images not seen {_accuracy(plane.held_out)}" if plane.held_out else "; on no others measured"
    )
    return f"{_accuracy(plane.training)} in training{held}"


def plane_rows(found: Contrast) -> list[tuple[str, str]]:
    """What is known of the hyperplane, its accuracies first."""
    plane = found.hyperplane
    held = _accuracy(plane.held_out) if plane.held_out else "not measured"
    rows = [("in training", _accuracy(plane.training)), ("on images not seen", held)]
    if (trust := plane.trust) is None:
        return rows
    if permuted := trust.permutations:
        told = (
            f"p = {permuted.p:.2g}: {permuted.balanced:.0%} against at most {permuted.highest:.0%} of "
            f"{permuted.n} fits that were told at random which image is of which class"
        )
    else:
        told = "not compared, so that the accuracy may be chance"
    rows.append(("permuted images", told))
    if trust.start is not None:
        rows.append(("random start", f"cosine {words.score(trust.start)} of the normal to it"))
    rows += [("other starts", _agreement(trust.starts)), ("resampled images", _agreement(trust.bootstraps))]
    for own, other in directions(found):
        if own.unseen:
            label = f"images of {name(other)} not seen"
            rows.append((label, f"shifted: {name(own)} {sweep_line(own.unseen, 'shifted')}"))
    return rows


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return "not tried"
    return (
        f"median cosine {words.score(found.median)} of the normal to theirs, at least "
        f"{words.score(found.least)} (n = {found.n})"
    )


def sweep_line(sweep: Sweep, kind: Literal["shifted", "masked"]) -> str:
    """The target's mean score untouched and at the best step, and what the controls reach."""
    step = sweep.steps[sweep.best]
    at = f"t = {step.at:.3g}" if kind == "shifted" else f"{step.at:.0%} of the cells blank"
    best = f"{words.score(sweep.steps[0].target)} at most" if sweep.best == 0 else _rise(sweep, at)
    random = sweep.random
    others = (
        f"{random.n} random directions at most {words.score(max(random.highest))}{tried(random)}, "
        if random
        else "no random directions tried, "
    )
    share = "" if step.share is None else f", its mean over the map {words.score(step.share)}"
    others += f"reversed {words.score(max(sweep.reversed.highest))}"
    sure = "" if sweep.low is None else f" (95% interval {words.between(sweep.low, sweep.high)})"
    first = first_line(sweep) if kind == "shifted" else ""
    return f"{best}{sure}{share}{first}; {others} (n = {words.count(sweep.n)})"


def best_insertion(side: Side) -> Insertion | None:
    """The crop that raises the class most."""
    return max(side.insertions, key=lambda inserted: inserted.pasted.target, default=None)


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
    return [f"{step.at:.3g}" if kind == "shifted" else f"{step.at:.0%}" for step in sweep.steps]


def _lines(own: Side, other: Side) -> Iterable[str]:
    yield f"shifted: {sweep_line(own.shifting, 'shifted') if own.shifting else NOT_RUN}"
    yield f"masked: {sweep_line(own.masking, 'masked') if own.masking else NOT_RUN}"
    if own.prediction_test:
        alone, tests = own.explanation.prediction_test, own.prediction_test
        others = (
            f", {_scored(tests.excluding.score, alone.excluding.score)} without its own images"
            if tests.excluding and alone.excluding
            else ""
        )
        neither = f", {words.score(tests.neither.score)} without images of either" if tests.neither else ""
        yield f"crops: {_scored(tests.including.score, alone.including.score)}{others}{neither}"
    else:
        yield f"crops: {NOT_RUN}, since no cell speaks for it"
    best = best_insertion(own)
    if best is None:
        yield f"inserted: {NOT_RUN}"
    else:
        wins = "wins" if best.swapped else f"“{best.pasted.winner.name}” wins"
        third = f", crops of other classes at most {words.score(best.third.high)}" if best.third else ""
        third = (
            f", a crop of {name(other)} itself {words.score(best.theirs.target)}{third}"
            if best.theirs
            else third
        )
        yield (
            f"inserted: {best.origin} into images of {name(other)}, {words.score(best.original.target)} to "
            f"{words.score(best.pasted.target)}, {wins}; blank {words.score(best.blank.target)}{third} "
            f"(n = {words.count(best.n)})"
        )


def _scored(contrast: float, alone: float) -> str:
    return f"{words.score(contrast)} (alone {words.score(alone)})"


def _accuracy(found: Separation) -> str:
    images = sum(found.images)
    return (
        f"{found.balanced:.0%} of cells on their class's side (mean of both classes, half is chance; "
        f"{words.count(sum(found.cells))} cells of {words.count(images)} images)"
    )


def _rise(sweep: Sweep, at: str) -> str:
    step = sweep.steps[sweep.best]
    wins = "wins" if sweep.swapped else f"“{step.winner.name}” wins"
    return f"{words.score(sweep.steps[0].target)} to {words.score(step.target)} at {at}, {wins}"


def sentences(found: Contrast) -> Sequence[str]:
    """One line for each direction of what its tests say, for a page."""
    said = [f"{shifted_line(own, other)}; {shown_line(own)}." for own, other in directions(found)]
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in said]
