"""Tests of a contrast as records: shifting, masking and insertion, each with its controls.

Images predicted as the *source* are changed, and the scores of the *target* are watched. A random
direction, or a crop of a third class, is tried on few of the images, and the next one on the next
few, so that all of them serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from whyclass import intervals
from whyclass.checks import interventions, statistics
from whyclass.concepts.hyperplanes import signed_distance
from whyclass.errors import SettingsError
from whyclass.grid import ANCHORS, Box, anchored
from whyclass.records import (
    Directions,
    Insertion,
    MeanScores,
    Moved,
    Pasted,
    Prediction,
    ShiftControl,
    Step,
    Sweep,
    ThirdCrops,
)
from whyclass.settings import seed_of
from whyclass.study import crop_pictures
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.context import Context

SHARES = tuple(step / 10 for step in range(10))
"""Shares of the cells that the masking test blanks (method of appendix C: steps of 10 %)."""

EXAMPLES = 4
"""Images kept with the patch inserted: from where it changes most to where it changes least."""

Advance = Callable[[int], None]

Scores = Callable[[np.ndarray, np.ndarray, Advance], np.ndarray]
"""From a direction (c,) and rows of the attempt's images to scores (S, rows, C)."""


@dataclass(frozen=True)
class Attempt:
    """A target sought in the images of a source, and the hyperplane whose ``w`` points to the target.

    ``only`` are the rows of the source's images that may take part, or None for all.
    """

    source: ClassEvidence
    target: int
    w: np.ndarray = field(repr=False)
    b: float
    only: np.ndarray | None = field(default=None, repr=False)

    @property
    def context(self) -> Context:
        """Where it takes place."""
        return self.source.context

    @cached_property
    def rows(self) -> slice | np.ndarray:
        """Which of the source's images take part: those that do not count for the target as well.

        A classifier predicts one class, so all do. Where images may be of several classes and each shows both
        classes, those take part that are called the source, or all where none is.
        """
        if self.only is not None:
            return self.only
        task = self.context.task
        if not task.plural:
            return slice(None)
        scores = self.context.index.scores(self.source.chosen)
        alone = ~task.counts(scores, self.target)
        mine = alone if alone.any() else task.winner(scores) == self.source.target
        return np.flatnonzero(mine) if mine.any() else slice(None)

    @property
    def positions(self) -> np.ndarray:
        """Of the images, in the pool."""
        return self.source.chosen[self.rows]

    @property
    def n(self) -> int:
        """Images."""
        return len(self.positions)

    @property
    def images(self) -> Tensor:
        """Shape (n, 3, S, T), normalised."""
        return self.source.images[self.rows]

    @property
    def activations(self) -> np.ndarray:
        """Of the images, shape (n, c, h, w)."""
        return np.asarray(self.source.activations[self.rows])

    @property
    def before(self) -> np.ndarray:
        """Scores (n, C) of the images as they are."""
        return self.context.index.scores(self.positions)

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is computed."""
        pair = f"{self.target} from {self.source.target}"
        return np.random.default_rng(seed_of(purpose, self.context.settings.seed, pair))


def shifting(attempt: Attempt) -> Sweep:
    """The shifting test (paper, 5.2.1): add steps of ``w`` to every cell and finish the model from there."""
    return _sweep(attempt, "shifting", attempt.context.settings.shifts, _shifted(attempt))


def masking(attempt: Attempt) -> Sweep:
    """The masking test (paper, appendix C): blank pixels under the cells furthest on the source's side."""
    return _sweep(attempt, "masking", SHARES, _masked(attempt))


def _shifted(attempt: Attempt) -> Scores:
    context, steps = attempt.context, attempt.context.settings.shifts
    activations, images = attempt.activations, attempt.images

    def scores(w: np.ndarray, rows: np.ndarray, advance: Advance) -> np.ndarray:
        found = interventions.shift(context.split, activations[rows], images[rows], w, steps)
        advance(len(rows) * len(steps))
        return found

    return scores


def _masked(attempt: Attempt) -> Scores:
    context, before = attempt.context, attempt.before
    activations, images, fill = attempt.activations, attempt.images, filling(context)

    def scores(w: np.ndarray, rows: np.ndarray, advance: Advance) -> np.ndarray:
        masks = interventions.lowest(signed_distance(activations[rows], w, attempt.b), SHARES[1:])
        found = [before[rows]]
        advance(len(rows))
        found += [context.scores(interventions.mask(images[rows], masked, fill), advance) for masked in masks]
        return np.stack(found)

    return scores


def best_shift(attempt: Attempt, controlled: bool) -> tuple[Moved, ShiftControl | None]:
    """The shifting test in few numbers, for one of very many pairs; ``controlled`` with its controls."""
    steps, scores = attempt.context.settings.shifts, _shifted(attempt)
    found = _moved(attempt, steps, scores(attempt.w, np.arange(attempt.n), _silent))
    if not controlled:
        return found, None
    opposite = scores(-attempt.w, np.arange(attempt.n), _silent).mean(1)[:, attempt.target]
    random = _random(attempt, "shifting", scores, _silent)
    highest = (random.highest, random.images) if random else ((), 0)
    return found, ShiftControl(*highest, reversed=float(opposite.max()))


