"""Six concepts of a class: non-negative factors of its scored activations.

Signed activations are made non-negative first, and the concepts signed again; or only the embeddings are
non-negative, and concepts of any sign (`Settings.signed`).

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
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from whyclass.errors import AttributionError
from whyclass.records import Factors
from whyclass.settings import Settings, seed_of

SWEEPS = 5
"""Of the embeddings' coordinates, for each time that semi-NMF solves for the concepts."""

NOTHING_SPEAKS = "no cell has a positive attribution: nothing at this layer speaks for the class; try another"

Item = TypeVar("Item")
Made = TypeVar("Made")

Found = tuple[float, np.ndarray, np.ndarray, bool]
"""One start's error, W, H, and whether it converged."""


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
    weights = scores.reshape(-1)
    kept = np.flatnonzero(weights > 0)
    if kept.size == 0:
        raise AttributionError(NOTHING_SPEAKS)
    X = _scored(activations, weights)
    X = SIGNED[settings.signed](X) if X.min() < 0 else X
    largest = max(X.max(), -X.min())
    if largest > 0:
        X /= largest
    X = X.astype(np.float32, copy=False)
    W, H, converged = _nmf(X, settings, threads or os.cpu_count() or 1)
    left = W @ H
    np.subtract(X, left, out=left)
    residual = float(np.linalg.norm(left) / max(np.linalg.norm(X), np.finfo(float).tiny))
    return as_factors((W, H), kept, activations.shape, residual, converged)


def as_factors(
    found: tuple[np.ndarray, np.ndarray],
    kept: np.ndarray,
    shape: tuple[int, ...],
    residual: float,
    converged: bool,
) -> Factors:
    """The record of a W and an H, for the ``kept`` cells of activations of a shape (n, c, h, w).

    Raises
    ------
    AttributionError
        If no concept is left of them.
    """
    n, c, h, w = shape
    W, H, shares = _ordered(*found, c)
    if not len(H):
        raise AttributionError("the cells with a positive attribution are all zero; try another layer")
    embeddings = np.zeros((n * h * w, len(H)), np.float32)
    embeddings[kept] = W
    return Factors(H, embeddings.reshape(n, h, w, -1), shares, residual, converged)


def side_by_side(
    make: Callable[[Item], Made], items: Iterable[Item], threads: int | None = None
) -> list[Made]:
    """What is made of each item, such as a factorisation on one thread; as many at a time as processors."""
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # each factorisation changes the filters and puts them back, in any order: this one stays
        warnings.simplefilter("ignore", ConvergenceWarning)
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            return list(pool.map(make, items))


