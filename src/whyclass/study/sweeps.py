"""The shifting and the masking test of a contrast, each with its controls, as records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whyclass import intervals
from whyclass.checks import interventions, statistics
from whyclass.concepts.hyperplanes import signed_distance
from whyclass.records import Directions, Moved, ShiftControl, Step, Sweep
from whyclass.study.contrast_tests import (
    Advance,
    Attempt,
    control_tries,
    filling,
    in_turn,
    silent,
    winner_of,
)

SHARES = tuple(step / 10 for step in range(10))
"""Shares of the cells that the masking test blanks (method of appendix C: steps of 10 %)."""

BEYOND = 1.5
"""Where the last step is the best one, finer ones go on to so many times its size."""

At = tuple[float, ...]


@dataclass(frozen=True)
class _Test:
    """How one of both tests scores images: scores are (S, rows, C), for steps ``at``.

    Attributes
    ----------
    own
        Along the contrast: all its steps, and the scores of all the attempt's images.
    turned
        Against it.
    along
        Along a direction (c,) of any kind.
    length
        Of directions that it is compared with: that of this vector (c,).
    """

    name: str
    own: Callable[[Advance], tuple[At, np.ndarray]]
    turned: Callable[[At, np.ndarray, Advance], np.ndarray]
    along: Callable[[np.ndarray, At, np.ndarray, Advance], np.ndarray]
    length: np.ndarray


def shifting(attempt: Attempt) -> Sweep:
    """The shifting test (paper, 5.2.1): add steps of ``w`` to every cell and finish the model from there.

    Where settings want finer steps, they lie around the best of the coarse ones.
    """
    settings = attempt.context.settings
    return _sweep(attempt, _shifted(attempt), len(settings.shifts) + settings.finer)


def masking(attempt: Attempt) -> Sweep:
    """The whole masking test (paper, appendix C): blank pixels under cells furthest on the source's side."""
    return _sweep(attempt, _masked(attempt), len(SHARES))


def best_shift(attempt: Attempt, controlled: bool) -> tuple[Moved, ShiftControl | None]:
    """The shifting test in few numbers, for one of very many pairs; ``controlled`` with its controls."""
    test, every = _shifted(attempt), np.arange(attempt.n)
    at, scores = test.own(silent)
    found = _moved(attempt, at, scores)
    if not controlled:
        return found, None
    opposite = test.turned(at, every, silent).mean(1)[:, attempt.target]
    random = _random(attempt, test, at, silent)
    highest = (random.highest, random.images) if random else ((), 0)
    return found, ShiftControl(*highest, reversed=float(opposite.max()))


def best_mask(attempt: Attempt) -> Moved:
    """The whole masking test in few numbers."""
    return _moved(attempt, *_masked(attempt).own(silent))


