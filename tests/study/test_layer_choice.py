"""The choice of a layer: candidates, the sample, the rule, and the planted world."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

from helpers.layer_choices import candidate, result
from helpers.planted_world import NAMES, leftovers, quick
from whyclass import ClassError, LayerError, SettingsError, StoreError, choose_layer
from whyclass.attribution import smoothgrad
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.setup import example_image
from whyclass.models.split import survey
from whyclass.planted import demo, nets, world
from whyclass.pool import images as pool_images
from whyclass.pool.items import Item
from whyclass.progress import Progress
from whyclass.records import LayerChoice
from whyclass.report import audits_in_store
from whyclass.settings import Settings
from whyclass.store import find_store
from whyclass.study import class_evidence, layer_choice_rule
from whyclass.study.layer_candidates import candidates
from whyclass.study.layer_choice import cheap
from whyclass.study.layer_choice_rule import after_choice, averaged, decide, pick, warnings_of
from whyclass.study.layer_choice_sample import classes_of, sample_of
from whyclass.study.study import Study

# ---------------------------------------------------------------- candidates


def vgg16() -> nn.Module:
    with torch.device("meta"):
        net = VGG(make_layers(cfgs["D"]), init_weights=False)
    net.classifier = nn.Sequential(nn.Linear(512 * 49, 10))  # the real one has a hundred million weights
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.02)
    return net


def vit_b_16() -> nn.Module:
    return torchvision.models.VisionTransformer(64, 16, 12, 2, 32, 64, num_classes=10)


BLOCKS = "encoder.layers.encoder_layer_"
NETS = {
    "planted": (nets.PlantedNet, 96, ["stage1.5", "stage2.5", "stage4.5"]),
    "resnet50": (torchvision.models.resnet50, 128, ["layer1.2", "layer2.3", "layer3.5", "layer4.2"]),
    "vgg16": (vgg16, 224, ["features.15", "features.22", "features.29", "avgpool"]),
    # the last block is left out: only its class token goes on
    "vit_b_16": (vit_b_16, 64, [f"{BLOCKS}{number}" for number in (1, 4, 7, 10)]),
    "swin_t": (
        torchvision.models.swin_t,
        128,
        ["features.1.1", "features.3.1", "features.5.5", "features.7.1"],
    ),
    "convnext_tiny": (
        torchvision.models.convnext_tiny,
        128,
        ["features.1.2", "features.3.2", "features.5.8", "features.7.2"],
    ),
    "densenet121": (
        torchvision.models.densenet121,
        128,
        [*(f"features.transition{n}.relu" for n in (1, 2, 3)), "features.denseblock4"],
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_candidates_are_the_ends_of_stages(name):
    make, size, expected = NETS[name]
    torch.manual_seed(0)
    net = make().eval()
    found = candidates(net, survey(net, example_image(Preprocessing(crop=(size, size)))))
    assert [info.name for info in found] == expected
    areas = [info.crop[0] * info.crop[1] for info in found]
    assert areas == sorted(areas)
    assert max(areas) <= (size // 2) ** 2


def test_one_size_of_crops_gives_what_there_is():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = candidates(net, survey(net, example_image(Preprocessing(crop=(8, 8)))))
    assert [info.name for info in found] == ["1"]


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("found", "expected", "says"),
    [
        (
            [("a", 4, 0.2), ("b", 8, 0.75), ("c", 16, 0.8)],
            "b",
            "has the smallest crops that score within one",
        ),
        (
            [("a", 4, 0.2), ("b", 8, 0.69), ("c", 16, 0.8)],
            "c",
            "and no smaller crops come within one standard",
        ),
        ([("a", 4, 0.9), ("b", 8, 0.8)], "a", "scores best, 0.90 without"),
        ([("a", 16, 0.7), ("b", 16, 0.8)], "b", "scores best"),
    ],
)
def test_the_smallest_crops_within_one_standard_error_are_chosen(found, expected, says):
    chosen, why = pick([candidate(*one) for one in found])
    assert chosen.layer == expected
    assert says in why
    assert why.startswith(f"of {len(found)} candidates ")


def test_what_random_crops_equal_is_left_out():
    found = [candidate("a", 4, 0.8, above=False), candidate("b", 8, 0.8)]
    assert pick(found)[0].layer == "b"
    assert pick([replace(found[0]), candidate("b", 8, 0.9, above=False)])[0].layer == "b"
    assert "none does better than random crops" in pick(found[:1])[1]
    assert pick([candidate("a", 4, 0.8, above=None), candidate("b", 8, 0.85)])[0].layer == "a"  # not measured


def test_of_the_same_crops_the_fewest_concepts_are_chosen():
    found = [candidate("a", 8, score, concepts=k) for k, score in ((9, 0.8), (6, 0.78), (3, 0.6))]
    chosen, why = pick(found)
    assert chosen.concepts == 6
    assert "has the fewest concepts that score" in why


def test_fewer_than_five_classes_choose_nothing():
    names = tuple("abcde")
    found = [candidate("a", 4, 0.9, names=names), candidate("b", 8, 0.2, names=names)]
    assert decide(found)[0].layer == "a"
    few = [candidate("a", 4, 0.9, names=names[:4]), candidate("b", 8, 0.2, names=names[:4])]
    chosen, why = decide(few)
    assert chosen.layer == "b"
    assert "4 classes are too few to choose" in why
    assert after_choice(few, chosen, 0) is None
    assert any("4 classes are too few" in warning for warning in warnings_of(few, chosen, 4, [10] * 4))


def test_without_the_second_test_the_first_decides():
    chosen, why = pick([candidate("a", 4, 0.3, without=False), candidate("b", 8, 0.9, without=False)])
    assert chosen.layer == "b"
    assert "0.90 with the class's images" in why


def test_averages_over_classes():
    scores = [0.1, 0.9, 0.6, 0.4]
    tests = [result(0, "a", score).excluding for score in scores]
    found = averaged(tests, 0)
    assert (found.n, found.score, found.predicted) == (4, pytest.approx(0.5), 0.5)
    assert found.error == pytest.approx(np.std(scores, ddof=1) / 2)
    assert found.low < 0.5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(scores) / 2, rel=0.15)
    assert (found.control, found.control_predicted, found.above) == (pytest.approx(0.01), 0, True)
    assert averaged(tests, 0) == found
    lost = averaged([*tests, None], 0)  # a class that could not be explained counts
    assert (lost.n, lost.score) == (5, pytest.approx(0.4))
    assert averaged(tests[:1], 0).error == 0
    equal = [replace(one, control=replace(one.control, mean=0.45)) for one in tests]
    assert averaged(equal, 0).above is False
    called = [replace(one, control=replace(one.control, predicted=0.3)) for one in tests]
    assert averaged(called, 0).above is False
    assert averaged([replace(one, control=None) for one in tests], 0).above is None


def test_only_what_was_not_changed_is_made_cheap():
    assert (cheap(Settings()).images, cheap(Settings()).copies) == (16, 8)
    assert (cheap(Settings(images=30)).images, cheap(Settings(images=30)).copies) == (30, 8)
    assert cheap(Settings(crops=3, examples=2)) == cheap(Settings())  # these decide nothing of a choice


# ---------------------------------------------------------------- classes and images


def scene_of(predicted: list[int], seed: int = 0, background: int | None = None) -> SimpleNamespace:
    own = np.array(predicted)
    items = tuple(Item(f"{number}.png", f"digest {number}") for number in range(len(own)))
    index = SimpleNamespace(predicted=own, usable=own >= 0, items=items, counting=lambda k: own == k)
    pool = pool_images.Pool("photographs", items, lambda position: position)
    return SimpleNamespace(
        index=index,
        pool=pool,
        task=SimpleNamespace(background=background),
        settings=Settings(seed=seed, images=3),
        classes=lambda: np.unique(own[own >= 0]).tolist(),
    )


def test_classes_are_drawn_among_those_with_enough_images():
    predicted = [k for k in range(12) for _ in range(10 if k != 5 else 9)] + [-1] * 20
    found = {tuple(classes_of(scene_of(predicted, seed), 4)) for seed in range(20)}
    assert len(found) > 10
    assert all(len(one) == 4 and list(one) == sorted(one) and 5 not in one for one in found)
    assert {k for one in found for k in one} == set(range(12)) - {5}
    assert classes_of(scene_of(predicted), 4) == classes_of(scene_of(predicted), 4)


def test_where_few_have_enough_the_most_predicted_are_taken():
    assert classes_of(scene_of([0, 1, 1, 1, 2, 2, -1, -1]), 2) == [1, 2]
    assert classes_of(scene_of([0, 1, 1]), 8) == [0, 1]


def test_the_background_is_not_drawn():
    assert classes_of(scene_of([0] * 30 + [1] * 20 + [2] * 10, background=0), 3) == [1, 2]
    assert classes_of(scene_of([0] * 5 + [1, 2, 2], background=0), 1) == [2]
    with pytest.raises(ClassError, match="shows a class but the background"):
        classes_of(scene_of([0] * 5, background=0), 3)


def test_the_sample_holds_the_images_that_classes_are_explained_by():
    scene = scene_of([0] * 50 + [1] * 50 + [-1] * 10)
    own = sample_of(scene, [1], 20)
    kept = [own.read(position) for position in range(len(own.items))]
    assert len(kept) == 20
    assert kept == sorted(set(kept))
    assert [item.path for item in own.items] == [f"{position}.png" for position in kept]
    assert max(kept) < 100  # what cannot be read is left out
    assert set(class_evidence.evidence_of(scene, 1).chosen.tolist()) <= set(kept)
    assert own.digest == sample_of(scene, [1], 20).digest
    assert own.digest != sample_of(scene_of([0] * 50 + [1] * 50 + [-1] * 10, 1), [1], 20).digest
    assert sample_of(scene, [1], 110) is scene.pool
    assert len(sample_of(scene, [0, 1], 2).items) == 6  # never fewer than these


# ---------------------------------------------------------------- the planted world

N = 8
CLASSES = ["hawk", "owl", "bee"]
LAYERS = ["stage1", "stage3"]


class Notes(Progress):
    """Progress that keeps its notes."""

    def __init__(self):
        super().__init__()
        self.notes: list[str] = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


@pytest.fixture(scope="module")
def made(pool, tmp_path_factory) -> tuple[LayerChoice, Path]:
    store = tmp_path_factory.mktemp("choice") / "store"
    return chosen(pool, store), store


def chosen(pool, store, **changes) -> LayerChoice:
    asked = {"layers": LAYERS, "classes": CLASSES} | changes
    return choose_layer(demo.loaded(), pool, store, quick(), **asked)


def test_the_layer_that_sees_the_parts_is_chosen(made):
    found, store = made
    assert (found.chosen.layer, found.chosen.crop, found.model.layer) == ("stage3", (16, 16), "stage3")
    assert [one.layer for one in found.candidates] == LAYERS
    assert [one.target.name for one in found.chosen.classes] == ["owl", "hawk", "bee"]
    first, last = found.candidates
    assert first.excluding.score < 0.5 < last.excluding.score
    assert (last.excluding.above, first.excluding.above) == (True, False)
    assert "3 of 3 classes are predicted for fewer than 10 images" in found.warnings[0]
    assert (found.settings["images"], found.settings["copies"]) == (6, 2)
    assert leftovers(store) == []
    with pytest.raises(StoreError, match="holds no result of an audit"):  # a table never holds a sample
        audits_in_store.collect(find_store(store))


def test_numbers_are_those_of_an_audit_of_the_same_images(made, pool):
    """No second prediction test: the whole pool is the sample here."""
    audit = Study(demo.loaded(), "stage3", pool, settings=cheap(quick())).audit(CLASSES)
    mine = [(one.including, one.excluding, one.residual) for one in made[0].chosen.classes]
    assert mine == [(one.including, one.excluding, one.residual) for one in audit.classes]


def test_the_same_question_is_answered_from_the_store(made, pool):
    found, store = made
    progress = Progress()
    assert chosen(pool, store, progress=progress) == found
    assert set(progress.seconds) == {"load"}


def test_a_choice_that_was_stopped_goes_on(made, pool, tmp_path, monkeypatch):
    found, store = made
    copy = shutil.copytree(store, tmp_path / "store")
    for file in (*copy.glob("choices/*"), *sorted(copy.glob("choosing/findings/*"))[:2]):
        file.unlink()
    monkeypatch.setattr(smoothgrad, "smoothgrad", None)  # what is kept is not computed again
    assert chosen(pool, copy) == found
    for file in copy.glob("cho*/**/*.whyclass"):
        assert file.read_bytes() == (store / file.relative_to(copy)).read_bytes()


def test_concepts_are_tried_on_the_same_evidence(made, pool, tmp_path, monkeypatch):
    copy = shutil.copytree(made[1], tmp_path / "store")
    monkeypatch.setattr(smoothgrad, "smoothgrad", None)
    found = chosen(pool, copy, concepts=(2, 6), layers=["stage3"])
    assert [one.concepts for one in found.candidates] == [2, 6]
    assert found.candidates[1] == made[0].candidates[1]
    assert found.candidates[0].including != found.candidates[1].including


def test_a_sample_is_searched_and_said_and_its_index_lies_apart(pool, tmp_path, monkeypatch):
    store, progress = tmp_path / "store", Notes()
    monkeypatch.setattr(layer_choice_rule, "ENOUGH", 7)
    changes = {"sample": 20, "layers": ["stage3"], "classes": ["hawk"]}
    found = chosen(pool, store, **changes, progress=progress)
    assert (found.sample, found.pool.size) == (20, N * len(NAMES))
    (hawk,) = found.chosen.classes
    assert hawk.n_predicted < 7  # in the sample; of the pool's there are enough
    assert not any("fewer than" in warning for warning in found.warnings)
    chosen(pool, store, **changes | {"sample": 25}, progress=progress)
    assert progress.notes == []
    explaining = Notes()
    Study(demo.loaded(), "stage3", pool, store, quick(), progress=explaining).index()
    assert explaining.notes == []
    assert "index" not in explaining.seconds  # the pass over the whole pool serves explanations too


def test_auto_takes_the_choice_and_explains_as_if_it_were_named(made, pool, monkeypatch):
    found, store = made
    asked = partial(choose_layer, layers=LAYERS, classes=CLASSES)
    monkeypatch.setattr(sys.modules[Study.__module__], "choose_layer", asked)
    progress = Notes()
    auto = Study(demo.loaded(), "auto", pool, store, quick(), progress=progress)
    assert auto.choice == found
    assert auto.split.layer == found.chosen.layer != found.candidates[0].layer
    assert progress.notes == [f"layer stage3 was chosen: {found.why}"]
    named = Study(demo.loaded(), "stage3", pool, store, quick())
    assert named.choice is None
    assert named.key(1) == auto.key(1)


def untrained(pool: Path) -> nn.Module:
    """Random weights whose outputs are centred and scaled, so that many classes are predicted."""
    images = pool_images.pool(pool)
    x = torch.stack([images.sample(p, world.PREPROCESSING).tensor for p in range(len(images.items))])
    torch.manual_seed(1)
    net = nets.PlantedNet().eval()
    with torch.no_grad():
        net.head.bias.zero_()
        net.head.weight /= 0.5 * net(x).std(0)[:, None]
        net.head.bias -= net(x).mean(0)
        assert len(net(x).argmax(1).unique()) > 5
    return net


def test_random_weights_give_a_warning(pool, tmp_path):
    loaded = replace(demo.loaded(), model=untrained(pool))
    found = choose_layer(loaded, pool, tmp_path / "store", quick(), layers=["stage4"])
    assert "At no candidate layer do the concepts' crops do better" in found.warnings[0]
    assert "none does better than random crops" in found.why
    assert found.chosen in found.candidates


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"layers": ["stage3", "stage33"]}, LayerError, "no layer 'stage33'; did you mean stage3"),
        ({"layers": ["head"]}, LayerError, "layer 'head' cannot be explained"),
        ({"classes": 0}, SettingsError, "classes is 0; needed is 1 or more"),
        ({"classes": []}, SettingsError, "needed is 1 or more, or names"),
        ({"classes": ["hwak"]}, ClassError, "Did you mean"),
        ({"sample": 0}, SettingsError, "sample is 0"),
        ({"concepts": [0]}, SettingsError, "concepts is 0"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_before_anything_is_computed(
    pool, tmp_path, monkeypatch, changes, error, message
):
    monkeypatch.setattr(Study, "index", partial(pytest.fail, "a pass over the pool began"))
    with pytest.raises(error, match=message):
        chosen(pool, tmp_path / "store", **changes)


def test_a_class_that_is_never_predicted_is_refused(pool):
    with pytest.raises(ClassError, match="'bee' is predicted for none of the pool's 8 images"):
        chosen(pool / "hawk", None, classes=["bee"])


def test_a_model_without_a_grid_has_no_layer_to_choose(pool):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 9))
    with pytest.raises(LayerError, match="has no layer to choose"):
        choose_layer(replace(demo.loaded(), model=net), pool)
