"""The masking test with fewer images through the model, and the whole curve that it is held to.

Masking is the only test of a contrast in which every step passes the whole model. Three things are spared:

- *Races.* All shares are tried on a part of the images, and only those go on to further images that can
  still have the highest mean over all (a paired difference, of a sample of a finite population).
- *Controls that cannot matter.* They are tried on a part of the images too. Where the target does not win,
  no control can change that; where it does, only those that came near its score are tried on all their
  images, until one reaches it.
- *The same picture twice.* Images with the same cells blank pass once, untouched ones not at all, and a
  picture without any cell left is the same for all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from whyclass import intervals
from whyclass.checks import interventions, statistics
from whyclass.concepts.hyperplanes import signed_distance
from whyclass.records import Directions, Moved, Step, Sweep
from whyclass.study import sweeps
from whyclass.study.contrast_tests import Advance, Attempt, filling, in_turn, silent
from whyclass.study.sweeps import SHARES

FIRST, FEWEST = 5, 8
"""All shares are tried on one image of so many, but on so many at least."""

GROWS = 1.25
"""So many times as many images are looked at in the next round of a race."""

SURE = 2.5
"""Standard errors of the paired difference by which a share has to lie behind before it is dropped."""

TIE = 1e-3
"""Shares whose mean scores cannot differ by more are equal, and the one ahead is taken."""

NEAR = 0.25
"""A random direction is tried on all its images where it reaches this part of the target's highest score."""

COARSE = (0, 1, 3, 5, 7, 9)
"""Numbers of the shares that controls are tried at."""

PICTURES = 128
"""Masked images made at a time."""


