"""The nearest cells are those that a full sort would find."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass.grid import Crops
from whyclass.models.tasks import Task
from whyclass.pool import nearest_crops
from whyclass.pool.indexing_pass import Index
from whyclass.pool.items import Item
from whyclass.pool.nearest_crops import Place, Query, nearest
from whyclass.study.prediction_test_and_control import random_places

N, CELLS, C = 11, 6, 4


def indexed(cells: np.ndarray) -> Index:
    n = len(cells)
    items = tuple(Item(str(i), str(i)) for i in range(n))
    grid = (2, cells.shape[1] // 2)
    return Index(items, np.zeros((n, 2), np.float32), cells.astype(np.float16), grid, {}, Task(2))


def whole(rng: np.random.Generator, n: int = N) -> np.ndarray:
    """Cells whose products with small whole numbers are exact, with many ties."""
    return rng.integers(0, 4, (n, CELLS, C)) / 4


def slow_nearest(index: Index, concept: np.ndarray, count: int, mask: np.ndarray) -> list[Place]:
    """Every cell of every image, sorted."""
    places = []
    for position in range(len(index.cells)):
        for cell in range(index.cells.shape[1]):
            if mask[position]:
                cosine = float(
                    sum(a * b for a, b in zip(map(float, index.cells[position, cell]), concept, strict=True))
                )
                places.append(Place(position, cell, cosine))
    return sorted(places, key=lambda place: (-place.cosine, place.position, place.cell))[:count]


@pytest.mark.parametrize("rows", [1, 2, 4, 100])
@pytest.mark.parametrize("count", [1, 3, 8, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_cells_are_those_of_a_full_sort(monkeypatch, rows, count, seed):
    monkeypatch.setattr(nearest_crops, "ROWS", rows)
    rng = np.random.default_rng(seed)
    index = indexed(whole(rng))
    concepts = rng.integers(0, 3, (3, C)).astype(np.float32)
    masks = {
        "all": np.ones(N, bool),
        "some": rng.random(N) < 0.5,
        "one": np.arange(N) == 4,
        "none": np.zeros(N, bool),
    }
    (found,) = nearest(index, [Query(concepts, masks)], count)
    assert set(found) == set(masks)
    for name, mask in masks.items():
        wanted = [slow_nearest(index, concept, count, mask) for concept in concepts]
        assert found[name] == wanted


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_of_equal_cells_the_earlier_wins(monkeypatch, rows):
    monkeypatch.setattr(nearest_crops, "ROWS", rows)
    index = indexed(np.ones((N, CELLS, C)))
    query = Query(np.ones((1, C), np.float32), {"all": np.ones(N, bool)})
    ((found,),) = nearest(index, [query], 8)[0].values()
    assert [(place.position, place.cell) for place in found] == [divmod(number, CELLS) for number in range(8)]


def test_cosines_are_those_of_unit_vectors(rng):
    cells = rng.normal(size=(N, CELLS, C))
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    concepts = rng.random((2, C))
    concepts = (concepts / np.linalg.norm(concepts, axis=1, keepdims=True)).astype(np.float32)
    found = nearest(indexed(cells), [Query(concepts, {"all": np.ones(N, bool)})], 5)[0]["all"]
    for concept, places in zip(concepts, found, strict=True):
        assert [p.cosine for p in places] == sorted((p.cosine for p in places), reverse=True)
        assert np.allclose(
            [p.cosine for p in places], [cells[p.position, p.cell] @ concept for p in places], atol=2e-3
        )


def test_progress_is_told_of_every_image(rng, monkeypatch):
    monkeypatch.setattr(nearest_crops, "ROWS", 4)
    told: list[int] = []
    query = Query(np.ones((1, C), np.float32), {"all": np.ones(N, bool)})
    nearest(indexed(whole(rng)), [query], 2, told.append)
    assert told == [4, 4, 3]


@pytest.mark.parametrize(
    ("layer", "cell", "box"),
    [
        ((14, 14), 0, (0, 0, 32, 32)),  # layer3.5 of a ResNet at 224
        ((14, 14), 48, (192, 192, 224, 224)),
        ((7, 7), 4, (74, 74, 148, 148)),  # layer4.2
    ],
)
def test_a_place_has_the_papers_box(layer, cell, box):
    assert Place(0, cell, 1.0).box(Crops(layer, at="paper"), (224, 224)) == box


def test_random_places_come_evenly_from_the_mask():
    usable, mask = np.array([True, True, True, True]), np.array([True, False, True, True])
    places = random_places(usable, mask, 3, 3000, np.random.default_rng(0))
    counts = np.zeros((4, 3), int)
    for place in places:
        counts[place.position, place.cell] += 1
    assert counts[1].sum() == 0
    assert counts[[0, 2, 3]].min() > 250
    again = random_places(usable, mask, 3, 3000, np.random.default_rng(0))
    assert again == places


def test_random_places_of_a_smaller_mask_are_the_same_without_those_outside():
    usable, mask = np.ones(50, bool), np.arange(50) != 7
    everywhere = random_places(usable, usable, 9, 200, np.random.default_rng(1))
    within = random_places(usable, mask, 9, 200, np.random.default_rng(1))
    kept = tuple(place for place in everywhere if place.position != 7)
    assert len(kept) < 200
    assert within[: len(kept)] == kept


def test_random_places_refuse_a_mask_without_images():
    with pytest.raises(ValueError, match="no usable image"):
        random_places(np.array([True, False]), np.array([False, True]), 3, 1, np.random.default_rng(0))


@pytest.mark.parametrize("others", [0, 1, 5])
def test_what_is_searched_for_beside_it_changes_no_bit(others):
    """Another query in the same pass, before or behind, leaves cosines and places as they are."""
    rng = np.random.default_rng(3)
    index = indexed(rng.random((100, CELLS, 64)))
    masks = {"all": np.ones(100, bool)}

    def query() -> Query:
        return Query(rng.random((6, 64)).astype(np.float32), masks)

    mine, crowd = query(), [query() for _ in range(others)]
    (alone,) = nearest(index, [mine], 8)
    assert nearest(index, [*crowd, mine], 8)[-1] == alone
    assert nearest(index, [mine, *crowd], 8)[0] == alone
