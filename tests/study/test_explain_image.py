"""One image explained by concepts of its classes: sums, places, tests and swaps, where the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import whyclass
from helpers.dense_net import dense
from helpers.planted_world import quick
from whyclass.errors import ClassError, DataError
from whyclass.planted import demo, image_trial, nets, world
from whyclass.records import ImageExplanation
from whyclass.study.image_concepts import finished, held, images_at
from whyclass.study.image_tests import less, less_as_much
from whyclass.study.study import Study

HAWK, OWL = (world.class_index(name) for name in world.TWINS)
SEED = 7_000_000


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 30)


@pytest.fixture(scope="module")
def study(pool, tmp_path_factory) -> Study:
    settings = quick(images=30, copies=5, starts=2, controls=10)
    return Study(demo.loaded(), world.LAYER, pool, tmp_path_factory.mktemp("s") / "store", settings)


@pytest.fixture(scope="module")
def stickered(tmp_path_factory) -> Path:
    """An owl with a sticker, which the model takes for a hawk, in a folder that says owl."""
    folder = tmp_path_factory.mktemp("given") / "owl"
    folder.mkdir()
    drawn = world.planted_picture(OWL, SEED, add=[world.SHORTCUT])
    Image.fromarray(drawn.image).save(folder / "stickered.png")
    return folder / "stickered.png"


@pytest.fixture(scope="module")
def mistaken(study, stickered) -> ImageExplanation:
    return study.explain_image(stickered)


def test_what_is_told_of_parts_is_what_happens_without_them(study):
    told = image_trial.trial(study, 100)
    assert told.pictures == 100
    assert told.first >= 0.95
    assert told.rank >= 0.8
    assert told.random <= 0.2


def test_the_shortcut_is_named_where_an_owl_wears_it(study):
    found = image_trial.shortcut(study, 10)
    assert found.pictures >= 8
    assert found.named >= 0.9
    assert found.removed >= 0.9


def test_a_mistaken_image_is_set_against_its_label(mistaken):
    assert mistaken.mistaken
    assert mistaken.image.prediction.index == mistaken.target.target.index == HAWK
    assert mistaken.image.labelled == "owl"
    assert mistaken.against.target.index == OWL
    assert mistaken.swap.found
    assert mistaken.swap.predicted.index == mistaken.swap.wanted.index == OWL


@pytest.mark.parametrize("name", ["target", "against"])
def test_contributions_and_what_is_left_add_up_to_the_logit(study, mistaken, stickered, name):
    side = getattr(mistaken, name)
    total = side.baseline + sum(concept.contribution for concept in side.concepts) + side.rest + side.missed
    assert total == pytest.approx(side.logit, abs=1e-4)
    assert abs(side.missed) < 1e-4 * abs(side.logit - side.baseline)
    model, preprocessing = study.loaded.model, study.loaded.preprocessing
    with torch.no_grad():
        logits = model(preprocessing.tensor(np.array(Image.open(stickered)))[None])[0]
        empty = model(preprocessing.constant("ones"))[0]
    assert side.logit == pytest.approx(float(logits[side.target.index]), abs=1e-3)
    assert side.baseline == pytest.approx(float(empty[side.target.index]), abs=1e-3)
    for concept in side.concepts:
        assert concept.contributions.sum() == pytest.approx(concept.contribution, abs=1e-3)


def test_the_lead_is_the_difference_of_what_counts_for_either_class(study, stickered, mistaken):
    one = images_at(study.context(), nets.as_input([np.array(Image.open(stickered))]))
    hawk, owl = (held(one, study.basis(k)) for k in (HAWK, OWL))
    lead = (hawk.contributions(hawk.multipliers) - hawk.contributions(owl.multipliers)).sum((0, 1, 2))
    assert [concept.margin for concept in mistaken.target.concepts] == pytest.approx(lead.tolist(), abs=1e-3)


def test_a_removal_is_what_the_model_makes_of_the_changed_activations(study, stickered, mistaken):
    context = study.context()
    one = images_at(context, nets.as_input([np.array(Image.open(stickered))]))
    basis = study.basis(HAWK)
    amounts = held(one, basis).amounts[0]
    before = one.logits[0, HAWK]
    for k, concept in enumerate(mistaken.target.concepts):
        left = one.activations[0] - basis.vectors[k][:, None, None] * amounts[..., k]
        logits, _ = finished(context, torch.from_numpy(left.clip(0))[None].float(), one.tensors)
        assert concept.removed.logit == pytest.approx(before - logits[0, HAWK], abs=1e-3)
    falls = [concept.removed.logit for concept in mistaken.target.concepts]
    told = [concept.contribution for concept in mistaken.target.concepts]
    assert np.corrcoef(falls, told)[0, 1] > 0.9


def test_random_directions_take_as_much_energy(rng):
    activations = torch.from_numpy(rng.random((30, 4, 4)).astype(np.float32))
    taken = torch.from_numpy(rng.random((30, 4, 4)).astype(np.float32))
    left = less_as_much(activations, taken, 2.0, signed=False)
    assert float((activations - left).norm()) == pytest.approx(2.0, rel=2e-3)
    assert left.min() >= 0
    everything = less_as_much(activations, taken, 1e6, signed=False)
    assert not everything.any()
    assert torch.equal(less(activations, taken, signed=True), activations - taken)


def test_blanking_the_best_concepts_costs_more_than_other_cells(study):
    drawn = [world.planted_picture(HAWK, SEED + i).image for i in range(6)]
    falls = [
        concept.blanked
        for one in study.explain_images(drawn, "hawk")
        for concept in one.target.concepts
        if concept.blanked
    ]
    assert len(falls) == 6 * 2
    assert np.mean([fall.logit for fall in falls]) > np.mean([fall.random for fall in falls]) + 1


def test_a_swap_is_what_the_model_says_of_the_changed_activations(study, stickered, mistaken):
    context, swap = study.context(), mistaken.swap
    one = images_at(context, nets.as_input([np.array(Image.open(stickered))]))
    hawk, owl = study.basis(HAWK), study.basis(OWL)
    changed, amounts = one.activations[0], held(one, hawk).amounts[0]
    for k in swap.removed:
        changed = (changed - hawk.vectors[k][:, None, None] * amounts[..., k]).clip(0)
    for k in swap.added:
        changed = changed + owl.vectors[k][:, None, None] * owl.typical[k]
    _, scores = finished(context, torch.from_numpy(changed)[None].float(), one.tensors)
    assert context.task.winner(scores)[0] == OWL
    assert scores[0, OWL] == pytest.approx(swap.predicted.score, abs=1e-3)
    assert swap.random < 0.5
    assert swap.exact == (len(swap.removed) + len(swap.added) <= 2)


def test_a_set_of_two_is_told_only_where_none_of_one_does(study):
    drawn = [world.planted_picture(OWL, SEED + i, add=[world.SHORTCUT]).image for i in range(6)]
    for one in study.explain_images(drawn, against="owl"):
        moved = len(one.swap.removed) + len(one.swap.added)
        assert one.swap.found
        assert moved > 1 or one.swap.tried == 12
        if moved == 1:
            continue
        for concept in one.target.concepts:  # alone none of those that go is enough
            assert concept.removed.predicted.index != OWL


def test_classes_default_to_the_prediction_and_its_runner_up(study):
    found = study.explain_image(world.planted_picture(world.class_index("bee"), SEED).image, tests=False)
    assert found.target.target.name == "bee"
    assert found.against.target.index == found.top[1].index
    assert found.swap is None
    assert not found.mistaken
    assert all(concept.removed is None for concept in found.target.concepts)


def test_another_class_is_set_against_the_prediction(study):
    found = study.explain_image(world.planted_picture(HAWK, SEED + 1).image, "owl")
    assert (found.target.target.name, found.against.target.name) == ("owl", "hawk")
    assert (found.swap.said.name, found.swap.wanted.name) == ("hawk", "owl")
    third = study.explain_image(world.planted_picture(HAWK, SEED + 1).image, "owl", "bee")
    assert third.swap is None  # the model says neither


def test_an_image_that_is_what_it_is_set_against_is_set_against_another(study, stickered):
    found = study.explain_image(stickered, against="hawk", tests=False)
    assert (found.target.target.name, found.against.target.name) == ("hawk", "owl")
    assert any("says “hawk” itself" in warning for warning in found.warnings)


def test_several_images_come_out_as_one_by_one(study, stickered, mistaken):
    other = world.planted_picture(HAWK, SEED + 2).image
    first, second = study.explain_images([other, stickered])
    alone = study.explain_image(other)
    for one, twin in ((first, alone), (second, mistaken)):
        assert one.target.target.index == twin.target.target.index
        assert [c.contribution for c in one.target.concepts] == pytest.approx(
            [c.contribution for c in twin.target.concepts], abs=1e-3
        )
        assert one.swap.removed == twin.swap.removed


def test_any_kind_of_image_is_taken(study, stickered, mistaken):
    pixels = np.array(Image.open(stickered))
    kinds = [Image.open(stickered), pixels, study.loaded.preprocessing.tensor(pixels), str(stickered)]
    for one in study.explain_images(kinds, "hawk", "owl", tests=False):
        assert one.target.logit == pytest.approx(mistaken.target.logit, abs=1e-4)
        assert one.picture.width == world.SIZE


def test_an_image_of_the_pool_has_its_label(study, pool):
    found = study.explain_image(np.array(Image.open(pool / "snail" / "0003.png")), tests=False)
    assert found.image.labelled is None  # other bytes than the file's
    assert study.explain_image(pool / "snail" / "0003.png", tests=False).image.labelled == "snail"


def test_a_record_is_saved_and_read_again(mistaken, tmp_path):
    file = mistaken.save(tmp_path / "one.whyclass")
    assert whyclass.ImageExplanation.load(file) == mistaken


def test_a_basis_is_kept(study):
    before = sorted(study.store.records("bases"))
    again = study.basis("hawk")
    assert sorted(study.store.records("bases")) == before
    assert again.vectors.shape == (6, 64)
    assert again.typical.shape == (6, 12, 12)
    assert np.linalg.norm(again.vectors, axis=1) == pytest.approx(1, abs=1e-4)
    assert [len(crops) for crops in again.crops] == [4] * 6


def test_a_label_without_images_is_replaced_and_told(pool, tmp_path, stickered):
    few = [file for file in sorted(pool.glob("*/*.png")) if file.parent.name != "owl"][::4]
    study = Study(demo.loaded(), world.LAYER, few, tmp_path / "store", quick())
    found = study.explain_image(stickered)
    assert found.mistaken
    assert found.against.target.name != "owl"
    assert any("“owl” is predicted for no image of the pool" in warning for warning in found.warnings)
    with pytest.raises(ClassError, match="predicted for none"):
        study.explain_image(stickered, "owl")


def test_a_segmentation_net_is_explained_too(pool, tmp_path):
    files = sorted(pool.glob("*/000[0-2].png"))
    study = Study(dense(), world.LAYER, files, tmp_path / "store", quick())
    found = study.explain_image(world.planted_picture(HAWK, SEED).image, "hawk", "owl")
    total = sum(concept.contribution for concept in found.target.concepts)
    assert total + found.target.rest + found.target.missed == pytest.approx(
        found.target.logit - found.target.baseline, abs=1e-4
    )


def test_signed_activations_are_taken_out_as_they_are(pool, tmp_path):
    files = sorted(pool.glob("*/000[0-5].png"))
    study = Study(demo.loaded(), "stage3.4", files, tmp_path / "store", quick(images=6))
    found = study.explain_image(world.planted_picture(HAWK, SEED).image, "hawk", "owl")
    assert found.target.residual < 1
    assert any(concept.removed and concept.removed.n for concept in found.target.concepts)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nowhere.png", "nowhere.png: No such file"),
        (np.zeros((9, 9, 3)), "array of float64"),
        (torch.zeros(3, 5, 5), r"tensor of shape \(3, 5, 5\)"),
        (7, "came as int"),
        (["a.png", "b.png"], "2 images came"),
    ],
)
def test_what_is_no_image_is_refused(study, image, said):
    with pytest.raises(DataError, match=said):
        study.explain_image(image)


def test_what_cannot_be_asked_is_refused(study, stickered, tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        study.explain_image(tmp_path)
    with pytest.raises(DataError, match="no image came"):
        study.explain_images([])
    with pytest.raises(ClassError, match="no class is called 'ow'"):
        study.explain_image(stickered, "ow")
    with pytest.raises(ClassError, match="itself"):
        study.explain_image(stickered, "owl", "owl")


def test_the_gradient_adds_up_with_what_it_misses(pool, tmp_path, stickered):
    files = sorted(pool.glob("*/000[0-2].png"))
    study = Study(demo.loaded(), world.LAYER, files, tmp_path / "store", quick(method="gradient"))
    side = study.explain_image(stickered, "hawk", "owl", tests=False).target
    total = side.baseline + sum(concept.contribution for concept in side.concepts) + side.rest + side.missed
    assert total == pytest.approx(side.logit, abs=1e-4)
    assert abs(side.missed) > 0.01 * abs(side.logit - side.baseline)


def test_areas_of_parts_do_not_meet():
    drawn = world.planted_picture(HAWK, SEED)
    seen = image_trial.areas(drawn)
    assert set(seen) == set(drawn.masks)
    assert (np.sum(list(seen.values()), 0) <= 1).all()
    assert all(area.any() for area in seen.values())