def finer(at: At, best: int, count: int) -> list[float]:
    """About ``count`` steps between the best one and its neighbours, at equal distances on each side."""
    low = at[best - 1] if best else at[0]
    high = at[best + 1] if best + 1 < len(at) else BEYOND * at[best]
    parts = [np.linspace(low, at[best], (count + 1) // 2 + 2), np.linspace(at[best], high, count // 2 + 2)]
    found = {float(value) for part in parts for value in part[1:-1]}
    return sorted(found - set(at))


def _shifted(attempt: Attempt) -> _Test:
    context, settings = attempt.context, attempt.context.settings
    activations, images, step = attempt.activations, attempt.images, attempt.step

    def along(w: np.ndarray, at: At, rows: np.ndarray, advance: Advance) -> np.ndarray:
        found = interventions.shift(context.split, activations[rows], images[rows], w, at)
        advance(len(rows) * len(at))
        return found

    def own(advance: Advance) -> tuple[At, np.ndarray]:
        every = np.arange(attempt.n)
        at, found = settings.shifts, along(step, settings.shifts, every, advance)
        if not settings.finer:
            return at, found
        best = int(found.mean(1)[:, attempt.target].argmax())
        more = finer(at, best, settings.finer)
        found = np.concatenate([found, along(step, tuple(more), every, advance)])
        order = np.argsort([*at, *more], kind="stable")
        return tuple(sorted([*at, *more])), found[order]

    return _Test("shifting", own, lambda at, rows, advance: along(-step, at, rows, advance), along, step)


def speaking(attempt: Attempt) -> np.ndarray:
    """How far each cell (n, h, w) speaks for the target: masking blanks the lowest first."""
    if attempt.lean is not None:
        return attempt.leaning
    return signed_distance(attempt.activations, attempt.w, attempt.b)


def _masked(attempt: Attempt) -> _Test:
    context, before = attempt.context, attempt.before
    activations, images, fill = attempt.activations, attempt.images, filling(context)
    z = speaking(attempt)

    def by(z: np.ndarray, rows: np.ndarray, advance: Advance) -> np.ndarray:
        found = [before[rows]]
        advance(len(rows))
        masks = interventions.lowest(z, SHARES[1:])
        found += [context.scores(interventions.mask(images[rows], masked, fill), advance) for masked in masks]
        return np.stack(found)

    def along(w: np.ndarray, at: At, rows: np.ndarray, advance: Advance) -> np.ndarray:
        return by(signed_distance(activations[rows], w, attempt.b), rows, advance)

    return _Test(
        "masking",
        lambda advance: (SHARES, by(z, np.arange(attempt.n), advance)),
        lambda at, rows, advance: by(-z[rows], rows, advance),
        along,
        attempt.w,
    )


def _moved(attempt: Attempt, at: At, scores: np.ndarray) -> Moved:
    steps = steps_of(attempt, at, scores)
    return moved_of(attempt, steps, _best(steps), _of_highest(attempt, scores))


def moved_of(
    attempt: Attempt, steps: Sequence[Step], best: int, ends: tuple[float, float] | tuple[None, None]
) -> Moved:
    """A test in few numbers, with the ``ends`` of the interval of its highest score."""
    step, (low, high), first = steps[best], ends, first_swap(steps, attempt.target)
    at, won = None if first is None else steps[first].at, swapped(attempt, steps, best)
    return Moved(step.target, low, high, step.at, step.winner, won, attempt.n, step.share, at)


def swapped(attempt: Attempt, steps: Sequence[Step], best: int) -> bool:
    """Whether the target wins at the best step, and not from the start."""
    return steps[best].winner.index == attempt.target != steps[0].winner.index


def _best(steps: Sequence[Step]) -> int:
    """Number of the step with the highest score, of equal ones the first."""
    return int(np.argmax([step.target for step in steps]))


def first_swap(steps: Sequence[Step], target: int) -> int | None:
    """The first step at which the target wins; None where it never does, or did from the start."""
    won = [step.winner.index == target for step in steps]
    return won.index(True) if any(won) and not won[0] else None


def _sweep(attempt: Attempt, test: _Test, count: int) -> Sweep:
    source, target, every = attempt.source.target, attempt.target, np.arange(attempt.n)
    tries = (2 * attempt.n + control_tries(attempt)) * count
    with attempt.context.progress.step(test.name, tries) as advance:
        at, found = test.own(advance)
        steps = steps_of(attempt, at, found)
        opposite = test.turned(at, every, advance)
        random = _random(attempt, test, at, advance)
    best = _best(steps)
    low, high = _of_highest(attempt, found)
    return Sweep(
        target=attempt.context.prediction(target, steps[0].target),
        source=attempt.context.prediction(source, steps[0].source),
        n=attempt.n,
        steps=steps,
        best=best,
        swapped=swapped(attempt, steps, best),
        random=random,
        reversed=directions_of(attempt, opposite.mean(1)[None], attempt.n),
        low=low,
        high=high,
        unit=attempt.unit if test.name == "shifting" else None,
        first=first_swap(steps, target),
    )


def _of_highest(attempt: Attempt, scores: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the target's highest mean score, from scores (S, n, C)."""
    generator = attempt.generator("interval")
    return intervals.interval_of_highest(scores[:, :, attempt.target], generator) or (None, None)


def steps_of(attempt: Attempt, at: Sequence[float], scores: np.ndarray) -> tuple[Step, ...]:
    """Steps ``at`` with scores (S, n, C), as records."""
    ends = intervals.interval(scores[:, :, attempt.target], attempt.generator("interval"))
    mean = scores.mean(1)
    return tuple(
        Step(
            at=float(at[s]),
            target=float(mean[s, attempt.target]),
            low=None if ends is None else min(float(ends[0][s]), float(mean[s, attempt.target])),
            high=None if ends is None else max(float(ends[1][s]), float(mean[s, attempt.target])),
            source=float(mean[s, attempt.source.target]),
            winner=winner_of(attempt.context, mean[s]),
            share=attempt.context.task.share(mean[s], attempt.target),
        )
        for s in range(len(at))
    )


def _random(attempt: Attempt, test: _Test, at: At, advance: Advance) -> Directions | None:
    turns, means = in_turn(attempt), []
    generator = attempt.generator(f"{test.name} directions")
    drawn = statistics.random_directions(test.length, len(turns), generator)
    for w, rows in zip(drawn, turns, strict=True):
        means.append(test.along(w, at, rows, advance).mean(1))
    return directions_of(attempt, np.stack(means), len(turns[0])) if means else None


def directions_of(attempt: Attempt, means: np.ndarray, images: int) -> Directions:
    """From mean scores (directions, S, C)."""
    target = means[:, :, attempt.target]
    return Directions(
        n=len(means),
        images=images,
        mean=tuple(target.mean(0).tolist()),
        low=tuple(target.min(0).tolist()),
        high=tuple(target.max(0).tolist()),
        highest=tuple(target.max(1).tolist()),
        swapped=tuple((attempt.context.task.winner(means) == attempt.target).mean(0).tolist()),
    )
