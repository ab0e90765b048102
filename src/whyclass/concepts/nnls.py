"""How much of each concept cells hold: non-negative least squares on concepts that stay as they are.

Notation
--------
``X (m, c)``
    cells. ``H (k, c)`` concepts, rows of any length above 0.
``W (m, k)``
    ``X ~ W H``, ``W >= 0``, each row of least squared error.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 500
"""Of descent at most; a few dozen suffice unless concepts are nearly the same."""

STILL = 1e-6
"""Where no embedding moves by more than this part of the largest, descent has ended."""


def embeddings(cells: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """The embeddings ``W`` (m, k), float32, of cells (m, c) on concepts (k, c).

    Each coordinate is solved exactly in turn, for all cells together, until none moves: a convex problem,
    whose minimum this finds (Franc, Hlavac and Navara, *Sequential coordinate-wise algorithm for the
    non-negative least squares problem*, 2005).
    """
    H = np.asarray(concepts, np.float64)
    G = H @ H.T
    B = np.asarray(cells, np.float32) @ np.asarray(concepts, np.float32).T
    W = np.zeros(B.shape)
    B = B.astype(np.float64)
    used = np.flatnonzero(np.diag(G) > 0)
    for _ in range(ROUNDS):
        moved = 0.0
        for k in used:
            better = np.maximum(W[:, k] + (B[:, k] - W @ G[k]) / G[k, k], 0)
            moved = max(moved, float(np.abs(better - W[:, k]).max(initial=0)))
            W[:, k] = better
        if moved <= STILL * W.max(initial=0):
            break
    return W.astype(np.float32)


def maps(activations: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """Embeddings (n, h, w, k) of the cells of activations (n, c, h, w)."""
    n, c, h, w = activations.shape
    cells = activations.transpose(0, 2, 3, 1).reshape(-1, c)
    return embeddings(cells, concepts).reshape(n, h, w, -1)
