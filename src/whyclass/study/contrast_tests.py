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

from whyclass.checks import interventions
from whyclass.concepts.hyperplane_training import signed_distance
from whyclass.errors import SettingsError
from whyclass.grid import ANCHORS, Box, anchored
from whyclass.pool import images as pool_images
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
from whyclass.study.class_evidence import Subject
from whyclass.study.context import Scene

SHARES = tuple(step / 10 for step in range(10))
"""Shares of the cells that the masking test blanks (method of appendix C: steps of 10 %)."""

EXAMPLES = 4
"""Images kept with the patch inserted: from where it changes most to where it changes least."""

Advance = Callable[[int], None]

Scores = Callable[[np.ndarray, np.ndarray, Advance], np.ndarray]
"""From a direction (c,) and rows of the duel's images to scores (S, rows, C)."""


@dataclass(frozen=True)
class Duel:
    """A target sought in the images of a source, and the hyperplane whose ``w`` points to the target."""

    source: Subject
    target: int
    w: np.ndarray = field(repr=False)
    b: float

    @property
    def scene(self) -> Scene:
        """Where it takes place."""
        return self.source.scene

    @cached_property
    def rows(self) -> slice | np.ndarray:
        """Which of the source's images take part: those that do not count for the target as well.

        A classifier predicts one class, so all do. Where each of a segmentation net's images shows both
        classes, those take part that are called the source, or all where none is.
        """
        task = self.scene.task
        if not task.dense:
            return slice(None)
        scores = self.scene.index.scores(self.source.chosen)
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
        return self.scene.index.scores(self.positions)

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is computed."""
        pair = f"{self.target} from {self.source.target}"
        return np.random.default_rng(seed_of(purpose, self.scene.settings.seed, pair))


def shifting(duel: Duel) -> Sweep:
    """The shifting test (paper, 5.2.1): add steps of ``w`` to every cell and finish the model from there."""
    return _sweep(duel, "shifting", duel.scene.settings.shifts, _shifted(duel))


def masking(duel: Duel) -> Sweep:
    """The masking test (paper, appendix C): blank pixels under the cells furthest on the source's side."""
    return _sweep(duel, "masking", SHARES, _masked(duel))


def _shifted(duel: Duel) -> Scores:
    scene, steps = duel.scene, duel.scene.settings.shifts
    activations, images = duel.activations, duel.images

    def scores(w: np.ndarray, rows: np.ndarray, advance: Advance) -> np.ndarray:
        found = interventions.shift(scene.split, activations[rows], images[rows], w, steps)
        advance(len(rows) * len(steps))
        return found

    return scores


def _masked(duel: Duel) -> Scores:
    scene, before = duel.scene, duel.before
    activations, images, fill = duel.activations, duel.images, filling(scene)

    def scores(w: np.ndarray, rows: np.ndarray, advance: Advance) -> np.ndarray:
        masks = interventions.lowest(signed_distance(activations[rows], w, duel.b), SHARES[1:])
        found = [before[rows]]
        advance(len(rows))
        found += [scene.scores(interventions.mask(images[rows], masked, fill), advance) for masked in masks]
        return np.stack(found)

    return scores


def best_shift(duel: Duel, controlled: bool) -> tuple[Moved, ShiftControl | None]:
    """The shifting test in few numbers, for one of very many pairs; ``controlled`` with its controls."""
    steps, scores = duel.scene.settings.shifts, _shifted(duel)
    found = _moved(duel, steps, scores(duel.w, np.arange(duel.n), _silent))
    if not controlled:
        return found, None
    opposite = scores(-duel.w, np.arange(duel.n), _silent).mean(1)[:, duel.target]
    random = _random(duel, "shifting", scores, _silent)
    highest = (random.highest, random.images) if random else ((), 0)
    return found, ShiftControl(*highest, reversed=float(opposite.max()))


def best_mask(duel: Duel) -> Moved:
    """The masking test in few numbers."""
    return _moved(duel, SHARES, _masked(duel)(duel.w, np.arange(duel.n), _silent))


