"""Where tokens stand: change the image a strip at a time, and see which tokens react.

Notation
--------
``h x w``
    the grid that tokens may be of; ``T`` tokens, of which ``T - h*w`` stand for no place.
strips
    of one cell's height or width across the image; of more than ``LONG`` in a direction those of equal
    remainder, and those of equal quotient, are changed together, which tells each by fewer images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

LONG = 16
"""Strips that are changed one by one; more are told by quotient and remainder."""

CLEAR = 1.5
"""How much more than by chance the tokens of a grid must react to the strips of their places."""

NEAR = 0.8
"""Share of the tokens' largest reactions that those to the strips of their places must be."""

LIKELY = 0.9
"""Share of the best reactions that places which are likely beforehand must have."""

WEAK = 0.5
"""How strong, beside those of the grid, the largest reactions of other tokens may be."""

KEPT = (0.6, 0.8)
"""Share of the largest possible reaction that the usual places must have where no clear ones are found,
without and with tokens that stand for no place."""

Grid = tuple[int, int]


@dataclass(frozen=True)
class Reactions:
    """How much each token reacts to each strip: ``rows`` (h, T), ``columns`` (w, T); their sum is 1."""

    rows: Tensor
    columns: Tensor


def strips(count: int) -> list[list[int]]:
    """The strips of a direction that are changed together, one list for each changed image."""
    if count <= LONG:
        return [[one] for one in range(count)]
    side = math.ceil(math.sqrt(count))
    return [[i for i in range(count) if i // side == q] for q in range(math.ceil(count / side))] + [
        [i for i in range(count) if i % side == r] for r in range(side)
    ]


def changed(image: Tensor, grid: Grid) -> Iterator[Tensor]:
    """The image (channels, S, T) with each set of strips of rows, then of columns, drawn anew."""
    generator = torch.Generator().manual_seed(1)
    other = torch.randn(image.shape, generator=generator).to(image)
    for axis, count in ((1, grid[0]), (2, grid[1])):
        size = image.shape[axis]
        for together in strips(count):
            mask = torch.zeros(size, dtype=torch.bool, device=image.device)
            for one in together:
                mask[one * size // count : (one + 1) * size // count] = True
            mask = mask[:, None] if axis == 1 else mask
            yield torch.where(mask, other, image)


def reactions(changes: Tensor, grid: Grid) -> Reactions:
    """From the sizes (images, T) of the tokens' changes, in the order of `changed`."""
    first = len(strips(grid[0]))
    return Reactions(_shares(changes[:first], grid[0]), _shares(changes[first:], grid[1]))


def _shares(changes: Tensor, count: int) -> Tensor:
    if count > LONG:
        side = math.ceil(math.sqrt(count))
        quotients, remainders = changes[: math.ceil(count / side)], changes[-side:]
        at = torch.arange(count)
        changes = quotients[at // side] * remainders[at % side]
    return changes / changes.sum(0).clamp(min=torch.finfo(changes.dtype).tiny)


def places(found: Reactions, grid: Grid, likely: Sequence[tuple[int, ...]] = ()) -> tuple[int, ...] | None:
    """The token of each cell, row by row; None where the tokens' reactions are not those of places.

    The tokens whose reactions are least of one place are set aside. The others go to cells so that their
    centres of reaction agree with the cells' best, which neither strides beside the cells' middles nor
    attention that draws all centres inwards changes; or where they are ``likely`` to be, if that is about as
    good. Tokens must then react clearly, near their most, and more than those set aside.
    """
    largest = found.rows.amax(0) * found.columns.amax(0)
    order = largest.argsort(descending=True, stable=True)
    chosen = _assigned(found, grid, order[: grid[0] * grid[1]].sort().values)
    best = _reached(found, grid, chosen).sum()
    for one in likely:
        if _reached(found, grid, one).sum() >= LIKELY * best:
            chosen = one
            break
    got, inside = _reached(found, grid, chosen), largest[list(chosen)]
    others = torch.ones(len(largest), dtype=torch.bool).index_fill(0, torch.tensor(chosen), False)
    if not clear(found, grid, chosen) or float(got.sum()) < NEAR * float(inside.sum()):
        return None
    if others.any() and float(largest[others].mean()) > WEAK * float(got.mean()):
        return None
    return chosen


def clear(found: Reactions, grid: Grid, chosen: tuple[int, ...]) -> bool:
    """Whether the cells' tokens react more to the strips of the cells than they would by chance."""
    return float(_reached(found, grid, chosen).mean()) * len(chosen) >= CLEAR


def _reached(found: Reactions, grid: Grid, chosen: tuple[int, ...]) -> Tensor:
    """Reaction of each cell's token to the strips of the cell."""
    tokens, cells = torch.tensor(chosen), torch.arange(len(chosen))
    return found.rows[cells // grid[1], tokens] * found.columns[cells % grid[1], tokens]


def _assigned(found: Reactions, grid: Grid, tokens: Tensor) -> tuple[int, ...]:
    """The token of each cell, of as many tokens as cells."""
    rows, columns = found.rows[:, tokens], found.columns[:, tokens]
    cells = rows.argmax(0) * grid[1] + columns.argmax(0)
    if len(cells.unique()) == len(cells):  # each its own: nothing to weigh
        return tuple(tokens[cells.argsort()].tolist())
    y, x = _centres(rows), _centres(columns)
    cells = torch.arange(len(cells))
    gain = torch.outer(cells // grid[1] - (grid[0] - 1) / 2, y) + torch.outer(
        cells % grid[1] - (grid[1] - 1) / 2, x
    )
    return tuple(tokens[linear_sum_assignment(gain.numpy(), maximize=True)[1]].tolist())


def _centres(shares: Tensor) -> Tensor:
    """Where along a direction each token reacts, in units of the tokens' spread."""
    weights = shares.square()
    strip = torch.arange(len(shares), dtype=shares.dtype)
    centre = (weights * strip[:, None]).sum(0) / weights.sum(0).clamp(min=torch.finfo(shares.dtype).tiny)
    centre = centre - centre.mean()
    return centre / centre.std().clamp(min=1e-6)


def fits(found: Reactions, grid: Grid, chosen: tuple[int, ...], least: float) -> bool:
    """Whether tokens react to the strips of these places as much as to any, up to a share of it."""
    tokens = torch.tensor(chosen)
    cells = torch.arange(len(chosen))
    got = found.rows[cells // grid[1], tokens] + found.columns[cells % grid[1], tokens]
    most = found.rows[:, tokens].amax(0) + found.columns[:, tokens].amax(0)
    return bool(most.sum() > 0 and got.sum() >= least * most.sum())
