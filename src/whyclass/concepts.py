"""Six concepts of a class: non-negative factors of its scored activations.

Notation
--------
``X (m, c)``
    cells of all images, each scaled by its score; ``X ~ W H``.
``W (m, k)``
    embeddings: how much of each concept a cell holds. ``H (k, c)`` concepts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from .errors import AttributionError
from .settings import Settings


@dataclass(frozen=True)
class Factors:
    """What the factorisation gave.

    Attributes
    ----------
    concepts
        ``H``, shape (k, c), float32, rows of length 1, largest share first. Fewer than asked for where
        the cells do not span so many.
    embeddings
        ``W`` on the cells, shape (n, h, w, k), float32.
    shares
        Part of the reconstruction's sum that each concept carries, shape (k,), sums to 1.
    residual
        ``|X - WH| / |X|``, Frobenius norm.
    converged
        Whether the tolerance was reached before the last iteration.
    """

    concepts: np.ndarray = field(repr=False)
    embeddings: np.ndarray = field(repr=False)
    shares: np.ndarray
    residual: float
    converged: bool


def factorise(activations: np.ndarray, scores: np.ndarray, settings: Settings) -> Factors:
    """Factorise the activations (n, c, h, w), each cell times its score (n, h, w), by NMF (paper, 4.1).

    Raises
    ------
    AttributionError
        If no cell has a score above zero: nothing in the images speaks for the class.
    """
    n, c, h, w = activations.shape
    weights = scores.reshape(-1)
    kept = np.flatnonzero(weights > 0)
    if kept.size == 0:
        raise AttributionError(
            "no cell has a positive attribution: nothing at this layer speaks for the class; try another"
        )
    X = activations.transpose(0, 2, 3, 1).reshape(-1, c)[kept] * weights[kept, None]
    X = (X / X.max()).astype(np.float32) if X.max() > 0 else X.astype(np.float32)
    W, H, converged = _nmf(X, settings)
    W, H, shares = _ordered(W, H)
    if not len(H):
        raise AttributionError("the cells with a positive attribution are all zero; try another layer")
    embeddings = np.zeros((weights.size, len(H)), np.float32)
    embeddings[kept] = W
    residual = float(np.linalg.norm(X - W @ H) / np.linalg.norm(X))
    return Factors(H, embeddings.reshape(n, h, w, -1), shares, residual, converged)


def strongest(embeddings: np.ndarray, count: int) -> list[int]:
    """Up to ``count`` of n images in which the concepts are most active: each concept's best in turn.

    ``embeddings`` has shape (n, h, w, k); the images come in their own order.
    """
    order = np.argsort(-embeddings.max((1, 2)), axis=0, kind="stable")
    turns = dict.fromkeys(int(image) for image in order.reshape(-1))
    return sorted(list(turns)[:count])


def _nmf(X: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray, bool]:
    """The best of several of scikit-learn's NMFs; of equally good ones the first."""
    # singular vectors are the first start; they need as many rows and columns as concepts
    first = "nndsvda" if settings.concepts <= min(X.shape) else "random"
    best: NMF | None = None
    for start in range(settings.starts):
        model = NMF(
            settings.concepts,
            init=first if start == 0 else "random",
            random_state=(settings.seed + start) % 2**32,
            max_iter=settings.iterations,
            tol=settings.tolerance,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by n_iter_
            model.embeddings = model.fit_transform(X)
        if best is None or model.reconstruction_err_ < best.reconstruction_err_:
            best = model
    assert best is not None
    return best.embeddings, best.components_, bool(best.n_iter_ < settings.iterations)


def _ordered(W: np.ndarray, H: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of length 1, empty concepts left out, largest share first."""
    length = np.linalg.norm(H, axis=1)
    mass = W.sum(0, dtype=np.float64) * H.sum(1, dtype=np.float64)
    order = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0]
    return (
        (W[:, order] * length[order]).astype(np.float32),
        (H[order] / length[order, None]).astype(np.float32),
        mass[order] / max(mass.sum(), np.finfo(float).tiny),
    )