def _moved(duel: Duel, at: Sequence[float], scores: np.ndarray) -> Moved:
    steps = _steps(duel, at, scores)
    best = max(steps, key=lambda step: step.target)  # of equal ones the first
    swapped = best.winner.index == duel.target != steps[0].winner.index
    return Moved(best.target, best.low, best.high, best.at, best.winner, swapped, duel.n, best.share)


def _silent(done: int) -> None:
    """Progress that is told pair by pair instead."""


def insertions(
    duel: Duel, patches: Sequence[Tensor], origins: Sequence[str], box: Box
) -> tuple[Insertion, ...]:
    """Insert patches (3, u, v) of one size into every image of the source, each by itself (paper, table 4).

    Blank pixels in the same place are one control, crops of third classes the other; all patches
    share them.
    """
    scene, images, before = duel.scene, duel.images, duel.before
    with scene.progress.step("insertion", (len(patches) + 1) * duel.n + _control_tries(duel)) as advance:
        controls = _Controls(
            blank=_means(duel, scene.scores(interventions.paste(images, filling(scene)[0], box), advance)),
            third=_third(duel, box, advance),
        )
        return tuple(
            _inserted(duel, patch, origin, box, before, controls, advance)
            for patch, origin in zip(patches, origins, strict=True)
        )


@dataclass(frozen=True)
class _Controls:
    blank: MeanScores
    third: ThirdCrops | None


