"""Hyperplanes of many pairs at once are those of the plain loop, and say for whom a cell speaks."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from whyclass.concepts.hyperplane_training import Fitting, hold_out, hyperplanes, start_seed
from whyclass.concepts.hyperplanes import Cells, against, between, select_cells
from whyclass.concepts.nmf import factorise
from whyclass.errors import AttributionError, ClassError, SettingsError
from whyclass.settings import Settings


def make(rng, sizes, c=6, images=5):
    """Cells of classes whose means differ, non-negative like what leaves a ReLU."""
    return {
        k: Cells(
            np.maximum(rng.normal(rng.normal(size=c), 1, (m, c)), 0).astype(np.float32),
            np.sort(rng.integers(0, images, m)),
        )
        for k, m in sizes.items()
    }


def plain(A, B, seed, epochs=100, lr=0.01):
    """The paper's sentence as a loop: one pair, A is 1 and B is 0."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = nn.Linear(A.shape[1], 1)
    X = torch.from_numpy(np.concatenate([A, B]))
    y = torch.cat([torch.ones(len(A), 1), torch.zeros(len(B), 1)])
    optimiser, loss = torch.optim.SGD(layer.parameters(), lr=lr), nn.BCEWithLogitsLoss()
    for _ in range(epochs):
        optimiser.zero_grad()
        loss(layer(X), y).backward()
        optimiser.step()
    return layer.weight.detach().numpy()[0], layer.bias.item()


def all_pairs(cells):
    return list(itertools.combinations(cells, 2))


def same(one, two, tolerance=1e-5):
    np.testing.assert_allclose(one.weights, two.weights, rtol=0, atol=tolerance)
    np.testing.assert_allclose(one.biases, two.biases, rtol=0, atol=tolerance)
    for mine, other in ((one.training, two.training), (one.held_out, two.held_out)):
        np.testing.assert_allclose(mine.plain, other.plain)
        np.testing.assert_array_equal(mine.cells, other.cells)


@pytest.mark.parametrize(
    ("sizes", "c"),
    [
        ({0: 40, 1: 40}, 6),
        ({3: 1, 7: 90, 8: 33}, 5),
        ({0: 25, 1: 64, 2: 7, 9: 130, 40: 3}, 37),
        ({1: 300, 2: 300, 3: 200}, 256),
    ],
)
@pytest.mark.parametrize(("epochs", "lr"), [(100, 0.01), (7, 0.5)])
def test_equals_the_plain_loop(rng, sizes, c, epochs, lr):
    cells = make(rng, sizes, c)
    found = hyperplanes(cells, all_pairs(cells), Fitting(5, epochs, lr))
    for (a, b), w, bias in zip(all_pairs(cells), found.weights, found.biases, strict=True):
        expected_w, expected_bias = plain(cells[a].vectors, cells[b].vectors, start_seed(5, a, b), epochs, lr)
        np.testing.assert_allclose(w, expected_w, rtol=0, atol=1e-5)
        assert bias == pytest.approx(expected_bias, abs=1e-5)


def test_mirrored_pairs_differ_only_in_sign(rng):
    cells = make(rng, {0: 30, 1: 20, 2: 25})
    both = hyperplanes(cells, [(0, 1), (2, 1), (1, 0), (1, 2)])
    assert np.array_equal(both.weights[:2], -both.weights[2:])
    assert np.array_equal(both.biases[:2], -both.biases[2:])
    assert np.array_equal(both.pairs[:2], both.pairs[2:, ::-1])
    for accuracy in (both.training, both.held_out):
        assert np.array_equal(accuracy.plain[:2], accuracy.plain[2:])
        assert np.array_equal(accuracy.balanced[:2], accuracy.balanced[2:])
        assert np.array_equal(accuracy.cells[:2], accuracy.cells[2:, ::-1])
        assert np.array_equal(accuracy.images[:2], accuracy.images[2:, ::-1])
    alone = hyperplanes(cells, [(1, 0)])
    assert np.array_equal(alone.weights[0], -hyperplanes(cells, [(0, 1)]).weights[0])


