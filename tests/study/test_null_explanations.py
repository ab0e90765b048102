"""What explanations of nothing are compared by."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass.checks.statistics import damped
from whyclass.records import NullSet
from whyclass.study.null_explanations import Backing, backing, nulls


class Told:
    """Fillings in which each crop's gain is the crop itself."""

    def gain(self, nearest):
        return float(np.mean(nearest))

    def expect(self, places):
        self.expected = len(places)

    def scores(self, sets):
        return np.full(len(sets), 0.25)

    def predicted(self, sets):
        return 0.0


def test_damped_gains_keep_their_order_and_sign_and_grow_ever_less():
    gains = np.array([-20.0, -1.0, 0.0, 1.0, 5.0, 20.0])
    found = damped(gains)
    assert (np.diff(found) > 0).all()
    assert found == pytest.approx(-damped(-gains))
    assert found[3:] == pytest.approx(np.log([2, 6, 21]))


def test_backing_is_the_mean_gain_weighted_with_shares_as_it_is_and_damped():
    found = backing(Told(), [[4.0, 2.0], [0.0]], np.array([6.0, 2.0]))
    assert found.plain == pytest.approx(0.75 * 3)
    assert found.damped == pytest.approx(0.75 * np.log(4))


def test_one_crop_of_very_large_gain_does_not_make_up_for_five_of_none():
    """Such a null has the larger backing, and is not taken to reach crops that all gain."""
    shares = np.ones(3)
    real = [[4.0], [4.0], [4.0]]
    lucky, alike, none = [[20.0], [0.0], [0.0]], real, [[0.0], [0.0], [0.0]]
    sets = [NullSet("random cells", np.ones((3, 2)), shares) for _ in range(3)]
    (found,) = nulls(Told(), backing(Told(), real, shares), sets, [lucky, alike, none])
    assert found.highest == pytest.approx(20 / 3)
    assert found.highest > backing(Told(), real, shares).plain
    assert found.reached == pytest.approx((20 / 3, 4, 0))
    assert found.p == 2 / 4  # the one alike ties, and ties count
    assert (found.n, found.mean, found.predicted) == (3, 0.25, 0.0)


def test_kinds_are_compared_each_by_itself():
    shares = np.ones(1)
    sets = [NullSet(kind, np.ones((1, 2)), shares) for kind in ("random cells", "shuffled scores")]
    cells, scores = nulls(Told(), Backing(2.0, float(damped(np.array(2.0)))), sets, [[[3.0]], [[1.0]]])
    assert (cells.kind, cells.p, scores.kind, scores.p) == ("random cells", 1.0, "shuffled scores", 0.5)
