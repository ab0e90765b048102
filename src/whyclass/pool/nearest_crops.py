"""The pieces of pool images that lie nearest to each concept, and their boxes.

Notation
--------
``H (k, c)``
    concepts; ``N`` images of ``g = p*q`` pooled cells each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from whyclass.grid import Box, Crops
from whyclass.pool.indexing_pass import Index

ROWS = 32
"""Images whose cells are compared at once: so few stay in the processor's cache for all queries."""


@dataclass(frozen=True)
class Place:
    """A pooled cell of a pool image: its image's position, its number on the grid, its cosine."""

    position: int
    cell: int
    cosine: float

    def box(self, crops: Crops, image: tuple[int, int]) -> Box:
        """Its box on an image of (height, width) pixels."""
        return crops.box(self.cell, image)


@dataclass(frozen=True)
class Query:
    """What is searched for: concepts (k, c), rows of length 1.

    ``masks`` holds by name which images (N,) may be drawn from. ``clipped`` concepts know only positive
    activations, and so only the positive part of cells is compared with them.
    """

    concepts: np.ndarray = field(repr=False)
    masks: dict[str, np.ndarray] = field(repr=False)
    clipped: bool = False


def nearest(
    index: Index,
    queries: Sequence[Query],
    count: int,
    advance: Callable[[int], None] = lambda done: None,
) -> list[dict[str, list[list[Place]]]]:
    """The ``count`` cells of highest cosine to each concept, within each mask of images (paper, 4.2).

    One pass over the index serves all queries. Each query's product is a product of its own, of the
    same block of cells: what else is searched for at the same time changes no bit of it. Of equal
    cosines the earlier cell wins.

    Returns
    -------
    list
        For each query, for each mask, for each concept, places, nearest first; fewer than ``count`` where
        the mask holds fewer cells.
    """
    return merged([best_of(index.checked_cells, queries, count, slice(0, None), advance)], index, count)


def _see(block: np.ndarray, rows: slice, cells: int, searches: Sequence[_Search]) -> None:
    """Have some searches see a block: handing each of them to a thread would take longer than its product."""
    for one in searches:
        one.see(block, rows, cells)


Best = list[dict[str, tuple[np.ndarray, np.ndarray]]]
"""Of each query, by mask, the largest cosines (at most ``count``, k) and the numbers of their cells."""


def best_of(
    every: np.ndarray,
    queries: Sequence[Query],
    count: int,
    rows: slice,
    advance: Callable[[int], None] = lambda done: None,
) -> Best:
    """The best cells of some images, from a multiple of ``ROWS`` on, else bits may differ."""
    total, cells, channels = every.shape
    searches = [_Search(query, count) for query in queries]
    threads = max(1, min(len(searches), os.cpu_count() or 1))
    shares = [searches[number::threads] for number in range(threads)]
    # products this small are no faster on several threads; several queries are
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for start in range(*rows.indices(total)[:2], ROWS):
            block = np.asarray(every[start : start + ROWS], np.float32).reshape(-1, channels)
            seen = slice(start, start + len(block) // cells)
            list(pool.map(partial(_see, block, seen, cells), shares))
            advance(seen.stop - seen.start)
    return [one.best for one in searches]


def merged(parts: Sequence[Best], index: Index, count: int) -> list[dict[str, list[list[Place]]]]:
    """The places of the best of several parts, of which each image is in one."""
    cells = index.cells.shape[1]
    found = []
    for one in zip(*parts, strict=True):
        names = one[0]
        best = {name: _together([part[name] for part in one], count) for name in names}
        found.append({name: _places(*own, cells) for name, own in best.items()})
    return found


def _together(parts: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    values, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _largest(values, numbers, count)


class _Search:
    """The best of a query so far: cosines (at most ``count``, k) and numbers of their cells, by mask."""

    def __init__(self, query: Query, count: int) -> None:
        k = len(query.concepts)
        self._query, self._count = query, count
        self.best = {name: (np.empty((0, k)), np.empty((0, k), int)) for name in query.masks}
        self._least: np.ndarray | None = None  # of the kept cosines (k,), once all masks hold enough

    def see(self, block: np.ndarray, rows: slice, cells: int) -> None:
        """Take the cells (m, c) of some images into account."""
        if self._query.clipped:
            block = np.maximum(block, 0)
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
        cosine = block @ self._query.concepts.T
        if self._least is not None and not (cosine > self._least).any():  # as most blocks of a large pool
            return
        number = np.arange(rows.start * cells, rows.start * cells + len(cosine))
        for name, mask in self._query.masks.items():
            kept, places = self.best[name]
            allowed = np.repeat(mask[rows], cells)
            if len(kept) == self._count:  # most blocks hold nothing that is near enough
                allowed &= (cosine > kept[-1]).any(1)
            if allowed.any():
                new = cosine[allowed].astype(np.float64)
                self.best[name] = _merged(kept, places, new, number[allowed], self._count)
        kept_now = [values for values, _ in self.best.values()]
        if all(len(values) == self._count for values in kept_now):
            self._least = np.min([values[-1] for values in kept_now], axis=0)


def _merged(
    kept: np.ndarray, kept_numbers: np.ndarray, new: np.ndarray, numbers: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the kept and the new cosines (rows, k), the ``count`` largest of each column, largest first."""
    if len(new) > count:
        # a partition finds the column's cut-off; everything at or above it may be among the largest
        cut = -np.partition(-new, count - 1, axis=0)[count - 1]
        candidates = np.flatnonzero((new >= cut).any(1))
        new, numbers = new[candidates], numbers[candidates]
    values = np.concatenate([kept, new])
    places = np.concatenate([kept_numbers, np.repeat(numbers[:, None], new.shape[1], 1)])
    return _largest(values, places, count)


def _largest(values: np.ndarray, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.stack([np.lexsort((places[:, k], -values[:, k])) for k in range(values.shape[1])], 1)[:count]
    return np.take_along_axis(values, order, 0), np.take_along_axis(places, order, 0)


def _places(values: np.ndarray, numbers: np.ndarray, cells: int) -> list[list[Place]]:
    return [
        [
            Place(int(n) // cells, int(n) % cells, float(v))
            for v, n in zip(values[:, k], numbers[:, k], strict=True)
        ]
        for k in range(values.shape[1])
    ]
