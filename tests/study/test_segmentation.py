"""Segmentation nets: explained, contrasted and audited like classifiers, by what their maps say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as nnf

from helpers.dense_net import dense
from helpers.planted_world import quick, whyclass
from whyclass.attribution import smoothgrad
from whyclass.attribution.methods import Baseline
from whyclass.checks import carried_logits
from whyclass.checks.concept_fidelity import Asked
from whyclass.concepts.reconstruction import embedded
from whyclass.models.split import split
from whyclass.models.tasks import class_map, logit
from whyclass.planted import demo, nets, world
from whyclass.pool import images as pool_images
from whyclass.pool.indexing_pass import BATCH
from whyclass.report import json_objects, page, summary
from whyclass.study import crop_pictures
from whyclass.study.class_evidence import evidence_of
from whyclass.study.class_outlines import outlined
from whyclass.study.contrast_tests import Attempt
from whyclass.study.explain import rival
from whyclass.study.study import Study

HAWK, OWL = (world.class_index(name) for name in world.TWINS)


class Skips(nn.Module):
    """A U-Net of two levels with random weights: its skip goes around everything below."""

    def __init__(self) -> None:
        super().__init__()
        self.high = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.low = nn.Sequential(nn.Conv2d(8, 12, 3, 4, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 8, 4, 4)
        self.out = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1))

    def forward(self, images: Tensor) -> Tensor:
        high = self.high(images)
        return self.out(torch.cat([high, nnf.relu(self.up(self.low(high)))], 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("segments")


@pytest.fixture(scope="module")
def pool(folder):
    return world.write_pool(folder / "pool", 4)


@pytest.fixture(scope="module")
def study(folder, pool):
    return Study(dense(), world.LAYER, pool, folder / "store", quick(), progress=None)


def maps(study: Study) -> np.ndarray:
    """The softmax maps of all images of the pool, one image at a time."""
    with torch.no_grad():
        outputs = [
            study.loaded.model(sample.tensor[None]).softmax(1)[0].numpy()
            for _, sample in pool_images.samples(
                study.pool, range(len(study.pool.items)), world.PREPROCESSING
            )
        ]
    return np.stack(outputs)


def test_the_index_holds_what_every_map_says(study):
    index, each = study.index(), maps(study)
    assert len(each) > BATCH
    assert index.task.dense
    assert np.allclose(index.outputs[:, :9], each.max((2, 3)), atol=1e-5)
    assert np.allclose(index.outputs[:, 9:], each.mean((2, 3)), atol=1e-5)
    assert np.array_equal(index.counting(OWL), each[:, OWL].max((1, 2)) > 0.5)


def test_evidence_is_that_of_the_classifier_whose_logit_is_the_maps_mean(study):
    """DeepLift of the mean over the map, against that of a network whose logit is the same number."""
    image = torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(0))
    scores = []
    for model in (study.loaded.model, nets.planted_net()):
        cut = split(model, world.LAYER, image[None])
        baseline = smoothgrad.prepare(cut, torch.ones(1, 3, 96, 96), logit(HAWK))
        images = [(image, "x")]
        question = smoothgrad.Question(HAWK, baseline, dense=True)
        scores.append(smoothgrad.smoothgrad(cut, cut.trunk, images, question, quick()))
    assert np.allclose(scores[0].signed, scores[1].signed, atol=1e-6)
    assert max(s.errors.max() for s in scores) < 1e-4


@pytest.mark.parametrize("target", ["map", "confident"])
@pytest.mark.parametrize("layer", ["high", "low", "up", "out.1"])
def test_attribution_is_complete_where_skips_go_around_the_layer(layer, target):
    torch.manual_seed(0)
    cut = split(Skips().eval(), layer, torch.randn(1, 3, 32, 32))
    assert cut.bypassed is (layer in ("low", "up"))
    image = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    baseline = smoothgrad.prepare(cut, torch.ones(1, 3, 32, 32), logit(1))
    question = smoothgrad.Question(1, baseline, dense=True)
    found = smoothgrad.smoothgrad(cut, cut.trunk, [(image, "x")], question, quick(target=target))
    assert found.errors.max() < 1e-4
    assert found.signed.any()


def test_confident_pixels_alone_are_explained(study):
    """Where the class is, its logits are attributed: those of the rest of the map are left out."""
    position = int(np.flatnonzero(study.index().counting(OWL))[0])
    image = study.pool.sample(position, world.PREPROCESSING).tensor
    cut, model = study.split, study.loaded.model
    baseline = smoothgrad.prepare(cut, torch.ones(1, 3, 96, 96), logit(OWL))
    settings = quick(copies=1, noise=0, target="confident")
    question = smoothgrad.Question(OWL, baseline, dense=True)
    found = smoothgrad.smoothgrad(cut, cut.trunk, [(image, "x")], question, settings)
    with torch.no_grad():
        output, reference = model(image[None]), cut.head(baseline.activations)
    inside = class_map(output, OWL)[0]
    wanted = (output - reference)[0, OWL][inside].sum() / inside.numel()
    assert found.signed.sum() * cut.shape[0] == pytest.approx(float(wanted), rel=1e-3)


def test_a_class_is_explained_by_the_images_that_show_it(study):
    found = study.explain("owl")
    each, tests = maps(study), found.prediction_test
    shows = each[:, OWL].max((1, 2)) > 0.5
    assert found.model.task == "segmentation"
    assert found.n_predicted == shows.sum()
    names = {item.path: bool(s) for item, s in zip(study.pool.items, shows, strict=True)}
    assert not any(names[crop.image.path] for concept in found.concepts for crop in concept.excluding)
    with torch.no_grad():
        picture = world.PREPROCESSING.tensor(crop_pictures.decode(tests.including.picture))
        score = study.loaded.model(picture[None]).softmax(1)[0, OWL]
    assert tests.including.score == pytest.approx(float(score.max()), abs=1e-4)
    assert tests.including.share == pytest.approx(float(score.mean()), abs=1e-4)
    assert tests.including.predicted == bool(score.max() > 0.5)
    assert tests.including.layout == "stacked"
    assert "“owl” in white" in found.warnings[0]


def test_page_and_summary_tell_what_the_scores_mean(study):
    found = study.explain("owl")
    shown = page.page(found)
    assert "The model segments images" in shown
    assert "mean over the map" in shown
    assert any("mean over the map" in value for _, value in summary.rows(found))
    assert json_objects.as_object(found)["prediction_test"]["including"]["share"] is not None


def test_whole_images_show_the_outline_of_the_class(study):
    found = study.explain("owl")
    shown = found.images[0]
    item = next(k for k, item in enumerate(study.pool.items) if item.path == shown.image.path)
    sample = study.pool.sample(item, world.PREPROCESSING)
    with torch.no_grad():
        inside = class_map(study.loaded.model(sample.tensor[None]), OWL)[0].numpy()
    wanted = crop_pictures.encode(outlined(sample.picture, inside), lossless=False)
    assert shown.picture == wanted
    assert shown.picture != crop_pictures.encode(sample.picture, lossless=False)


def test_an_outline_runs_along_the_border_of_a_region_and_leaves_the_rest():
    inside = np.zeros((4, 4), bool)
    inside[:, :2] = True
    grey = Image.new("RGB", (32, 32), "#808080")
    pixels = np.asarray(outlined(grey, inside))
    assert {tuple(p) for p in pixels[:, 15:17].reshape(-1, 3)} == {(255, 255, 255)}
    assert {tuple(p) for p in pixels[:, [14, 17]].reshape(-1, 3)} == {(16, 16, 16)}
    assert (pixels[:, :14] == 128).all()
    assert (pixels[:, 18:] == 128).all()
    assert (np.asarray(grey) == 128).all()
    assert np.array_equal(np.asarray(outlined(grey, np.ones((4, 4), bool))), np.asarray(grey))


def test_two_classes_are_contrasted_from_images_that_show_only_one(study):
    found = study.contrast("hawk", "owl")
    each = maps(study)
    owls, hawks = (each[:, k].max((1, 2)) > 0.5 for k in (OWL, HAWK))
    sweep = found.a.shifting
    assert sweep is not None
    chosen = evidence_of(study.context(), OWL).chosen
    alone = [p for p in chosen if owls[p] and not hawks[p]]
    rows = alone or [p for p in chosen if study.index().predicted[p] == OWL] or list(chosen)
    assert sweep.n == len(rows)
    assert sweep.steps[0].target == pytest.approx(each[rows, HAWK].max((1, 2)).mean(), abs=1e-4)
    assert sweep.steps[0].share == pytest.approx(each[rows, HAWK].mean(), abs=1e-4)
    hawk = evidence_of(study.context(), HAWK)
    other = [p for p in hawk.chosen if not owls[p]]
    told = found.warnings
    assert len([w for w in told if "where it is already" in w]) == (not alone) + (not other)
    both = [0 < len(rest) < len(all_) for rest, all_ in ((alone, chosen), (other, hawk.chosen))]
    assert len([w for w in told if "rest on so few" in w]) == sum(both)
    assert not sweep.swapped or sweep.steps[0].winner.name != "hawk"
    shown = page.page(found)
    assert "Mean over the map" in shown
    assert "“owl” in yellow" in shown


def test_images_that_show_both_classes_take_no_part_in_a_duel(study, monkeypatch):
    source = evidence_of(study.context(), OWL)
    scores = np.zeros((len(source.chosen), 18))
    scores[:, OWL] = scores[1:, HAWK] = 0.9
    monkeypatch.setattr(type(study.index()), "scores", lambda self, positions: scores)
    duel = Attempt(source, HAWK, np.zeros(64, np.float32), 0.0)
    assert duel.n == 1
    assert torch.equal(duel.images, source.images[:1])
    scores[0, HAWK] = 0.9  # now all show both
    scores[:, 9 + HAWK], scores[:2, 9 + OWL] = 0.3, 0.5
    called = Attempt(source, HAWK, np.zeros(64, np.float32), 0.0)
    assert called.rows.tolist() == [0, 1]
    scores[:, 9 + OWL] = 0.1
    everyone = Attempt(source, HAWK, np.zeros(64, np.float32), 0.0)
    assert everyone.n == len(source.chosen)


def test_every_class_is_audited(study):
    found = study.audit(["owl", "hawk"], tests=["prediction", "shift"])
    assert [one.target.name for one in found.classes] == ["owl", "hawk"]
    alone = study.explain("owl").prediction_test.including
    assert found.classes[0].including.score == pytest.approx(alone.score)
    assert len(found.shifts) == 2
    wanted = {s.source.name: (s.pairs[0].moved.n, s.pairs[0].target.score) for s in found.shifts}
    pairs = study.pairs(["hawk", "owl"]).pairs
    for pair in pairs:
        n, default = wanted[pair.shifting.source.name]
        assert n == pair.shifting.n
        assert default == pytest.approx(pair.shifting.steps[0].target)
    swaps = {s.source.name: s.pairs[0].moved.swapped for s in found.shifts}
    assert swaps == {pair.shifting.source.name: pair.shifting.swapped for pair in pairs}


def test_large_maps_are_finished_a_few_images_at_a_time(study, folder, pool, monkeypatch):
    monkeypatch.setattr("whyclass.models.split.OUTPUT_BYTES", 3 * 4 * study.split.outputs)
    assert study.split.together(32) == 3
    few = Study(dense(), world.LAYER, pool, folder / "few", quick())
    assert np.allclose(few.index().outputs, study.index().outputs, atol=1e-5)
    steps = few.contrast("hawk", "owl").a.shifting.steps
    wanted = study.contrast("hawk", "owl").a.shifting.steps
    assert [s.target for s in steps] == pytest.approx([s.target for s in wanted], abs=1e-3)


def test_the_background_is_no_class_to_be_audited(pool, folder):
    names = ("background", *demo.loaded().class_names[1:])
    with_background = Study(replace(dense(), class_names=names), world.LAYER, pool, folder / "b", quick())
    scene = with_background.context()
    assert scene.task.background == 0
    assert scene.index.counting(0).any()
    assert 0 not in scene.classes()
    assert with_background.explain("background").target.index == 0  # it can be asked for


def test_the_class_that_won_is_never_the_class_itself(study):
    tests = study.explain("owl").prediction_test
    owl, other = tests.including.top[0], tests.including.top[1]
    lost = replace(
        tests.including, predicted=False, top=(replace(owl, index=OWL), replace(other, index=HAWK))
    )
    assert rival(replace(tests, including=lost), OWL).index == HAWK
    alone = replace(lost, top=lost.top[:1])
    assert rival(replace(tests, including=alone, excluding=None), OWL) is None


def test_a_class_that_no_map_shows_is_named(folder, pool):
    with torch.no_grad():
        loaded = dense()
        loaded.model.head.bias[world.class_index("bee")] = -1e3
    lost = Study(loaded, world.LAYER, pool, folder / "lost", quick())
    with pytest.raises(
        Exception, match=r"'bee' is found in none of the pool's 36 images \(softmax above 0.5"
    ):
        lost.explain("bee")


def test_the_command_explains_a_segmentation_net(folder, pool):
    factory = folder / "net.py"
    factory.write_text(
        "from helpers.dense_net import dense\n\n\ndef net():\n    return dense().model\n", encoding="utf-8"
    )
    ran = whyclass(
        "explain", "--model", f"{factory}:net", "--layer", world.LAYER, "--images", pool, "--store",
        folder / "cli", "--resize", 96, "--crop", 96, "--mean", 0.5, "--std", 0.25, "--class", HAWK,
        "--set", "images=4", "--set", "copies=2", "--set", "controls=2", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["prediction_test"]["including"]["share"] is not None


def test_methods_are_compared_by_the_mean_of_the_map(study):
    found = study.compare([1], ["whyclass", "permuted"])
    for result in found.classes[0].results:
        assert not result.problem
        assert "surf_mae" not in result.measures  # a map of logits is no linear layer on the mean cell
        assert np.isfinite(list(result.measures.values())).all()
    real, nonsense = found.classes[0].results
    assert abs(nonsense.measures["carried_everywhere"]) < real.measures["carried_everywhere"]


def test_concepts_carry_every_logit_past_a_bypass_too():
    torch.manual_seed(0)
    images = torch.randn(3, 3, 16, 16)
    cut = split(Skips().eval(), "low", images[:1])
    assert cut.bypassed
    with torch.no_grad():
        activations, base = cut.trunk(images).numpy(), cut.trunk(torch.ones_like(images[:1]))
    asked, D = Asked(cut, activations, images, 1), np.eye(12)
    found = carried_logits.multipliers(asked, Baseline(base), range(5))
    carried = carried_logits.carried(found, embedded(activations, D), D, lambda a: embedded(a, D))
    assert carried.kept == pytest.approx(1, abs=1e-3)
