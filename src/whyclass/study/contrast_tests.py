"""What a test of a contrast is an attempt at, and the insertion test with its controls.

Images predicted as the *source* are changed, and the scores of the *target* are watched. A random
direction, or a crop of a third class, is tried on few of the images, and the next one on the next
few, so that all of them serve. Shifting and masking are in `sweeps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from whyclass import intervals
from whyclass.checks import interventions
from whyclass.errors import SettingsError
from whyclass.grid import ANCHORS, Box, anchored
from whyclass.records import (
    Insertion,
    MeanScores,
    Pasted,
    Prediction,
    ThirdCrops,
)
from whyclass.settings import seed_of
from whyclass.study import crop_pictures
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.context import Context

EXAMPLES = 4
"""Images kept with the patch inserted: from where it changes most to where it changes least."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Attempt:
    """A target sought in the images of a source, and the hyperplane whose ``w`` points to the target.

    Attributes
    ----------
    unit
        Length of one step along ``w``; None takes ``w`` as it is.
    lean
        How far each cell (n, h, w) of the source's images speaks for the target and not for the source, where
        something else than the hyperplane says so.
    only
        Rows of the source's images that may take part; None for all.
    """

    source: ClassEvidence
    target: int
    w: np.ndarray = field(repr=False)
    b: float
    unit: float | None = None
    lean: np.ndarray | None = field(default=None, repr=False)
    only: np.ndarray | None = field(default=None, repr=False)

    @property
    def step(self) -> np.ndarray:
        """What one step adds to every cell, shape (c,)."""
        if self.unit is None:
            return self.w
        length = float(np.linalg.norm(self.w)) or 1.0
        return np.asarray(self.w * (self.unit / length), np.float32)

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
    def leaning(self) -> np.ndarray:
        """``lean`` of the images."""
        assert self.lean is not None
        return np.asarray(self.lean[self.rows])

    @property
    def before(self) -> np.ndarray:
        """Scores (n, C) of the images as they are."""
        return self.context.index.scores(self.positions)

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is computed."""
        pair = f"{self.target} from {self.source.target}"
        return np.random.default_rng(seed_of(purpose, self.context.settings.seed, pair))


def silent(done: int) -> None:
    """Progress that is told pair by pair instead."""


def insertions(
    attempt: Attempt,
    patches: Sequence[Tensor],
    origins: Sequence[str],
    box: Box,
    theirs: Tensor | None = None,
) -> tuple[Insertion, ...]:
    """Insert patches (3, u, v) of one size into every image of the source, each by itself (paper, table 4).

    Blank pixels in the same place are one control, ``theirs``, a crop of the source's own concepts, another,
    and crops of third classes the last; all patches share them.
    """
    context = attempt.context
    tries = (len(patches) + 1 + (theirs is not None)) * attempt.n + control_tries(attempt)
    with context.progress.step("insertion", tries) as advance:
        blank = context.scores(interventions.paste(attempt.images, filling(context)[0], box), advance)
        pasted = [] if theirs is None else [interventions.paste(attempt.images, theirs, box)]
        own = [_means(attempt, context.scores(images, advance)) for images in pasted]
        controls = _Controls(_means(attempt, blank), _third(attempt, box, advance), own[0] if own else None)
        return tuple(
            _inserted(attempt, patch, origin, box, controls, advance)
            for patch, origin in zip(patches, origins, strict=True)
        )


@dataclass(frozen=True)
class _Controls:
    blank: MeanScores
    third: ThirdCrops | None
    theirs: MeanScores | None


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
        theirs=controls.theirs,
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


def control_tries(attempt: Attempt) -> int:
    """Images that controls are tried on, one after the other."""
    return sum(len(rows) for rows in in_turn(attempt))


def in_turn(attempt: Attempt) -> list[np.ndarray]:
    """For each of the controls the rows of the images that it is tried on."""
    settings = attempt.context.settings
    count = min(settings.control_images, attempt.n)
    order = attempt.generator("turns").permutation(attempt.n)
    return [order[np.arange(k * count, (k + 1) * count) % attempt.n] for k in range(settings.controls)]


def _third(attempt: Attempt, box: Box, advance: Advance) -> ThirdCrops | None:
    """Crops of the patch's size from images that are predicted as neither class."""
    context, turns = attempt.context, in_turn(attempt)
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
    winner = winner_of(attempt.context, mean)
    return MeanScores(float(mean[attempt.target]), float(mean[attempt.source.target]), winner, share)


def winner_of(context: Context, mean: np.ndarray) -> Prediction:
    """What images of such mean scores are called."""
    best = int(context.task.winner(mean))
    return context.prediction(best, float(mean[best]))


def _pasted(attempt: Attempt, row: int, pictures: Tensor, before: np.ndarray, after: np.ndarray) -> Pasted:
    context, both = attempt.context, [attempt.target, attempt.source.target]
    picture = crop_pictures.encode(context.preprocessing.undo(pictures[row]), lossless=False)
    old, new = before[row, both].tolist(), after[row, both].tolist()
    return Pasted(context.source(int(attempt.positions[row])), picture, (old[0], old[1]), (new[0], new[1]))
