"""The prediction test of stitched crops, and its control of random crops (paper, 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from whyclass.checks import stitching
from whyclass.models.preprocessing import Sample
from whyclass.pool.nearest_crops import Place
from whyclass.records import Control, PredictionTest, PredictionTests
from whyclass.settings import seed_of
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures, encode, piece

DRAWN = 64
"""Random places drawn at a time."""


def random_places(
    usable: np.ndarray, mask: np.ndarray, cells: int, count: int, generator: np.random.Generator
) -> tuple[Place, ...]:
    """``count`` cells drawn evenly from the images of a mask (N,): what a control is made of.

    They are the first of one sequence over all ``usable`` images (N,) that lie within the mask, so that
    masks which differ by few images mostly give the same cells.
    """
    images = np.flatnonzero(usable)
    found: list[Place] = []
    if not (usable & mask).any():
        raise ValueError("the mask holds no usable image")
    while len(found) < count:
        positions = generator.choice(images, DRAWN)
        drawn = zip(positions.tolist(), generator.integers(cells, size=DRAWN).tolist(), strict=True)
        found += [Place(position, cell, 0.0) for position, cell in drawn if mask[position]]
    return tuple(found[:count])


BOUNDS: tuple[tuple[float, Any], ...] = ((0.025, "lower"), (0.975, "higher"))
"""Quantiles of the control, rounded outwards to a draw: of twenty the least and the largest."""

Reader = Callable[[int], Sample]
"""From a position in the pool to the image."""


class Controls:
    """What random crops reach in the prediction test, for any class of a context.

    All classes share the draws, so each stitched image passes the model once, whatever the number of
    classes: one image gives the scores of all of them. Where a class's own images are left out, only
    a draw that holds one of them has to be made anew.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._scores: dict[tuple[Place, ...], np.ndarray] = {}

    def of(self, target: int, count: int, mask: np.ndarray, read: Reader) -> Control | None:
        """The class's scores for ``count`` stitched random crops of the images of a mask (N,)."""
        settings = self._context.settings
        if not settings.controls:
            return None
        scores = np.stack([self._draw(draw, count, mask, read) for draw in range(settings.controls)])
        low, high = (float(np.quantile(scores[:, target], q, method=way)) for q, way in BOUNDS)
        return Control(
            n=settings.controls,
            mean=float(scores[:, target].mean()),
            low=low,
            high=high,
            predicted=float(self._context.task.counts(scores, target).mean()),
        )

    def _draw(self, draw: int, count: int, mask: np.ndarray, read: Reader) -> np.ndarray:
        index, seed = self._context.index, self._context.settings.seed
        generator = np.random.default_rng(seed_of("control", seed, str(draw)))
        places = random_places(index.usable, mask, index.cells.shape[1], count, generator)
        if places not in self._scores:
            self._scores[places] = stitched(self._context, places, read).scores
        return self._scores[places]


def stitched(context: Context, places: Sequence[Place], read: Reader) -> stitching.Stitched:
    """The crops at some places as one test image, and what the model says of it."""
    return stitched_pieces(context, [piece(context, place, read(place.position).tensor) for place in places])


def stitched_pieces(context: Context, pieces: Sequence[Tensor]) -> stitching.Stitched:
    """Pieces (C, u, v) as one test image, and what the model says of it."""

    def model(images: Tensor) -> Tensor:
        return context.split.whole(images.to(context.split.example.device))

    settings, link = context.settings, context.split.link
    return stitching.stitch(model, pieces, context.preprocessing.crop, settings.layout, link)


Places = dict[str, list[list[Place]]]
"""By mask, for each concept, its nearest places."""


@dataclass(frozen=True)
class Tester:
    """What makes the prediction test of one class after the other.

    Attributes
    ----------
    pictures
        Where crops and whole images come from.
    controls
        Random crops, shared by all classes.
    lean
        Records without the crops' whole images, and with the stitched one as JPEG.
    """

    pictures: Pictures
    controls: Controls
    lean: bool = False

    def both(
        self,
        target: int,
        places: Places,
        masks: dict[str, np.ndarray],
        known: tuple[Control | None, ...] = (None, None),
    ) -> PredictionTests:
        """The prediction test of the concepts' best crops within each mask that holds an image.

        ``known`` are the controls of as many crops from the same images, where they were drawn already.
        """
        tests = {
            name: self.one(target, [best[0] for best in places[name]], mask, control)
            for (name, mask), control in zip(masks.items(), known, strict=True)
            if mask.any()
        }
        return PredictionTests(tests["including"], tests.get("excluding"))

    def one(
        self, target: int, places: Sequence[Place], mask: np.ndarray, control: Control | None = None
    ) -> PredictionTest:
        """The prediction test of a class (paper, 4.3) from each concept's best place.

        The places were searched in the images of ``mask`` (N,), and the control draws from the same.
        """
        read = self.pictures.sample
        test = stitched(self.pictures.context, places, read)
        sources = () if self.lean else tuple(self.pictures.whole(place.position) for place in places)
        known = control or self.controls.of(target, len(places), mask, read)
        found = recorded(self.pictures.context, target, test, self.lean)
        return replace(found, sources=sources, pool=int(mask.sum()), control=known)


def recorded(context: Context, target: int, test: stitching.Stitched, lean: bool = False) -> PredictionTest:
    """The record of what the model says of a stitched image, without control and sources."""
    top = context.task.order(test.scores)[:5]
    return PredictionTest(
        score=float(test.scores[target]),
        share=context.task.share(test.scores, target),
        predicted=bool(context.task.counts(test.scores, target)),
        top=tuple(context.prediction(int(c), float(test.scores[c])) for c in top),
        layout=test.layout,
        pool=0,
        picture=encode(context.preprocessing.undo(test.image), lossless=not lean),
        sources=(),
        control=None,
    )


def masks_of(context: Context, target: int) -> dict[str, np.ndarray]:
    """Which images (N,) crops are drawn from: all, and those that do not count for the class."""
    usable = context.index.usable
    return {"including": usable, "excluding": usable & ~context.index.counting(target)}
