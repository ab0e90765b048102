"""``head(trunk(x))`` is the model, bit for bit, and the model is given back as it came."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as nnf

from helpers import nets
from whyclass.errors import LayerError, ModelError
from whyclass.models.layer_info import get_layer
from whyclass.models.split import run, split, survey

ZEROS = torch.zeros(1, 3, nets.SIDE, nets.SIDE)


def state(model: nn.Module) -> list[object]:
    """Everything about a model that somebody else may rely on."""
    modules = [
        (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for m in model.modules()
    ]
    parameters = [(p.requires_grad, p.grad, p.device, p.dtype, p._version) for p in model.parameters()]
    return [modules, parameters, [(b.device, b._version) for b in model.buffers()]]


def mixed() -> nn.Module:
    """A net in training mode but for one part, one of its parameters frozen."""
    net = nets.seeded(nets.Breaks()).train()
    net.body.eval()
    net.fc.weight.requires_grad_(False)
    return net


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (nets.Plain, "stem"),
        (nets.Plain, "body"),
        (nets.Plain, "body.2"),
        (nets.Plain, "tail"),
        (nets.InPlace, "stem"),
        (nets.InPlace, "tail"),
        (nets.Residual, "stem"),
        (nets.Residual, "branch"),
        (nets.Reused, "last"),
        (nets.Branches, "out"),
    ],
)
def test_head_of_trunk_is_the_model_bit_for_bit(make, layer):
    model, x = nets.seeded(make()), nets.images(3)
    cut = split(model, layer, ZEROS)
    with torch.no_grad():
        activations = cut.trunk(x)
        kept = activations.clone()
        for _ in range(3):
            assert torch.equal(cut.head(activations, x), model(x))
    assert activations.shape[1:] == cut.shape
    assert torch.equal(activations, kept)  # an in-place operation after the layer did not reach them


@pytest.mark.parametrize("layer", ["layer2.1", "layer4.1"])
def test_head_of_trunk_is_a_resnet_bit_for_bit(layer):
    model, x = nets.resnet("resnet18"), nets.images(2, side=64)
    cut = split(model, layer, x[:1])
    with torch.no_grad():
        assert torch.equal(cut.head(cut.trunk(x)), model(x))


def test_gradients_reach_the_activations_and_not_the_model():
    model, x = nets.seeded(nets.Residual()), nets.images(2)
    cut = split(model, "stem", ZEROS)
    activations = cut.trunk(x).detach().requires_grad_()
    cut.head(activations)[:, 1].sum().backward()
    leaf = activations.detach().clone().requires_grad_()
    out = (model.branch(leaf) + leaf - 0.5).relu().mean((2, 3))
    (expected,) = torch.autograd.grad(model.fc(out)[:, 1].sum(), leaf)
    assert torch.allclose(activations.grad, expected)


@pytest.mark.parametrize("wants", [True, False])
def test_the_callers_gradient_mode_is_kept(wants):
    cut = split(nets.seeded(nets.Plain()), "body", ZEROS)
    with torch.set_grad_enabled(wants):
        activations = cut.trunk(nets.images())
        assert cut.head(activations).requires_grad is wants
        assert torch.is_grad_enabled() is wants


def test_the_trunk_stops_at_the_layer_and_the_head_does_not_pay_for_it():
    model = nets.seeded(nets.Counted())
    cut = split(model, "body", ZEROS)
    model.before.seen.clear()
    model.after.seen.clear()
    activations = cut.trunk(nets.images(7))
    assert (model.before.seen, model.after.seen) == ([7], [])
    cut.head(activations)
    assert (model.before.seen, model.after.seen) == ([7], [7])


@pytest.mark.parametrize(
    "use",
    [
        lambda model: split(model, "body", ZEROS),
        lambda model: split(model, "body", ZEROS).trunk(nets.images()),
        lambda model: (
            split(model, "body", ZEROS).head(torch.rand(2, 12, 8, 8, requires_grad=True)).sum().backward()
        ),
        lambda model: run(model, nets.images()),
        lambda model: survey(model, ZEROS),
    ],
    ids=["split", "trunk", "head", "run", "survey"],
)
def test_the_model_is_given_back_as_it_came(use):
    model = mixed()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = state(model)
    use(model)
    assert state(model) == before


def test_a_forward_of_a_modules_own_is_kept():
    model, x = nets.seeded(nets.Plain()), nets.images()
    real, calls = model.stem.forward, []
    model.stem.forward = own = lambda images: (calls.append(len(images)), real(images))[1]
    cut = split(model, "body", ZEROS)
    with torch.no_grad():
        assert torch.equal(cut.head(cut.trunk(x)), model(x))
    assert model.stem.forward is own
    assert calls[-2:] == [2, 2]  # the trunk and the model, but not the head


@pytest.mark.parametrize(
    ("use", "layer"),
    [
        (lambda cut: cut.trunk(nets.images()), "tail"),
        (lambda cut: cut.head(torch.rand(2, *cut.shape)), "body"),
        (lambda cut: run(cut.model, nets.images()), "body"),
        (lambda cut: survey(cut.model, ZEROS), "body"),
        (lambda cut: split(cut.model, "tail", ZEROS), "body"),
    ],
    ids=["trunk", "head", "run", "survey", "split"],
)
@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of order"), AssertionError("wrong size"), KeyError("missing"), AttributeError("gone")],
)
def test_after_an_error_inside_the_model_it_is_given_back_as_it_came(use, layer, error):
    model = mixed()
    cut = split(model, layer, ZEROS)
    before = state(model)
    model.error = error
    with pytest.raises(ModelError, match=type(error).__name__):
        use(cut)
    assert state(model) == before
    assert torch.is_grad_enabled()


def test_an_interrupt_inside_the_model_passes_and_leaves_it_as_it_came():
    model = mixed()
    cut = split(model, "body", ZEROS)
    before = state(model)
    model.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cut.head(torch.rand(2, *cut.shape))
    assert state(model) == before


@pytest.mark.parametrize("join", ["cat", "add"])
def test_a_layer_that_something_bypasses_is_noticed(join):
    model, x = nets.seeded(nets.Bypassed(join)), nets.images(3)
    cut = split(model, "mid", ZEROS)
    assert cut.bypassed
    with torch.no_grad():
        assert torch.equal(cut.head(cut.trunk(x), x), model(x))
        other = cut.trunk(nets.images(3, seed=9))
        assert not torch.equal(cut.head(other, x), model(x))  # the activations given are the ones used
    with pytest.raises(LayerError, match="needs the images"):
        cut.head(cut.trunk(x))


@pytest.mark.parametrize("layer", ["down", "up"])
def test_the_ends_of_a_bypass_are_not_bypassed(layer):
    assert not split(nets.seeded(nets.Bypassed("cat")), layer, ZEROS).bypassed


@pytest.mark.parametrize(
    ("make", "layer", "reason"),
    [
        (nets.Reused, "twice", "called 2 times.*Nearest that can: .*last"),
        (nets.Odd, "pair", "no tensor but a tuple.*Nearest that can: .*stem"),
        (nets.Odd, "fc", r"shape \(1, 5\), needed is \(n, c, h, w\)"),
        (nets.Odd, "unused", "does not call it"),
        (nets.Odd, "sten", r"no layer 'sten'; did you mean stem"),
        (nets.Odd, "", "no layer ''"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_refused_with_the_reason(make, layer, reason):
    with pytest.raises(LayerError, match=reason):
        split(nets.seeded(make()), layer, ZEROS)


@pytest.mark.parametrize(
    "make",
    [lambda: nets.Wrapped(lambda out: nnf.dropout(out, 0.5, training=True)), nets.Stateful],
    ids=["random", "keeps state"],
)
def test_a_model_that_does_not_repeat_itself_is_refused(make):
    model = nets.seeded(make())
    layer = "body" if isinstance(model, nets.Plain) else "net.body"
    with pytest.raises(LayerError, match="random, or does it keep state"):
        split(model, layer, ZEROS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda out: (out, out), "tuple"),
        (lambda out: {"boxes": out}, "dict"),
        (lambda out: out * float("nan"), "not finite"),
    ],
    ids=["tuple", "dict", "NaN"],
)
def test_an_output_that_is_no_finite_tensor_is_named(change, reason):
    with pytest.raises(ModelError, match=reason):
        split(nets.seeded(nets.Wrapped(change)), "net.body", ZEROS)


def test_layers_are_listed_in_the_order_they_finish_with_the_size_of_their_crops():
    infos = survey(nets.seeded(nets.Odd()), nets.images(1))
    assert [info.name for info in infos] == [
        "stem.0",
        "stem.1",
        "stem.2",
        "stem",
        "pair",
        "signed",
        "fine",
        "fc",
    ]
    by_name = {info.name: info for info in infos}
    assert by_name["stem"].crop == (4, 4)
    assert by_name["stem"].shape == (1, 8, 16, 16)
    good = [info.name for info in infos if not info.problem and not info.signed]
    assert good == ["stem.2", "stem", "fine"]


def test_a_constant_image_does_not_hide_that_a_layer_is_signed():
    model = nets.seeded(nets.Odd())
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.bias.data.zero_()
        norm.running_mean.zero_()
    assert not split(model, "fine", ZEROS).signed
    assert split(model, "stem.1", ZEROS).signed  # on a black image it is zero everywhere


def test_get_layer_gives_the_module_at_a_path():
    model = nets.Plain()
    assert get_layer(model, "body.0") is model.body[0]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: {"out": logits, "aux": logits + 1},
        lambda logits: {"logits": logits, "loss": None},
        lambda logits: SimpleNamespace(logits=logits, hidden_states=None),
    ],
    ids=["torchvision", "mapping", "transformers"],
)
def test_logits_are_found_in_what_libraries_give_for_an_output(wrap):
    class Wrapped(nets.Plain):
        def forward(self, x):
            return wrap(super().forward(x))

    plain, wrapped = nets.seeded(nets.Plain()), nets.seeded(Wrapped())
    images = torch.randn(2, 3, nets.SIDE, nets.SIDE)
    cut = split(wrapped, "body", ZEROS)
    with torch.no_grad():
        assert torch.equal(cut.head(cut.trunk(images), images), plain.eval()(images))
