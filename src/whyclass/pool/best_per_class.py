"""The nearest place of each class to a direction, over a whole pool."""

from __future__ import annotations

import numpy as np

from whyclass.pool.indexing_pass import Index
from whyclass.pool.nearest_crops import Place

ROWS = 256
"""Images whose cells are compared at once."""


def best_per_class(index: Index, direction: np.ndarray, count: int) -> list[Place]:
    """Of the classes that come nearest to a direction (c,) of length 1, each one's nearest cell.

    A class's cells are those of the images that are called it. Nearest first; of equal cosines the earlier
    image's.
    """
    cells = index.checked_cells
    cosines = np.full(len(index.items), -np.inf, np.float32)
    places = np.zeros(len(index.items), np.int64)
    for start in range(0, len(cells), ROWS):
        found = np.asarray(cells[start : start + ROWS], np.float32) @ direction
        rows = slice(start, start + len(found))
        places[rows] = found.argmax(1)
        cosines[rows] = found.max(1)
    cosines[~index.usable] = -np.inf
    order = np.argsort(-cosines, kind="stable")
    _, firsts = np.unique(index.predicted[order], return_index=True)
    best = order[np.sort(firsts)]
    best = best[np.isfinite(cosines[best])][:count]
    return [Place(int(p), int(places[p]), float(cosines[p])) for p in best]
