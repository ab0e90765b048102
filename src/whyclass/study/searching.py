"""The search for the cells nearest to concepts: on the card that the model is on, or on processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whyclass.pool import crops_on_device, nearest_crops
from whyclass.pool.nearest_crops import Best, Place, Query
from whyclass.study.context import Context


def nearest(
    context: Context,
    queries: Sequence[Query],
    count: int,
    advance: Callable[[int], None] = lambda done: None,
) -> list[dict[str, list[list[Place]]]]:
    """The ``count`` cells of the pool nearest to each concept, as `nearest_crops.nearest` gives them."""
    index, device = context.index, context.split.example.device
    if device.type == "cuda":
        return crops_on_device.nearest(index, queries, count, device, advance)
    return nearest_crops.nearest(index, queries, count, advance)


def best_of(context: Context, queries: Sequence[Query], rows: slice) -> Best:
    """The best cells of some of the pool's images, from a multiple of ``nearest_crops.ROWS`` on."""
    cells, count, device = context.index.cells, context.settings.crops, context.split.example.device
    if device.type == "cuda":
        return crops_on_device.best_of(cells, queries, count, rows, device)
    return nearest_crops.best_of(cells, queries, count, rows)