def _scored(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cells (m, c) of activations (n, c, h, w) whose weight, of (n*h*w,), is positive, times it.

    Image by image: of a whole pool's activations there is then no second copy.
    """
    n, c = activations.shape[:2]
    of_images = weights.reshape(n, -1)
    X = np.empty(((weights > 0).sum(), c), np.result_type(activations, weights))
    start = 0
    for image, own in zip(activations, of_images, strict=True):
        kept = np.flatnonzero(own > 0)
        rows = X[start : start + len(kept)]
        np.multiply(image.reshape(c, -1)[:, kept].T, own[kept, None], out=rows)
        start += len(kept)
    return X


def strongest(embeddings: np.ndarray, count: int) -> list[int]:
    """Up to ``count`` of n images in which the concepts are most active: each concept's best in turn.

    ``embeddings`` has shape (n, h, w, k); the images come in their own order.
    """
    order = np.argsort(-embeddings.max((1, 2)), axis=0, kind="stable")
    turns = dict.fromkeys(int(image) for image in order.reshape(-1))
    return sorted(list(turns)[:count])


def _semi_nmf(
    X: np.ndarray, length: np.ndarray, unit: np.ndarray, alone: Lock, settings: Settings, start: int
) -> Found:
    """Semi-NMF of a float64 matrix of any sign: ``X ~ W H``, ``W >= 0`` (Ding, Li and Jordan, 2010).

    Rounds of exact least squares for H, and of descent along each coordinate of W in turn; none of either
    raises the error. Their multiplicative rule for W has the same fixed points and takes more rounds.

    ``length`` (m, 1) and ``unit`` (m, c) are the rows' norms and directions; all starts read the same ones.
    """
    with alone:  # each clustering copies all directions
        W = _clustered(length, unit, settings, start)
    total = float(np.vdot(X, X))
    error = total
    for _ in range(settings.iterations):
        H = np.linalg.lstsq(W.T @ W, W.T @ X, rcond=None)[0]
        XHt, HHt = X @ H.T, H @ H.T
        for _ in range(SWEEPS):
            for k in np.flatnonzero(np.diag(HHt) > 0):
                W[:, k] = np.maximum(W[:, k] + (XHt[:, k] - W @ HHt[:, k]) / HHt[k, k], 0)
        before, error = error, total - 2 * float(np.vdot(W, XHt)) + float(np.vdot(W.T @ W, HHt))
        if before - error <= settings.tolerance * before:
            return error, W, H, True
    return error, W, H, False


def _directions(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Norms (m, 1) of the rows, and the rows divided by them."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return length, X / np.maximum(length, np.finfo(float).tiny)


def _clustered(length: np.ndarray, unit: np.ndarray, settings: Settings, start: int) -> np.ndarray:
    """Embeddings to begin with: each cell holds the one cluster of directions that it lies in.

    Concepts of any sign fit as well from a wider cone than the cells fill; begun from clusters, as in the
    paper, they end where cells are, and begun at random they need not.
    """
    count = min(settings.concepts, len(unit))
    clusters = KMeans(count, n_init=1, random_state=seed_of("nmf", settings.seed, str(start)) % 2**32)
    with threadpool_limits(1, user_api="openmp"):  # sums of several threads come in any order
        labels = clusters.fit_predict(unit)
    return length * (labels[:, None] == np.arange(settings.concepts))


def _plain_nmf(X: np.ndarray, settings: Settings, start: int) -> Found:
    """scikit-learn's NMF."""
    # singular vectors are the first start; they need as many rows and columns as concepts
    first = "nndsvda" if settings.concepts <= min(X.shape) else "random"
    model = NMF(
        settings.concepts,
        init=first if start == 0 else "random",
        random_state=seed_of("nmf", settings.seed, str(start)) % 2**32,
        max_iter=settings.iterations,
        tol=settings.tolerance,
    )
    W = model.fit_transform(X)
    return model.reconstruction_err_, W, model.components_, bool(model.n_iter_ < settings.iterations)


def _nmf(X: np.ndarray, settings: Settings, threads: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """The best of several starts; of equally good ones the first.

    They run side by side, and the products of each on one thread: as fast as the other way round, and
    the number of processors changes no bit of the result.
    """
    solver: Callable[[Settings, int], Found] = partial(_plain_nmf, X)
    if X.min() < 0:
        X = X.astype(np.float64)  # of float32's sums the error of a round would be too rough to stop by
        solver = partial(_semi_nmf, X, *_directions(X), Lock())
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by n_iter_
        with ThreadPoolExecutor(min(settings.starts, threads)) as pool:
            found = list(pool.map(lambda start: solver(settings, start), range(settings.starts)))
    _, W, H, converged = min(found, key=lambda one: one[0])
    return W, H, converged


def _split(X: np.ndarray) -> np.ndarray:
    """The positive and the negative part side by side, (m, 2c)."""
    c = X.shape[1]
    parts = np.empty((len(X), 2 * c), X.dtype)
    np.maximum(X, 0, out=parts[:, :c])
    np.maximum(np.negative(X, out=X), 0, out=parts[:, c:])
    return parts


SIGNED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "split": _split,
    "clip": lambda X: np.maximum(X, 0, out=X),
    "semi": lambda X: X,
}
"""What is factorised of a signed matrix (m, c), by `Settings.signed`; semi-NMF takes it as it is.

The matrix itself may be written over."""


def _ordered(W: np.ndarray, H: np.ndarray, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of length 1 in ``c`` channels, empty concepts left out, largest share first."""
    mass = W.sum(0, dtype=np.float64) * np.abs(H).sum(1, dtype=np.float64)
    V = H[:, :c] - H[:, c:] if H.shape[1] > c else H
    length = np.linalg.norm(V, axis=1)
    order = [k for k in np.argsort(-mass, kind="stable") if mass[k] > 0 and length[k] > 0]
    return (
        (W[:, order] * length[order]).astype(np.float32),
        (V[order] / length[order, None]).astype(np.float32),
        mass[order] / max(mass.sum(), np.finfo(float).tiny),
    )
