"""Embeddings on fixed concepts, against SciPy's active-set method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls as reference

from whyclass.concepts import nnls


@pytest.mark.parametrize("signed", [False, True])
def test_each_row_is_the_least_squares_solution(rng, signed):
    concepts = rng.normal(size=(6, 40)) if signed else rng.random((6, 40))
    cells = rng.normal(size=(50, 40)) if signed else rng.random((50, 40))
    found = nnls.embeddings(cells.astype(np.float32), concepts.astype(np.float32))
    wanted = np.stack([reference(concepts.T, cell)[0] for cell in cells])
    assert found == pytest.approx(wanted, abs=2e-4 * wanted.max())
    assert (found >= 0).all()
    assert (wanted == 0).any()  # else it would be plain least squares


def test_nearly_equal_concepts_fit_as_well(rng):
    concepts = rng.random((1, 30)) + 1e-3 * rng.random((8, 30))
    cells = rng.random((20, 30))
    found = nnls.embeddings(cells.astype(np.float32), concepts.astype(np.float32))
    left = np.linalg.norm(cells - found @ concepts, axis=1)
    best = np.array([reference(concepts.T, cell)[1] for cell in cells])
    assert left == pytest.approx(best, rel=1e-3)


def test_what_cells_are_made_of_is_found_again(rng):
    concepts = rng.random((4, 20)).astype(np.float32)
    held = rng.random((2, 3, 5, 4)).astype(np.float32) * (rng.random((2, 3, 5, 4)) > 0.5)
    activations = np.einsum("nhwk,kc->nchw", held, concepts)
    assert nnls.maps(activations, concepts) == pytest.approx(held, abs=1e-3)


def test_a_concept_of_zeros_and_cells_of_zeros_hold_nothing(rng):
    concepts = np.concatenate([rng.random((2, 9)), np.zeros((1, 9))]).astype(np.float32)
    found = nnls.embeddings(np.stack([np.zeros(9), np.ones(9)]).astype(np.float32), concepts)
    assert not found[0].any()
    assert not found[:, 2].any()
    assert found[1, :2].any()