def test_what_is_fitted_together_changes_only_the_rounding(rng):
    # a matrix product may sum in another order when it has another number of rows, so not bit for bit
    cells = make(rng, dict.fromkeys(range(7), 50), 33)
    pairs = all_pairs(cells)
    together = hyperplanes(cells, pairs)
    order = rng.permutation(len(pairs))
    shuffled = hyperplanes(cells, [pairs[i] for i in order])
    assert np.array_equal(shuffled.weights, together.weights[order])
    for i in (0, 4, 20):
        alone = hyperplanes(cells, [pairs[i]])
        np.testing.assert_allclose(alone.weights[0], together.weights[i], rtol=0, atol=1e-6)
        assert alone.held_out.plain[0] == pytest.approx(together.held_out.plain[i])


def test_the_same_call_gives_the_same_bytes_and_another_seed_others(rng):
    cells = make(rng, dict.fromkeys(range(4), 40), images=20)
    one, two, other = (hyperplanes(cells, all_pairs(cells), Fitting(seed)) for seed in (3, 3, 4))
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.held_out.plain.tobytes() == two.held_out.plain.tobytes()
    assert not np.isclose(one.weights, other.weights).any(1).all()
    assert not np.array_equal(one.held_out.cells, other.held_out.cells)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_change_nothing_and_stay_as_they_were(rng):
    cells = make(rng, {0: 50, 1: 40, 3: 90, 4: 20, 8: 33}, 40)
    found = hyperplanes(cells, all_pairs(cells))
    again = hyperplanes(cells, all_pairs(cells))
    with ThreadPoolExecutor(1) as fresh:
        assert (torch.get_num_threads(), fresh.submit(torch.get_num_threads).result()) == (2, 2)
    torch.set_num_threads(1)
    same(found, hyperplanes(cells, all_pairs(cells)), 1e-6)
    assert found.weights.tobytes() == again.weights.tobytes()


class Counting(dict):
    """Counts how often a class's cells are asked for."""

    count = 0

    def __getitem__(self, k):
        self.count += 1
        return super().__getitem__(k)


