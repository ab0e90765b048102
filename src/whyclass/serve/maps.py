"""All concepts of several classes in two dimensions, and those that classes share."""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE

from whyclass.errors import ClassError, RecordError, StoreError
from whyclass.records import ConceptMap
from whyclass.serve.catalogue import Catalogue, Group, Listed, ListedConcept
from whyclass.store import Store, key_in

FOLDER = "maps"

FEWEST = 4
"""Concepts that make a map."""

DIMENSIONS = 50
"""To which directions are reduced before: t-SNE's distances are slow in thousands, and little is lost."""

PERPLEXITY = 30.0

Concepts = list[tuple[Listed, ListedConcept]]


def concepts_of(group: Group) -> Concepts:
    """Every concept of a group with its class, by class and number."""
    return [(listed, concept) for listed in group.classes for concept in listed.concepts]


def directions(found: Concepts) -> np.ndarray:
    """Unit vectors (n, c), float32."""
    matrix = np.stack([concept.vector for _, concept in found]).astype(np.float32)
    return np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12))


def make(store: Store, group: str) -> None:
    """Place the concepts of a group by t-SNE, and keep the map.

    Raises
    ------
    ClassError
        If there are too few.
    """
    found = Catalogue(store).groups().get(group)
    concepts = concepts_of(found) if found else []
    if len(concepts) < FEWEST:
        raise ClassError(
            f"there are {len(concepts)} concepts; a map needs {FEWEST}: explain more classes first"
        )
    points = placed(directions(concepts))
    keys = tuple(concept.key for _, concept in concepts)
    store.keep(ConceptMap(keys, points), store.record(FOLDER, group))


def placed(matrix: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points (n, 2), float32, from 0 to 1, of directions (n, c)."""
    centred = matrix - matrix.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred) if len(matrix.T) <= len(matrix) else _small(centred)
    reduced = centred @ vectors[:, np.argsort(-values)[:DIMENSIONS]]
    perplexity = min(PERPLEXITY, (len(matrix) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / np.maximum(high - low, 1e-12), np.float32)


def _small(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes where there are fewer rows than channels."""
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    return values, vectors.T


def kept(store: Store, group: str) -> ConceptMap | None:
    """The map of a group, where it was made."""
    file = store.record(FOLDER, group)
    try:
        return ConceptMap.load(file, (key_in(file),)) if file.exists() else None
    except (RecordError, StoreError):
        return None


def alike(
    group: Group, listed: Listed, number: int, count: int = 12
) -> list[tuple[Listed, ListedConcept, float]]:
    """Concepts of other classes whose directions are nearest to one's, with their cosines; nearest first."""
    found = [pair for pair in concepts_of(group) if pair[0].target.index != listed.target.index]
    mine = next((one for one in listed.concepts if one.number == number), None)
    if mine is None or not found:
        return []
    own = mine.vector.astype(np.float32)
    cosines = directions(found) @ (own / max(float(np.linalg.norm(own)), 1e-12))
    order = np.argsort(-cosines, kind="stable")[:count]
    return [(*found[place], float(cosines[place])) for place in order]
