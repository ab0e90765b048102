"""Every way to lay planes, for many pairs at once, against a slow plain one for a single pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from whyclass import settings
from whyclass.concepts.hyperplane_refits import Counts, known
from whyclass.concepts.hyperplane_training import Fitting, folds, hyperplanes, start_seed
from whyclass.concepts.hyperplanes import Cells
from whyclass.concepts.logistic_optimum import Stop, minimised
from whyclass.concepts.planes import FOLDS, PLANES, STRENGTHS
from whyclass.errors import SettingsError

Pair = tuple[Cells, Cells]
Plain = Callable[[Pair, tuple[int, int]], tuple[np.ndarray, float]]


@pytest.fixture(scope="module")
def cells() -> dict[int, Cells]:
    """Classes of unlike sizes; one image of each holds half of its cells, and is unlike the others."""
    rng, found = np.random.default_rng(3), {}
    for k, m in {2: 160, 5: 60, 6: 90}.items():
        image = np.sort(np.concatenate([np.full(m // 2, 3), rng.integers(4, 16, m - m // 2)]))
        vectors = rng.normal(rng.normal(size=24) * 0.4, 1, (m, 24)) + (image == 3)[:, None] * rng.normal(
            size=24
        )
        found[k] = Cells(np.maximum(vectors, 0).astype(np.float32), image)
    return found


def stacked(pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of A and B, their labels, and weights: one half for each class, the same for its images."""
    X = np.concatenate([own.vectors for own in pair]).astype(np.float64)
    y = np.repeat([1.0, 0.0], [len(own.image) for own in pair])
    weight = np.concatenate(
        [[0.5 / len(set(own.image)) / (own.image == i).sum() for i in own.image] for own in pair]
    )
    return X, y, weight


def descent(
    X: np.ndarray, y: np.ndarray, weight: np.ndarray, w: np.ndarray, b: float
) -> tuple[np.ndarray, float]:
    for _ in range(100):
        left = weight * (1 / (1 + np.exp(-(X @ w + b))) - y)
        w, b = w - 0.01 * left @ X, b - 0.01 * left.sum()
    return w, float(b)


