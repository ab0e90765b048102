"""Layers with signed activations: what is planted is found, a control is not, and the page says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from planted import quick
from whyclass import Settings, checks, demo, world
from whyclass.concepts import factorise
from whyclass.report import page
from whyclass.split import split
from whyclass.study import Study

LAYER = "stage3.4"
"""The last normalisation before the planted layer's ReLU."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 20)


@pytest.fixture(scope="module")
def truth(pool):
    paths = [path.relative_to(pool).as_posix() for path in sorted(pool.glob("*/*.png"))]
    return {path: world.pool_scene(path, 0).masks for path in paths}


@pytest.fixture(scope="module", params=["split", "clip"])
def hawk(request, pool, tmp_path_factory):
    settings = Settings(images=20, copies=8, starts=4, examples=12, signed=request.param, precision="float32")
    return Study(demo.loaded(), LAYER, pool, tmp_path_factory.mktemp("s") / "store", settings).explain("hawk")


def found(findings) -> set[str]:
    return {finding.part for finding in findings if finding.found}


def test_what_was_planted_is_found(hawk, truth):
    needs = set(world.CLASSES[hawk.target.index].needs)
    assert len(found(demo.judge(hawk, truth)) & needs) >= 2
    assert found(demo.judge(hawk, truth)) <= needs
    assert hawk.prediction_test.including.predicted
    assert hawk.completeness.mean < 1e-4


def test_control_concepts_of_shuffled_channels_find_nothing(hawk, truth):
    """Heat and crops of other concepts' places: what makes them agree is the planted part alone."""
    order = np.random.default_rng(0).permutation(len(hawk.concepts))
    order = np.roll(order, 1) if (order == np.arange(len(order))).any() else order
    mixed = tuple(
        replace(concept, including=hawk.concepts[other].including)
        for concept, other in zip(hawk.concepts, np.roll(np.arange(len(order)), 1), strict=True)
    )
    right = found(demo.judge(hawk, truth))
    assert len(found(demo.judge(replace(hawk, concepts=mixed), truth))) < len(right)


def test_the_page_says_how_signed_activations_were_seen(hawk):
    words = {
        "split": "as channels of their own",
        "clip": "negative part was left out",
    }[hawk.settings["signed"]]
    assert words in page(hawk)
    assert any(words in warning for warning in hawk.warnings)


def test_concepts_of_split_layers_have_both_signs_and_of_clipped_ones_one(hawk):
    least = min(concept.vector.min() for concept in hawk.concepts)
    assert (least < 0) == (hawk.settings["signed"] == "split")
    for concept in hawk.concepts:
        assert np.linalg.norm(concept.vector) == pytest.approx(1, abs=1e-5)


def test_signed_factors_are_found_again():
    """Cells made of two directions of both signs, each in cells of its own."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(12, 2)))[0].T.astype(np.float32)
    which = np.arange(60) % 2
    cells = directions[which] * rng.uniform(0.5, 2, (60, 1)).astype(np.float32)
    activations = cells.T.reshape(1, 12, 6, 10)
    settings = replace(quick(), concepts=2, starts=4, iterations=1000)
    factors = factorise(activations, np.ones((1, 6, 10), np.float32), settings)
    cosine = np.abs(factors.concepts @ directions.T)
    assert np.sort(cosine.max(1)) == pytest.approx([1, 1], abs=1e-3)
    assert factors.residual < 1e-2


def test_a_layer_without_negatives_is_the_same_under_every_setting():
    rng = np.random.default_rng(1)
    activations, scores = rng.random((2, 5, 4, 4), np.float32), rng.random((2, 4, 4), np.float32)
    one, other = (factorise(activations, scores, replace(quick(), signed=how)) for how in ("split", "clip"))
    assert np.array_equal(one.concepts, other.concepts)


def test_clipping_forgets_cells_that_are_negative_throughout():
    activations = -np.ones((1, 3, 2, 2), np.float32)
    settings = replace(quick(), concepts=1, signed="clip")
    with pytest.raises(Exception, match="all zero"):
        factorise(activations, np.ones((1, 2, 2), np.float32), settings)
    found = factorise(activations, np.ones((1, 2, 2), np.float32), replace(settings, signed="split"))
    assert found.concepts[0] == pytest.approx([-(3**-0.5)] * 3, abs=1e-4)


def test_signed_cells_are_shifted_without_a_relu():
    model = world.planted_net()
    images = torch.randn(2, 3, 96, 96)
    cut = split(model, LAYER, images)
    assert cut.signed
    with torch.no_grad():
        activations = cut.trunk(images)
        w = torch.randn(activations.shape[1])
        wanted = cut.head(activations + 2 * w[:, None, None]).double().softmax(1).numpy()
    found = checks.shift(cut, activations.numpy(), images, w.numpy(), (0.0, 2.0))
    assert found[1] == pytest.approx(wanted, abs=1e-5)
