"""Who searches for crops, and for how many classes at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.planted_world import contents, quick
from whyclass.planted import demo, world
from whyclass.pool import crops_on_device, nearest_crops
from whyclass.study import audit, searching
from whyclass.study.study import Study


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 3)


@pytest.mark.parametrize(("kind", "home"), [("cuda", crops_on_device), ("cpu", nearest_crops)])
def test_the_card_searches_where_the_model_is_on_one(monkeypatch, kind, home):
    for name in ("nearest", "best_of"):
        for place in (crops_on_device, nearest_crops):
            monkeypatch.setattr(place, name, lambda *_, place=place: place)
    context = SimpleNamespace(
        index=SimpleNamespace(cells=np.zeros((1, 1, 1))),
        settings=quick(),
        split=SimpleNamespace(example=SimpleNamespace(device=torch.device(kind))),
    )
    assert searching.nearest(context, [], 3) is home
    assert searching.best_of(context, [], slice(0, 1)) is home


def test_an_explanation_has_the_same_crops_with_the_cards_search(pool, monkeypatch):
    here = Study(demo.loaded(), world.LAYER, pool, settings=quick()).explain("hawk")

    def on_card(index, queries, count, advance=lambda done: None):
        return crops_on_device.nearest(index, queries, count, torch.device("cpu"), advance)

    monkeypatch.setattr(nearest_crops, "nearest", on_card)
    card = Study(demo.loaded(), world.LAYER, pool, settings=quick()).explain("hawk")
    for mine, theirs in zip(card.concepts, here.concepts, strict=True):
        for kind in ("including", "excluding"):
            boxes = [[(crop.image.path, crop.box) for crop in getattr(one, kind)] for one in (mine, theirs)]
            assert boxes[0] == boxes[1]


def test_classes_of_a_large_pool_are_searched_in_several_passes(pool, tmp_path, monkeypatch):
    for name, most in (("few", 1), ("all", audit.MASKS)):
        monkeypatch.setattr(audit, "MASKS", most)
        Study(demo.loaded(), world.LAYER, pool, tmp_path / name, quick()).audit(["hawk", "owl", "bee"])
    assert contents(tmp_path / "few") == contents(tmp_path / "all")


@pytest.mark.parametrize(("images", "sizes"), [(50_000, [700]), (1_300_000, [206, 206, 206, 82])])
def test_masks_take_no_more_than_they_may(monkeypatch, images, sizes):
    monkeypatch.setattr(audit, "masks_of", lambda *_: dict.fromkeys(["including", "excluding"]))
    context = SimpleNamespace(index=SimpleNamespace(items=range(images)))
    assert [len(some) for some in audit.searched(context, range(700))] == sizes
