"""Two models, where it is known what changed: nothing, the order of channels, or what a class looks for."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import whyclass
from helpers.planted_world import quick
from whyclass.concepts import matching
from whyclass.errors import ClassError, ModelError
from whyclass.planted import demo, image_trial, nets, world
from whyclass.records import ModelComparison
from whyclass.report import json_objects, summary
from whyclass.report.page import page
from whyclass.study.study import Study

HAWK, OWL = (world.class_index(name) for name in world.TWINS)
BEE = world.class_index("bee")
PEACOCK = world.class_index("peacock")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def pool(place) -> Path:
    return world.write_pool(place / "pool", 10)


def study(model: nn.Module | None, images, store, **changes) -> Study:
    loaded = demo.loaded() if model is None else replace(demo.loaded(), model=model)
    settings = quick(images=10, copies=4, starts=2, **changes)
    return Study(loaded, world.LAYER, images, store, settings, progress=False)


@pytest.fixture(scope="module")
def first(pool, place) -> Study:
    return study(None, pool, place / "store")


def reordered() -> nn.Module:
    """The same function, with the layer's channels in another order."""
    net = nets.planted_net()
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    last, after = net.stage3[-3:], net.stage4[0]
    with torch.no_grad():
        for module in (*last, after):
            if isinstance(module, nn.Conv2d) and module is not after:
                module.weight.copy_(module.weight[order].clone())
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.copy_(tensor[order].clone())
        after.weight.copy_(after.weight[:, order].clone())
    return net


def exchanged() -> nn.Module:
    """A model that says "peacock" to hawks and "hawk" to peacocks."""
    net = copy.deepcopy(nets.planted_net())
    with torch.no_grad():
        for tensor in (net.head.weight, net.head.bias):
            tensor[[HAWK, PEACOCK]] = tensor[[PEACOCK, HAWK]].clone()
    return net


@pytest.fixture(scope="module")
def changed(first, pool, place) -> ModelComparison:
    return whyclass.compare_models(first, study(exchanged(), pool, place / "store"), ["hawk", "owl"])


def test_nothing_changed_where_nothing_changed(first, pool, place):
    found = whyclass.compare_models(first, study(None, pool, place / "other"), ["hawk"])
    assert (found.measure, found.predictions.changed) == ("cosine", 0)
    (hawk,) = found.classes
    assert [(match.number, match.other) for match in sorted(hawk.matches, key=lambda m: m.number)] == [
        (k, k) for k in range(6)
    ]
    assert all(match.similarity == pytest.approx(1, abs=1e-5) for match in hawk.matches)
    assert hawk.went == hawk.came == ()
    assert hawk.including == hawk.other_including


def test_reordered_channels_are_noticed_and_concepts_found_by_when_they_are_active(first, pool, place):
    net = reordered()
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(net(images), nets.planted_net()(images), atol=1e-4)
    found = whyclass.compare_models(first, study(net, pool, place / "store"), ["hawk", "owl"])
    assert found.measure == "co-activation"
    assert found.channels < 0.3
    assert found.predictions.changed == 0
    for one in found.classes:
        assert len(one.matches) >= 5
        assert np.mean([match.similarity for match in one.matches]) > 0.9


def test_what_a_class_looks_for_now_came_and_what_it_looked_for_went(changed, first):
    assert (changed.measure, changed.channels) == ("cosine", pytest.approx(1))
    hawk, owl = changed.classes
    assert (hawk.name, owl.name) == ("hawk", "owl") if HAWK < OWL else ("owl", "hawk")
    hawk, owl = (hawk, owl) if hawk.name == "hawk" else (owl, hawk)
    assert len(owl.matches) >= 5
    gone = {image_trial._judged(first, HAWK).parts[k] for k in hawk.went}
    assert world.SHORTCUT in gone
    assert len(hawk.came) >= 2
    assert all(match.similarity >= hawk.threshold >= 0.5 for match in hawk.matches)


def test_predictions_that_changed_are_counted_and_shown(changed, first):
    told, context = changed.predictions, first.context()
    predicted = context.index.predicted
    assert told.n == len(context.index.items)
    assert told.changed == int(np.isin(predicted, (HAWK, PEACOCK)).sum())
    assert {(move.name, move.other_name) for move in told.moves} == {("hawk", "peacock"), ("peacock", "hawk")}
    assert sum(move.n for move in told.moves) == told.changed
    assert told.right > told.other_right
    assert len(told.images) == min(12, told.changed)
    for one in told.images:
        assert {one.image.prediction.name, one.after.name} == {"hawk", "peacock"}


