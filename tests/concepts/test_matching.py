"""How alike concepts are."""

import numpy as np
import pytest

from whyclass.concepts.matching import nearest_other


def test_a_set_is_as_alike_as_its_rows_are_to_their_nearest():
    A = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 2]])
    assert nearest_other(A) == pytest.approx((0.6 + 0.6 + 0) / 3)


def test_one_thing_told_several_times_is_alike_and_axes_are_not(rng):
    row = rng.standard_normal(50)
    assert nearest_other(row + 1e-3 * rng.standard_normal((6, 50))) > 0.999
    assert nearest_other(np.eye(6, 50)) == 0
