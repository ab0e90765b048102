"""The prediction test of stitched crops, and its control of random crops (paper, 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from whyclass import intervals
from whyclass.checks import stitching
from whyclass.checks.statistics import log_odds, rank_p
from whyclass.models.preprocessing import Sample
from whyclass.pool.nearest_crops import Place
from whyclass.records import ClassImage, Control, PredictionTest, PredictionTests
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
    if not (usable & mask).any():
        raise ValueError("the mask holds no usable image")
    return _drawn(np.flatnonzero(usable), mask, cells, count, generator)


def _drawn(
    images: np.ndarray, mask: np.ndarray, cells: int, count: int, generator: np.random.Generator
) -> tuple[Place, ...]:
    found: list[Place] = []
    while len(found) < count:
        positions = generator.choice(images, DRAWN)
        drawn = zip(positions.tolist(), generator.integers(cells, size=DRAWN).tolist(), strict=True)
        found += [Place(position, cell, 0.0) for position, cell in drawn if mask[position]]
    return tuple(found[:count])


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
        self._scores: dict[Cells, np.ndarray] = {}
        self._layout = ""

    def learn(self, scores: Mapping[Cells, np.ndarray]) -> None:
        """Take scores (C,) of sets of cells that were made elsewhere."""
        self._scores |= scores

    def of(
        self, target: int, alike: Sequence[int], mask: np.ndarray, read: Reader, score: float
    ) -> Control | None:
        """The class's scores for stitched random crops of a mask's images (N,), beside its own ``score``.

        ``alike`` names for each crop of the explanation the first one that is of the same cell: random crops
        repeat as they do.
        """
        n = self._context.settings.null_crops
        if not n:
            return None
        drawn = [tuple(places[i] for i in alike) for places in self.draws(n, len(alike), mask)]
        scores = self.scores(drawn, read)
        low, high = np.sort(scores[:, target])[list(intervals.outer_ranks(n))].tolist()
        return Control(
            n=n,
            mean=float(scores[:, target].mean()),
            low=low,
            high=high,
            predicted=float(self._context.task.counts(scores, target).mean()),
            p=rank_p(float(log_odds(np.array(score))), log_odds(scores[:, target])),
        )

    def draws(self, n: int, count: int, mask: np.ndarray) -> list[tuple[Place, ...]]:
        """``n`` draws of ``count`` random places of the images of a mask (N,), the same for all classes."""
        index, seed = self._context.index, self._context.settings.seed
        generators = (np.random.default_rng(seed_of("control", seed, str(draw))) for draw in range(n))
        cells, images = index.cells.shape[1], np.flatnonzero(index.usable)
        if not mask[images].any():
            raise ValueError("the mask holds no usable image")
        return [_drawn(images, mask, cells, count, one) for one in generators]

    def scores(self, sets: Sequence[tuple[Place, ...]], read: Reader) -> np.ndarray:
        """Scores (n, C) of sets of places, each stitched to a test image that passes the model once."""
        self.expect(sets, read)
        return np.stack([self._scores[cells_of(places)] for places in sets])

    def expect(self, sets: Sequence[tuple[Place, ...]], read: Reader) -> None:
        """Ask the model at once for the scores of sets of places that will be asked for."""
        context = self._context
        asked_for = {cells_of(places): places for places in sets}
        missing = {cells: places for cells, places in asked_for.items() if cells not in self._scores}
        if missing and not self._layout:
            self._layout = stitched(context, next(iter(missing.values())), read).layout
        for length in sorted({len(cells) for cells in missing}):  # of other concepts there may be fewer
            mine = {cells: places for cells, places in missing.items() if len(cells) == length}
            self._scores |= zip(mine, self._made(list(mine.values()), read), strict=True)

    def _made(self, sets: Sequence[tuple[Place, ...]], read: Reader) -> Iterator[np.ndarray]:
        """Their scores, some sets at a time, so that few pieces are in memory."""
        context = self._context
        for start in range(0, len(sets), BLOCK):
            pieces = [
                [piece(context, place, read(place.position).tensor) for place in places]
                for places in sets[start : start + BLOCK]
            ]
            size, split = context.preprocessing.crop, context.split
            together = stitching.TOGETHER
            if split.example.device.type == "cuda":
                together = max(together, split.together(stitching.ON_CARD))
            yield from stitching.scores_of_sets(
                asked(context), pieces, size, self._layout, split.link, together
            )


Cells = tuple[tuple[int, int], ...]
"""What is stitched, by image and cell: how near each lies to a concept is no part of it."""


def cells_of(places: Sequence[Place]) -> Cells:
    """The cells of some places."""
    return tuple((place.position, place.cell) for place in places)


BLOCK = 64
"""Test images stitched at a time."""


def asked(context: Context) -> stitching.Model:
    """The context's model, for test images of any size."""
    return lambda images: context.split.whole(images.to(context.split.example.device))


