"""What is known of one pair's hyperplane before it is believed: the same fit again and again, with changes.

From other starts, of resampled images, and of images with permuted labels, to see whether accuracy on images
not seen is more than such labels give. All these fits have their cells in common.

Notation
--------
``X (m, c)``
    cells of both classes; ``K = X X^T``.
``W (Q, c)``, ``b (Q,)``
    hyperplanes of ``Q`` fits, ``z (Q, m) = W X^T + b``.

A round of all is two matrix products, ``4 Q m c`` operations; where ``m < 2 c`` the normals are kept as
``W = W_0 + V X`` and a round is ``V K``, ``2 Q m^2`` operations: a quarter for 1,000 cells of 2,048 channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whyclass.concepts.hyperplane_training import Fitting, hold_out, start
from whyclass.concepts.hyperplanes import Cells
from whyclass.concepts.planes import PLANES, Row, Side, descended, problem
from whyclass.settings import seed_of


@dataclass(frozen=True)
class Fits:
    """``Q`` fits to the same cells ``X``.

    Attributes
    ----------
    X
        Shape (m, c).
    y, share
        Shape (Q, m): label of each cell, 1 for A, and its part of the loss; a cell with 0 is left out.
    w, b
        Starts, shapes (Q, c) and (Q,).
    """

    X: Tensor = field(repr=False)
    y: Tensor = field(repr=False)
    share: Tensor = field(repr=False)
    w: Tensor = field(repr=False)
    b: Tensor = field(repr=False)


Fit = Callable[[Fits, Fitting], tuple[Tensor, Tensor]]
"""A way to fit: ``w`` (Q, c) and ``b`` (Q,) of all."""


@dataclass(frozen=True)
class Counts:
    """How many fits of each kind; 0 leaves it out."""

    starts: int
    bootstraps: int
    permutations: int


@dataclass(frozen=True)
class Known:
    """What the fits say of the plane between A and B, all for A as it was asked for.

    Attributes
    ----------
    start
        Cosine of the normal to the random start that it was fitted from; None of a way that begins from zero.
    starts, bootstraps
        Cosines of the normal to those of other starts, and of resampled images of each class, each from
        another start too: from its own a fit that hardly leaves it would seem sure. Of a way that begins from
        zero there are no other starts.
    balanced, permuted
        Balanced accuracy on images not seen, and the same after permuting which image is of which class;
        None where nothing could be held out.
    unseen
        The plane fitted without the images held out: ``w`` (c,) and ``b``; None likewise.
    """

    start: float | None
    starts: np.ndarray
    bootstraps: np.ndarray
    balanced: float | None
    permuted: np.ndarray
    unseen: tuple[np.ndarray, float] | None = field(repr=False)


def descend(fits: Fits, fitting: Fitting) -> tuple[Tensor, Tensor]:
    """The paper's gradient descent (5.1.1) of all fits in lock-step."""
    X, b = fits.X, fits.b.clone()
    if len(X) >= 2 * X.shape[1]:
        w = fits.w.clone()
        for _ in range(fitting.epochs):
            R = fits.share * (torch.addmm(b[:, None], w, X.T).sigmoid_() - fits.y)
            w.sub_(R @ X, alpha=fitting.lr)
            b.sub_(R.sum(1), alpha=fitting.lr)
        return w, b
    K, begun, V = X @ X.T, fits.w @ X.T, torch.zeros_like(fits.y)
    for _ in range(fitting.epochs):
        R = fits.share * (torch.addmm(begun, V, K).add_(b[:, None]).sigmoid_() - fits.y)
        V.sub_(R, alpha=fitting.lr)
        b.sub_(R.sum(1), alpha=fitting.lr)
    return torch.addmm(fits.w, V, X), b


def solved(fits: Fits, fitting: Fitting) -> tuple[Tensor, Tensor]:
    """All fits as the row of ``fitting.plane`` makes planes; a penalty's strength must be told."""
    row, every = PLANES[fitting.plane], torch.arange(len(fits.b), device=fits.X.device)
    if row.solve is descended:
        return descend(fits, fitting)
    strength = None if fitting.strength is None else torch.full_like(fits.b, fitting.strength)
    side = Side(fits.X, every, every, fits.y, fits.share)
    with problem([side], len(every), fitting.lr, fitting.epochs, strength) as asked:
        found = row.solve(asked, fits.w.clone(), fits.b.clone())
    return found.W, found.b


def known(
    cells: tuple[Cells, Cells],
    pair: tuple[int, int],
    w: np.ndarray,
    counts: Counts,
    fitting: Fitting,
    fit: Fit = solved,
) -> Known:
    """What refits say of the normal ``w`` (c,) of a pair (A, B), whose cells are given in the same order."""
    if pair[0] > pair[1]:  # one plane for both directions, to the last bit
        found = known((cells[1], cells[0]), (pair[1], pair[0]), -w, counts, fitting, fit)
        unseen = None if found.unseen is None else (-found.unseen[0], -found.unseen[1])
        return Known(found.start, found.starts, found.bootstraps, found.balanced, found.permuted, unseen)
    row, both = PLANES[fitting.plane], _Both.of(cells, pair, fitting)
    plans = _plans(both, pair, counts, fitting.seed, row)
    W, b = _fitted(both, plans, fitting, fit)
    kind = np.array([plan[0] for plan in plans])
    measured = np.flatnonzero((kind == "unseen") | (kind == "permuted"))  # the former is the first
    accurate = [_balanced(both, W[row], float(b[row]), plans[row][1]) for row in measured]
    own, _ = start(fitting.seed, pair[0], pair[1], len(w))
    return Known(
        start=float(_cosines(own[None], w)[0]) if row.random else None,
        starts=_cosines(W[kind == "starts"], w),
        bootstraps=_cosines(W[kind == "bootstraps"], w),
        balanced=accurate[0] if accurate else None,
        permuted=np.array(accurate[1:]),
        unseen=(W[measured[0]], float(b[measured[0]])) if accurate else None,
    )


