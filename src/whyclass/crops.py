"""The pieces of pool images that lie nearest to each concept, and their boxes.

Notation
--------
``H (k, c)``
    concepts; ``N`` images of ``g = p*q`` pooled cells each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .grid import Box, crop_box
from .index import Index

BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Place:
    """A pooled cell of a pool image: its image's position, its number on the grid, its cosine."""

    position: int
    cell: int
    cosine: float

    def box(self, grid: tuple[int, int], image: tuple[int, int]) -> Box:
        """Its box on an image of (height, width) pixels."""
        return crop_box(self.cell, grid, image)


def nearest(
    index: Index,
    concepts: np.ndarray,
    count: int,
    masks: dict[str, np.ndarray],
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, list[list[Place]]]:
    """The ``count`` cells of highest cosine to each concept, within each mask of images (paper, 4.2).

    One pass over the index serves all concepts and all masks; of equal cosines the earlier cell wins.

    Parameters
    ----------
    concepts
        Shape (k, c), rows of length 1.
    masks
        By name, which images (N,) may be drawn from.

    Returns
    -------
    dict
        For each mask, for each concept, places, nearest first; fewer than ``count`` where the mask
        holds fewer cells.
    """
    total, cells, channels = index.cells.shape
    rows = max(1, BLOCK_BYTES // (cells * channels * 4))
    best = {name: (np.empty((0, len(concepts))), np.empty((0, len(concepts)), int)) for name in masks}
    for start in range(0, total, rows):
        block = np.asarray(index.cells[start : start + rows], np.float32)
        cosine = (block.reshape(-1, channels) @ concepts.T).astype(np.float64)
        number = np.arange(start * cells, start * cells + len(cosine))
        for name, mask in masks.items():
            allowed = np.repeat(mask[start : start + rows], cells)
            best[name] = _merged(*best[name], cosine[allowed], number[allowed], count)
        advance(len(block))
    return {name: _places(*found, cells) for name, found in best.items()}


def random_places(mask: np.ndarray, cells: int, count: int, generator: np.random.Generator) -> list[Place]:
    """``count`` cells drawn evenly from the images of a mask (N,): what a control is made of."""
    positions = generator.choice(np.flatnonzero(mask), count)
    return [
        Place(int(p), int(cell), 0.0)
        for p, cell in zip(positions, generator.integers(cells, size=count), strict=True)
    ]


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
