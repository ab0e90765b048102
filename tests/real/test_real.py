"""The whole path on real trained weights and real photographs, kept outside the repository."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import whyclass
from whyclass import views
from whyclass.report import contrast_verdict, pairs_table, paper_tables, site

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data: {SHARED} is missing"),
]

IMAGENETTE = [
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
]


BARE = {"null_cells": 0, "null_scores": 0, "audit_nulls": 0, "fillings": 0, "refits": 0}
"""Without nulls, members and refits, which take a minute a class; the planted world tests them."""


@pytest.fixture(scope="module")
def resnet50():
    return whyclass.load("torchvision:resnet50", SHARED / "models/resnet50_imagenet.safetensors", resize=224)


@pytest.fixture(scope="module")
def study(resnet50, tmp_path_factory):
    """The last layer, and photographs of all 1,000 classes, many of ten.

    A third of those ten classes' photographs, and fewer noisy copies and starts than by default: a
    processor without half precision takes ten minutes for them, and more than an hour for all.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    many = sorted(SHARED.glob("imagenette/val/*/*"))[::3]
    pool = [*many, *sorted(SHARED.glob("imagenet_sample/val/*/*"))]
    settings = whyclass.Settings(copies=5, starts=2, null_crops=20, **BARE)
    yield whyclass.Study(resnet50, "layer4.2", pool, tmp_path_factory.mktemp("real") / "store", settings)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def explanations(study):
    """Of every Imagenette class."""
    return {name: study.explain(name) for name in IMAGENETTE}


def test_crops_of_most_classes_are_predicted_as_the_class_again(explanations):
    passed = {name for name, found in explanations.items() if found.prediction_test.including.predicted}
    assert len(passed) >= 8
    assert {"chain saw", "English springer", "French horn"} <= passed


def test_crops_of_some_classes_are_predicted_as_the_class_without_its_own_images(explanations):
    passed = {name for name, found in explanations.items() if found.prediction_test.excluding.predicted}
    assert len(passed) >= 3
    # others stand at the edge: chain saw has 0.67 with noisy copies in float32 and 0.30 in bfloat16
    assert {"English springer", "French horn", "golf ball"} <= passed


def test_random_crops_of_the_same_images_are_not(explanations):
    controls = [found.prediction_test.excluding.control for found in explanations.values()]
    assert all(control.n == 20 for control in controls)
    assert max(control.mean for control in controls) < 0.05


def test_no_crop_of_the_excluding_test_comes_from_the_class(explanations):
    for found in explanations.values():
        crops = [crop for concept in found.concepts for crop in concept.excluding]
        assert len(crops) == 48
        assert all(crop.image.prediction.index != found.target.index for crop in crops)


def test_attribution_is_complete(explanations):
    for found in explanations.values():
        assert found.completeness.n == found.n_images * 5
        assert found.completeness.mean < 1e-4


def test_crops_are_the_compared_cells(explanations):
    found = explanations["French horn"]
    assert {crop.picture.width for concept in found.concepts for crop in concept.including} == {74}
    assert found.prediction_test.including.picture.height == 6 * 74


def test_pages_hold_no_address_and_stay_small(explanations):
    for found in explanations.values():
        page = views.VIEWS["html"](found)
        assert "://" not in page  # four letters may stand in a picture's bytes by chance
        assert len(page) < 4_000_000


def test_shifting_turns_every_class_into_every_other_and_no_random_direction_does(study):
    found = study.pairs(IMAGENETTE)
    table = pairs_table.table(found)
    assert table.hyperplane.n == 90
    assert table.hyperplane.default[0] <= 0.02
    assert table.hyperplane.shifted[0] > 0.95
    assert table.hyperplane.swaps[2] > 0.95
    assert table.above >= 88
    assert table.random[0] < 0.02
    assert table.reversed[0] < 0.02
    assert table.held_out[0] > 0.95


def test_a_contrast_of_two_classes_says_what_it_is_made_of(study, explanations, tmp_path):
    shifted = dataclasses.replace(study.settings, tests=("shifting",))
    again = whyclass.Study(study.loaded, "layer4.2", study.pool, study.store.folder, shifted)
    found = again.contrast("chain saw", "French horn")
    assert found.hyperplane.held_out.balanced > 0.95
    assert found.a.prediction_test.including.predicted
    assert found.b.prediction_test.including.predicted
    for side in (found.a, found.b):
        own = side.explanation.target.index
        best = [concept.including[0].image.prediction.index for concept in side.concepts]
        assert best.count(own) >= 5
        assert contrast_verdict.outcome(side.shifting) == "passed"
    page = found.save(tmp_path / "page.html").read_text()
    assert "://" not in page  # four letters may stand in a picture's bytes by chance
    assert len(page) < 8_000_000


def test_an_audit_finds_what_each_class_alone_gives(study, explanations, tmp_path):
    """Ten real classes: the same scores, tables beside the paper's, and a site that stays small."""
    audit = study.audit(IMAGENETTE)
    assert [one.target.name for one in audit.classes] == IMAGENETTE
    assert audit.n_classes > 500
    for found in audit.classes:
        tests = explanations[found.target.name].prediction_test
        assert found.including.score == tests.including.score
        assert found.excluding.score == tests.excluding.score
        assert found.including.control == tests.including.control
    first, second = paper_tables.made([audit])
    assert {row.label for row in first.rows if row.kind == "paper"} == {
        "paper: ResNet50",
        "paper: ResNet50 Robust",
    }
    assert first.rows[0].values["average"].value > second.rows[0].values["average"].value
    assert first.rows[1].values["predicts class"].value < 0.1
    sizes = [len(content) for _, content in site.files(study.store, [audit])]
    assert sum(sizes) < 300e6 / 1000 * len(IMAGENETTE)


@pytest.mark.parametrize("layer", ["layer3.5", "layer4.2"])
def test_half_precision_finds_the_concepts_of_full_precision(resnet50, layer, tmp_path):
    torch.set_num_threads(2)
    pool = SHARED / "imagenette/val/n03394916"
    found = {
        precision: whyclass.Study(
            resnet50,
            layer,
            pool,
            tmp_path / precision,
            whyclass.Settings(images=10, precision=precision, controls=0, null_crops=0, **BARE),
        ).explain("French horn")
        for precision in ("auto", "float32")
    }
    a, b = (np.stack([concept.vector for concept in found[p].concepts]) for p in ("auto", "float32"))
    assert (a @ b.T).max(1).min() >= 0.99


def test_a_small_network_of_another_kind_is_explained(tmp_path):
    loaded = whyclass.load(
        f"{SHARED / 'models/cifar_resnet.py'}:resnet56",
        SHARED / "models/cifar10_resnet56.safetensors",
        resize=32,
        crop=32,
    )
    names = sorted(entry.name for entry in (SHARED / "cifar10/test").iterdir())
    study = whyclass.Study(loaded, "layer3.8", SHARED / "cifar10/test", tmp_path / "store", class_names=names)
    found = study.explain("airplane")
    assert found.n_predicted > 500
    assert found.completeness.mean < 1e-4
    assert found.concepts[0].including[0].picture.width == 8
    assert found.prediction_test.including.picture.height == 48
