"""Measures of a comparison that follow from its concepts."""

import numpy as np
import pytest

from whyclass.report.comparison_measures import redundancy


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_set_is_as_redundant_as_its_rows_are_to_their_nearest():
    A = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]])
    assert redundancy(A) == pytest.approx((0.6 + 0.6 + 0) / 3)


def test_one_thing_told_several_times_is_redundant_and_axes_are_not(rng):
    row = rng.standard_normal(50)
    assert redundancy(unit(row + 1e-3 * rng.standard_normal((6, 50)))) > 0.999
    assert redundancy(np.eye(6, 50)) == 0