def stitched(context: Context, places: Sequence[Place], read: Reader) -> stitching.Stitched:
    """The crops at some places as one test image, and what the model says of it."""
    return stitched_pieces(context, [piece(context, place, read(place.position).tensor) for place in places])


def stitched_pieces(context: Context, pieces: Sequence[Tensor]) -> stitching.Stitched:
    """Pieces (C, u, v) as one test image, and what the model says of it."""
    settings, link = context.settings, context.split.link
    return stitching.stitch(asked(context), pieces, context.preprocessing.crop, settings.layout, link)


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
    each
        So many crops of each concept are put together.
    """

    pictures: Pictures
    controls: Controls
    lean: bool = False
    each: int = 1

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
        controls = dict(zip(("including", "excluding"), known, strict=True))
        tests = {
            name: self.one(target, self._best(places[name]), mask, controls.get(name))
            for name, mask in masks.items()
            if mask.any()
        }
        told = (tests.get(name) for name in ("excluding", "unlabelled", "neither"))
        return PredictionTests(tests["including"], *told)

    def one(
        self, target: int, places: Sequence[Place], mask: np.ndarray, control: Control | None = None
    ) -> PredictionTest:
        """The prediction test of a class (paper, 4.3) from each concept's best place.

        The places were searched in the images of ``mask`` (N,), and the control draws from the same.
        """
        read = self.pictures.sample
        test = stitched(self.pictures.context, places, read)
        sources = () if self.lean else tuple(self._source(target, place.position) for place in places)
        same = alike(places)
        score = float(test.scores[target])
        known = replace(control, p=None) if control else self.controls.of(target, same, mask, read, score)
        found = recorded(self.pictures.context, target, test, self.lean)
        distinct = len(set(same))
        return replace(found, sources=sources, pool=int(mask.sum()), control=known, distinct=distinct)

    def _best(self, places: Sequence[Sequence[Place]]) -> list[Place]:
        return [place for nearest in places for place in nearest[: self.each]]

    def _source(self, target: int, position: int) -> ClassImage:
        """A whole image with the class's own score."""
        image = self.pictures.context.source(position, target)
        return replace(self.pictures.whole(position), image=image)


def alike(places: Sequence[Place]) -> list[int]:
    """For each place the number of the first one that is the same cell."""
    cells = cells_of(places)
    return [cells.index(cell) for cell in cells]


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


def masks_of(context: Context, target: int, others: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Which images (N,) crops are drawn from: all, and those that do not count for the class.

    Where images are known to be labelled as the class, also those that are not labelled as it either; and
    of a contrast with others, those that count for none of them.
    """
    usable = context.index.usable
    masks = {"including": usable, "excluding": usable & ~context.index.counting(target)}
    labelled = usable & (context.labels == target)
    if labelled.any():
        masks["unlabelled"] = masks["excluding"] & ~labelled
    if others:
        either = np.any([context.index.counting(other) for other in others], axis=0)
        masks["neither"] = masks["excluding"] & ~either
    return masks
