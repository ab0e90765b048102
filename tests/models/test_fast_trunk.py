"""The fast trunk is the model's own trunk, up to a known error, and the model is not touched."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from helpers import nets
from whyclass.models import fast_trunk as fast_trunks
from whyclass.models.fast_trunk import fast_trunk, smooth_trunk
from whyclass.models.split import split

CASES = [
    (lambda: nets.seeded(nets.Plain()), "body", 32),
    (lambda: nets.seeded(nets.Auxiliary()), "tail", 32),
    (lambda: nets.seeded(nets.Residual()), "branch", 32),
    (lambda: nets.seeded(nets.Bypassed("cat")), "up", 32),
    (lambda: nets.resnet("resnet18"), "layer2.1", 64),  # basic blocks
    (lambda: nets.bottleneck(), "layer3.1", 64),
]
IDS = ["plain", "auxiliary", "residual", "u-net", "resnet18", "bottleneck"]


def cut(make, layer, side):
    return split(make(), layer, nets.images(1, side=side))


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest, relative to the largest activation."""
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("make", "layer", "side"), CASES, ids=IDS)
@pytest.mark.parametrize("build", [fast_trunks._fused, fast_trunks._folded, fast_trunks._plain])
def test_in_float32_a_copy_of_the_trunk_is_the_trunk(make, layer, side, build):
    own, x = cut(make, layer, side), nets.images(3, seed=5, side=side)
    with torch.no_grad():
        assert difference(build(own, torch.float32)(x), own.trunk(x)) < 1e-4


@pytest.mark.parametrize(("make", "layer", "side"), CASES, ids=IDS)
def test_in_bfloat16_the_fast_trunk_points_the_same_way(make, layer, side):
    own, x = cut(make, layer, side), nets.images(3, seed=5, side=side)
    with torch.no_grad():
        found, wanted = fast_trunk(own, torch.bfloat16)(x), own.trunk(x)
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)  # it is a copy in bfloat16, and not the trunk itself
    cosine = nnf.cosine_similarity(found.flatten(1), wanted.flatten(1))
    assert cosine.min() >= 0.999


@pytest.mark.parametrize(("make", "layer", "side"), CASES, ids=IDS)
def test_convolutions_are_really_fused(make, layer, side, monkeypatch):
    own, made = cut(make, layer, side), []
    real = fast_trunks._fuse_convolutions
    monkeypatch.setattr(fast_trunks, "_fuse_convolutions", lambda graph: (real(graph), made.append(graph)))
    trunk = fast_trunk(own, torch.float32)
    kinds = {type(module).__name__ for module in made[0].modules() if module is not made[0]}
    left = {node.op + str(node.target) for node in made[0].graph.nodes if "relu" in str(node.target)}
    called = [str(node.target) for node in made[0].graph.nodes if node.op == "call_module"]
    assert "_Convolution" in kinds
    assert not any(name.endswith(("bn", "bn1", "bn2", "1.1")) for name in called)
    assert all("fused" in name for name in left)
    assert trunk.__qualname__.startswith("_fused")


def gradient(trunk, images: Tensor) -> Tensor:
    """Of the sum of weighted activations, at the images."""
    images = images.clone().requires_grad_()
    x = trunk(images)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    return torch.autograd.grad((x * weights).sum(), images)[0]


@pytest.mark.parametrize(("make", "layer", "side"), CASES, ids=IDS)
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.99999), (torch.bfloat16, 0.98)])
def test_a_smooth_trunk_has_the_gradient_of_the_trunk(make, layer, side, dtype, least):
    own, x = cut(make, layer, side), nets.images(3, seed=5, side=side)
    trunk = smooth_trunk(own, dtype)
    assert trunk.__qualname__.startswith("_folded")
    cosine = nnf.cosine_similarity(gradient(trunk, x).flatten(1), gradient(own.trunk, x).flatten(1))
    assert cosine.min() >= least
    assert all(parameter.grad is None for parameter in own.model.parameters())


@pytest.mark.parametrize("way", ["itself", "alias", "read", "alpha"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_branch_that_is_used_again_is_not_overwritten(way, dtype):
    own = cut(lambda: nets.seeded(nets.UsedLater(way)), "out", 32)
    x = nets.images(3, seed=5)
    with torch.no_grad():
        error = difference(fast_trunk(own, dtype)(x), own.trunk(x))
    assert error < fast_trunks.TOLERANCE[dtype]


def test_what_is_used_again_does_not_keep_a_model_from_being_fused():
    own = cut(lambda: nets.seeded(nets.UsedLater("itself")), "out", 32)
    assert fast_trunk(own, torch.float32).__qualname__.startswith("_fused")


def test_a_model_that_cannot_be_traced_is_copied_and_right():
    own = cut(lambda: nets.seeded(nets.Branches()), "out", 32)
    trunk = fast_trunk(own, torch.float32)
    assert trunk.__qualname__.startswith("_plain")
    with torch.no_grad():
        for x in (nets.images(2, seed=5), nets.images(2, seed=5) - 3):
            assert difference(trunk(x), own.trunk(x)) < 1e-4


def test_a_model_that_cannot_compute_in_another_precision_stays_as_it_is():
    own, x = cut(lambda: nets.seeded(nets.Float32Only()), "out", 32), nets.images()
    assert torch.equal(fast_trunk(own, torch.bfloat16)(x), own.trunk(x))


def test_a_copy_that_does_not_reproduce_the_trunk_is_not_used(monkeypatch):
    own, x = cut(lambda: nets.seeded(nets.Plain()), "body", 32), nets.images()
    for name in ("_fused", "_plain"):
        monkeypatch.setattr(fast_trunks, name, lambda split, dtype: lambda images: split.trunk(images) * 1.01)
    assert torch.equal(fast_trunk(own, torch.float32)(x), own.trunk(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_not_changed(dtype, training):
    model = nets.seeded(nets.Residual()).train(training)
    own = split(model, "branch", nets.images(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast_trunk(own, dtype)(nets.images())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training is training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert [type(m) for m in model.modules()] == [type(m) for m in nets.Residual().modules()]


def test_the_images_are_not_changed():
    own, x = cut(lambda: nets.seeded(nets.Plain()), "body", 32), nets.images()
    fast_trunk(own, torch.float32)(x)
    assert torch.equal(x, nets.images())
