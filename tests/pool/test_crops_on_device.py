"""The search on a card, on the processor: the places that the processor's own search finds."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from whyclass.models.tasks import Task
from whyclass.pool import crops_on_device, nearest_crops
from whyclass.pool.indexing_pass import Index
from whyclass.pool.items import Item
from whyclass.pool.nearest_crops import Query

N, CELLS, C = 23, 6, 4
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def indexed(cells: np.ndarray) -> Index:
    items = tuple(Item(str(i), str(i)) for i in range(len(cells)))
    return Index(items, np.zeros((len(cells), 2), np.float32), cells.astype(np.float16), (2, 3), {}, Task(2))


def queries(rng: np.random.Generator, clipped: bool = False) -> list[Query]:
    """Of several sizes and masks; some hold fewer cells than are asked for, or none."""
    masks = {"all": np.ones(N, bool), "some": rng.random(N) < 0.4, "one": np.arange(N) == 4}
    several = [Query(rng.integers(-1, 3, (k, C)).astype(np.float32), masks, clipped) for k in (1, 3, 6)]
    return [*several, Query(rng.random((2, C), np.float32), {"none": np.zeros(N, bool)}, clipped)]


@pytest.fixture(params=[(7, 4), (CELLS, 100), (1 << 15, 1024)], ids=str)
def _shape(request, monkeypatch):
    monkeypatch.setattr(crops_on_device, "CELLS", request.param[0])
    monkeypatch.setattr(crops_on_device, "COLUMNS", request.param[1])


@pytest.mark.usefixtures("_shape")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [1, 3, 8, 1000])
def test_places_and_cosines_are_the_processors(count, device):
    """Products of small whole numbers are exact, and many are equal: the earlier cell wins."""
    rng = np.random.default_rng(count)
    index = indexed(rng.integers(-2, 4, (N, CELLS, C)) / 4)
    asked = [*queries(rng), *queries(rng)]
    found = crops_on_device.nearest(index, asked, count, torch.device(device))
    assert found == nearest_crops.nearest(index, asked, count)


@pytest.mark.usefixtures("_shape")
@pytest.mark.parametrize("device", DEVICES)
def test_clipped_concepts_know_only_the_positive_part(device):
    rng = np.random.default_rng(0)
    index = indexed(rng.normal(size=(N, CELLS, C)))
    asked = [*queries(rng), *queries(rng, clipped=True)]
    found = crops_on_device.nearest(index, asked, 5, torch.device(device))
    wanted = nearest_crops.nearest(index, asked, 5)
    for mine, theirs in zip(found, wanted, strict=True):
        for name, concepts in theirs.items():
            for one, other in zip(mine[name], concepts, strict=True):
                cosines = [[place.cosine for place in places] for places in (one, other)]
                assert np.allclose(*cosines, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_searched_for_beside_it_changes_no_bit(device):
    rng = np.random.default_rng(1)
    index = indexed(rng.normal(size=(N, CELLS, C)))
    search = partial(crops_on_device.nearest, index, count=4, device=torch.device(device))
    asked = queries(rng)
    together = search(asked * 3)
    assert together[len(asked) : 2 * len(asked)] == search(asked)
    assert [search([one])[0] for one in asked] == search(asked)


@pytest.mark.parametrize("device", DEVICES)
def test_parts_of_the_pool_are_merged_to_the_whole(monkeypatch, device):
    monkeypatch.setattr(crops_on_device, "CELLS", 5 * CELLS)
    rng, told = np.random.default_rng(2), list[int]()
    index, where = indexed(rng.normal(size=(N, CELLS, C))), torch.device(device)
    asked = queries(rng)
    cuts = [slice(0, 8), slice(8, 16), slice(16, None)]
    parts = [crops_on_device.best_of(index.cells, asked, 6, cut, where) for cut in cuts]
    whole = crops_on_device.nearest(index, asked, 6, where, told.append)
    assert nearest_crops.merged(parts, index, 6) == whole
    assert told == [5, 5, 5, 5, 3]
