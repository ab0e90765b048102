"""Planted concepts are found again, whatever else the cells hold."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from whyclass.concepts.nmf import factorise
from whyclass.errors import AttributionError
from whyclass.settings import Settings

N, C, SIDE = 6, 12, 7


def planted(rng, k=3):
    """Activations (n, c, h, w) whose every cell is a mixture of ``k`` concepts (k, c), and the mixture."""
    concepts = rng.random((k, C)) * (rng.random((k, C)) < 0.5) + np.eye(k, C)
    amounts = rng.random((N * SIDE * SIDE, k)) * (rng.random((N * SIDE * SIDE, k)) < 0.5)
    cells = (amounts @ concepts).reshape(N, SIDE, SIDE, C).transpose(0, 3, 1, 2)
    return cells.astype(np.float32), concepts, amounts


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def settings(k=3, **changes):
    return Settings(concepts=k, iterations=2000, tolerance=1e-7, **changes)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_planted_concepts_are_found(rng, k):
    cells, concepts, _ = planted(rng, k)
    found = factorise(cells, np.ones((N, SIDE, SIDE), np.float32), settings(k))
    cosines = found.concepts @ unit(concepts).T
    best = max(permutations(range(k)), key=lambda order: sum(cosines[i, j] for i, j in enumerate(order)))
    assert min(cosines[i, j] for i, j in enumerate(best)) > 0.99
    assert found.residual < 0.02


def test_scores_weigh_the_cells(rng):
    cells, concepts, amounts = planted(rng, 3)
    mostly = (amounts.argmax(1) == 1) & (amounts[:, 1] > 0)
    scores = np.where(mostly, 1.0, 1e-6).reshape(N, SIDE, SIDE).astype(np.float32)
    found = factorise(cells, scores, settings(1))
    assert float(found.concepts[0] @ unit(concepts)[1]) > 0.9


def test_cells_without_a_score_change_nothing(rng):
    cells, _, _ = planted(rng)
    scores = np.ones((N, SIDE, SIDE), np.float32)
    scores[:, 2:5] = 0
    other = cells.copy()
    other[:, :, 2:5] = 99
    one, two = (factorise(values, scores, settings()) for values in (cells, other))
    assert np.array_equal(one.concepts, two.concepts)
    assert np.array_equal(one.embeddings, two.embeddings)
    assert (one.embeddings[:, 2:5] == 0).all()


def test_the_parts_make_the_whole(rng):
    cells, _, _ = planted(rng)
    scores = rng.random((N, SIDE, SIDE)).astype(np.float32)
    found = factorise(cells, scores, settings())
    X = (cells * scores[:, None]).transpose(0, 2, 3, 1).reshape(-1, C)
    X /= X.max()
    back = found.embeddings.reshape(-1, 3) @ found.concepts
    assert np.linalg.norm(X - back) / np.linalg.norm(X) == pytest.approx(found.residual, abs=1e-5)
    carried = [np.outer(found.embeddings[..., j], found.concepts[j]).sum() for j in range(3)]
    assert np.allclose(found.shares, np.array(carried) / back.sum(), atol=1e-5)


def test_shapes_and_units(rng):
    cells, _, _ = planted(rng)
    found = factorise(cells, rng.random((N, SIDE, SIDE)).astype(np.float32), settings())
    assert found.concepts.shape == (3, C)
    assert found.embeddings.shape == (N, SIDE, SIDE, 3)
    assert found.concepts.dtype == found.embeddings.dtype == np.float32
    assert (found.concepts >= 0).all()
    assert (found.embeddings >= 0).all()
    assert np.allclose(np.linalg.norm(found.concepts, axis=1), 1, atol=1e-5)
    assert found.shares.sum() == pytest.approx(1)
    assert (np.diff(found.shares) <= 0).all()


@pytest.mark.parametrize("starts", [1, 3])
def test_the_same_seed_gives_the_same_bytes(rng, starts):
    cells, _, _ = planted(rng)
    scores = rng.random((N, SIDE, SIDE)).astype(np.float32)
    one, two = (factorise(cells, scores, settings(starts=starts, seed=7)) for _ in range(2))
    for name in ("concepts", "embeddings", "shares"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_the_arguments_are_not_changed(rng):
    cells, _, _ = planted(rng)
    scores = rng.random((N, SIDE, SIDE)).astype(np.float32)
    before = cells.copy(), scores.copy()
    factorise(cells, scores, settings())
    assert np.array_equal(cells, before[0])
    assert np.array_equal(scores, before[1])


def test_more_starts_never_reconstruct_worse(rng):
    cells = rng.random((2, C, 4, 4)).astype(np.float32)
    scores = np.ones((2, 4, 4), np.float32)
    residuals = [
        factorise(cells, scores, Settings(concepts=4, starts=starts)).residual for starts in (1, 4, 8)
    ]
    assert residuals == sorted(residuals, reverse=True)


@pytest.mark.parametrize(("cells", "k"), [(1, 6), (3, 6), (2, 2)])
def test_fewer_cells_than_concepts_give_fewer_concepts(rng, cells, k):
    activations, _, _ = planted(rng)
    scores = np.zeros((N, SIDE, SIDE), np.float32)
    scores.reshape(-1)[:cells] = 1
    found = factorise(activations, scores, settings(k))
    assert 1 <= len(found.concepts) <= k
    assert found.embeddings.shape == (N, SIDE, SIDE, len(found.concepts))
    assert np.isfinite(found.concepts).all()
    assert found.residual < 0.05
    assert found.shares.sum() == pytest.approx(1)


def test_cells_of_one_kind_hold_one_concept():
    cells = np.ones((1, C, 3, 3), np.float32)
    found = factorise(cells, np.ones((1, 3, 3), np.float32), settings(6))
    assert found.residual < 0.01
    assert np.allclose(
        unit(found.embeddings.reshape(-1, len(found.concepts)) @ found.concepts), C**-0.5, atol=0.01
    )


@pytest.mark.parametrize(
    ("activation", "score", "reason"),
    [(1.0, 0.0, "no cell has a positive attribution"), (0.0, 1.0, "are all zero")],
)
def test_nothing_to_factorise_is_a_clear_error(activation, score, reason):
    cells = np.full((2, C, 3, 3), activation, np.float32)
    with pytest.raises(AttributionError, match=reason):
        factorise(cells, np.full((2, 3, 3), score, np.float32), settings())


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**-20, 2.0**90])
def test_the_scale_of_the_activations_does_not_matter(rng, scale):
    cells, _, _ = planted(rng)
    scores = rng.random((N, SIDE, SIDE)).astype(np.float32)
    one = factorise(cells, scores, settings())
    other = factorise(cells * np.float32(scale), scores, settings())
    assert np.array_equal(one.concepts, other.concepts)
    assert np.array_equal(one.embeddings, other.embeddings)


def test_it_is_said_whether_the_tolerance_was_reached(rng):
    cells, _, _ = planted(rng)
    scores = np.ones((N, SIDE, SIDE), np.float32)
    assert not factorise(cells, scores, Settings(concepts=3, iterations=2, tolerance=0.0)).converged
    assert factorise(cells, scores, Settings(concepts=3, iterations=2000, tolerance=1e-3)).converged