def _fitted(both: _Both, plans: list[_Plan], fitting: Fitting, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    if not plans:
        return np.empty((0, both.vectors.shape[1]), np.float32), np.empty(0, np.float32)
    X = torch.from_numpy(both.vectors).to(fitting.device)
    y, share, starts = (np.stack(rows) for rows in zip(*(plan[1:] for plan in plans), strict=True))
    begun = [torch.from_numpy(part).to(X) for part in (y, share, starts[:, :-1], starts[:, -1])]
    W, b = fit(Fits(X, *begun), fitting)
    return W.cpu().numpy(), b.cpu().numpy()


_Plan = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""Kind, labels (m,), shares (m,), start (c + 1,)."""


@dataclass(frozen=True)
class _Both:
    """Cells of A, then of B; ``image`` (m,) numbers the images of both, ``first`` (images,) is 1 for A's.

    ``held`` (images,) marks those held out: none, where one class has a single image.
    """

    vectors: np.ndarray
    image: np.ndarray
    first: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, cells: tuple[Cells, Cells], pair: tuple[int, int], fitting: Fitting) -> _Both:
        images = [np.unique(own.image) for own in cells]
        held = [
            np.isin(mine, hold_out(mine, k, fitting.seed, fitting.held_out))
            for mine, k in zip(images, pair, strict=True)
        ]
        a, b = (np.searchsorted(mine, own.image) for mine, own in zip(images, cells, strict=True))
        able = all(one.any() for one in held)
        return cls(
            vectors=np.concatenate([np.asarray(own.vectors, np.float32) for own in cells]),
            image=np.concatenate([a, len(images[0]) + b]),
            first=np.repeat([1.0, 0.0], [len(mine) for mine in images]).astype(np.float32),
            held=np.concatenate([one & able for one in held]),
        )


def _plans(
    both: _Both, pair: tuple[int, int], counts: Counts, seed: int, row: Row = PLANES["paper"]
) -> list[_Plan]:
    """What is fitted: labels, shares and start of each fit."""
    c, label = both.vectors.shape[1], both.first[both.image]

    def begun(seed: int) -> np.ndarray:
        return np.append(*start(seed, pair[0], pair[1], c)) if row.random else np.zeros(c + 1, np.float32)

    every, plans = np.ones(len(both.first)), []
    for k in range(counts.starts if row.random else 0):
        share = _share(both, every, both.first, row.equal)
        plans.append(("starts", label, share, begun(seed_of("start", seed, str(k)))))
    generator = np.random.default_rng(seed_of("bootstrap of images", seed, f"{pair[0]} {pair[1]}"))
    for k in range(counts.bootstraps):
        drawn = np.zeros(len(both.first))
        for value in (1, 0):
            mine = np.flatnonzero(both.first == value)
            drawn += np.bincount(generator.choice(mine, len(mine)), minlength=len(drawn))
        share = _share(both, drawn, both.first, row.equal)
        plans.append(("bootstraps", label, share, begun(seed_of("start", seed, f"bootstrap {k}"))))
    if not both.held.any():
        return plans
    kept = ~both.held
    plans.append(("unseen", label, _share(both, kept, both.first, row.equal), begun(seed)))
    generator = np.random.default_rng(seed_of("permutation", seed, f"{pair[0]} {pair[1]}"))
    for _ in range(counts.permutations):
        mixed = both.first.copy()
        for part in (both.held, ~both.held):  # so that both classes keep their numbers of images in both
            mixed[part] = generator.permutation(mixed[part])
        plans.append(("permuted", mixed[both.image], _share(both, kept, mixed, row.equal), begun(seed)))
    return plans


def _share(both: _Both, weight: np.ndarray, first: np.ndarray, equal: bool) -> np.ndarray:
    """Parts (m,) of the loss, of images that weigh so much and are labelled so (images,).

    ``equal`` gives both labels one half, and cells of one image its weight together.
    """
    own = weight[both.image].astype(np.float32)
    if equal:
        own = own / np.bincount(both.image)[both.image]
        ones = first[both.image] > 0
        own[ones] /= 2 * own[ones].sum()
        own[~ones] /= 2 * own[~ones].sum()
        return own.astype(np.float32)
    return np.asarray(own / own.sum())


def _balanced(both: _Both, w: np.ndarray, b: float, y: np.ndarray) -> float:
    """Mean of both classes' shares of cells of held-out images on their side."""
    out = both.held[both.image]
    z, label = both.vectors[out] @ w + b, y[out] > 0
    return float(((z[label] > 0).mean() + (z[~label] < 0).mean()) / 2)


def _cosines(W: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray(W @ w / np.linalg.norm(W, axis=1) / np.linalg.norm(w))