def best_mask(attempt: Attempt) -> Moved:
    """The masking test in few numbers."""
    return _moved(attempt, SHARES, _masked(attempt)(attempt.w, np.arange(attempt.n), _silent))


def _moved(attempt: Attempt, at: Sequence[float], scores: np.ndarray) -> Moved:
    steps = _steps(attempt, at, scores)
    best = max(steps, key=lambda step: step.target)  # of equal ones the first
    swapped = best.winner.index == attempt.target != steps[0].winner.index
    low, high = _of_highest(attempt, scores)
    return Moved(best.target, low, high, best.at, best.winner, swapped, attempt.n, best.share)


def _silent(done: int) -> None:
    """Progress that is told pair by pair instead."""


def insertions(
    attempt: Attempt, patches: Sequence[Tensor], origins: Sequence[str], box: Box
) -> tuple[Insertion, ...]:
    """Insert patches (3, u, v) of one size into every image of the source, each by itself (paper, table 4).

    Blank pixels in the same place are one control, crops of third classes the other; all patches
    share them.
    """
    context, tries = attempt.context, (len(patches) + 1) * attempt.n + _control_tries(attempt)
    with context.progress.step("insertion", tries) as advance:
        blank = context.scores(interventions.paste(attempt.images, filling(context)[0], box), advance)
        controls = _Controls(_means(attempt, blank), _third(attempt, box, advance))
        return tuple(
            _inserted(attempt, patch, origin, box, controls, advance)
            for patch, origin in zip(patches, origins, strict=True)
        )


@dataclass(frozen=True)
class _Controls:
    blank: MeanScores
    third: ThirdCrops | None


def _inserted(
    attempt: Attempt,
    patch: Tensor,
    origin: str,
    box: Box,
    controls: _Controls,
    advance: Advance,
) -> Insertion:
    before = attempt.before
    pictures = interventions.paste(attempt.images, patch, box)
    after = attempt.context.scores(pictures, advance)
    ends = intervals.interval(after[:, attempt.target], attempt.generator("interval"))
    original, pasted = _means(attempt, before), _means(attempt, after)
    task = attempt.context.task
    turned = task.counts(after, attempt.target) & ~task.counts(before, attempt.target)
    order = np.argsort(before[:, attempt.target] - after[:, attempt.target], kind="stable")
    rows = order[np.unique(np.linspace(0, attempt.n - 1, EXAMPLES).round().astype(int))]
    return Insertion(
        patch=crop_pictures.encode(attempt.context.preprocessing.undo(patch)),
        origin=origin,
        box=box,
        n=attempt.n,
        original=original,
        pasted=pasted,
        low=None if ends is None else float(ends[0]),
        high=None if ends is None else float(ends[1]),
        turned=float(turned.mean()),
        swapped=pasted.winner.index == attempt.target != original.winner.index,
        blank=controls.blank,
        third=controls.third,
        examples=tuple(_pasted(attempt, int(row), pictures, before, after) for row in rows),
    )


def placed(patch: tuple[int, int], image: tuple[int, int], at: str) -> Box:
    """Box of a patch of (height, width) on an image.

    Raises
    ------
    SettingsError
        If there is no such place, or the patch does not fit.
    """
    if at not in ANCHORS:
        raise SettingsError(f"there is no place {at!r}; choose one of {', '.join(ANCHORS)}")
    if patch[0] > image[0] or patch[1] > image[1]:
        raise SettingsError(
            f"the patch is {patch[1]} x {patch[0]} pixels, the model's images are {image[1]} x {image[0]}; "
            "give a smaller one, or a part of it: FILE:x,y,w,h"
        )
    return anchored(patch, image, at)


def filling(context: Context) -> Tensor:
    """Value (1, C, 1, 1) of a masked pixel, normalised."""
    if context.settings.fill == "zero":
        return torch.zeros(1, context.preprocessing.channels, 1, 1)
    return context.preprocessing.constant("white")[:, :, :1, :1]


def _control_tries(attempt: Attempt) -> int:
    """Images that controls are tried on, one after the other."""
    return sum(len(rows) for rows in _in_turn(attempt))


def _in_turn(attempt: Attempt) -> list[np.ndarray]:
    """For each of the controls the rows of the images that it is tried on."""
    settings = attempt.context.settings
    count = min(settings.control_images, attempt.n)
    order = attempt.generator("turns").permutation(attempt.n)
    return [order[np.arange(k * count, (k + 1) * count) % attempt.n] for k in range(settings.controls)]


