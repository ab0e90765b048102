"""Cells put together again from directions, against scipy cell by cell."""

import numpy as np
import pytest
from scipy.optimize import nnls

from whyclass.checks.concept_fidelity import rebuilt
from whyclass.concepts.reconstruction import (
    cells_of,
    dictionary,
    embedded,
    nonnegative,
    unrestricted,
)


def test_nonnegative_least_squares_are_those_of_the_whole_problem(rng):
    X, D = rng.random((20, 30)), rng.standard_normal((5, 30))
    found = nonnegative(X, D)
    assert found == pytest.approx(np.stack([nnls(D.T, x)[0] for x in X]), abs=1e-9)
    assert (found >= 0).all()
    assert (found == 0).any()


def test_directions_that_are_the_same_twice_do_no_harm(rng):
    D = np.repeat(rng.random((2, 8)), 2, 0)
    X = rng.random((6, 2)) @ D[::2]
    assert nonnegative(X, D) @ D == pytest.approx(X, abs=1e-8)


def test_unrestricted_leaves_less_and_may_be_negative(rng):
    X, D = rng.standard_normal((10, 12)), rng.random((4, 12))
    W = unrestricted(X, D)
    assert (W < 0).any()
    assert np.linalg.norm(X - W @ D) < np.linalg.norm(X - nonnegative(X, D) @ D)


def test_cells_and_maps_keep_their_places(rng):
    D = np.eye(3)
    A = rng.random((2, 3, 4, 5)).astype(np.float32)
    W = embedded(A, D)
    assert W.shape == (2, 4, 5, 3)
    assert rebuilt(W, D) == pytest.approx(A, abs=1e-6)
    assert (cells_of(A)[7] == A[0, :, 1, 2]).all()


def test_a_dictionary_is_sorted_by_what_it_carries(rng):
    A = np.zeros((1, 4, 1, 10), np.float32)
    A[0, 0], A[0, 1], A[0, 2] = 1, 5, 2
    found = dictionary(3 * np.eye(4)[:3], A)
    assert np.argmax(found.concepts, 1).tolist() == [1, 2, 0]
    assert np.linalg.norm(found.concepts, axis=1) == pytest.approx(1)
    assert found.shares == pytest.approx([5 / 8, 2 / 8, 1 / 8])
    assert found.residual == pytest.approx(0, abs=1e-6)
    assert found.embeddings[0, 0, 0] == pytest.approx([5, 2, 1])


def test_what_no_cell_holds_has_no_share():
    A = np.ones((1, 2, 1, 1), np.float32)
    found = dictionary(np.array([[-1.0, -1.0], [-2.0, -1.0]]), A)
    assert found.shares.tolist() == [0.5, 0.5]
    assert found.residual == pytest.approx(1)
