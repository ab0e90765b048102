"""Two layers audited together: noisy copies pass what they share once, and every byte is the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from helpers.planted_world import contents, model_arguments, quick, quick_arguments, whyclass
from whyclass.models import fast_trunk as fast
from whyclass.models.split import split
from whyclass.planted import demo, nets, world
from whyclass.study import shared_copies
from whyclass.study.class_evidence import evidence_of
from whyclass.study.study import Study

LAYERS = ("stage3", "stage4")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 3)


@pytest.fixture(scope="module")
def apart(pool, tmp_path_factory):
    """One layer after the other."""
    store = tmp_path_factory.mktemp("apart") / "store"
    for layer in LAYERS:
        Study(demo.loaded(), layer, pool, store, quick()).audit()
    return contents(store)


def together(pool, store, layers=LAYERS, **changes) -> list[Study]:
    studies = [Study(demo.loaded(), layer, pool, store, quick(**changes)) for layer in layers]
    studies[0].beside = tuple(studies[1:])
    for study in studies:
        study.audit()
    return studies


@pytest.fixture
def passed(monkeypatch) -> Counter:
    """How many images passed which copy of the trunk."""
    counts: Counter = Counter()
    real, shared = fast.fast_trunk, shared_copies.shared_trunk

    def one(cut, dtype):
        trunk = real(cut, dtype)
        return lambda images: (counts.update({cut.layer: len(images)}), trunk(images))[1]

    def both(splits, own, dtype, images):
        trunk = shared(splits, own, dtype, images)
        counts.clear()  # the proof is no part of the work
        return trunk and (lambda images: (counts.update(both=len(images)), trunk(images))[1])

    monkeypatch.setattr("whyclass.study.context.fast_trunk", one)
    monkeypatch.setattr(shared_copies, "shared_trunk", both)
    return counts


@pytest.mark.parametrize("layers", [LAYERS, LAYERS[::-1]], ids=["shallow first", "deep first"])
def test_the_bytes_are_those_of_one_layer_after_the_other(apart, pool, tmp_path, passed, layers):
    studies = together(pool, tmp_path / "store", layers)
    assert contents(tmp_path / "store") == apart
    explained = sum(min(6, int((studies[0].index().predicted == k).sum())) for k in range(9))
    assert passed["both"] == 2 * explained  # two copies of each
    assert max(passed[layer] for layer in LAYERS) < 2 * explained  # none but clean images by themselves


def test_layers_that_draw_other_images_are_done_one_after_the_other(pool, tmp_path, passed, monkeypatch):
    real = shared_copies.evidence_of

    def other(context, target):
        own = real(context, target)
        return shared_copies.replace(own, chosen=own.chosen[:-1])

    monkeypatch.setattr(shared_copies, "evidence_of", other)
    together(pool, tmp_path / "store")
    assert not passed["both"]


def test_what_one_layer_has_already_is_not_made_again(apart, pool, tmp_path, passed):
    Study(demo.loaded(), LAYERS[1], pool, tmp_path / "store", quick()).audit()
    together(pool, tmp_path / "store")
    assert not passed["both"]
    assert contents(tmp_path / "store") == apart


def test_the_command_shares(apart, pool, tmp_path, passed):
    model = model_arguments(tmp_path / "model")
    model[model.index("--layer") : model.index("--layer") + 2] = ["--layers", ",".join(LAYERS)]
    ran = whyclass(
        "audit", *model, "--images", pool, "--store", tmp_path / "store", "--quiet", *quick_arguments()
    )
    assert ran.code == 0, ran
    assert passed["both"]


def test_copies_until_there_are_enough_are_shared_as_well(pool, tmp_path, passed):
    """Every layer and class has the number of copies that it has alone."""
    changes = {"images": 3, "copies": "auto", "noise": 2.0}
    for layer in LAYERS:
        Study(demo.loaded(), layer, pool, tmp_path / "apart", quick(**changes)).audit(["hawk", "snail"])
    studies = [Study(demo.loaded(), one, pool, tmp_path / "store", quick(**changes)) for one in LAYERS]
    studies[0].beside = tuple(studies[1:])
    for study in studies:
        study.audit(["hawk", "snail"])
    assert contents(tmp_path / "store") == contents(tmp_path / "apart")
    kept = [evidence_of(study.context(), k).evidence.missed.shape[1] for study in studies for k in (1, 3)]
    assert len(set(kept)) > 1
    assert passed["both"] == 3 * sum(max(pair) for pair in zip(kept[:2], kept[2:], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_shared_trunk_gives_each_layers_own_bits(dtype):
    net, image = nets.planted_net(), nets.as_input([world.planted_picture(1, 0).image])
    cuts = [split(net, layer, image) for layer in LAYERS]
    own = [fast.fast_trunk(cut, dtype) for cut in cuts]
    trunk = fast.shared_trunk(cuts, own, dtype, 4)
    images = torch.randn(4, *image.shape[1:])
    with torch.no_grad():
        for mine, alone in zip(trunk(images), own, strict=True):
            assert torch.equal(mine, alone(images))
    off = [own[0], lambda images: own[1](images) + 1e-6]
    assert fast.shared_trunk(cuts, off, dtype, 4) is None