def _sweep(attempt: Attempt, name: str, at: Sequence[float], scores: Scores) -> Sweep:
    source, target, every = attempt.source.target, attempt.target, np.arange(attempt.n)
    tries = (2 * attempt.n + _control_tries(attempt)) * len(at)
    with attempt.context.progress.step(name, tries) as advance:
        found = scores(attempt.w, every, advance)
        steps = _steps(attempt, at, found)
        opposite = scores(-attempt.w, every, advance).mean(1)[:, target]
        random = _random(attempt, name, scores, advance)
    best = int(np.argmax([step.target for step in steps]))
    low, high = _of_highest(attempt, found)
    return Sweep(
        target=attempt.context.prediction(target, steps[0].target),
        source=attempt.context.prediction(source, steps[0].source),
        n=attempt.n,
        steps=steps,
        best=best,
        swapped=steps[best].winner.index == target != steps[0].winner.index,
        random=random,
        reversed=_directions(opposite[None], attempt.n),
        low=low,
        high=high,
    )


def _of_highest(attempt: Attempt, scores: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the target's highest mean score, from scores (S, n, C)."""
    generator = attempt.generator("interval")
    return intervals.interval_of_highest(scores[:, :, attempt.target], generator) or (None, None)


def _steps(attempt: Attempt, at: Sequence[float], scores: np.ndarray) -> tuple[Step, ...]:
    ends = intervals.interval(scores[:, :, attempt.target], attempt.generator("interval"))
    mean = scores.mean(1)
    return tuple(
        Step(
            at=float(at[s]),
            target=float(mean[s, attempt.target]),
            low=None if ends is None else min(float(ends[0][s]), float(mean[s, attempt.target])),
            high=None if ends is None else max(float(ends[1][s]), float(mean[s, attempt.target])),
            source=float(mean[s, attempt.source.target]),
            winner=_winner(attempt.context, mean[s]),
            share=attempt.context.task.share(mean[s], attempt.target),
        )
        for s in range(len(at))
    )


def _random(attempt: Attempt, name: str, scores: Scores, advance: Advance) -> Directions | None:
    turns, means = _in_turn(attempt), []
    drawn = statistics.random_directions(attempt.w, len(turns), attempt.generator(f"{name} directions"))
    for w, rows in zip(drawn, turns, strict=True):
        means.append(scores(w, rows, advance).mean(1)[:, attempt.target])
    return _directions(np.stack(means), len(turns[0])) if means else None


def _directions(means: np.ndarray, images: int) -> Directions:
    """From the target's mean scores (directions, S)."""
    return Directions(
        n=len(means),
        images=images,
        mean=tuple(means.mean(0).tolist()),
        low=tuple(means.min(0).tolist()),
        high=tuple(means.max(0).tolist()),
        highest=tuple(means.max(1).tolist()),
    )


def _third(attempt: Attempt, box: Box, advance: Advance) -> ThirdCrops | None:
    """Crops of the patch's size from images that are predicted as neither class."""
    context, turns = attempt.context, _in_turn(attempt)
    index = context.index
    others = np.flatnonzero(
        index.usable & ~index.counting(attempt.target) & ~index.counting(attempt.source.target)
    )
    if not others.size or not turns:
        return None
    generator = attempt.generator("third crops")
    drawn = context.read(generator.choice(others, len(turns)).tolist())
    means, images = [], attempt.images
    for sample, rows in zip(drawn, turns, strict=True):
        patch = random_crop(sample.tensor, (box[3] - box[1], box[2] - box[0]), generator)
        means.append(context.scores(interventions.paste(images[rows], patch, box)).mean(0))
        advance(len(rows))
    scores = np.stack(means)
    target = scores[:, attempt.target]
    return ThirdCrops(
        n=len(turns),
        images=len(turns[0]),
        mean=float(target.mean()),
        low=float(target.min()),
        high=float(target.max()),
        swapped=float((context.task.winner(scores) == attempt.target).mean()),
    )


def random_crop(image: Tensor, size: tuple[int, int], generator: np.random.Generator) -> Tensor:
    """A piece (3, u, v) of an image (3, S, T), its place drawn evenly."""
    top, left = (
        int(generator.integers(whole - part + 1)) for whole, part in zip(image.shape[1:], size, strict=True)
    )
    return image[:, top : top + size[0], left : left + size[1]]


def _means(attempt: Attempt, scores: np.ndarray) -> MeanScores:
    mean = scores.mean(0)
    share = attempt.context.task.share(mean, attempt.target)
    winner = _winner(attempt.context, mean)
    return MeanScores(float(mean[attempt.target]), float(mean[attempt.source.target]), winner, share)


def _winner(context: Context, mean: np.ndarray) -> Prediction:
    best = int(context.task.winner(mean))
    return context.prediction(best, float(mean[best]))


def _pasted(attempt: Attempt, row: int, pictures: Tensor, before: np.ndarray, after: np.ndarray) -> Pasted:
    context, both = attempt.context, [attempt.target, attempt.source.target]
    picture = crop_pictures.encode(context.preprocessing.undo(pictures[row]), lossless=False)
    old, new = before[row, both].tolist(), after[row, both].tolist()
    return Pasted(context.source(int(attempt.positions[row])), picture, (old[0], old[1]), (new[0], new[1]))
