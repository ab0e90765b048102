"""Which concepts of two factorisations are the same?

Notation
--------
``A (k, c)``, ``B (l, c)``
    concepts, rows of length 1, where channels correspond.
``X (m, k)``, ``Y (m, l)``
    what the same ``m`` cells or images hold of the concepts of either model.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

LEAST = 0.5
"""Concepts less similar than this are not the same, whatever nonsense reaches."""

QUANTILE = 0.95
"""Of the best similarities that nonsense reaches: a match is above it."""


def cosines(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Cosine (k, l) of each two rows."""
    return np.asarray(_units(A) @ _units(B).T)


def correlations(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Pearson's correlation (k, l) of each two columns; 0 where one never varies."""
    return cosines((X - X.mean(0)).T, (Y - Y.mean(0)).T)


def channels(X: np.ndarray, Y: np.ndarray) -> float:
    """Median correlation of equally numbered channels (m, c), of those that vary in both."""
    X, Y = X - X.mean(0), Y - Y.mean(0)
    length = np.linalg.norm(X, axis=0) * np.linalg.norm(Y, axis=0)
    varies = length > 0
    return float(np.median((X * Y).sum(0)[varies] / length[varies])) if varies.any() else 0.0


def threshold(null: np.ndarray) -> float:
    """Least similarity of a match, by the best similarities (r, k) of each concept to nonsense."""
    return max(LEAST, float(np.quantile(null, QUANTILE))) if null.size else LEAST


def matched(similarity: np.ndarray, least: float) -> list[tuple[int, int, float]]:
    """Rows and columns that belong together, each at most once, with their similarity, highest first.

    The assignment with the largest sum (Hungarian method), of which what is below ``least`` is left out.
    """
    rows, columns = linear_sum_assignment(-np.where(similarity < least, 0.0, similarity))
    pairs = [(int(i), int(j), float(similarity[i, j])) for i, j in zip(rows, columns, strict=True)]
    return sorted((pair for pair in pairs if pair[2] >= least), key=lambda pair: -pair[2])


def _units(rows: np.ndarray) -> np.ndarray:
    wide = np.asarray(rows, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0))
