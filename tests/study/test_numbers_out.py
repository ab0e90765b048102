"""Numbers of a study for other programs, and shortcuts found from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from helpers.planted_world import quick
from whyclass.errors import ClassError, DataError, SettingsError
from whyclass.planted import demo, image_trial, nets, world
from whyclass.study.image_concepts import held, images_at
from whyclass.study.study import Study

HAWK, OWL = (world.class_index(name) for name in world.TWINS)
STICKERED = 8


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    """Of each class twenty, and owls with stickers among the owls."""
    folder = world.write_pool(tmp_path_factory.mktemp("world") / "pool", 20)
    for number in range(STICKERED):
        drawn = world.planted_picture(OWL, 7_000_000 + number, add=[world.SHORTCUT])
        Image.fromarray(drawn.image).save(folder / "owl" / f"9{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def study(pool, tmp_path_factory) -> Study:
    settings = quick(images=20, copies=5, starts=2, controls=19)
    return Study(demo.loaded(), world.LAYER, pool, tmp_path_factory.mktemp("s") / "store", settings)


def test_projections_are_the_embeddings_of_each_class(study):
    drawn = [world.planted_picture(k, 7_100_000).image for k in range(4)]
    found = study.project(drawn, ["hawk", "owl"])
    assert found.shape == (4, 12)
    assert found.dtype == np.float32
    images = images_at(study.context(), nets.as_input(drawn))
    for k, columns in ((HAWK, slice(0, 6)), (OWL, slice(6, 12))):
        amounts = held(images, study.basis(k)).amounts
        assert found[:, columns] == pytest.approx(amounts.mean((1, 2)), abs=1e-4)
    highest = study.project(drawn, ["hawk"], pooled="max")
    assert (highest >= found[:, :6]).all()


def test_projections_tell_classes_apart(study):
    """Six numbers of the hawk's concepts tell hawks from owls that were not learnt from."""
    drawn = [world.planted_picture((HAWK, OWL)[i % 2], 7_200_000 + i).image for i in range(40)]
    found, label = study.project(drawn, ["hawk"]), np.arange(40) % 2
    fitted = LogisticRegression(max_iter=1000).fit(found[:20] / found.max(), label[:20])
    assert fitted.score(found[20:] / found.max(), label[20:]) >= 0.9


def test_all_classes_are_projected_on_unless_told(study):
    found = study.project([world.planted_picture(HAWK, 7_300_000).image])
    assert found.shape[1] == sum(len(study.basis(one.index).vectors) for one in study.classes())


def test_arrays_fit_together(study):
    one = study.arrays("hawk")
    n = len(one.paths)
    assert one.scores.shape == (n, 12, 12)
    assert one.embeddings.shape == (n, 12, 12, 6)
    assert one.vectors.shape == (6, 64)
    assert one.shares.sum() == pytest.approx(1)
    assert (one.vectors == study.basis("hawk").vectors).all()
    images = [np.array(Image.open(Path(study.pool.name) / path)) for path in one.paths]
    scored = images_at(study.context(), nets.as_input(images)).activations * one.scores[:, None]
    made = np.einsum("nhwk,kc->nchw", one.embeddings, one.vectors)
    assert np.corrcoef(scored.ravel(), made.ravel())[0, 1] > 0.9


def test_the_shortcut_is_the_first_of_the_spurious_features(study):
    found = study.spurious(["hawk", "owl", "snail"])
    assert found.labelled
    assert [one.raised for one in found.features] == sorted(
        (one.raised for one in found.features), reverse=True
    )
    first = found.features[0]
    assert first.target.name == "hawk"
    one = image_trial._judged(study, HAWK)
    assert one.parts[first.number] == world.SHORTCUT
    assert first.raised > first.random
    assert first.p <= 0.1
    assert first.predicted >= first.without
    assert first.log_odds > 1
    assert {crop.image.label for crop in first.crops} <= {"owl", "other"}
    assert "hawk" in repr(found)
    assert found._repr_html_().count("<tr>") >= len(found.features)


def test_without_labels_predictions_say_what_is_without_a_class(pool, tmp_path):
    files = [Image.open(path).copy() for path in sorted(pool.glob("*/000[0-4].png"))]
    study = Study(demo.loaded(), world.LAYER, files, tmp_path / "store", quick())
    found = study.spurious(["hawk"])
    assert not found.labelled
    assert any("labels are of no class" in warning for warning in found.warnings)
    assert all(crop.image.prediction.index != HAWK for one in found.features for crop in one.crops)


def test_what_cannot_be_asked_is_refused(study):
    with pytest.raises(SettingsError, match="pooled is 'sum'; choose one of mean, max"):
        study.project([np.zeros((96, 96, 3), np.uint8)], pooled="sum")
    with pytest.raises(ClassError, match="no class is called"):
        study.project([np.zeros((96, 96, 3), np.uint8)], ["nobody"])
    with pytest.raises(DataError, match="no image came"):
        study.project([])
    with pytest.raises(ClassError, match="no class is called"):
        study.spurious(["nobody"])
    with pytest.raises(ClassError, match="no class is called"):
        study.arrays("nobody")