def _inserted(
    duel: Duel,
    patch: Tensor,
    origin: str,
    box: Box,
    before: np.ndarray,
    controls: _Controls,
    advance: Advance,
) -> Insertion:
    pictures = interventions.paste(duel.images, patch, box)
    after = duel.scene.scores(pictures, advance)
    low, high = interventions.interval(after[:, duel.target], duel.generator("interval"))
    original, pasted = _means(duel, before), _means(duel, after)
    task = duel.scene.task
    turned = task.counts(after, duel.target) & ~task.counts(before, duel.target)
    order = np.argsort(before[:, duel.target] - after[:, duel.target], kind="stable")
    rows = order[np.unique(np.linspace(0, duel.n - 1, EXAMPLES).round().astype(int))]
    return Insertion(
        patch=pool_images.encode(duel.scene.preprocessing.undo(patch)),
        origin=origin,
        box=box,
        n=duel.n,
        original=original,
        pasted=pasted,
        low=float(low),
        high=float(high),
        turned=float(turned.mean()),
        swapped=pasted.winner.index == duel.target != original.winner.index,
        blank=controls.blank,
        third=controls.third,
        examples=tuple(_pasted(duel, int(row), pictures, before, after) for row in rows),
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


def filling(scene: Scene) -> Tensor:
    """Value (1, C, 1, 1) of a masked pixel, normalised."""
    if scene.settings.fill == "zero":
        return torch.zeros(1, scene.preprocessing.channels, 1, 1)
    return scene.preprocessing.constant("white")[:, :, :1, :1]


def _control_tries(duel: Duel) -> int:
    """Images that controls are tried on, one after the other."""
    return sum(len(rows) for rows in _in_turn(duel))


def _in_turn(duel: Duel) -> list[np.ndarray]:
    """For each of the controls the rows of the images that it is tried on."""
    settings = duel.scene.settings
    count = min(settings.control_images, duel.n)
    order = duel.generator("turns").permutation(duel.n)
    return [order[np.arange(k * count, (k + 1) * count) % duel.n] for k in range(settings.controls)]


def _sweep(duel: Duel, name: str, at: Sequence[float], scores: Scores) -> Sweep:
    source, target, every = duel.source.target, duel.target, np.arange(duel.n)
    tries = (2 * duel.n + _control_tries(duel)) * len(at)
    with duel.scene.progress.step(name, tries) as advance:
        steps = _steps(duel, at, scores(duel.w, every, advance))
        opposite = scores(-duel.w, every, advance).mean(1)[:, target]
        random = _random(duel, name, scores, advance)
    best = int(np.argmax([step.target for step in steps]))
    return Sweep(
        target=duel.scene.prediction(target, steps[0].target),
        source=duel.scene.prediction(source, steps[0].source),
        n=duel.n,
        steps=steps,
        best=best,
        swapped=steps[best].winner.index == target != steps[0].winner.index,
        random=random,
        reversed=_directions(opposite[None], duel.n),
    )


def _steps(duel: Duel, at: Sequence[float], scores: np.ndarray) -> tuple[Step, ...]:
    low, high = interventions.interval(scores[:, :, duel.target], duel.generator("interval"))
    mean = scores.mean(1)
    return tuple(
        Step(
            at=float(at[s]),
            target=float(mean[s, duel.target]),
            low=float(low[s]),
            high=float(high[s]),
            source=float(mean[s, duel.source.target]),
            winner=_winner(duel.scene, mean[s]),
            share=duel.scene.task.share(mean[s], duel.target),
        )
        for s in range(len(at))
    )


def _random(duel: Duel, name: str, scores: Scores, advance: Advance) -> Directions | None:
    turns, means = _in_turn(duel), []
    drawn = interventions.random_directions(duel.w, len(turns), duel.generator(f"{name} directions"))
    for w, rows in zip(drawn, turns, strict=True):
        means.append(scores(w, rows, advance).mean(1)[:, duel.target])
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


def _third(duel: Duel, box: Box, advance: Advance) -> ThirdCrops | None:
    """Crops of the patch's size from images that are predicted as neither class."""
    scene, turns = duel.scene, _in_turn(duel)
    index = scene.index
    others = np.flatnonzero(index.usable & ~index.counting(duel.target) & ~index.counting(duel.source.target))
    if not others.size or not turns:
        return None
    generator = duel.generator("third crops")
    drawn = scene.read(generator.choice(others, len(turns)).tolist())
    means, images = [], duel.images
    for sample, rows in zip(drawn, turns, strict=True):
        patch = random_crop(sample.tensor, (box[3] - box[1], box[2] - box[0]), generator)
        means.append(scene.scores(interventions.paste(images[rows], patch, box)).mean(0))
        advance(len(rows))
    scores = np.stack(means)
    target = scores[:, duel.target]
    return ThirdCrops(
        n=len(turns),
        images=len(turns[0]),
        mean=float(target.mean()),
        low=float(target.min()),
        high=float(target.max()),
        swapped=float((scene.task.winner(scores) == duel.target).mean()),
    )


def random_crop(image: Tensor, size: tuple[int, int], generator: np.random.Generator) -> Tensor:
    """A piece (3, u, v) of an image (3, S, T), its place drawn evenly."""
    top, left = (
        int(generator.integers(whole - part + 1)) for whole, part in zip(image.shape[1:], size, strict=True)
    )
    return image[:, top : top + size[0], left : left + size[1]]


def _means(duel: Duel, scores: np.ndarray) -> MeanScores:
    mean = scores.mean(0)
    share = duel.scene.task.share(mean, duel.target)
    winner = _winner(duel.scene, mean)
    return MeanScores(float(mean[duel.target]), float(mean[duel.source.target]), winner, share)


def _winner(scene: Scene, mean: np.ndarray) -> Prediction:
    best = int(scene.task.winner(mean))
    return scene.prediction(best, float(mean[best]))


def _pasted(duel: Duel, row: int, pictures: Tensor, before: np.ndarray, after: np.ndarray) -> Pasted:
    scene, both = duel.scene, [duel.target, duel.source.target]
    picture = pool_images.encode(scene.preprocessing.undo(pictures[row]), lossless=False)
    old, new = before[row, both].tolist(), after[row, both].tolist()
    return Pasted(scene.source(int(duel.positions[row])), picture, (old[0], old[1]), (new[0], new[1]))
