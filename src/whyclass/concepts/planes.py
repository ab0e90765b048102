"""Ways to lay a plane between the cells of two classes, for many pairs in lock-step: rows of a table.

Notation
--------
``X (m, c)``
    cells of a side: of one class in all its pairs, or of both classes in all fits to the same cells.
``W (Q, c)``, ``b (Q,)``
    planes of ``Q`` pairs; ``z = W X^T + b`` above zero speaks for A.
``R (k, m)``
    what each of a side's ``k`` pairs takes of each of its cells; a *pull* is the sum of ``R X`` over sides.

All ways are made of pulls, which are matrix products. A paper's epoch is one pull.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whyclass.concepts.logistic_optimum import Stop, minimised, strongest_best


@dataclass(frozen=True)
class Side:
    """Cells ``X (m, c)`` and the ``k`` pairs that they are in.

    ``rows`` (k,) are theirs in ``W``, and ``slots`` (k,) among the pulls' parts, first all A's and then all
    B's. ``y`` is 1 where a cell is of A and 0 where of B, and ``weight`` the cell's part of the loss; both
    broadcast to (k, m). ``fold`` (m,) numbers the part of the images that a cell's is in, for
    cross-validation; -1 where it is never left out.
    """

    X: Tensor
    rows: Tensor
    slots: Tensor
    y: Tensor
    weight: Tensor
    fold: Tensor | None = None


Push = Callable[[Side, Tensor], Tensor]
"""From a side and its ``z`` (k, m) to ``R`` (k, m); ``z`` may be written over."""


@dataclass(frozen=True)
class Problem:
    """``Q`` pairs to fit.

    Attributes
    ----------
    each
        Calls a function for every side.
    G, g
        Both parts of a pull, of A's sides and of B's, one under the other: (2 Q, c) and (2 Q,). Written over
        by the next one.
    rate, epochs
        Of the paper's descent.
    strength
        Of the regularisation, (Q,); None where it is to be chosen.
    """

    sides: Sequence[Side] = field(repr=False)
    each: Callable[[Callable[[Side], None]], object] = field(repr=False)
    G: Tensor = field(repr=False)
    g: Tensor = field(repr=False)
    rate: float
    epochs: int
    strength: Tensor | None = None

    def pull(self, push: Push, W: Tensor, b: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The sums of ``R X`` and of ``R``, each as two parts (Q, c) and (Q,) to be added."""

        def part(side: Side) -> None:
            z = torch.addmm(b[side.rows, None], W[side.rows], side.X.T)
            R = push(side, z)
            self.G.index_copy_(0, side.slots, R @ side.X)
            self.g.index_copy_(0, side.slots, R.sum(1))

        self.each(part)
        return self.G.chunk(2), self.g.chunk(2)

    def sums(self, push: Push, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The same, added."""
        G, g = self.pull(push, W, b)
        return G[0] + G[1], g[0] + g[1]


@contextmanager
def problem(
    sides: Sequence[Side], pairs: int, rate: float, epochs: int, strength: Tensor | None = None
) -> Iterator[Problem]:
    """The problem of some sides. On the CPU each thread has a side of its own.

    The products of one class are too small for several threads, which would wait for each other.
    """
    like, threads = sides[0].X, torch.get_num_threads()
    G, g = like.new_zeros(2 * pairs, like.shape[1]), like.new_zeros(2 * pairs)
    if like.device.type != "cpu" or not 1 < threads <= len(sides):
        yield Problem(sides, lambda part: list(map(part, sides)), G, g, rate, epochs, strength)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Problem(sides, lambda part: list(pool.map(part, sides)), G, g, rate, epochs, strength)
    finally:
        torch.set_num_threads(threads)  # new threads take the last number set by any


@dataclass(frozen=True)
class Solved:
    """``W`` (Q, c), ``b`` (Q,), and the strength (Q,) that was taken where there is one."""

    W: Tensor = field(repr=False)
    b: Tensor = field(repr=False)
    strength: Tensor | None = field(repr=False, default=None)


Solve = Callable[[Problem, Tensor, Tensor], Solved]
"""From a problem and its starts, which may be written over, to its planes."""


def descended(asked: Problem, W: Tensor, b: Tensor) -> Solved:
    """The paper's gradient descent of binary cross entropy (5.1.1)."""

    def residual(side: Side, z: Tensor) -> Tensor:
        if side.weight.shape[-1] == 1:  # all cells of a pair weigh the same
            return torch.addcmul(-side.y * side.weight, z.sigmoid_(), side.weight)
        return z.sigmoid_().sub_(side.y).mul_(side.weight)

    for _ in range(asked.epochs):
        parts = asked.pull(residual, W, b)
        for values, (of_a, of_b) in zip((W, b), parts, strict=True):
            values.sub_(of_a, alpha=asked.rate).sub_(of_b, alpha=asked.rate)
    return Solved(W, b)


def means(asked: Problem, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cells of A and of B, (Q, c) each, by the cells' weights."""
    G, g = asked.sums(lambda side, z: (side.y * side.weight).expand_as(z), W, b)
    of_a = G / g[:, None]
    G, g = asked.sums(lambda side, z: ((1 - side.y) * side.weight).expand_as(z), W, b)
    return of_a, G / g[:, None]


def mean(asked: Problem, W: Tensor, b: Tensor) -> Solved:
    """The difference of the mean cells, and the plane halfway between them."""
    a, o = means(asked, W, b)
    return Solved(a - o, _halfway(a - o, a, o))


def pattern(asked: Problem, W: Tensor, b: Tensor) -> Solved:
    """What varies with the filter's answer: covariance of the cells times filter (Haufe et al. 2014).

    The filter is `descended`'s; the plane lies halfway between the mean cells.
    """
    filtered = descended(asked, W, b)
    a, o = means(asked, filtered.W, filtered.b)
    total, _ = asked.sums(lambda side, z: side.weight.expand_as(z), filtered.W, filtered.b)
    middle = (filtered.W * total).sum(1) + filtered.b  # the weights' sum is 1
    P, _ = asked.sums(
        lambda side, z: z.sub_(middle[side.rows, None]).mul_(side.weight), filtered.W, filtered.b
    )
    return Solved(P, _halfway(P, a, o))


def converged(asked: Problem, W: Tensor, b: Tensor) -> Solved:
    """Logistic regression with an L2 penalty, to its optimum.

    Strengths are parts of the cells' total variance; without one the best of ``STRENGTHS`` is taken by
    cross-validation over images, of equally good ones the strongest.
    """
    a, o = means(asked, W, b)
    centre = (a + o) / 2  # it changes no optimum, only how soon it comes
    scale = _variance(asked, centre)
    start = torch.cat([W, b[:, None]], 1).zero_()
    strength = asked.strength
    if strength is None:
        losses = torch.stack([_left_out(asked, centre, scale, start, fold) for fold in range(FOLDS)]).sum(0)
        strength = strongest_best(losses, STRENGTHS)
    found = minimised(_objective(asked, centre, strength * scale), start, EXACT)
    W, b = found[:, :-1].contiguous(), found[:, -1]
    return Solved(W, b - (W * centre).sum(1), strength)


FOLDS = 3
"""Parts of each class's images in cross-validation."""

STRENGTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""Of the penalty, as parts of the cells' total variance; each is tried from the last one's optimum."""

ROUGH, EXACT = Stop(12, 0.02), Stop(100, 1e-4)
"""Where cross-validation and where the fit itself stops."""


def _left_out(asked: Problem, centre: Tensor, scale: Tensor, start: Tensor, fold: int) -> Tensor:
    """Loss (strengths, Q) on the images of a fold, of fits to the others."""

    def kept(side: Side) -> Tensor:
        own = side.weight * (side.fold != fold)
        return own * (side.weight.sum(-1, keepdim=True) / own.sum(-1, keepdim=True))

    found, at = [], start
    for strength in STRENGTHS:
        at = minimised(_objective(asked, centre, strength * scale, kept), at, ROUGH)
        penalty = torch.zeros_like(scale)
        loss, _ = _objective(asked, centre, penalty, lambda side: side.weight * (side.fold == fold))(at)
        found.append(loss)
    return torch.stack(found)


def _objective(
    asked: Problem,
    centre: Tensor,
    penalty: Tensor,
    weight: Callable[[Side], Tensor] = lambda side: side.weight,
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """From planes (Q, c + 1) through centred cells to their losses (Q,) and the derivative of these."""

    def evaluated(at: Tensor) -> tuple[Tensor, Tensor]:
        W = at[:, :-1]
        losses = asked.g.new_zeros(asked.g.shape)

        def push(side: Side, z: Tensor) -> Tensor:
            own = weight(side)
            loss = torch.nn.functional.softplus(z).sub_(side.y * z).mul_(own)
            losses.index_copy_(0, side.slots, loss.sum(1))
            return z.sigmoid_().sub_(side.y).mul_(own)

        G, g = asked.sums(push, W, at[:, -1] - (W * centre).sum(1))
        slope = G.addcmul_(-g[:, None], centre).addcmul_(penalty[:, None], W)
        of_a, of_b = losses.chunk(2)
        return of_a + of_b + penalty / 2 * W.square().sum(1), torch.cat([slope, g[:, None]], 1)

    return evaluated


def _variance(asked: Problem, centre: Tensor) -> Tensor:
    """Mean squared distance (Q,) of the cells from the centre, by their weights."""
    found = asked.g.new_zeros(asked.g.shape)

    def push(side: Side, z: Tensor) -> Tensor:
        squares = side.X.square().sum(1) - 2 * z + centre[side.rows].square().sum(1)[:, None]
        found.index_copy_(0, side.slots, (squares * side.weight).sum(1))
        return z

    asked.pull(push, centre, centre.new_zeros(len(centre)))
    of_a, of_b = found.chunk(2)
    return of_a + of_b


def _halfway(W: Tensor, a: Tensor, o: Tensor) -> Tensor:
    return -(W * (a + o)).sum(1) / 2


@dataclass(frozen=True)
class Row:
    """A way to lay planes.

    Attributes
    ----------
    random
        Whether it begins from PyTorch's default start, drawn for each pair; else from zero.
    equal
        Whether classes weigh the same, and images within a class, so that one image with many cells does
        not decide; else every cell weighs the same.
    solve
        Finds the planes.
    rows
        Memory: rows of ``c`` numbers for each pair, beside the result.
    folds
        Whether images are left out in turn, to choose by.
    """

    random: bool
    equal: bool
    solve: Solve
    rows: int = 2
    folds: bool = False


PLANES: dict[str, Row] = {
    "paper": Row(random=True, equal=False, solve=descended),
    "zero": Row(random=False, equal=False, solve=descended),
    "balanced": Row(random=False, equal=True, solve=descended),
    "converged": Row(random=False, equal=True, solve=converged, rows=24, folds=True),
    "mean": Row(random=False, equal=False, solve=mean, rows=6),
    "pattern": Row(random=False, equal=True, solve=pattern, rows=8),
}
"""Planes by `Settings.plane`."""
