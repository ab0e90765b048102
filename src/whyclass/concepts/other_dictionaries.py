"""Directions as other methods find them, from a class's cells alone, and controls that explain nothing.

All take activations (n, c, h, w) of a class's images and give directions with embeddings. Each has as many
directions as the settings have concepts; fewer where the cells do not span so many.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from whyclass.concepts.nmf import NOTHING_SPEAKS, factorise
from whyclass.concepts.reconstruction import cells_of, dictionary, unrestricted
from whyclass.errors import AttributionError
from whyclass.records import Factors
from whyclass.settings import Settings, seed_of

PUBLISHED: dict[str, Any] = {"starts": 1, "iterations": 200, "tolerance": 1e-4}
"""How ICE's and CRAFT's code begin and end scikit-learn's NMF: its defaults."""

SEGMENT_CLUSTERS = 25
"""Clusters of segments of which the common ones are concepts (ACE)."""


def nmf_of_cells(activations: np.ndarray, settings: Settings) -> Factors:
    """NMF of all cells, no attribution: the reducer of ICE, from one start as its code does it.

    References
    ----------
    Zhang, Madumal, Miller, Ehinger, Rubinstein 2021, https://arxiv.org/abs/2006.15417, section 3; code:
    github.com/zhangrh93/InvertibleCE, ``ChannelReducer`` with ``sklearn.decomposition.NMF``.
    """
    n, _, h, w = activations.shape
    return factorise(activations, np.ones((n, h, w), np.float32), replace(settings, **PUBLISHED), 1)


def nmf_of_crops(pooled: np.ndarray, activations: np.ndarray, settings: Settings) -> Factors:
    """NMF of the pooled activations of crops (p, c), by which the cells are then embedded: CRAFT's.

    Its recursion into earlier layers is left out: a comparison is of one layer.

    References
    ----------
    Fel, Picard, Bethune, Boissin, Vigouroux, Colin, Cadene, Serre 2023, https://arxiv.org/abs/2211.10154,
    section 3.1; code: ``craft.craft_torch.Craft.fit`` of the package craft-xai.
    """
    crops = np.ascontiguousarray(pooled, np.float32)[:, :, None, None]
    found = factorise(crops, np.ones((len(crops), 1, 1), np.float32), replace(settings, **PUBLISHED), 1)
    return dictionary(found.concepts, activations)


def clusters_of_cells(activations: np.ndarray, settings: Settings) -> Factors:
    """Centres of k-means of the cells."""
    centres, _ = _clustered(cells_of(activations), settings.concepts, settings.seed)
    return dictionary(centres, activations)


def clusters_of_scored_cells(activations: np.ndarray, scores: np.ndarray, settings: Settings) -> Factors:
    """Centres of k-means of the directions of the cells that speak for the class: what NMF factorises.

    Each cell, times its score (n, h, w), weighs its length. Clusters of the scored cells as they are would
    be of lengths as much as of directions, and several of one direction.

    Raises
    ------
    AttributionError
        If no cell has a score above zero.
    """
    scored = activations * np.maximum(scores, 0)[:, None]
    X = cells_of(scored).astype(np.float64)
    length = np.linalg.norm(X, axis=1)
    X, length = X[length > 0], length[length > 0]
    if not len(X):
        raise AttributionError(NOTHING_SPEAKS)
    centres, _ = _clustered(X / length[:, None], settings.concepts, settings.seed, length, settings.starts)
    return dictionary(centres, scored)


def principal_axes(activations: np.ndarray, settings: Settings) -> Factors:
    """Axes of the largest second moments of the cells; each turned so that most of what it holds is positive.

    PCA without centring, since a set of directions has no place for a mean: of all sets of so many directions
    it leaves least of the cells. Embeddings have any sign.
    """
    X = cells_of(activations).astype(np.float64)
    c = X.shape[1]
    values, vectors = eigh(X.T @ X, subset_by_index=(max(0, c - settings.concepts), c - 1))
    axes = vectors[:, values > values.max() * 1e-12].T[::-1]
    held = X @ axes.T
    signs = np.where(np.maximum(held, 0).sum(0) >= np.maximum(-held, 0).sum(0), 1, -1)
    return dictionary(axes * signs[:, None], activations, unrestricted)


