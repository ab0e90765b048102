"""Six concepts of a class: non-negative factors of its scored activations.

Signed activations are made non-negative first, and the concepts signed again (`Settings.signed`).

Notation
--------
``X (m, c)``
    cells of all images, each scaled by its score; ``X ~ W H``.
``W (m, k)``
    embeddings: how much of each concept a cell holds. ``H (k, c)`` concepts.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from .errors import AttributionError
from .records import Factors
from .settings import Settings


def factorise(
    activations: np.ndarray, scores: np.ndarray, settings: Settings, threads: int | None = None
) -> Factors:
    """Factorise the activations (n, c, h, w), each cell times its score (n, h, w), by NMF (paper, 4.1).

    ``threads`` for the starts, of which each runs on one: the machine's processors, unless told. They
    change no bit of the result.

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
    signed = bool((X < 0).any())
    X = _parts(X, settings.signed) if signed else X
    X = (X / X.max()).astype(np.float32) if X.max() > 0 else X.astype(np.float32)
    W, H, converged = _nmf(X, settings, threads or os.cpu_count() or 1)
    residual = float(np.linalg.norm(X - W @ H) / max(np.linalg.norm(X), np.finfo(float).tiny))
    W, H, shares = _ordered(W, H, c)
    if not len(H):
        raise AttributionError("the cells with a positive attribution are all zero; try another layer")
    embeddings = np.zeros((weights.size, len(H)), np.float32)
    embeddings[kept] = W
    return Factors(H, embeddings.reshape(n, h, w, -1), shares, residual, converged)


def strongest(embeddings: np.ndarray, count: int) -> list[int]:
    """Up to ``count`` of n images in which the concepts are most active: each concept's best in turn.

    ``embeddings`` has shape (n, h, w, k); the images come in their own order.
    """
    order = np.argsort(-embeddings.max((1, 2)), axis=0, kind="stable")
    turns = dict.fromkeys(int(image) for image in order.reshape(-1))
    return sorted(list(turns)[:count])


def _nmf(X: np.ndarray, settings: Settings, threads: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """The best of several of scikit-learn's NMFs; of equally good ones the first.

    The starts run side by side, and the products of each on one thread: as fast as the other way
    round, and the number of processors changes no bit of the result.
    """
    # singular vectors are the first start; they need as many rows and columns as concepts
    first = "nndsvda" if settings.concepts <= min(X.shape) else "random"

    def begin(start: int) -> tuple[np.ndarray, NMF]:
        model = NMF(
            settings.concepts,
            init=first if start == 0 else "random",
            random_state=(settings.seed + start) % 2**32,
            max_iter=settings.iterations,
            tol=settings.tolerance,
        )
        return model.fit_transform(X), model

    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by n_iter_
        with ThreadPoolExecutor(min(settings.starts, threads)) as pool:
            found = list(pool.map(begin, range(settings.starts)))
    W, best = min(found, key=lambda one: one[1].reconstruction_err_)
    return W, best.components_, bool(best.n_iter_ < settings.iterations)


def _parts(X: np.ndarray, how: str) -> np.ndarray:
    """A signed matrix (m, c) as a non-negative one: its parts side by side (m, 2c), or the positive one."""
    positive = np.maximum(X, 0)
    return np.concatenate([positive, np.maximum(-X, 0)], 1) if how == "split" else positive


def _ordered(W: np.ndarray, H: np.ndarray, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of length 1 in ``c`` channels, empty concepts left out, largest share first."""
    mass = W.sum(0, dtype=np.float64) * H.sum(1, dtype=np.float64)
    V = H[:, :c] - H[:, c:] if H.shape[1] > c else H
    length = np.linalg.norm(V, axis=1)
    order = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0 and length[k] > 0]
    return (
        (W[:, order] * length[order]).astype(np.float32),
        (V[order] / length[order, None]).astype(np.float32),
        mass[order] / max(mass.sum(), np.finfo(float).tiny),
    )
