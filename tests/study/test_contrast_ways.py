"""What makes a contrast: which cells count, where steps lie, and what its tests leave out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from whyclass import Contrast, Study
from whyclass.attribution import deeplift
from whyclass.concepts import hyperplanes
from whyclass.models.tasks import difference, logit, logit_within
from whyclass.planted import demo, world
from whyclass.records import Evidence, EvidenceAgainst
from whyclass.report import contrast_text, contrast_ways
from whyclass.settings import SHIFTS, Settings
from whyclass.study import sweeps
from whyclass.study.class_evidence import evidence_of
from whyclass.study.contrast_scores import CONTRASTS
from whyclass.study.contrast_tests import Attempt
from whyclass.study.pair_evidence import evidence_against
from whyclass.study.plane_trust import Plane

HAWK, OWL = (world.class_index(name) for name in world.TWINS)
FEW = Settings(
    images=8, copies=2, starts=1, crops=2, controls=2, examples=2, null_crops=2, null_cells=0, null_scores=0
)
FEW = replace(FEW, fillings=0, refits=0, plane_bootstraps=0, plane_permutations=0, precision="float32")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways") / "pool"
    world.write_pool(folder, n_per_class=8, seed=0)
    return folder


def study(pool, store=None, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, replace(FEW, **changes), progress=False)


@pytest.fixture(scope="module")
def asked(pool, tmp_path_factory) -> Study:
    return study(pool, tmp_path_factory.mktemp("store"), contrast_by="both")


@pytest.fixture(scope="module")
def both(asked) -> Contrast:
    return asked.contrast(*world.TWINS)


# ---------------------------------------------------------------- attribution of the difference


def test_the_difference_is_what_one_logits_attribution_exceeds_the_others(asked):
    """On the same images and noise; and it adds up by itself."""
    own = evidence_of(asked.context(), HAWK)
    alone, against = own.scored_against(None, OWL)
    other = evidence_of(asked.context(), OWL)
    theirs = replace(other, chosen=own.chosen, predicted=own.predicted).scored()
    np.testing.assert_allclose(against.signed, alone.signed - theirs.signed, atol=1e-6)
    assert against.errors.max() < 1e-4
    assert (against.cells == np.maximum(against.signed, 0)).all()


def test_it_adds_up_to_the_change_of_the_difference(asked):
    split, images = asked.context().split, evidence_of(asked.context(), HAWK).images[:3]
    wanted = difference(logit(HAWK), logit(OWL))
    with torch.no_grad():
        a, b = split.trunk(images), split.trunk(torch.ones_like(images[:1]))
        expected = [float(out[HAWK] - out[OWL]) for out in split.head(torch.cat([a, b]), images)]
    tape = deeplift.record(lambda x: split.head(x, images), b, wanted)
    found = deeplift.attribute(lambda x: split.head(x, images), a, tape, wanted)
    sums = found.values.sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(sums, np.array(expected[:3]) - expected[3], rtol=1e-4, atol=1e-4)


def test_of_maps_the_same_pixels_of_both_classes_are_compared():
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[1:3, 2:] = True
    found = difference(logit_within(0, inside), logit_within(2, inside))(maps)
    expected = (maps[:, 0] - maps[:, 2])[:, inside].sum(1) / 20
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(difference(logit(0), logit(1))(maps), (maps[:, 0] - maps[:, 1]).mean((1, 2)))


def test_one_pass_of_the_trunk_serves_class_and_rivals_and_all_is_kept(pool, tmp_path, monkeypatch):
    fresh = study(pool, tmp_path)
    context, passed = fresh.context(), []
    trunk = context.trunk(torch.float32)
    counted = replace(context, trunk=lambda dtype: lambda x: passed.append(len(x)) or trunk(x))
    own = evidence_of(counted, HAWK)
    n = len(own.chosen)
    found = evidence_against(own, [OWL, 0])
    assert [one.against for one in found] == [OWL, 0]
    assert sum(passed) == n * FEW.copies + n  # noisy copies once, and the clean images
    assert context.kept(Evidence, own.evidence_file) is not None
    monkeypatch.setattr(type(own), "scored_against", None)
    again = evidence_against(evidence_of(context, HAWK), [0, OWL])
    assert [one.against for one in again] == [0, OWL]
    assert all(a == b for a, b in zip(again, found[::-1], strict=True))
    assert isinstance(again[0], EvidenceAgainst)


# ---------------------------------------------------------------- rows of what counts


def test_rows_of_what_counts_against_plain_ones(asked, both):
    context = asked.context()
    own = evidence_of(context, HAWK)
    w, b = both.hyperplane.normal, both.hyperplane.bias
    plane, signed = Plane(w, b, None), evidence_against(own, [OWL])[0].signed
    z = np.einsum("c,nchw->nhw", w, own.activations) + b
    plain = {
        "plane": np.maximum(z, 0),
        "attribution": np.maximum(signed, 0),
        "both": np.maximum(z, 0) * np.maximum(signed, 0),
    }
    for name, expected in plain.items():
        np.testing.assert_allclose(CONTRASTS[name].scores(own, OWL, plane), expected, atol=1e-5)
    lean = CONTRASTS["both"].lean(own, OWL, plane).reshape(-1)
    product = (z * signed).reshape(-1)
    agreed, positive = product > 1e-9, (z > 0).reshape(-1)
    assert (lean[agreed & positive] > 0).all()
    assert (lean[agreed & ~positive] < 0).all()
    order = np.argsort(lean[agreed & positive])
    assert (np.diff(product[agreed & positive][order]) >= -1e-5).all()
    assert len(np.unique(lean)) == lean.size  # no ties: nothing is masked for its place


def test_a_contrast_by_both_says_so_and_adds_up(asked, both):
    assert both.settings["contrast_by"] == "both"
    assert "times the attribution" in contrast_ways.made_by(both)
    assert dict(contrast_text.rows(both))["Made by"] == contrast_ways.made_by(both)
    for side in (both.a, both.b):
        assert 0 <= side.completeness.worst < 1e-3
        assert side.concepts
    own = evidence_of(asked.context(), HAWK)
    scores = CONTRASTS["both"].scores(own, OWL, Plane(both.hyperplane.normal, both.hyperplane.bias, None))
    assert both.a.own_side == pytest.approx(float((scores > 0).mean()))


def test_what_is_masked_follows_what_counts(asked, both):
    """From owls to hawks: first what speaks most for the owl against the hawk, by attribution."""
    context, owl = asked.context(), evidence_of(asked.context(), OWL)
    lean = -evidence_against(owl, [HAWK])[0].signed
    found = sweeps.masking(Attempt(owl, HAWK, both.hyperplane.normal, both.hyperplane.bias, lean=lean))
    rank = np.argsort(np.argsort(lean, axis=None, kind="stable"), kind="stable").reshape(lean.shape)
    masked = torch.from_numpy(rank < round(0.3 * rank.size)).float()[:, None]
    pixels = torch.nn.functional.interpolate(masked, size=(96, 96), mode="nearest").bool()
    scores = context.scores(torch.where(pixels, torch.zeros(()), owl.images))
    assert found.steps[3].target == pytest.approx(scores[:, HAWK].mean(), abs=1e-6)
    assert found.unit is None


# ---------------------------------------------------------------- steps


def test_finer_steps_lie_around_the_best():
    at = (0.0, 1.0, 2.0, 4.0)
    assert sweeps.finer(at, 2, 4) == [pytest.approx(x) for x in (4 / 3, 5 / 3, 8 / 3, 10 / 3)]
    assert sweeps.finer(at, 0, 2) == [0.5]
    assert sweeps.finer(at, 3, 2) == [3.0, 5.0]  # beyond the last
    assert sweeps.finer(at, 2, 1) == [1.5]


def test_the_first_step_that_swaps_is_told_beside_the_best(asked, both):
    for side, name in ((both.a, HAWK), (both.b, OWL)):
        sweep = side.shifting
        won = [step.winner.index == name for step in sweep.steps]
        assert sweep.first == (won.index(True) if any(won) else None)
        assert [step.at for step in sweep.steps] == sorted({step.at for step in sweep.steps})
        around = [step.at for step in sweep.steps if step.at not in asked.settings.shifts]
        near = sorted([*asked.settings.shifts, sweep.steps[sweep.best].at])
        assert asked.settings.finer // 2 <= len(around) <= asked.settings.finer
        assert near[0] <= min(around)
    assert "wins first at t =" in contrast_text.sweep_line(both.a.shifting, "shifted")
    assert both.a.shifting.random.swapped is not None
    assert "distance between both classes' mean cells" in contrast_ways.unit(both.a.shifting)


def test_a_step_is_one_distance_of_the_mean_cells_and_random_directions_are_as_long(asked, both):
    own, other = (evidence_of(asked.context(), k) for k in (HAWK, OWL))
    w = both.hyperplane.normal
    between = own.cells.vectors.mean(0) - other.cells.vectors.mean(0)
    attempt = Attempt(other, HAWK, w, 0.0, hyperplanes.apart(w, between))
    moved = other.cells.vectors.mean(0) + np.sign(w @ between) * attempt.step
    assert w @ moved == pytest.approx(float(w @ own.cells.vectors.mean(0)), rel=1e-4)
    assert sweeps._shifted(attempt).length is not None
    np.testing.assert_allclose(np.linalg.norm(sweeps._shifted(attempt).length), attempt.unit, rtol=1e-5)
    assert hyperplanes.apart(np.array([0.0, 1.0]), np.array([3.0, 0.0])) == pytest.approx(0.03)  # a floor
    assert hyperplanes.apart(np.zeros(2), np.zeros(2)) == 1.0


def test_the_papers_steps_are_the_normal_as_it_is(pool):
    found = study(pool, plane="paper", shifts=SHIFTS, shift_unit="normal", finer=0, tests=("shifting",))
    sweep = found.contrast(*world.TWINS).a.shifting
    assert [step.at for step in sweep.steps] == list(SHIFTS)
    assert sweep.unit is None
    assert contrast_ways.unit(sweep) == "multiples of the normal"


# ---------------------------------------------------------------- tests of the same contrast


def test_one_more_test_takes_crops_from_images_of_neither_class(asked, both):
    index = asked.index()
    of = {item.path: int(index.predicted[p]) for p, item in enumerate(index.items)}
    for side in (both.a, both.b):
        test = side.prediction_test.neither
        assert {of[shown.image.path] for shown in test.sources}.isdisjoint({HAWK, OWL})
        assert test.pool == sum(k not in (HAWK, OWL) for k in of.values())
        assert side.explanation.prediction_test.neither is None
        shown = [crop for concept in side.concepts for crop in concept.neither]
        assert [crop.image.path for crop in shown] == [source.image.path for source in test.sources]


def test_a_contrast_is_tested_in_more_and_larger_crops_than_are_shown(both):
    for side in (both.a, both.b):
        test, crop = side.prediction_test.including, side.concepts[0].including[0]
        assert len(test.sources) == 2 * len(side.concepts)
        assert test.picture.width == 2 * (crop.box[2] - crop.box[0]) == 2 * crop.picture.width
        assert test.picture.height == len(test.sources) * test.picture.width


def test_a_crop_of_the_images_own_class_tells_what_covering_does(asked, both):
    inserted = both.a.insertions[0]
    context, theirs = asked.context(), both.b.explanation.concepts[0].including[0]
    left, top, right, bottom = theirs.box
    piece = context.read([context.position(theirs.image.path)])[0].tensor[:, top:bottom, left:right]
    images = evidence_of(context, OWL).images.clone()
    images[:, :, 80:, 80:] = piece
    assert inserted.theirs.target == pytest.approx(context.scores(images)[:, HAWK].mean(), abs=1e-6)
    assert all(one.theirs == inserted.theirs for one in both.a.insertions)