def clusters_of_segments(segments: list[np.ndarray], activations: np.ndarray, settings: Settings) -> Factors:
    """Centres of k-means of segments' pooled activations, those in most images first: after ACE.

    Parameters
    ----------
    segments
        Of each image, the mean of the cells within each of its segments (s, c).

    Notes
    -----
    ACE passes each segment, on grey ground and enlarged, through the model, and ranks its clusters by TCAV;
    here cells are pooled within the segment, directions are centres of clusters, not CAVs, and clusters are
    ranked by how many images they occur in.

    References
    ----------
    Ghorbani, Wexler, Zou, Kim 2019, https://arxiv.org/abs/1902.03129, section 3.
    """
    X = np.concatenate(segments)
    image = np.repeat(np.arange(len(segments)), [len(one) for one in segments])
    centres, labels = _clustered(X, min(SEGMENT_CLUSTERS, len(X)), settings.seed)
    common = [len(set(image[labels == k])) for k in range(len(centres))]
    most = np.argsort(-np.array(common), kind="stable")[: settings.concepts]
    return dictionary(centres[most], activations)


def random_cells(activations: np.ndarray, settings: Settings, of: str) -> Factors:
    """Cells drawn at random from the images: a control that shows the class and explains nothing."""
    X = cells_of(activations)
    alive = np.flatnonzero(np.abs(X).sum(1) > 0)
    if not alive.size:
        raise AttributionError("all cells of the class's images are zero at this layer; try another")
    generator = np.random.default_rng(seed_of("random directions", settings.seed, of))
    picked = generator.choice(alive, min(settings.concepts, alive.size), replace=False)
    return dictionary(X[picked], activations)


def permuted(concepts: np.ndarray, activations: np.ndarray, settings: Settings, of: str) -> Factors:
    """Concepts (k, c), each with its channels in another order: a control as sparse as they are."""
    generator = np.random.default_rng(seed_of("permuted", settings.seed, of))
    return dictionary(np.stack([row[generator.permutation(len(row))] for row in concepts]), activations)


def largest_of(rows: np.ndarray, activations: np.ndarray, scores: np.ndarray, settings: Settings) -> Factors:
    """Of many directions (m, c), such as an autoencoder's decoder, those with the largest share of a class.

    What a direction holds of a class is the sum of the cells' positive projections on it, each cell times
    its score (n, h, w).
    """
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scored = cells_of(activations) * scores.reshape(-1, 1)
    held = np.zeros(len(unit))
    for start in range(0, len(unit), 1024):  # an autoencoder has more rows than a layer has channels
        block = unit[start : start + 1024]
        held[start : start + 1024] = np.maximum(scored @ block.T, 0).sum(0)
    most = np.argsort(-held, kind="stable")[: settings.concepts]
    return dictionary(unit[most], activations)


def _clustered(
    X: np.ndarray, count: int, seed: int, weights: np.ndarray | None = None, starts: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (k, c) of k-means that are not zero, and the number of each row's (m,)."""
    distinct = len(np.unique(X, axis=0))
    made = KMeans(min(count, distinct), n_init=starts, random_state=seed_of("clusters", seed, "") % 2**32)
    with threadpool_limits(1):  # sums of several threads come in any order
        labels = made.fit_predict(np.asarray(X, np.float64), sample_weight=weights)
    kept = np.flatnonzero(np.linalg.norm(made.cluster_centers_, axis=1) > 0)
    if not kept.size:
        raise AttributionError("all cells of the class's images are zero at this layer; try another")
    number = np.full(len(made.cluster_centers_), -1)
    number[kept] = np.arange(kept.size)
    return made.cluster_centers_[kept], number[labels]
