"""SmoothGrad with as many noisy copies as it takes: pairs of opposite noise, until scores are sure enough.

What is asked of the scores is a class's concepts, and these average over its images. So all images of a class
get equally many copies, and these end where the standard error of the scores, in parts of the scores and
divided by the root of the number of images, is small. Opposite noise cancels what is linear in it.

Notation
--------
``n`` images of the class, ``P`` pairs of copies of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from whyclass.attribution import deeplift, methods, smoothgrad
from whyclass.attribution.copies_together import BATCH
from whyclass.attribution.noise import drawn_ahead, drawn_on, opposite_copies
from whyclass.attribution.smoothgrad import Asked, OfImage, Question, Scores
from whyclass.exact_products import exact_products
from whyclass.models.split import Split
from whyclass.pool.indexing_pass import Trunk
from whyclass.settings import AUTO, Settings

FEWEST, MOST = 3, 10
"""Pairs of copies: no standard error is told from fewer, and as many copies as the paper has end it."""

ENOUGH = 0.04
"""Relative standard error of the scores, by the root of the number of images, that ends it."""

Trunks = Callable[[Tensor], Sequence[Tensor]]
Images = Iterable[tuple[Tensor, str]]


def at_layers(
    asked: Sequence[Asked],
    trunks: Trunks,
    images: Images,
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Scores]:
    """Scores of the images' cells for each that is asked, as `smoothgrad.at_layers` makes them.

    Where settings leave the number of copies to what it takes, each that is asked has its own number, that it
    would have by itself; all have it from the same copies.
    """
    if settings.copies != AUTO:
        return smoothgrad.at_layers(asked, trunks, images, settings, advance)
    return _until_enough(asked, trunks, list(images), settings, advance)


def scores(
    split: Split,
    trunk: Trunk,
    images: Images,
    questions: Sequence[Question],
    settings: Settings,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Scores]:
    """The same at one layer, for each of several questions; the trunk runs once for all."""
    asked = [Asked(split, question) for question in questions]
    return at_layers(asked, lambda copies: [trunk(copies)] * len(asked), images, settings, advance)


def expected(settings: Settings) -> int:
    """Copies of an image, at least."""
    return 2 * FEWEST if settings.copies == AUTO else int(settings.copies)


def together(settings: Settings, most: int) -> int:
    """Copies that pass the trunk at a time at first, where ``most`` can."""
    each = expected(settings)
    return max(1, most // each) * each if settings.copies == AUTO else min(each, most)


@exact_products()
def _until_enough(
    asked: Sequence[Asked],
    trunks: Trunks,
    given: Sequence[tuple[Tensor, str]],
    settings: Settings,
    advance: Callable[[int], None],
) -> list[Scores]:
    found, pairs = [_Pairs(len(given)) for _ in asked], range(FEWEST)
    while pairs:
        left = [number for number, own in enumerate(found) if not own.enough]
        for rows, copies in _drawn(asked[0], given, pairs, settings):
            copies = copies.to(asked[0].split.example)
            with torch.no_grad():
                activations = trunks(copies)
            for number in left:
                one, image = asked[number], given[rows[0]][0]
                against, target = smoothgrad.wanted_of(one.split, image, one.question, settings)
                made = methods.METHODS[settings.method](
                    one.split, activations[number], copies, against, target
                )
                found[number].add(made, rows)
            if not pairs.start:
                advance(len(rows))
        for number in left:
            found[number].judge(pairs.stop == MOST)
        more = pairs.stop < MOST and not all(own.enough for own in found)
        pairs = range(pairs.stop, pairs.stop + more)
    return [own.scores(one, settings) for own, one in zip(found, asked, strict=True)]


class _Pairs:
    """Attributions of all images of a class for one question: sums over copies, and each pair's mean."""

    def __init__(self, images: int) -> None:
        self._totals: list[Tensor | None] = [None] * images
        self._maps: list[list[Tensor]] = [[] for _ in range(images)]
        self._sums: list[list[Tensor]] = [[] for _ in range(images)]
        self.enough = False

    def add(self, made: deeplift.Attribution, rows: Sequence[int]) -> None:
        """Take copies of the images of ``rows``, equally many of each, opposite ones side by side."""
        told = torch.stack([made.missed, made.difference.abs()]).cpu()
        values = made.values.unflatten(0, (len(rows), -1))
        pairs = values.mean(2).unflatten(1, (-1, 2)).mean(2).cpu()
        for row, own, means, sums in zip(rows, values, pairs, told.chunk(len(rows), 1), strict=True):
            total, before = own.sum(0), self._totals[row]
            self._totals[row] = total if before is None else before.add_(total)
            self._maps[row].append(means)
            self._sums[row].append(sums)
        self._last = made

    def judge(self, last: bool) -> None:
        """Whether there are enough of them; ``last`` where there will be no more."""
        maps = torch.stack([torch.cat(own) for own in self._maps]).double().numpy()
        self.enough = last or standard_error(maps) <= ENOUGH

    def scores(self, asked: Asked, settings: Settings) -> Scores:
        """Of all images, from the mean over their copies."""
        totals = [total for total in self._totals if total is not None]
        of_each = zip(totals, self._sums, strict=True)
        images = [OfImage.of(total, torch.cat(told, 1), settings.relu) for total, told in of_each]
        return smoothgrad.gathered(images, self._last, asked, settings)


def standard_error(maps: np.ndarray) -> float:
    """What concepts of the scores may be off by, from each pair's mean attribution (n, P, h, w).

    The standard error of the positive scores together, in parts of them, by the root of the number of images;
    infinite where no score is positive.
    """
    n, pairs = maps.shape[:2]
    mean = maps.mean(1)
    kept = mean > 0
    if not kept.any():
        return float("inf")
    error = np.sqrt((maps.var(1, ddof=1)[kept] / pairs).sum())
    return float(error / np.linalg.norm(mean[kept]) / np.sqrt(n))


def _drawn(
    asked: Asked, given: Sequence[tuple[Tensor, str]], pairs: Sequence[int], settings: Settings
) -> Iterator[tuple[list[int], Tensor]]:
    """Blocks of images, by their numbers, with copies; drawn ahead where another device computes."""
    alone = asked.question.dense and settings.target == "confident"  # each image has its own target
    each = 1 if alone else max(1, asked.split.together(BATCH) // (2 * len(pairs)))
    blocks = [list(range(start, min(start + each, len(given)))) for start in range(0, len(given), each)]
    device = asked.split.example.device
    on = drawn_on(device, settings)

    def draw(rows: list[int]) -> Tensor:
        return torch.cat([opposite_copies(*given[row], pairs, settings, on) for row in rows])

    return drawn_ahead(((rows, partial(draw, rows)) for rows in blocks), device, on)
