"""The same fit again: what it says of a plane, and that it is the same fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whyclass.concepts import hyperplane_refits
from whyclass.concepts.hyperplane_refits import Counts, known
from whyclass.concepts.hyperplane_training import Fitting, hold_out, hyperplanes
from whyclass.concepts.hyperplanes import Cells

FITTING = Fitting(lr=0.5)


def cells(seed: int, images: int, channels: int, shift: float, each: int = 6) -> Cells:
    """Cells of images; the first channels tell classes apart, others tell images apart."""
    rng = np.random.default_rng(seed)
    image = np.arange(images).repeat(each) * 3  # numbers of images need not be in sequence
    vectors = rng.normal(size=(len(image), channels)) + rng.normal(size=(images, channels)).repeat(each, 0)
    vectors[:, :4] += shift
    return Cells(vectors.astype(np.float32), image)


def both(shift: float = 1.5, channels: int = 16, images: int = 12) -> tuple[Cells, Cells]:
    return cells(0, images, channels, 0.0), cells(1, images, channels, shift)


@pytest.mark.parametrize("channels", [16, 400])  # more cells than channels, and fewer
def test_refits_are_the_fits_of_the_pairs(channels):
    two = both(channels=channels)
    plane = hyperplanes({3: two[0], 7: two[1]}, [(3, 7)], FITTING)
    found = known(two, (3, 7), plane.weights[0], Counts(2, 2, 3), FITTING)
    assert found.balanced == pytest.approx(plane.held_out.balanced[0], abs=1e-6)
    kept = [
        Cells(own.vectors[into], own.image[into])
        for own, k in zip(two, (3, 7), strict=True)
        for into in [~np.isin(own.image, hold_out(np.unique(own.image), k, 0, FITTING.held_out))]
    ]
    unseen = hyperplanes({3: kept[0], 7: kept[1]}, [(3, 7)], replace(FITTING, held_out=0.0))
    np.testing.assert_allclose(found.unseen[0], unseen.weights[0], atol=1e-4)
    assert found.unseen[1] == pytest.approx(float(unseen.biases[0]), abs=1e-4)
    assert (len(found.starts), len(found.bootstraps), len(found.permuted)) == (2, 2, 3)


def test_both_directions_know_the_same():
    two = both()
    plane = hyperplanes({3: two[0], 7: two[1]}, [(3, 7)], FITTING)
    one = known(two, (3, 7), plane.weights[0], Counts(2, 2, 3), FITTING)
    other = known(two[::-1], (7, 3), -plane.weights[0], Counts(2, 2, 3), FITTING)
    assert (one.start, one.balanced) == (other.start, other.balanced)
    for name in ("starts", "bootstraps", "permuted"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(one.unseen[0], -other.unseen[0])


def test_a_short_descent_stays_near_its_start_and_a_long_one_forgets_it():
    two, found = both(), {}
    for epochs in (1, 2000):
        fitting = replace(FITTING, epochs=epochs)
        plane = hyperplanes({3: two[0], 7: two[1]}, [(3, 7)], fitting)
        found[epochs] = known(two, (3, 7), plane.weights[0], Counts(5, 20, 0), fitting)
    assert found[1].start > 0.5 > found[2000].start
    assert np.median(found[1].starts) < 0.9 < np.median(found[2000].starts)
    assert np.median(found[1].bootstraps) < np.median(found[2000].bootstraps)


@pytest.mark.parametrize(("shift", "real"), [(4.0, True), (0.0, False)])
def test_permuted_images_are_beaten_where_classes_differ_and_else_not(shift, real):
    ps = []
    for seed in range(6):
        fitting = replace(FITTING, seed=seed)
        two = cells(2 * seed, 12, 16, 0.0), cells(2 * seed + 1, 12, 16, shift)
        plane = hyperplanes({0: two[0], 1: two[1]}, [(0, 1)], fitting)
        found = known(two, (0, 1), plane.weights[0], Counts(0, 0, 99), fitting)
        ps.append((1 + (found.permuted >= found.balanced).sum()) / 100)
    assert (np.median(ps) <= 0.05) == real


def test_permutations_move_whole_images():
    """Cells of one image are alike: permuted cell by cell, any two sets of images would seem to differ."""
    two = both(0.0)
    made = hyperplane_refits._Both.of(two, (0, 1), FITTING)
    plans = hyperplane_refits._plans(made, (0, 1), Counts(0, 3, 20), 0)
    for kind, y, share, _ in plans:
        for image in np.unique(made.image):
            own = made.image == image
            assert np.ptp(y[own]) == np.ptp(share[own]) == 0
        if kind == "permuted":
            assert (share[made.held[made.image]] == 0).all()
            assert y[made.held[made.image]].sum() == made.first[made.image][made.held[made.image]].sum()


def test_of_a_single_image_nothing_is_held_out():
    two = cells(0, 1, 16, 0.0), cells(1, 8, 16, 1.0)
    plane = hyperplanes({0: two[0], 1: two[1]}, [(0, 1)], FITTING)
    found = known(two, (0, 1), plane.weights[0], Counts(2, 2, 9), FITTING)
    assert found.balanced is None
    assert found.unseen is None
    assert not found.permuted.size


def test_any_way_to_fit_can_be_examined():
    """Such as the difference of means, which has no start."""

    def means(fits, fitting):
        a, b = ((fits.share * part) @ fits.X for part in (fits.y, 1 - fits.y))
        w = a - b
        return w, -((a + b) * w).sum(1)

    two = both(4.0)
    w = two[0].vectors.mean(0) - two[1].vectors.mean(0)
    found = known(two, (0, 1), w, Counts(3, 5, 19), FITTING, means)
    assert found.starts == pytest.approx(1.0, abs=1e-5)
    assert found.balanced == 1
    assert (found.permuted == 1).mean() < 0.2  # of so few images some permutations hardly change any
