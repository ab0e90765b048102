"""What an explanation is worth, on the planted world: members, nulls, refits, against plain twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from whyclass import Settings, Study
from whyclass.checks import stitching
from whyclass.checks.statistics import log_odds, rank_p
from whyclass.concepts.nmf import factorise
from whyclass.planted import demo, world
from whyclass.report.verdict import verdict
from whyclass.study.class_evidence import evidence_of
from whyclass.study.concept_contributions import fillings
from whyclass.study.crop_pictures import Pictures, piece
from whyclass.study.prediction_test_and_control import Controls, alike, masks_of, stitched

HAWK = world.class_index("hawk")

SETTINGS = Settings(
    precision="float32", images=24, copies=4, starts=2, examples=0, null_crops=99, null_cells=19, refits=2
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("pool"), 24, 0)


def study(pool, store, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, replace(SETTINGS, **changes), progress=False)


@pytest.fixture(scope="module")
def asked(pool, tmp_path_factory) -> Study:
    return study(pool, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def hawk(asked):
    return asked.explain("hawk")


@pytest.fixture(scope="module")
def spoilt(pool, tmp_path_factory):
    """The same with four of six concepts replaced by their own channels in another order."""
    made = study(pool, tmp_path_factory.mktemp("spoilt"))
    own = evidence_of(made.context(), HAWK)
    generator, concepts = np.random.default_rng(1), own.factors.concepts.copy()
    for k in range(4):
        concepts[k] = concepts[k][generator.permutation(concepts.shape[1])]
    own.context.store.keep(replace(own.factors, concepts=concepts), own.factors_file)
    return made.explain("hawk")


def test_every_null_is_told_with_its_n_and_a_rank_p(hawk):
    nulls = {one.kind: one for one in hawk.prediction_test.excluding.nulls}
    assert {kind: one.n for kind, one in nulls.items()} == {
        "random crops": 99,
        "random cells": 19,
        "shuffled scores": 19,
    }
    for one in nulls.values():
        assert 1 / (one.n + 1) <= one.p <= 1
        assert (one.p * (one.n + 1)) % 1 == pytest.approx(0, abs=1e-9)


def test_nonsense_is_marked_and_keeps_the_highest_level_away(hawk, spoilt):
    marked = [not one.contribution.needed for one in spoilt.concepts]
    assert sum(marked[:4]) >= 3
    assert sum(not one.contribution.needed for one in hawk.concepts) < 3
    assert verdict(spoilt).level != "trust"
    assert spoilt.prediction_test.excluding.backing < hawk.prediction_test.excluding.backing


def test_shuffled_scores_are_not_called_supported(pool, tmp_path):
    made = study(pool, tmp_path)
    for name in ("hawk", "bee"):
        own = evidence_of(made.context(), world.class_index(name))
        scores = own.evidence.scores.reshape(len(own.evidence.scores), -1).copy()
        for row in scores:
            np.random.default_rng(len(name)).shuffle(row)
        spoiled = replace(own.evidence, scores=scores.reshape(own.evidence.scores.shape))
        own.context.store.keep(spoiled, own.evidence_file)
        assert verdict(made.explain(name)).level != "trust"


def test_a_class_of_one_image_is_never_called_supported(pool, tmp_path):
    few = tmp_path / "pool"
    for name in ("hawk", "owl", "bee"):
        (few / name).mkdir(parents=True)
        for file in sorted((pool / name).glob("*.png"))[: 1 if name == "hawk" else 24]:
            (few / name / file.name).write_bytes(file.read_bytes())
    judged = verdict(study(few, tmp_path / "store").explain("hawk"))
    assert judged.level != "trust"
    assert "ten images (1)" in judged.sentence


def test_without_nulls_the_verdict_is_not_the_highest_and_says_why(pool, tmp_path):
    bare = {"null_cells": 0, "null_scores": 0, "fillings": 0, "refits": 0}
    judged = verdict(study(pool, tmp_path, **bare).explain("hawk"))
    assert judged.level == "careful"
    assert (
        "Not run: random crops, random cells, shuffled scores, each concept by itself, halves"
        in judged.sentence
    )


def test_gains_are_those_of_the_plain_way(asked):
    """Each test image by itself, stitched as the prediction test does."""
    context = asked.context()
    mask, pictures = masks_of(context, HAWK)["excluding"], Pictures(context, [HAWK])
    fill = fillings(context, Controls(context), pictures.sample, HAWK, mask, (8, 3))
    crop = fill.sets[0][2]
    found = fill.gains([crop], [1, 2])[0]
    for number, gain in zip((1, 2), found, strict=True):
        before = fill.sets[number]
        odds = [
            float(log_odds(stitched(context, places, pictures.sample).scores[HAWK]))
            for places in ((crop, *before[1:]), before)
        ]
        assert gain == pytest.approx(odds[0] - odds[1], abs=1e-3)
    assert piece(context, crop, pictures.sample(crop.position).tensor).shape[1:] == (16, 16)


def test_a_crop_has_the_same_gain_whatever_shows_it_and_passes_the_model_once(asked, monkeypatch):
    context = asked.context()
    mask, pictures = masks_of(context, HAWK)["excluding"], Pictures(context, [HAWK])
    fill = fillings(context, Controls(context), pictures.sample, HAWK, mask, (8, 3))
    stitched_images = []
    monkeypatch.setattr(
        stitching,
        "scores_of_images",
        lambda model, images, link: stitched_images.append(len(images)) or SCORES,
    )
    one, two = fill.sets[1][1], fill.sets[2][1]
    first = fill.gain([one, two])
    asked_for = len(stitched_images)
    again = [replace(place, cosine=0.3) for place in (two, one)]
    assert fill.gain(again) == first
    assert len(stitched_images) == asked_for > 0
    assert len(fill.own(one)) == 2
    assert len({tuple(fill.own(place)) for drawn in fill.sets for place in drawn}) > 1


SCORES = np.full((stitching.TOGETHER, 9), 1 / 9)


def test_halves_are_disjoint_and_matched_to_the_whole(asked, hawk):
    assert hawk.refits.n == 4
    assert hawk.refits.images == 12
    for one in hawk.concepts:
        assert -1 <= one.stability.least <= one.stability.mean <= 1 + 1e-6
    own = evidence_of(asked.context(), HAWK)
    again = factorise(own.activations, own.evidence.scores, replace(SETTINGS, starts=2))
    assert np.array_equal(again.concepts, own.factors.concepts)  # what is matched is the same seed's


def test_random_crops_repeat_as_the_explanation_does(asked):
    context = asked.context()
    mask, pictures = masks_of(context, HAWK)["excluding"], Pictures(context, [HAWK])
    controls = Controls(context)
    places = controls.draws(1, 3, mask)[0]
    assert alike([places[0], places[1], places[0]]) == [0, 1, 0]
    repeated = controls.of(HAWK, [0, 0, 0], mask, pictures.sample, 0.5)
    assert repeated.mean != controls.of(HAWK, [0, 1, 2], mask, pictures.sample, 0.5).mean


def test_rank_p_counts_ties_and_itself():
    assert rank_p(1.0, np.array([0.0, 1.0, 2.0, 0.5])) == pytest.approx(3 / 5)
    assert rank_p(3.0, np.zeros(19)) == pytest.approx(0.05)
    assert rank_p(1.0, np.array([1.0 - 1e-11])) == 1.0  # a difference of rounding is a tie


def test_log_odds_are_bounded():
    assert torch.isfinite(torch.from_numpy(log_odds(np.array([0.0, 0.5, 1.0])))).all()
    assert log_odds(np.array([0.5]))[0] == 0