class Masked:
    """Scores of the attempt's images with cells blank; each different picture passes the model once."""

    def __init__(self, attempt: Attempt, advance: Advance = silent) -> None:
        self._attempt, self._advance = attempt, advance
        self._images, self._before, self._fill = attempt.images, attempt.before, filling(attempt.context)
        self._known: dict[tuple[int, bytes], np.ndarray] = {}
        self.passes = 0

    def scores(self, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Scores (S, n, C) of the images of ``rows`` (n,) with the cells of ``masks`` (S, n, h, w) blank."""
        keys = [[_key(int(row), mask) for row, mask in zip(rows, step, strict=True)] for step in masks]
        wanted = {
            key: (int(row), mask)
            for own, step in zip(keys, masks, strict=True)
            for key, row, mask in zip(own, rows, step, strict=True)
        }
        self._make({key: one for key, one in wanted.items() if key not in self._known})
        return np.stack([[self._known[key] for key in own] for own in keys])

    def _make(self, missing: dict[tuple[int, bytes], tuple[int, np.ndarray]]) -> None:
        for key, (row, mask) in missing.items():
            if not mask.any():
                self._known[key] = self._before[row]
        shown = [(key, one) for key, one in missing.items() if key not in self._known]
        for start in range(0, len(shown), PICTURES):
            keys, made = zip(*shown[start : start + PICTURES], strict=True)
            images = self._images[torch.tensor([row for row, _ in made])]
            pictures = interventions.mask(images, np.stack([mask for _, mask in made]), self._fill)
            self._known |= zip(keys, self._attempt.context.scores(pictures, self._advance), strict=True)
            self.passes += len(keys)


def _key(row: int, mask: np.ndarray) -> tuple[int, bytes]:
    """The same for the same picture: one without any cell left is that of every image."""
    return (-1 if mask.all() else row), np.packbits(mask).tobytes()


@dataclass(frozen=True)
class Race:
    """Scores of the shares as far as they were followed.

    Attributes
    ----------
    scores
        By share, (n, C): of the first ``n`` images of the order, all of them where it could be the best.
    best
        Number of the share whose mean over all images is highest; None where all fell behind the bar.
    """

    scores: tuple[np.ndarray, ...]
    best: int | None


Score = Callable[[Sequence[int], np.ndarray], np.ndarray]
"""From numbers of shares (S,) and rows (n,) to scores (S, n, C)."""


def raced(score: Score, order: np.ndarray, first: int, target: int, bar: float | None = None) -> Race:
    """Follow those of all shares that can still have the highest mean of the target over all images.

    ``order`` holds the rows of all images (N,), as they are to be looked at: the ``first`` at all shares.
    With a ``bar`` only those are followed that can still reach it.
    """
    left, seen = list(range(len(SHARES))), first
    found = list(score(left, order[:first]))
    while seen < len(order) and left:
        left = _ahead(left, np.stack([found[s][:, target] for s in left]), len(order), bar)
        more = min(len(order), max(seen + 1, round(GROWS * seen)))
        if left:
            for share, own in zip(left, score(left, order[seen:more]), strict=True):
                found[share] = np.concatenate([found[share], own])
        seen = more
    best = max(left, key=lambda share: float(found[share][:, target].mean()), default=None)
    return Race(tuple(found), best)  # of equal ones the first


def _ahead(left: Sequence[int], values: np.ndarray, total: int, bar: float | None) -> list[int]:
    """Those of the shares, with scores (S, n), whose mean over all ``total`` images may be the highest."""
    n, ahead = values.shape[1], int(values.mean(1).argmax())
    behind = (values[ahead] if bar is None else bar) - values
    error = behind.std(1, ddof=1) * np.sqrt((1 / n) * (1 - n / total))
    kept = behind.mean(1) - SURE * error < -TIE
    kept[ahead] |= bar is None
    return [share for share, keep in zip(left, kept, strict=True) if keep]


def masking(attempt: Attempt) -> Sweep:
    """The masking test (paper, appendix C), narrowed; of few images, or as settings want it, the whole."""
    if whole(attempt):
        return sweeps.masking(attempt)
    with attempt.context.progress.step("masking") as advance:
        masked = Masked(attempt, advance)
        race = _own(attempt, masked)
        steps = _steps(attempt, race)
        best = _best(steps, race)
        swapped = sweeps.swapped(attempt, steps, best)
        random, opposite = _controls(attempt, masked, steps[best].target if swapped else None)
    low, high = _of_highest(attempt, race)
    return Sweep(
        target=attempt.context.prediction(attempt.target, steps[0].target),
        source=attempt.context.prediction(attempt.source.target, steps[0].source),
        n=attempt.n,
        steps=steps,
        best=best,
        swapped=swapped,
        random=random,
        reversed=opposite,
        low=low,
        high=high,
        first=sweeps.first_swap(steps, attempt.target),
    )


def best_mask(attempt: Attempt) -> Moved:
    """The same in few numbers, for one of very many pairs."""
    if whole(attempt):
        return sweeps.best_mask(attempt)
    race = _own(attempt, Masked(attempt))
    steps = _steps(attempt, race)
    best = _best(steps, race)
    return sweeps.moved_of(attempt, steps, best, _of_highest(attempt, race))


def whole(attempt: Attempt) -> bool:
    """Whether the whole curve is asked for, or there is nothing to spare."""
    return attempt.context.settings.mask_curve == "whole" or attempt.n <= FEWEST


def _first(attempt: Attempt) -> int:
    return max(FEWEST, -(-attempt.n // FIRST))


def _order(attempt: Attempt) -> np.ndarray:
    """Rows of the images, as they are looked at."""
    return attempt.generator("masked first").permutation(attempt.n)


def _score(masked: Masked, z: np.ndarray) -> Score:
    """Of images whose cells with the lowest ``z`` (n, h, w) are blanked first."""
    masks = interventions.lowest(z, SHARES)
    return lambda shares, rows: masked.scores(rows, masks[list(shares)][:, rows])


def _own(attempt: Attempt, masked: Masked) -> Race:
    score = _score(masked, sweeps.speaking(attempt))
    return raced(score, _order(attempt), _first(attempt), attempt.target)


def _steps(attempt: Attempt, race: Race) -> tuple[Step, ...]:
    """Each with how many images it was measured on; the untouched images are known of all."""
    before = attempt.before
    found = sweeps.steps_of(attempt, SHARES[:1], before[None])
    for share, own in zip(SHARES[1:], race.scores[1:], strict=True):
        (step,) = sweeps.steps_of(attempt, [share], own[None])
        found += (step if len(own) == attempt.n else replace(step, n=len(own)),)
    return found


def _best(steps: Sequence[Step], race: Race) -> int:
    """Number of the best step; a race ends with the untouched images where no share raises the target."""
    best = race.best or 0
    return best if steps[best].target > steps[0].target else 0


def _of_highest(attempt: Attempt, race: Race) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the highest mean, from the shares that were measured on all images."""
    scores = [attempt.before] + [own for own in race.scores[1:] if len(own) == attempt.n]
    values = np.stack([own[:, attempt.target] for own in scores])
    return intervals.interval_of_highest(values, attempt.generator("interval")) or (None, None)


def _controls(
    attempt: Attempt, masked: Masked, reached: float | None
) -> tuple[Directions | None, Directions]:
    """Random directions and the reversed normal, each followed while it can still reach the target's score.

    ``reached`` is None where the target does not win, which no control changes.
    """
    opposite = _opposite(attempt, masked, reached)
    told = reached is None or max(opposite.highest) >= reached  # the verdict
    return _random(attempt, masked, None if told else reached), opposite


def _opposite(attempt: Attempt, masked: Masked, reached: float | None) -> Directions:
    """The reversed normal, on the first images or on as many as leave no doubt that it falls short."""
    score, order, first = _score(masked, -sweeps.speaking(attempt)), _order(attempt), _first(attempt)
    if reached is None:
        means = score(COARSE, order[:first]).mean(1)
        return replace(sweeps.directions_of(attempt, means[None], first), at=COARSE)
    race = raced(score, order, first, attempt.target, reached)
    means = np.stack([own.mean(0) for own in race.scores])
    return sweeps.directions_of(attempt, means[None], min(map(len, race.scores)))


def _random(attempt: Attempt, masked: Masked, reached: float | None) -> Directions | None:
    """Random directions on a part of their images, coarsely; those that come near on all at all shares."""
    turns = in_turn(attempt)
    if not turns:
        return None
    few, activations = max(1, len(turns[0]) // FIRST), attempt.activations
    drawn = statistics.random_directions(attempt.w, len(turns), attempt.generator("masking directions"))
    masks = [
        interventions.lowest(signed_distance(activations[rows], w, attempt.b), SHARES)
        for w, rows in zip(drawn, turns, strict=True)
    ]
    found = np.stack(
        [
            masked.scores(rows[:few], own[list(COARSE), :few]).mean(1)
            for rows, own in zip(turns, masks, strict=True)
        ]
    )
    highest, followed = found[:, :, attempt.target].max(1), 0
    for number in np.argsort(-highest, kind="stable").tolist() if reached is not None else ():
        assert reached is not None
        if highest[number] < NEAR * reached:
            break
        means = masked.scores(turns[number], masks[number]).mean(1)
        found[number], followed = means[list(COARSE)], followed + 1
        highest[number] = means[:, attempt.target].max()
        if highest[number] >= reached:
            break  # the verdict is told
    made = sweeps.directions_of(attempt, found, few)
    return replace(made, highest=tuple(highest.tolist()), at=COARSE, followed=followed)