def test_the_budget_changes_only_the_rounding(rng):
    cells = Counting(make(rng, dict.fromkeys(range(7), 60), 16))
    pairs = [*all_pairs(cells), (4, 2), (2, 4), (0, 1)]
    whole = hyperplanes(cells, pairs)
    assert cells.count == 7 + 7  # once to plan and once to fit
    least = 4 * (2 * 60 * 32 + 3 * 3 * 16 + 2 * 3 * (16 + 60))
    most = 4 * (7 * 60 * 32 + 3 * 24 * 16 + 2 * 8 * (16 + 60))
    counts = []
    for budget in (most, most - 1, (least + most) // 2, least):
        cells.count = 0
        same(whole, hyperplanes(cells, pairs, Fitting(budget_bytes=budget)), 1e-6)
        counts.append(cells.count - 7)
    assert counts[0] == 7 < counts[1] <= counts[2] < counts[3] == 2 * 21
    with pytest.raises(SettingsError, match=r"budget_bytes is 1000; classes \d and \d alone need"):
        hyperplanes(cells, pairs, Fitting(budget_bytes=1000))


def test_accuracy_by_hand():
    up, right = np.float32([[0, 9], [0, 8], [0, 7]]), np.float32([[9, 0], [8, 0], [0, 8], [7, 0]])
    cells = {4: Cells(up, np.array([0, 0, 0])), 6: Cells(right, np.array([0, 1, 1, 2]))}
    found = hyperplanes(cells, [(4, 6)])
    assert found.weights[0, 1] > 0 > found.weights[0, 0]
    assert found.training.plain == pytest.approx([6 / 7])  # all but the one of 6 that is like those of 4
    assert found.training.balanced == pytest.approx([(1 + 3 / 4) / 2])
    assert found.training.chance == pytest.approx([4 / 7])
    assert found.training.cells.tolist() == [[3, 4]]
    assert found.training.images.tolist() == [[1, 3]]
    assert not found.training.at_chance[0]


def test_identical_cells_are_at_chance(rng):
    own = make(rng, {0: 50})[0]
    found = hyperplanes({0: own, 1: own}, [(0, 1)])
    assert found.training.plain == pytest.approx([0.5])
    assert found.training.at_chance.tolist() == [True]


def test_a_hyperplane_with_all_cells_on_one_side_is_at_chance():
    many, few = np.full((95, 3), 1, np.float32), np.full((5, 3), 1.001, np.float32)
    cells = {0: Cells(many, np.arange(95) % 7), 1: Cells(few, np.arange(5))}
    found = hyperplanes(cells, [(0, 1)])
    assert found.training.plain == pytest.approx([0.95])
    assert found.training.chance == pytest.approx([0.95])
    assert found.training.balanced == pytest.approx([0.5])
    assert found.training.at_chance.all()


def test_the_second_fit_is_the_plain_loop_on_the_other_images(rng):
    cells = make(rng, {0: 80, 1: 60, 2: 70}, images=10)
    found = hyperplanes(cells, all_pairs(cells), Fitting(1))
    parts = {}
    for k, own in cells.items():
        out = np.isin(own.image, hold_out(np.arange(10), k, 1, 0.2))
        assert not set(own.image[out]) & set(own.image[~out])
        parts[k] = own.vectors[~out], own.vectors[out]
    for row, (a, b) in enumerate(all_pairs(cells)):
        (train_a, test_a), (train_b, test_b) = parts[a], parts[b]
        w, bias = plain(train_a, train_b, start_seed(1, a, b))
        hits = np.array([(test_a @ w + bias > 0).mean(), (test_b @ w + bias < 0).mean()])
        assert found.held_out.balanced[row] == pytest.approx(hits.mean())
        assert found.held_out.cells[row].tolist() == [len(test_a), len(test_b)]
        assert found.held_out.plain[row] == pytest.approx(
            hits @ found.held_out.cells[row] / found.held_out.cells[row].sum()
        )
        assert found.held_out.images[row].tolist() == [2, 2]
        assert found.training.images[row].tolist() == [10, 10]


def test_cells_of_a_seen_image_do_not_help_with_held_out_ones():
    """Every image has a direction of its own: told apart when seen, and never when not."""
    image = np.repeat(np.arange(20), 10)
    cells = {k: Cells(9 * np.eye(80, dtype=np.float32)[image + 20 * k], image) for k in range(4)}
    found = hyperplanes(cells, all_pairs(cells), Fitting(epochs=300, lr=0.1))
    assert (found.training.plain == 1).all()
    assert abs(found.held_out.plain.mean() - 0.5) < 0.2


def test_hold_out():
    assert [len(hold_out(np.arange(n), 0, 0, 0.2)) for n in (1, 2, 3, 7, 8, 10, 60)] == [0, 1, 1, 1, 2, 2, 12]
    assert len(hold_out(np.arange(5), 0, 0, 0.99)) == 4
    assert len(hold_out(np.arange(5), 0, 0, 0)) == 0
    draws = {tuple(hold_out(np.arange(60), k, seed, 0.2)) for k in range(3) for seed in range(3)}
    assert len(draws) == 9


def test_a_class_with_one_image_is_not_measured_on_others(rng):
    cells = make(rng, {0: 30, 1: 20, 2: 25})
    cells[1] = Cells(cells[1].vectors, np.full(20, 3))
    found = hyperplanes(cells, [(0, 1), (2, 0)])
    assert np.isnan(found.held_out.plain).tolist() == [True, False]
    assert np.isnan(found.held_out.balanced).tolist() == [True, False]
    assert np.isnan(found.held_out.chance).tolist() == [True, False]
    assert found.held_out.cells[0].tolist() == found.held_out.images[0].tolist() == [0, 0]
    assert not found.held_out.at_chance[0]
    assert np.isfinite(found.training.plain).all()


def test_without_a_second_fit_the_first_is_the_same(rng):
    cells = make(rng, {0: 30, 1: 20})
    found = hyperplanes(cells, [(0, 1)], Fitting(held_out=0))
    np.testing.assert_allclose(found.weights, hyperplanes(cells, [(0, 1)]).weights, rtol=0, atol=1e-6)
    assert np.isnan(found.held_out.plain).all()


def test_a_pair_starts_the_same_from_both_sides():
    assert start_seed(3, 1, 2) == start_seed(3, 2, 1)
    assert len({start_seed(s, a, b) for s in (0, 1) for a, b in ((1, 2), (1, 3), (11, 2), (1, 12))}) == 8


def test_between_gives_both_directions(rng):
    cells = make(rng, {0: 30, 1: 20, 2: 20})
    found = hyperplanes(cells, [(0, 1), (2, 0)])
    w, b = between(found, 0, 2)
    assert np.array_equal(w, -found.weights[1])
    assert b == -found.biases[1]
    assert np.array_equal(between(found, 2, 0)[0], found.weights[1])
    with pytest.raises(ClassError, match="no hyperplane between classes 1 and 2"):
        between(found, 1, 2)


def test_cells_can_come_from_any_mapping_and_are_left_alone(rng):
    cells = make(rng, {0: 30, 1: 20})
    before = {k: own.vectors.copy() for k, own in cells.items()}
    for own in cells.values():
        own.vectors.flags.writeable = False
    hyperplanes(cells, [(0, 1)])
    assert all(np.array_equal(cells[k].vectors, before[k]) for k in cells)


def test_bad_input_is_named(rng):
    cells = make(rng, {0: 30, 1: 20})
    empty = Cells(np.empty((0, 6), np.float32), np.empty(0, np.int64))
    narrow = Cells(np.ones((4, 5), np.float32), np.zeros(4, np.int64))
    broken = Cells(np.full((4, 6), np.nan, np.float32), np.zeros(4, np.int64))
    with pytest.raises(ClassError, match="class 1 is paired with itself"):
        hyperplanes(cells, [(0, 1), (1, 1)])
    with pytest.raises(ClassError, match="no cells of class 9"):
        hyperplanes(cells, [(0, 9)])
    with pytest.raises(ClassError, match="class 2 has no cell above the cut"):
        hyperplanes(cells | {2: empty}, [(0, 2)])
    with pytest.raises(SettingsError, match="class 0 has 6 channels and class 2 5"):
        hyperplanes(cells | {2: narrow}, [(0, 2)])
    with pytest.raises(SettingsError, match="do not belong together"):
        hyperplanes({0: cells[0], 1: Cells(cells[1].vectors, cells[0].image)}, [(0, 1)])
    with pytest.raises(AttributionError, match="not finite"):
        hyperplanes(cells | {2: broken}, [(0, 2)])
    for pairs in ([], [(0, 1, 2)], [(0.0, 1.0)], [0, 1], [(0, -1)]):
        with pytest.raises(SettingsError, match="pairs are needed"):
            hyperplanes(cells, pairs)
    for change in ({"epochs": 0}, {"lr": 0}, {"lr": float("inf")}, {"held_out": 1}, {"seed": -1}):
        with pytest.raises(SettingsError, match=f"{next(iter(change))} is"):
            hyperplanes(cells, [(0, 1)], Fitting(**change))
    huge = {k: Cells(own.vectors * np.float32(1e35), own.image) for k, own in cells.items()}
    with pytest.raises(SettingsError, match="does not stay finite"):
        hyperplanes(huge, [(0, 1)], Fitting(lr=1e5))


def selected_slowly(activations, scores, cut):
    """Cell by cell, as the paper says it."""
    vectors, image = [], []
    for i, score in enumerate(scores):
        for row, column in np.ndindex(score.shape):
            if score.max() > 0 and score[row, column] > cut * score.max():
                vectors.append(activations[i, :, row, column])
                image.append(i)
    return vectors, image


@pytest.mark.parametrize("cut", [0.25, 0.0, 0.9])
def test_select_cells_equals_the_slow_way(rng, cut):
    activations = rng.random((6, 5, 4, 3)).astype(np.float32)
    scores = rng.normal(size=(6, 4, 3)).astype(np.float32)
    scores[1], scores[4] = 0, -abs(scores[4])
    found = select_cells(activations, scores, cut)
    vectors, image = selected_slowly(activations, scores, cut)
    assert np.array_equal(found.vectors, vectors)
    assert found.image.tolist() == image
    assert {1, 4}.isdisjoint(image)
    assert found.vectors.dtype == np.float32


def test_a_cell_at_the_cut_itself_is_left_out():
    activations = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    found = select_cells(activations, np.float32([[[4, 1], [1.01, -4]]]))
    assert found.vectors.tolist() == [[0], [2]]


def test_select_cells_without_any(rng):
    found = select_cells(rng.random((2, 5, 3, 3)), np.zeros((2, 3, 3)))
    assert found.vectors.shape == (0, 5)
    assert found.image.shape == (0,)


def test_select_cells_refuses_what_does_not_fit(rng):
    activations, scores = rng.random((2, 5, 3, 3)), rng.random((2, 3, 3))
    for wrong in (scores[:1], scores[:, :2], scores[0]):
        with pytest.raises(SettingsError, match="do not belong together"):
            select_cells(activations, wrong)
    for cut in (1.0, -0.1, float("nan")):
        with pytest.raises(SettingsError, match="cut is"):
            select_cells(activations, scores, cut)
    with pytest.raises(AttributionError, match="score is not finite"):
        select_cells(activations, scores * np.nan)
    with pytest.raises(AttributionError, match="activation is not finite"):
        select_cells(activations * np.inf, scores)


def planted(rng):
    """Images of two classes: both show channel 0 left, A alone 1 and B alone 2 right."""
    noise = 0.1 * rng.random((2, 8, 4, 4, 4)).astype(np.float32)
    noise[:, :, 0, :, :2] += 1
    noise[0, :, 1, :, 2:] += 1
    noise[1, :, 2, :, 2:] += 1
    return noise


def test_signs_on_planted_concepts(rng):
    A, B = planted(rng)
    cells = {k: select_cells(X, np.ones((8, 4, 4))) for k, X in enumerate((A, B))}
    found = hyperplanes(cells, [(0, 1), (1, 0)], Fitting(epochs=1000, lr=0.1))
    for (w, b), own, other, channel in (
        ((found.weights[0], found.biases[0]), A, B, 1),
        ((found.weights[1], found.biases[1]), B, A, 2),
    ):
        scores = against(own, w, b)
        assert scores[:, :, 2:].min() > 0
        assert scores[:, :, 2:].min() > scores[:, :, :2].max() + 0.5
        assert against(other, w, b)[:, :, 2:].max() == 0
        concept = factorise(own, scores, Settings(concepts=1)).concepts[0]
        assert concept.argmax() == channel
        assert not np.allclose(against(own, w, -b), scores)
    assert (found.held_out.balanced > 0.7).all()


def test_against_is_the_formula(rng):
    activations = rng.normal(size=(3, 5, 4, 2)).astype(np.float32)
    w, b = rng.normal(size=5).astype(np.float32), 0.3
    found = against(activations, w, b)
    for i, row, column in np.ndindex(found.shape):
        expected = max(float(w @ activations[i, :, row, column]) + b, 0)
        assert found[i, row, column] == pytest.approx(expected, abs=1e-5)
    assert found.dtype == np.float32
    assert 0 < (found == 0).mean() < 1
    with pytest.raises(SettingsError, match="do not belong together"):
        against(activations, w[:4], b)
