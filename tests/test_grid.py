"""Cells, pixels and boxes."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass import grid


@pytest.mark.parametrize(
    ("shape", "pool", "expected"),
    [
        ((14, 14), 2, (7, 7)),
        ((7, 7), 2, (3, 3)),  # the odd last row and column fall away
        ((7, 4), 2, (3, 2)),
        ((1, 9), 2, (1, 4)),  # too small to pool: left as it is
        ((1, 1), 2, (1, 1)),
        ((9, 9), 3, (3, 3)),
        ((5, 8), 1, (5, 8)),
    ],
)
def test_pooling_drops_an_odd_last_row_and_keeps_at_least_one_cell(shape, pool, expected):
    assert grid.pooled_shape(*shape, pool) == expected


@pytest.mark.parametrize(("layer", "expected"), [((14, 14), (32, 32)), ((7, 7), (74, 74))])
def test_crops_are_the_papers_at_224_pixels(layer, expected):
    assert grid.crop_size(grid.pooled_shape(*layer), (224, 224)) == expected


def test_a_box_is_left_top_right_bottom_of_its_cell():
    assert grid.crop_box(0, (7, 7), (224, 224)) == (0, 0, 32, 32)
    assert grid.crop_box(9, (7, 7), (224, 224)) == (64, 32, 96, 64)  # second row, third column
    assert grid.crop_box(8, (3, 3), (224, 224)) == (148, 148, 222, 222)
    assert grid.crop_box(5, (2, 3), (100, 30)) == (20, 50, 30, 100)


@pytest.mark.parametrize("cells", [(7, 7), (3, 3), (2, 5), (1, 1), (4, 3)])
@pytest.mark.parametrize("image", [(224, 224), (100, 37), (8, 9)])
def test_boxes_lie_inside_and_do_not_overlap(cells, image):
    covered = set()
    for cell in range(cells[0] * cells[1]):
        left, top, right, bottom = grid.crop_box(cell, cells, image)
        assert 0 <= left < right <= image[1]
        assert 0 <= top < bottom <= image[0]
        pixels = {(row, column) for row in range(top, bottom) for column in range(left, right)}
        assert not covered & pixels
        covered |= pixels


LAYERS = [(7, 7), (14, 14), (12, 12), (5, 8), (1, 9), (1, 1), (27, 13)]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("image", [(224, 224), (100, 37), (299, 331)])
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_a_cells_own_box_holds_its_pixels_and_no_others(layer, image, pool):
    crops = grid.Crops(layer, pool, "cell")
    height, width = crops.size(image)
    rows, columns = (pool if side >= pool else 1 for side in layer)
    for cell in range(crops.grid[0] * crops.grid[1]):
        i, j = divmod(cell, crops.grid[1])
        left, top, right, bottom = crops.box(cell, image)
        assert (bottom - top, right - left) == (height, width)
        first = (i * rows * image[0] / layer[0], j * columns * image[1] / layer[1])
        last = ((i + 1) * rows * image[0] / layer[0], (j + 1) * columns * image[1] / layer[1])
        assert np.abs(np.subtract((top, left), first)).max() < 1
        assert np.abs(np.subtract((bottom, right), last)).max() < 2
        assert min(top, left) >= 0
        assert bottom <= image[0]
        assert right <= image[1]


@pytest.mark.parametrize("layer", [(14, 14), (12, 12), (56, 56), (2, 2)])
def test_both_places_are_the_same_where_all_divides(layer):
    image = (16 * layer[0], 16 * layer[1])
    every = [grid.Crops(layer, 2, at) for at in ("paper", "cell", "centred")]
    assert len({one.size(image) for one in every}) == 1
    for k in range(layer[0] * layer[1] // 4):
        assert len({one.box(k, image) for one in every}) == 1


def test_at_layer_4_the_papers_crops_are_larger_and_lie_beside_their_cells():
    paper, cell = grid.Crops((7, 7), 2, "paper"), grid.Crops((7, 7), 2, "cell")
    assert (paper.size((224, 224)), cell.size((224, 224))) == ((74, 74), (64, 64))
    assert paper.box(8, (224, 224)) == (148, 148, 222, 222)
    assert cell.box(8, (224, 224)) == (128, 128, 192, 192)  # the last row and column of 32 pixels fell away


def test_centred_crops_have_the_papers_size_and_the_cells_middle():
    centred, cell = grid.Crops((7, 7), 2, "centred"), grid.Crops((7, 7), 2, "cell")
    assert centred.size((224, 224)) == (74, 74)
    assert centred.box(4, (224, 224)) == (59, 59, 133, 133)  # of 64 to 128, five pixels more on each side
    assert cell.box(4, (224, 224)) == (64, 64, 128, 128)
    assert centred.box(0, (224, 224)) == (0, 0, 74, 74)  # moved inside the image


@pytest.mark.parametrize(("at", "side"), [("larger", 111), ("wide", 148)])
def test_enlarged_crops_have_the_cells_middle_and_lie_inside(at, side):
    crops = grid.Crops((7, 7), 2, at)
    assert crops.size((224, 224)) == (side, side)
    for cell in range(9):
        left, top, right, bottom = crops.box(cell, (224, 224))
        assert (right - left, bottom - top) == (side, side)
        assert 0 <= left < right <= 224
        assert 0 <= top < bottom <= 224
    own, middle = grid.own_box(4, (7, 7), (224, 224), 2), crops.box(4, (224, 224))
    assert all(
        abs(own[end] + own[end + 2] - middle[end] - middle[end + 2]) <= 1 for end in (0, 1)
    )  # the same middle, to a pixel


def test_enlarged_crops_are_no_larger_than_the_image():
    assert grid.Crops((1, 1), 2, "larger").box(0, (20, 30)) == (0, 0, 30, 20)


@pytest.mark.parametrize("n", range(1, 26))
def test_a_mosaic_holds_all_crops_near_a_square(n):
    rows, columns = grid.mosaic_shape(n)
    assert rows * columns >= n > (rows - 1) * columns
    assert columns <= rows <= columns + 2


@pytest.mark.parametrize("at", grid.ANCHORS)
def test_a_patch_touches_the_border_that_it_is_named_after(at):
    left, top, right, bottom = grid.anchored((20, 30), (96, 128), at)
    assert (right - left, bottom - top) == (30, 20)
    assert (left == 0) == ("left" in at)
    assert (right == 128) == ("right" in at)
    assert (top == 0) == ("top" in at)
    assert (bottom == 96) == ("bottom" in at)
    if at == "centre":
        assert (left, top) == (49, 38)


def test_the_papers_person_stands_at_the_lower_right():
    assert grid.anchored((160, 60), (224, 224), "bottom-right") == (164, 64, 224, 224)