def test_a_store_holds_both_models_and_neither_changes_the_other(changed, first, pool, place):
    store = place / "store"
    second = study(exchanged(), pool, store)
    assert first.store.folder == store
    assert second.store.folder.parent == store / "models"
    assert second.store.records("findings")
    assert study(None, pool, store).store.folder == store


def test_a_pool_that_lacks_a_class_says_so(first, pool, place):
    index = first.context().index
    bees = {item.path for item, k in zip(index.items, index.predicted, strict=True) if k == BEE}
    few = [file for file in sorted(pool.glob("*/*.png")) if f"{file.parent.name}/{file.name}" not in bees]
    other = study(None, few, place / "fewer")
    found = whyclass.compare_models(first, other, ["hawk"])
    assert found.gone == ("bee",)
    assert found.new == ()
    assert found.predictions.n == len(few)
    with pytest.raises(ClassError, match="'bee' is predicted for images of both pools"):
        whyclass.compare_models(first, other, ["bee"])


def test_views_say_what_changed(changed, tmp_path):
    html = page(changed)
    assert "What changed from planted" in html
    assert ">went<" in html
    assert ">came<" in html
    rows = summary.rows(changed)
    assert ("Changed", "10 from “peacock” to “hawk”") in rows or any(
        label == "Changed" and "to “hawk”" in value for label, value in rows
    )
    told = json_objects.as_object(changed)
    assert told["predictions"]["changed"] == changed.predictions.changed
    assert "predictions changed" in repr(changed)
    assert ModelComparison.load(changed.save(tmp_path / "a.whyclass")) == changed
    table = changed.to_frame()
    assert set(table["what"]) == {"in both", "went", "came"}


def test_what_cannot_be_compared_is_refused(first, place, pool):
    class Fewer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets.planted_net()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)[:, :5]

    fewer = replace(demo.loaded(), model=Fewer().eval(), class_names=())
    other = Study(fewer, "net.stage3", pool, place / "five", quick(), progress=False)
    with pytest.raises(ClassError, match="9 classes and the other 5"):
        whyclass.compare_models(first, other)
    names = [f"not {name}" for name in demo.loaded().class_names]
    renamed = Study(demo.loaded(), world.LAYER, pool, place / "n", quick(), class_names=names, progress=False)
    with pytest.raises(ClassError, match="class 0 is called 'owl' in one model and 'not owl' in the other"):
        whyclass.compare_models(first, renamed)
    with pytest.raises(ClassError, match="no class is called 'nobody'"):
        whyclass.compare_models(first, study(None, pool, place / "other"), ["nobody"])
    elsewhere = world.write_pool(place / "elsewhere", 2, seed=5)
    deeper = Study(demo.loaded(), "stage4", elsewhere, place / "deep", quick(), progress=False)
    with pytest.raises(ModelError, match="64 and 96 channels, and no image is in both pools"):
        whyclass.compare_models(first, deeper)


def test_the_assignment_leaves_out_what_is_unlike():
    similarity = np.array([[0.9, 0.6, 0.0], [0.8, 0.2, 0.1]])
    # both want the first column; together they are most alike the other way round
    assert matching.matched(similarity, 0.5) == [(1, 0, 0.8), (0, 1, 0.6)]
    assert matching.matched(similarity, 0.85) == [(0, 0, 0.9)]
    assert matching.matched(np.zeros((0, 3)), 0.5) == []


def test_similarities_are_what_they_are_called(rng):
    A, B = rng.random((3, 8)), rng.random((4, 8))
    cosine = A @ B.T / np.linalg.norm(A, axis=1)[:, None] / np.linalg.norm(B, axis=1)
    assert matching.cosines(A, B) == pytest.approx(cosine)
    X, Y = rng.random((50, 3)), rng.random((50, 2))
    wanted = [[np.corrcoef(x, y)[0, 1] for y in Y.T] for x in X.T]
    assert matching.correlations(X, Y) == pytest.approx(np.array(wanted))
    assert matching.correlations(np.ones((5, 1)), rng.random((5, 1)))[0, 0] == 0
    assert matching.channels(X, X) == pytest.approx(1)
    assert matching.threshold(np.array([[0.2, 0.3]])) == 0.5
    assert matching.threshold(np.full((20, 6), 0.7)) == pytest.approx(0.7)
