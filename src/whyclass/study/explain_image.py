"""Why does the model predict this for these images? Concepts of classes, looked for in each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from whyclass.records import (
    COMPLETENESS_BOUND,
    ConceptBasis,
    ImageExplanation,
    ImageSide,
    Prediction,
    Source,
    Swap,
)
from whyclass.settings import plain
from whyclass.study import image_swap, image_tests
from whyclass.study.context import Context
from whyclass.study.crop_pictures import encode
from whyclass.study.given_images import Given, labelled
from whyclass.study.image_concepts import Held, Images, held, images_at, side
from whyclass.study.image_tests import Tested

TOP = 5
"""Classes that are told with their scores."""


@dataclass(frozen=True)
class Asked:
    """What is asked of images.

    Attributes
    ----------
    target, against
        Class that is explained, and the one it is set against; None for each image's own (`_classes`).
    tests
        Whether concepts are removed, and the smallest set sought that swaps the prediction.
    basis
        From a class to its concepts.
    """

    target: int | None
    against: int | None
    tests: bool
    basis: Callable[[int], ConceptBasis] = field(repr=False)


@dataclass(frozen=True)
class _Classes:
    """Which classes an image is asked about: indexes, -1 for none; and what a reader must know of it."""

    target: int
    against: int
    label: int
    warnings: tuple[str, ...]


def explained(context: Context, images: Sequence[Given], asked: Asked) -> tuple[ImageExplanation, ...]:
    """Each image explained; all go through the model as one batch."""
    with context.progress.step("images", len(images)):
        seen = images_at(context, torch.stack([one.sample.tensor for one in images]))
    which = [_classes(context, one, seen.scores[i], asked) for i, one in enumerate(images)]
    wanted = sorted({k for one in which for k in (one.target, one.against) if k >= 0})
    bases = {k: asked.basis(k) for k in wanted}
    found = {k: _of_class(seen, bases[k], which) for k in wanted}
    made = []
    with context.progress.step("concepts", len(images)) as advance:
        for i, one in enumerate(images):
            mine, other = found[which[i].target], found.get(which[i].against)
            made.append(_explanation(_Row(seen, i, one, which[i], mine, other), asked.tests))
            advance(1)
    return tuple(made)


@dataclass(frozen=True)
class _Some:
    """What some of the images hold of a class's concepts: those whose rows are told."""

    held: Held
    rows: dict[int, int]


def _of_class(seen: Images, basis: ConceptBasis, which: Sequence[_Classes]) -> _Some:
    rows = [i for i, one in enumerate(which) if basis.target.index in (one.target, one.against)]
    return _Some(held(seen.some(rows), basis), {row: at for at, row in enumerate(rows)})


@dataclass(frozen=True)
class _Row:
    """One of the images with what it holds of both classes."""

    seen: Images
    i: int
    given: Given
    classes: _Classes
    mine: _Some
    other: _Some | None

    def alone(self, some: _Some) -> Held:
        """What this image alone holds of a class's concepts."""
        return some.held.alone(some.rows[self.i])

    @property
    def image(self) -> Images:
        """The image alone."""
        return self.seen.some([self.i])


def _classes(context: Context, one: Given, scores: np.ndarray, asked: Asked) -> _Classes:
    """The classes to explain an image by.

    The target is what is predicted. It is set against what the image is labelled as, where that is another
    class, else the runner-up; a target that is not predicted is set against what is. So is a target that is
    the class it was to be set against, and that is told.
    """
    predicted = int(context.task.winner(scores))
    label = labelled(context, one, predicted)
    target = predicted if asked.target is None else asked.target
    if asked.against not in (None, target):
        return _Classes(target, asked.against, label, ())
    known, warnings = set(context.classes()), []
    if asked.against == target:
        warnings.append(
            f"The model says “{context.name(target)}” itself, so that the image is set against another class."
        )
    order = [int(k) for k in context.task.order(scores)]
    wished = [predicted] if target != predicted else [label] if label not in (-1, target) else []
    ranked = [k for k in (*wished, *order) if k != target]
    against = next((k for k in ranked if k in known), -1)
    if against != ranked[0]:
        instead = f"“{context.name(against)}” is taken instead" if against >= 0 else "there is no other"
        warnings.append(
            f"“{context.name(ranked[0])}” is predicted for no image of the pool, so that it has no concepts; "
            f"{instead}."
        )
    return _Classes(target, against, label, tuple(warnings))


def _explanation(row: _Row, tests: bool) -> ImageExplanation:
    context, image, classes = row.seen.context, row.image, row.classes
    mine = row.alone(row.mine)
    other = row.alone(row.other) if row.other else None
    lead = None if other is None else mine.multipliers - other.multipliers
    shown = side(image, mine, 0, lead)
    swapped, one = None, Tested(image, 0, classes.target, classes.against, row.given.item.digest)
    predicted = int(context.task.winner(image.scores[0]))
    if tests:
        shown = image_tests.tested(one, mine, shown)
        swapped = _swap(one, mine, other, predicted)
    against = None if other is None else side(image, other, 0, lead)
    order = context.task.order(image.scores[0])[:TOP]
    return ImageExplanation(
        model=context.model_info(),
        pool=context.pool_info(),
        image=_source(row, predicted),
        picture=encode(row.given.sample.picture, lossless=False),
        top=tuple(_prediction(context, image, int(k)) for k in order),
        target=shown,
        against=against,
        mistaken=classes.label not in (-1, predicted),
        swap=swapped,
        warnings=(*context.warnings, *classes.warnings, *_incomplete(shown, against)),
        settings=plain(context.settings),
        versions=context.versions,
    )


def _swap(one: Tested, mine: Held, other: Held | None, predicted: int) -> Swap | None:
    """What would make the model say the other of both classes, where it says one of them."""
    if other is None or predicted not in (one.target, one.against):
        return None
    if predicted == one.target:
        return image_swap.swap(one, mine, other)
    return image_swap.swap(replace(one, target=one.against, against=one.target), other, mine)


def _prediction(context: Context, image: Images, k: int) -> Prediction:
    return context.prediction(k, image.scores[0, k])


def _source(row: _Row, predicted: int) -> Source:
    context, item, label = row.seen.context, row.given.item, row.classes.label
    named = context.name(label) if label >= 0 else None
    score = float(row.image.scores[0, row.classes.target])
    said = _prediction(context, row.image, predicted)
    return Source(item.path, item.digest, said, item.label if named else None, named, score)


def _incomplete(*sides: ImageSide | None) -> list[str]:
    told = (
        "The attribution of “{name}” misses {missed:.3g} of the {change:.3g} logits that it should explain."
    )
    return [
        told.format(name=one.target.name, missed=abs(one.missed), change=change)
        for one in sides
        if one is not None
        for change in [one.logit - one.baseline]
        if abs(one.missed) > COMPLETENESS_BOUND * abs(change)
    ]
