"""The search of `nearest_crops` on a card: one product for many queries, and the largest of each column.

A product's columns do not depend on what stands beside them as long as its shape is the same, and so blocks
and columns are filled up to one shape: what else is searched for at the same time changes no bit. Of equal
cosines the earlier cell wins, which no ``topk`` promises: it is asked for whole numbers that hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass.exact_products import exact_products
from whyclass.pool import nearest_crops
from whyclass.pool.indexing_pass import Index
from whyclass.pool.nearest_crops import Best, Place, Query

CELLS, COLUMNS = 1 << 15, 1024
"""Cells and concepts of one product: with their places its numbers take 256 MB, and some copies of them."""

NONE = torch.iinfo(torch.int64).min
"""In place of a cell that may not be drawn."""


def nearest(
    index: Index,
    queries: Sequence[Query],
    count: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda done: None,
) -> list[dict[str, list[list[Place]]]]:
    """As `nearest_crops.nearest`; cosines may differ from the processor's in the last bits."""
    best = best_of(index.checked_cells, queries, count, slice(0, None), device, advance)
    return nearest_crops.merged([best], index, count)


def best_of(
    every: np.ndarray,
    queries: Sequence[Query],
    count: int,
    rows: slice,
    device: torch.device,
    advance: Callable[[int], None] = lambda done: None,
) -> Best:
    """As `nearest_crops.best_of`, on a device."""
    searches = [one for clipped in (False, True) for one in _searches(queries, clipped, count, device)]
    total, cells, _ = every.shape
    first, last, _ = rows.indices(total)
    images = max(1, CELLS // cells)
    with exact_products(), torch.no_grad():
        for start in range(first, last, images):
            some = every[start : min(start + images, last)]
            block = torch.zeros(images * cells, every.shape[2], device=device)
            block[: len(some) * cells] = torch.from_numpy(np.array(some)).to(device).flatten(0, 1)
            for one in searches:
                one.see(block, start, len(some), cells)
            advance(len(some))
    found = {number: best for one in searches for number, best in one.found()}
    return [found[number] for number in range(len(queries))]


@dataclass(frozen=True)
class _Columns:
    """Where the concepts of a query stand in a product: its number, and the first and last column."""

    number: int
    query: Query = field(repr=False)
    start: int
    stop: int


def _searches(queries: Sequence[Query], clipped: bool, count: int, device: torch.device) -> Iterator[_Search]:
    """Queries of one kind, as many at a time as fill the columns of a product."""
    held: list[_Columns] = []
    for number, query in enumerate(queries):
        if query.clipped == clipped:
            start, wide = held[-1].stop if held else 0, len(query.concepts)
            if held and start + wide > COLUMNS:
                yield _Search(held, count, device)
                held, start = [], 0
            held.append(_Columns(number, query, start, start + wide))
    if held:
        yield _Search(held, count, device)


class _Search:
    """The best cells of some queries so far: for each mask and column whole numbers, largest first."""

    def __init__(self, held: Sequence[_Columns], count: int, device: torch.device) -> None:
        self._held, self._count, self._device = tuple(held), count, device
        width = max(COLUMNS, held[-1].stop)  # of a query with more concepts than columns
        concepts = np.concatenate([one.query.concepts for one in held]).astype(np.float32)
        self._concepts = F.pad(torch.from_numpy(concepts).to(device), (0, 0, 0, width - len(concepts)))
        self._names = list(dict.fromkeys(name for one in held for name in one.query.masks))
        # of each column its query's place in the masks; beyond them any, as nobody looks there
        owner = np.repeat(np.arange(len(held)), [one.stop - one.start for one in held])
        self._owner = torch.from_numpy(np.pad(owner, (0, width - len(owner)))).to(device)
        self._best = {name: torch.empty(0, width, dtype=torch.int64, device=device) for name in self._names}
        self._cell = {name: torch.empty(0, width, dtype=torch.int64, device=device) for name in self._names}

    def see(self, block: Tensor, start: int, images: int, cells: int) -> None:
        """Take cells into account, of images from a position on; behind them the block is filled up."""
        if self._held[0].query.clipped:
            block = F.normalize(block.clamp(min=0), dim=1, eps=1e-12)
        keys = _keys(block @ self._concepts.T)
        for name in self._names:
            allowed = self._allowed(name, start, images, len(block) // cells)
            keys_here = keys.masked_fill(~allowed.repeat_interleave(cells, 0)[:, self._owner], NONE)
            new, at = keys_here.topk(min(self._count, len(block)), 0)
            # what is kept comes first and is of earlier cells, and so wins where cosines are equal
            both = torch.cat([self._best[name], new])
            places = torch.cat([self._cell[name], at + start * cells])
            order = (both >> 32).sort(stable=True, dim=0, descending=True).indices[: self._count]
            self._best[name], self._cell[name] = both.gather(0, order), places.gather(0, order)

    def _allowed(self, name: str, start: int, images: int, filled: int) -> Tensor:
        """Which images of a block (filled, queries) a mask of that name holds, for each query."""
        found = np.zeros((filled, len(self._held)), bool)
        for column, one in enumerate(self._held):
            if name in one.query.masks:
                found[:images, column] = one.query.masks[name][start : start + images]
        return torch.from_numpy(found).to(self._device)

    def found(self) -> Iterator[tuple[int, dict[str, tuple[np.ndarray, np.ndarray]]]]:
        """Of each query by its number, by mask, cosines (rows, k) and the numbers of their cells."""
        best = {name: (_cosines(self._best[name]).cpu(), self._cell[name].cpu()) for name in self._names}
        there = {name: (self._best[name] != NONE).cpu() for name in self._names}
        for one in self._held:
            own, parts = slice(one.start, one.stop), dict[str, tuple[np.ndarray, np.ndarray]]()
            for name in one.query.masks:
                rows = int(there[name][:, own].sum(0).max())  # the same in all columns
                values, cells = best[name]
                parts[name] = values[:rows, own].double().numpy(), cells[:rows, own].numpy()
            yield one.number, parts


def _keys(cosine: Tensor) -> Tensor:
    """Whole numbers (m, k) in the order of the cosines and, of equal ones, of the earlier row."""
    bits = (cosine + 0.0).view(torch.int32)  # minus zero is zero
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    earlier = torch.arange(len(cosine) - 1, -1, -1, device=cosine.device)
    return (ordered << 32) + earlier[:, None]


def _cosines(keys: Tensor) -> Tensor:
    """The cosines of whole numbers."""
    ordered = (keys >> 32).int()
    return torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)
