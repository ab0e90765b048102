"""Cells put together again from directions: how much of each a cell holds, and what is left of it.

Notation
--------
``X (m, c)``
    cells. ``D (k, c)`` directions; ``X ~ W D``, ``W (m, k)`` embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import nnls

from whyclass.records import Factors

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From cells (m, c) and directions (k, c) to embeddings (m, k)."""


def nonnegative(X: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The non-negative W that minimises ``|x - W D|`` of each cell (Lawson and Hanson, 1974).

    ``|x - w D|^2 = |q - w R'|^2 + what no w changes``, with ``D' = Q R`` and ``q = x Q``: the problem of each
    cell has as many rows as directions, whatever the number of channels.
    """
    Q, R = np.linalg.qr(D.T.astype(np.float64))
    return np.stack([nnls(R, q)[0] for q in X.astype(np.float64) @ Q])


def unrestricted(X: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The W of any sign that minimises ``|X - W D|``; the shortest, where there are several."""
    return np.asarray(np.linalg.lstsq(D.T.astype(np.float64), X.T.astype(np.float64), rcond=None)[0].T)


def cells_of(activations: np.ndarray) -> np.ndarray:
    """Cells (n*h*w, c) of activations (n, c, h, w)."""
    return np.moveaxis(activations, 1, -1).reshape(-1, activations.shape[1])


def embedded(activations: np.ndarray, D: np.ndarray, fit: Fit = nonnegative) -> np.ndarray:
    """Embeddings (n, h, w, k) of activations (n, c, h, w)."""
    n, _, h, w = activations.shape
    return fit(cells_of(activations), D).reshape(n, h, w, len(D))


def dictionary(D: np.ndarray, activations: np.ndarray, fit: Fit = nonnegative) -> Factors:
    """Directions (k, c) as concepts of activations (n, c, h, w): unit rows, largest share first.

    A share is the part of the reconstruction that a direction carries: its embeddings, without sign, times
    the sum of its entries, without sign. A direction that no cell holds has none and is kept.
    """
    D = (D / np.linalg.norm(D, axis=1, keepdims=True)).astype(np.float32)
    embeddings = embedded(activations, D, fit)
    mass = np.abs(embeddings).sum((0, 1, 2)) * np.abs(D).sum(1, dtype=np.float64)
    order = np.argsort(-mass, kind="stable")
    total = mass.sum()
    shares = mass[order] / total if total > 0 else np.full(len(D), 1 / len(D))
    left = float(np.linalg.norm(cells_of(activations) - embeddings.reshape(-1, len(D)) @ D))
    residual = left / max(float(np.linalg.norm(activations)), np.finfo(float).tiny)
    return Factors(D[order], embeddings[..., order].astype(np.float32), shares, residual, True)