def plain_paper(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    X, y, _ = stacked(pair)
    with torch.random.fork_rng():
        torch.manual_seed(start_seed(0, *names))
        layer = torch.nn.Linear(X.shape[1], 1)
    return descent(X, y, np.full(len(y), 1 / len(y)), layer.weight.detach().numpy()[0], layer.bias.item())


def plain_zero(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    X, y, _ = stacked(pair)
    return descent(X, y, np.full(len(y), 1 / len(y)), np.zeros(X.shape[1]), 0.0)


def plain_balanced(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    X, y, weight = stacked(pair)
    return descent(X, y, weight, np.zeros(X.shape[1]), 0.0)


def plain_mean(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    a, b = (own.vectors.astype(np.float64).mean(0) for own in pair)
    return a - b, -(a - b) @ (a + b) / 2


def plain_pattern(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    X, y, weight = stacked(pair)
    w, _ = plain_balanced(pair, names)
    found = np.cov(X.T, aweights=weight, ddof=0) @ w
    a, b = (np.average(X[y == value], 0, weight[y == value]) for value in (1, 0))
    return found, -found @ (a + b) / 2


def variance(pair: Pair) -> float:
    """Of the cells around the middle of both mean cells."""
    X, y, weight = stacked(pair)
    centre = sum(np.average(X[y == value], 0, weight[y == value]) for value in (1, 0)) / 2
    return float(weight @ ((X - centre) ** 2).sum(1))


def optimum(pair: Pair, strength: float) -> tuple[np.ndarray, float]:
    X, y, weight = stacked(pair)
    model = LogisticRegression(C=1 / (strength * variance(pair)), tol=1e-10, max_iter=10**5)
    model.fit(X, y, sample_weight=weight)
    return model.coef_[0], float(model.intercept_[0])


def plain_converged(pair: Pair, names: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Strengths one after the other, each on each fold of images left out."""
    lots = {
        k: np.random.default_rng((0, k, FOLDS)).permutation(len(set(own.image)))
        for k, own in zip(names, pair, strict=True)
    }
    fold = []
    for k, own in zip(names, pair, strict=True):
        images = sorted(set(own.image.tolist()))
        fold.append(np.array([lots[k][images.index(i)] % FOLDS for i in own.image]))
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for out in range(FOLDS):
            kept = tuple(
                Cells(own.vectors[mine != out], own.image[mine != out])
                for own, mine in zip(pair, fold, strict=True)
            )
            # the penalty is told in the variance of all cells
            w, b = optimum(kept, strength * variance(pair) / variance(kept))
            X, y, weight = stacked(pair)
            z, left = X @ w + b, np.concatenate(fold) == out
            loss += float(weight[left] @ (np.logaddexp(0, z) - y * z)[left])
        losses.append(loss)
    return optimum(pair, STRENGTHS[int(np.argmin(losses))])


TWINS: dict[str, Plain] = {
    "paper": plain_paper,
    "zero": plain_zero,
    "balanced": plain_balanced,
    "converged": plain_converged,
    "mean": plain_mean,
    "pattern": plain_pattern,
}


def test_the_rows_are_the_settings_words_and_each_has_a_twin():
    assert set(PLANES) == set(settings.PLANES) == set(TWINS)
    with pytest.raises(SettingsError, match="plane is 'slope'; choose one of paper, zero"):
        Fitting(plane="slope")
    with pytest.raises(SettingsError, match="plane is 'slope'"):
        settings.Settings(plane="slope")


@pytest.mark.parametrize("plane", PLANES)
def test_many_pairs_at_once_are_the_plain_twin(cells, plane):
    pairs = [*itertools.combinations(cells, 2), (6, 2)]
    found = hyperplanes(cells, pairs, Fitting(plane=plane))
    for (a, b), w, bias in zip(pairs[:3], found.weights, found.biases, strict=False):
        expected_w, expected_b = TWINS[plane]((cells[a], cells[b]), (a, b))
        scale = np.abs(expected_w).max()
        np.testing.assert_allclose(w, expected_w, atol=2e-3 * scale)
        assert bias == pytest.approx(expected_b, abs=2e-3 * max(1.0, abs(expected_b)))
    assert np.array_equal(found.weights[3], -found.weights[1])
    assert (found.strengths is None) == (plane != "converged")


@pytest.mark.parametrize("plane", PLANES)
def test_what_is_laid_together_changes_only_the_rounding(cells, plane):
    pairs = list(itertools.combinations(cells, 2))
    together = hyperplanes(cells, pairs, Fitting(plane=plane))
    for row, pair in enumerate(pairs):
        alone = hyperplanes(cells, [pair], Fitting(plane=plane))
        np.testing.assert_allclose(alone.weights[0], together.weights[row], atol=1e-5)
        assert alone.apart[0] == pytest.approx(together.apart[row], rel=1e-5)


@pytest.mark.parametrize("plane", PLANES)
def test_a_small_budget_takes_turns(cells, plane):
    pairs = list(itertools.combinations(cells, 2))
    whole, least = hyperplanes(cells, pairs, Fitting(plane=plane)), 4 * 250 * 40 + 4 * 40 * 24 + 8 * 1000
    turns = hyperplanes(cells, pairs, Fitting(plane=plane, budget_bytes=2 * least))
    np.testing.assert_allclose(turns.weights, whole.weights, atol=1e-5)


@pytest.mark.parametrize("plane", PLANES)
def test_the_refits_are_fits_of_the_same_kind(cells, plane):
    pair = (cells[2], cells[6])
    fitting = Fitting(plane=plane, strength=0.01 if plane == "converged" else None)
    found = hyperplanes({2: pair[0], 6: pair[1]}, [(2, 6)], fitting)
    seen = known(pair, (2, 6), found.weights[0], Counts(2, 3, 5), fitting)
    assert seen.balanced == pytest.approx(found.held_out.balanced[0], abs=1e-6)
    assert (seen.start is not None) == PLANES[plane].random
    assert (len(seen.starts), len(seen.bootstraps), len(seen.permuted)) == (2 * PLANES[plane].random, 3, 5)


def test_an_image_with_many_cells_decides_the_papers_plane_and_not_the_balanced_one(cells):
    pair = {k: cells[k] for k in (2, 6)}
    copied = {  # its cells ten times over
        k: Cells(
            np.concatenate([own.vectors, *[own.vectors[own.image == 3]] * 9]),
            np.concatenate([own.image, *[own.image[own.image == 3]] * 9]),
        )
        for k, own in pair.items()
    }
    for plane, moves in (("zero", True), ("balanced", False), ("converged", False)):
        one, two = (hyperplanes(own, [(2, 6)], Fitting(plane=plane)).weights[0] for own in (pair, copied))
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert (cosine < 0.95) == moves, plane


def test_a_lone_image_is_in_no_fold_and_others_are_dealt_out():
    assert (folds(np.full(4, 7), np.zeros(4, int)) == -1).all()
    image = np.repeat([2, 5, 9, 11], 2)
    assert folds(image, np.repeat([3, 0, 1, 2], 2)).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    lone = {
        0: Cells(np.eye(3, dtype=np.float32), np.zeros(3, int)),
        1: Cells(-np.eye(3, dtype=np.float32), np.arange(3)),
    }
    assert np.isfinite(hyperplanes(lone, [(0, 1)], Fitting(plane="converged")).weights).all()


def test_the_least_is_found_whatever_is_minimised_beside_it():
    rng = np.random.default_rng(0)
    curves = torch.from_numpy(rng.uniform(0.01, 10, (5, 8)).astype(np.float32))
    aims = torch.from_numpy(rng.normal(size=(5, 8)).astype(np.float32))

    def of(rows):
        return lambda at: (
            (curves[rows] * (at - aims[rows]) ** 2).sum(1) / 2,
            curves[rows] * (at - aims[rows]),
        )

    found = minimised(of(slice(None)), torch.zeros(5, 8), Stop(200, 1e-6))
    torch.testing.assert_close(found, aims, atol=1e-3, rtol=0)
    alone = minimised(of(slice(2, 3)), torch.zeros(1, 8), Stop(200, 1e-6))
    torch.testing.assert_close(alone[0], found[2])


def test_steps_are_measured_between_the_mean_cells(cells):
    found = hyperplanes(cells, [(2, 6), (6, 2)], Fitting(plane="mean"))
    between = cells[2].vectors.mean(0) - cells[6].vectors.mean(0)
    assert found.apart == pytest.approx(np.linalg.norm(between), rel=1e-5)
    paper = hyperplanes(cells, [(2, 6)], Fitting(plane="paper"))
    unit = paper.weights[0] / np.linalg.norm(paper.weights[0])
    assert paper.apart[0] == pytest.approx(abs(unit @ between), rel=1e-4)
