"""Crops become one image, at the right places, and the model is asked about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import nets
from whyclass import intervals
from whyclass.checks import interventions, statistics
from whyclass.checks.stitching import LAYOUTS, grid, mosaic, scores_of_images, stack, stitch
from whyclass.errors import ModelError
from whyclass.models.split import run


def crops(n: int, height: int = 4, width: int = 3) -> list[torch.Tensor]:
    """Crops of one value each: 0, 1, 2, ..."""
    return [torch.full((3, height, width), float(i)) for i in range(n)]


def asked(model):
    return lambda images: run(model, images)


def test_a_stack_is_the_crops_along_the_height_at_native_size():
    found = stack(crops(6), (99, 99))
    assert found.shape == (3, 24, 3)
    for i in range(6):
        assert (found[:, 4 * i : 4 * i + 4] == i).all()


@pytest.mark.parametrize(
    ("n", "grid"),
    [
        (1, [[0]]),
        (2, [[0], [1]]),
        (3, [[0], [1], [2]]),
        (4, [[0, 1], [2, 3]]),
        (5, [[0, 1], [2, 3], [4, 0]]),
        (6, [[0, 1], [2, 3], [4, 5]]),
        (10, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 1]]),
    ],
)
def test_a_mosaic_is_a_grid_row_by_row_whose_empty_places_repeat_the_first(n, grid):
    rows, columns = len(grid), len(grid[0])
    found = mosaic(crops(n), (4 * rows, 3 * columns))  # its own size: nothing is resized
    wanted = np.kron(np.array(grid), np.ones((4, 3)))
    assert np.array_equal(found[0].numpy(), wanted)
    assert found.shape == (3, *wanted.shape)


@pytest.mark.parametrize("size", [(32, 32), (5, 7), (224, 224)])
def test_a_mosaic_has_the_size_of_the_models_input(size):
    assert mosaic(crops(6), size).shape == (3, *size)
    assert torch.allclose(mosaic([torch.full((3, 4, 3), 0.5)] * 6, size), torch.tensor(0.5))


def test_a_grid_holds_its_crops_as_they_are():
    given = crops(4)
    found, (u, v) = grid(given, (32, 32)), given[0].shape[1:]
    assert found.shape == (3, 2 * u, 2 * v)
    for number, (top, left) in enumerate([(0, 0), (0, v), (u, 0), (u, v)]):
        assert torch.equal(found[:, top : top + u, left : left + v], given[number])
    assert torch.equal(mosaic(given, (2 * u, 2 * v)), found)


def test_a_grid_is_a_mosaic_where_the_model_refuses_its_size():
    found = stitch(asked(nets.seeded(nets.Fixed())), crops(6, 8, 8), (32, 32), "grid")
    assert found.layout == "mosaic"


def test_the_layout_is_stacked_where_the_model_takes_it():
    model = nets.seeded(nets.Plain())
    found = stitch(asked(model), crops(6, 8, 8), (32, 32))
    assert found.layout == "stacked"
    assert found.image.shape == (3, 48, 8)
    with torch.no_grad():
        wanted = model(stack(crops(6, 8, 8), (32, 32))[None]).softmax(1)[0]
    assert np.allclose(found.scores, wanted, atol=1e-6)


def test_the_layout_falls_to_a_mosaic_where_the_model_refuses():
    model = nets.seeded(nets.Fixed())
    found = stitch(asked(model), crops(6, 8, 8), (32, 32))
    assert found.layout == "mosaic"
    assert torch.equal(found.image, mosaic(crops(6, 8, 8), (32, 32)))
    with torch.no_grad():
        assert np.allclose(found.scores, model(found.image[None]).softmax(1)[0], atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_asked_for_is_the_one_used(layout):
    found = stitch(asked(nets.seeded(nets.Plain())), crops(4, 8, 8), (32, 32), layout)
    assert found.layout == layout


def test_a_layout_that_the_model_refuses_is_not_replaced_by_another():
    with pytest.raises(ModelError, match="wrong image size"):
        stitch(asked(nets.seeded(nets.Fixed())), crops(6, 8, 8), (32, 32), "stacked")


def test_a_model_that_refuses_every_layout_is_an_error():
    with pytest.raises(ModelError):
        stitch(asked(nets.seeded(nets.Fixed())), crops(6, 8, 8), (30, 30))


def test_scores_are_a_softmax_in_double_precision():
    logits = torch.tensor([[0.0, 1.0, 2.0], [1e4, 0.0, -1e4]])
    found = scores_of_images(lambda images: logits, torch.zeros(2, 3, 1, 1))
    powers = np.exp([0.0, 1.0, 2.0])
    assert np.allclose(found, [powers / powers.sum(), [1, 0, 0]], rtol=1e-12)
    assert found.dtype == np.float64


def test_no_gradient_is_kept():
    model = nets.seeded(nets.Plain())
    scores_of_images(model, nets.images())
    assert all(parameter.grad is None for parameter in model.parameters())


# ---------------------------------------------------------------- what contrasts are tested with


def test_lowest_masks_rank_the_cells_of_all_images_together(rng):
    z = rng.normal(size=(3, 2, 5))
    shares = (0.0, 0.1, 0.34, 1.0)
    order = sorted(np.ndindex(z.shape), key=lambda place: z[place])
    for share, found in zip(shares, interventions.lowest(z, shares), strict=True):
        assert set(map(tuple, np.argwhere(found))) == set(order[: round(share * z.size)])


def test_of_equal_cells_the_earlier_is_masked_first():
    found = interventions.lowest(np.zeros((2, 1, 2)), (0.25, 0.5, 0.75))
    assert found.reshape(3, 4).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]


def test_masked_pixels_are_those_under_the_cells():
    images = torch.ones(1, 3, 4, 6)
    cells = np.array([[[True, False, False], [False, False, True]]])
    found = interventions.mask(images, cells, torch.tensor([0.5, 0.0, -1.0]).view(1, 3, 1, 1))
    expected = np.ones((4, 6))
    expected[:2, :2] = expected[2:, 4:] = -1
    assert np.array_equal(found[0, 2].numpy(), expected)
    assert found[0, 0, 0, 0] == 0.5
    assert images.min() == 1


def test_a_patch_is_pasted_into_every_image_and_nothing_else_changes(rng):
    images = torch.from_numpy(rng.normal(size=(2, 3, 5, 6)))
    patch = torch.full((3, 2, 3), 9.0, dtype=torch.float64)
    found = interventions.paste(images, patch, (1, 2, 4, 4))
    assert (found[:, :, 2:4, 1:4] == 9).all()
    assert int((found != images).sum()) == 2 * 3 * 2 * 3
    assert not (images == 9).any()


def test_the_interval_is_that_of_a_slow_bootstrap_and_covers_the_mean(rng):
    """With one score at either bound, each half as heavy as a score; of one score there is none."""
    values = rng.beta(2, 5, (4, 40))
    low, high = intervals.interval(values, np.random.default_rng(1))
    draws = []
    for _ in range(4000):
        weights = rng.gamma([1.0] * 40 + [0.5, 0.5])
        draws.append((values @ weights[:40] + weights[41]) / weights.sum())
    np.testing.assert_allclose(low, np.quantile(draws, 0.025, axis=0), atol=0.01)
    np.testing.assert_allclose(high, np.quantile(draws, 0.975, axis=0), atol=0.01)
    assert ((low < values.mean(1)) & (values.mean(1) < high)).all()
    assert intervals.interval(np.array([0.3]), np.random.default_rng(1)) is None


def test_random_directions_have_the_normals_length_and_no_direction_in_common(rng):
    w = rng.normal(size=200).astype(np.float32)
    found = statistics.random_directions(w, 30, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(w), rtol=1e-5)
    cosine = found @ found.T / np.linalg.norm(w) ** 2 - np.eye(30)
    assert np.abs(cosine).max() < 0.4
    assert np.array_equal(found, statistics.random_directions(w, 30, np.random.default_rng(0)))
