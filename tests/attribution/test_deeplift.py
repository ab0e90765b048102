"""The rules against slower, plainer twins, against Captum where it is right, and one at a time taken away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from whyclass.attribution.deeplift import Attribution, attribute, record
from whyclass.attribution.deeplift_rules import elementwise, products, rewrites, softmax, steps, table
from whyclass.errors import AttributionError

Head = Callable[[Tensor], Any]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X, B = 2 * noise(3, 4, 6), 2 * noise(1, 4, 6, seed=1)


def weighted(output: Tensor) -> Tensor:
    """One number per row that sees every element of the output differently."""
    flat = output.flatten(1)
    return flat @ torch.linspace(0.5, 1.5, flat.shape[1], dtype=flat.dtype)


def explain(head: Head, x: Tensor = X, b: Tensor = B, target: Head = weighted) -> Attribution:
    return attribute(head, x, record(head, b, target), target)


# --- every row of the table ---


def positive(x: Tensor) -> Tensor:
    return x.abs() + 0.05


def same(x: Tensor) -> Tensor:
    return x


ELEMENTWISE: dict[str, tuple[Head, Callable[[Tensor], Tensor]]] = {
    "relu": (torch.relu, same),
    "relu6": (lambda x: nnf.relu6(2 * x), same),
    "leaky_relu": (lambda x: nnf.leaky_relu(x, 0.2), same),
    "prelu": (lambda x: nnf.prelu(x, torch.tensor([0.1, 0.2, -0.3, 0.4]).to(x)), same),
    "rrelu": (nnf.rrelu, same),
    "hardtanh": (lambda x: nnf.hardtanh(x, -0.5, 1.5), same),
    "hardsigmoid": (lambda x: nnf.hardsigmoid(2 * x), same),
    "softshrink": (nnf.softshrink, same),
    "clamp": (lambda x: x.clamp(-1, 0.5), same),
    "clip": (lambda x: x.clip(max=0.5), same),
    "clamp_min": (lambda x: x.clamp_min(0.5), same),
    "clamp_max": (lambda x: x.clamp_max(-0.5), same),
    "abs": (abs, same),
    "elu": (lambda x: nnf.elu(x, 0.7), same),
    "selu": (nnf.selu, same),
    "celu": (lambda x: nnf.celu(x, 2.0), same),
    "gelu": (lambda x: nnf.gelu(x) + nnf.gelu(x, approximate="tanh"), same),
    "silu": (nnf.silu, same),
    "mish": (nnf.mish, same),
    "hardswish": (nnf.hardswish, same),
    "softplus": (nnf.softplus, same),
    "sigmoid": (torch.sigmoid, same),
    "expit": (torch.special.expit, same),
    "logsigmoid": (nnf.logsigmoid, same),
    "tanh": (torch.tanh, same),
    "erf": (torch.erf, same),
    "sin": (torch.sin, same),
    "cos": (torch.cos, same),
    "atan": (torch.atan, same),
    "exp": (torch.exp, same),
    "expm1": (torch.expm1, same),
    "log1p": (torch.log1p, positive),
    "log": (torch.log, positive),
    "rsqrt": (torch.rsqrt, positive),
    "reciprocal": (torch.reciprocal, positive),
    "square": (torch.square, same),
    "pow": (lambda x: x**3 + torch.pow(x, 4), same),
    "sqrt": (torch.sqrt, positive),
}

PRODUCTS: dict[str, Head] = {
    "mul": lambda x: x * x.roll(1, -1),
    "multiply": lambda x: torch.multiply(x, x.roll(1, -1)),
    "addcmul": lambda x: torch.addcmul(x, x, x.roll(1, -1), value=0.5),
    "einsum": lambda x: torch.einsum("nij,nkj->nik", x, x),
    "tensordot": lambda x: torch.tensordot(x[0], x[0], ([1], [1]))[None],
    "inner": lambda x: torch.inner(x[0], x[0])[None],
    "outer": lambda x: torch.outer(x[0, 0], x[0, 1])[None],
    "dot": lambda x: torch.dot(x[0, 0], x[0, 1])[None, None],
    "bilinear": lambda x: nnf.bilinear(x, x.roll(1, 1), noise(2, 6, 6)),
    "linear": lambda x: nnf.linear(x, x[0]),
    "matmul": lambda x: x @ x.mT,
    "bmm": lambda x: torch.bmm(x, x.mT),
    "mm": lambda x: torch.mm(x[0], x[0].mT)[None],
    "mv": lambda x: torch.mv(x[0], x[0, 1])[None],
    "baddbmm": lambda x: torch.baddbmm(x[:, :, :4], x, x.mT, beta=2.0),
    "addbmm": lambda x: torch.addbmm(x[0, :, :4], x, x.mT)[None],
    "addmm": lambda x: torch.addmm(x[0, :, :4], x[0], x[0].mT)[None],
    "addmv": lambda x: torch.addmv(x[0, :, 0], x[0], x[0, 1])[None],
    "conv1d": lambda x: nnf.conv1d(x, x[:, :, :2]),
    "conv2d": lambda x: nnf.conv2d(x[:, None], x[:, None, :2, :2]),
    "conv3d": lambda x: nnf.conv3d(x[:, None, None], x[:, None, None, :2, :2]),
    "var": lambda x: x.var(-1),
}


ONE_ROW = {"tensordot", "inner", "outer", "dot", "linear", "mm", "mv", "addbmm", "addmm", "addmv"}
ONE_ROW |= {"conv1d", "conv2d", "conv3d"}
"""Products that would mix the rows of a batch."""

SOFTMAX: dict[str, Head] = {
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: torch.log_softmax(x, 1),
}

LARGEST: dict[str, Head] = {
    "max_pool1d": lambda x: nnf.max_pool1d(x, 3, 2, 1),
    "max_pool2d": lambda x: nnf.max_pool2d(x[:, None], 3, 1, 1),
    "max_pool3d": lambda x: nnf.max_pool3d(x[:, None, None], (1, 2, 3), ceil_mode=True),
    "adaptive_max_pool1d": lambda x: nnf.adaptive_max_pool1d(x, 4),
    "adaptive_max_pool2d": lambda x: nnf.adaptive_max_pool2d(x, (3, 4)),
    "adaptive_max_pool3d": lambda x: nnf.adaptive_max_pool3d(x[:, None], (1, 3, 4)),
    "max": lambda x: x.max(1, keepdim=True).values + torch.max(x, dim=2, keepdim=True)[0],
}

REWRITES: dict[str, Head] = {
    "div": lambda x: x / positive(x.roll(1, -1)),
    "divide": lambda x: torch.divide(x, positive(x)),
    "true_divide": lambda x: torch.true_divide(x, positive(x)),
    "addcdiv": lambda x: torch.addcdiv(x, x, positive(x.roll(1, -1)), value=2.0),
    "pow": lambda x: positive(x) ** x.roll(1, -1) + 2**x,
    "glu": lambda x: nnf.glu(x),
    "abs": lambda x: torch.fft.rfft2(x).abs(),
    "absolute": lambda x: x.absolute(),
    "clamp": lambda x: x.clamp(x.roll(1, -1), x.roll(2, -1) + 1),
    "clip": lambda x: x.clip(max=x.roll(2, -1) + 1),
    "clamp_min": lambda x: x.clamp_min(x.roll(1, -1)),
    "clamp_max": lambda x: x.clamp_max(x.roll(1, -1)),
    "maximum": lambda x: torch.maximum(x, x.roll(1, -1)),
    "minimum": lambda x: torch.minimum(x, x.roll(1, -1)),
    "max": lambda x: torch.max(x, x.roll(1, -1)),
    "min": lambda x: torch.min(x, x.roll(1, -1)) + x.min(1, keepdim=True).values,
    "amax": lambda x: x.amax((1, 2), keepdim=True),
    "amin": lambda x: torch.amin(x, 2),
    "logsumexp": lambda x: x.logsumexp((1, 2), keepdim=True),
    "std": lambda x: x.std(-1, correction=0),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-1) + x.norm(dim=1).sum(-1, keepdim=True),
    "cosine_similarity": lambda x: nnf.cosine_similarity(x, x.roll(1, 1)),
    "layer_norm": lambda x: nnf.layer_norm(x, (4, 6), noise(4, 6), noise(4, 6)),
    "rms_norm": lambda x: nnf.rms_norm(x, (6,)),
    "group_norm": lambda x: nnf.group_norm(x, 2, noise(4), noise(4)),
    "instance_norm": lambda x: nnf.instance_norm(x),
    "scaled_dot_product_attention": lambda x: nnf.scaled_dot_product_attention(x, x.roll(1, 1), x),
}

ROWS: dict[str, tuple[Head, Callable[[Tensor], Tensor]]] = {
    **ELEMENTWISE,
    **{name: (head, same) for name, head in {**PRODUCTS, **SOFTMAX, **LARGEST}.items()},
}


def test_every_row_of_the_table_is_tried() -> None:
    assert set(ELEMENTWISE) == set(elementwise.ELEMENTWISE)
    assert set(PRODUCTS) == {*products.PRODUCTS, *products.QUADRATIC}
    assert set(SOFTMAX) == set(softmax.SOFTMAX)
    assert set(REWRITES) == set(rewrites.REWRITES)


@pytest.mark.parametrize("name", ROWS)
def test_rule_is_complete_and_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, domain = ROWS[name]
    x, b = domain(X[:1] if name in ONE_ROW else X), domain(B)
    ruled = explain(head, x, b)
    assert ruled.error.max() < 1e-7
    assert not ruled.unruled
    torch.testing.assert_close(ruled.output, weighted(head(x)))
    remove(name, monkeypatch)
    plain = explain(head, x, b)
    assert plain.error.max() > 1e-3
    assert plain.unruled


@pytest.mark.parametrize("name", REWRITES)
def test_rewrite_is_the_same_function_complete_and_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head = REWRITES[name]
    ruled = explain(head)
    assert ruled.error.max() < 1e-7
    assert not ruled.unruled
    torch.testing.assert_close(ruled.output, weighted(head(X)))
    remove(name, monkeypatch)
    assert explain(head).error.max() > 1e-3


STEPS: dict[str, Head] = {
    "round": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "fix": torch.fix,
    "sign": torch.sign,
    "sgn": torch.sgn,
    "frac": torch.frac,
    "hardshrink": nnf.hardshrink,
    "threshold": lambda x: nnf.threshold(x, 0.3, -1.0),
    "fake_quantize_per_tensor_affine": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.5, 0, -2, 2),
    "fake_quantize_per_channel_affine": lambda x: torch.fake_quantize_per_channel_affine(
        x, torch.tensor([0.3, 0.5, 0.7, 0.9]), torch.zeros(4, dtype=torch.int32), 1, -2, 2
    ),
}


def test_every_step_is_tried() -> None:
    assert set(STEPS) == set(steps.STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_complete_though_its_gradient_is_zero(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, b = X.float(), B.float()
    ruled = explain(STEPS[name], x, b)
    assert ruled.error.max() < 1e-4
    assert not ruled.unruled
    assert explain(STEPS[name], b, b).values.count_nonzero() == 0
    remove(name, monkeypatch)
    assert explain(STEPS[name], x, b).unruled == (name,)


def remove(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = (torch, nnf, Tensor, torch.special, torch.linalg)
    for spelling in (name, f"__{name}__", f"{name}_", f"{name}_with_indices"):
        for home in homes:
            monkeypatch.delitem(table.RULES, getattr(home, spelling, None), raising=False)


def mean_derivative(f: Head, x: Tensor, b: Tensor, steps: int = 1000) -> Tensor:
    """The plain twin: the derivative, averaged over many points of the line."""
    total = torch.zeros_like(x)
    for t in (torch.arange(steps, dtype=x.dtype) + 0.5) / steps:
        z = (b + t * (x - b)).requires_grad_()
        total += torch.autograd.grad(f(z).sum(), z)[0]
    return total / steps


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_rule_is_the_mean_derivative(name: str) -> None:
    f, domain = ELEMENTWISE[name]
    x, b = domain(X), domain(B).expand_as(X)
    found = explain(f, x, b, target=lambda y: y.flatten(1).sum(1))
    torch.testing.assert_close(found.values, mean_derivative(f, x, b) * (x - b), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("gap", [0.0, 1e-6, 1e-4])
def test_slope_between_close_inputs_is_the_derivative(name: str, gap: float) -> None:
    f, domain = ELEMENTWISE[name]
    b = domain(X).float()
    # Two halves of the activations change by 1 and by gap - 1; their sum, which f sees, by the gap.
    halves = torch.stack([b, torch.zeros_like(b)], 1)
    change = torch.tensor([1.0, gap - 1]).view(1, 2, 1, 1)
    found = explain(lambda a: f(a.sum(1)), halves + change, halves, target=lambda y: y.flatten(1).sum(1))
    z = b.double().requires_grad_()
    (derivative,) = torch.autograd.grad(f(z).sum(), z)
    torch.testing.assert_close(found.values[:, 0].double(), derivative, atol=2e-3, rtol=5e-3)


def test_linear_head_gives_weight_times_difference() -> None:
    weight = noise(24)
    found = explain(lambda a: a.flatten(1) @ weight, target=same)
    torch.testing.assert_close(found.values, (X - B) * weight.view(4, 6))


# --- the softmax and the maximum ---


def test_softmax_rule_is_the_jacobian_where_baseline_and_image_meet() -> None:
    x = noise(1, 1, 5)
    near = x + 1e-6 * noise(1, 1, 5, seed=2)
    found = explain(lambda a: a.softmax(-1), near, x)
    jacobian = torch.autograd.functional.jacobian(lambda a: weighted(a.softmax(-1)), x)
    torch.testing.assert_close(found.values, jacobian[0] * (near - x), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_rule_survives_huge_logits_and_masks(dtype: torch.dtype) -> None:
    mask = torch.tensor([0, 0, 0, -math.inf, 0, 0], dtype=dtype)
    for head in (
        lambda a: (300 * a).softmax(-1),
        lambda a: (a + 1e4).softmax(-1),
        lambda a: (a + mask).softmax(-1),
    ):
        found = explain(head, X.to(dtype), B.to(dtype))
        assert found.values.isfinite().all()
        assert found.error.max() < (1e-3 if dtype == torch.float32 else 1e-8)


def test_softmax_rule_ignores_a_constant() -> None:
    plain = explain(lambda a: a.softmax(-1))
    shifted = explain(lambda a: (a + 5 * a.mean(-1, keepdim=True)).softmax(-1))
    torch.testing.assert_close(plain.output, shifted.output)
    torch.testing.assert_close(plain.values, shifted.values)


def pooled_slowly(x: Tensor, b: Tensor, size: int) -> Tensor:
    """The plain twin of max-pooling: window by window, all of the change to the larger winner."""
    values = torch.zeros_like(x)
    for row in range(len(x)):
        for i in range(0, x.shape[2], size):
            for j in range(0, x.shape[3], size):
                window = (row, 0, slice(i, i + size), slice(j, j + size))
                u, v = x[window], b[(0, *window[1:])]
                winner = (u if u.max() >= v.max() else v).argmax()
                at = (row, 0, i + winner // u.shape[1], j + winner % u.shape[1])
                values[at] += u.max() - v.max()
    return values


@pytest.mark.parametrize("size", [2, 3])
def test_max_pool_gives_each_windows_change_to_the_larger_winner(size: int) -> None:
    x, b = noise(3, 1, 6, 6), noise(1, 1, 6, 6, seed=1)
    found = explain(lambda a: nnf.max_pool2d(a, size), x, b, target=lambda y: y.flatten(1).sum(1))
    torch.testing.assert_close(found.values, pooled_slowly(x, b, size))


def test_max_pool_settings_and_results_are_those_of_torch() -> None:
    x = noise(2, 3, 9, 9)
    for settings in ({"stride": 1}, {"padding": 1}, {"ceil_mode": True}, {"dilation": 2}):

        def head(a: Tensor, settings: dict[str, Any] = settings) -> Tensor:
            pooled, places = nnf.max_pool2d(a, 3, **settings, return_indices=True)
            assert torch.equal(places, nnf.max_pool2d(a.detach(), 3, **settings, return_indices=True)[1])
            return pooled

        assert explain(head, x, noise(1, 3, 9, 9, seed=3)).error.max() < 1e-9
    tied = explain(lambda a: nnf.max_pool2d(a, 3, 1), torch.zeros(2, 1, 6, 6), torch.zeros(1, 1, 6, 6))
    assert tied.error.max() == 0


# --- every form of a call ---


def in_place(f: Head) -> Head:
    """Ignores what the call returns."""

    def head(a: Tensor) -> Tensor:
        z = a * 1.0
        f(z)
        return z

    return head


def multiplied(z: Tensor) -> None:
    z *= positive(z.roll(1, -1))


def divided(z: Tensor) -> None:
    z /= positive(z.roll(1, -1))


FORMS: dict[str, list[Head]] = {
    "relu": [
        *(torch.relu, nnf.relu, Tensor.relu, nn.ReLU(), lambda x: x.relu(), lambda x: torch.relu(input=x)),
        *(nn.ReLU(inplace=True), lambda x: nnf.relu(x, True), nnf.relu_, torch.relu_, lambda x: x.relu_()),
        *(
            in_place(torch.relu_),
            in_place(nn.ReLU(inplace=True)),
            in_place(lambda x: nnf.relu(x, inplace=True)),
        ),
        *(lambda x: x.clamp(min=0), lambda x: torch.clamp_min(x, 0), in_place(lambda x: x.clamp_(0))),
    ],
    "silu": [
        nnf.silu,
        nn.SiLU(),
        nn.SiLU(inplace=True),
        in_place(nn.SiLU(True)),
        lambda x: nnf.silu(x, True),
    ],
    "hardswish": [nnf.hardswish, nn.Hardswish(), in_place(nn.Hardswish(True))],
    "leaky_relu": [
        *(lambda x: nnf.leaky_relu(x, 0.3), nn.LeakyReLU(0.3), in_place(nn.LeakyReLU(0.3, True))),
        *(in_place(lambda x: nnf.leaky_relu_(x, 0.3)), lambda x: nnf.leaky_relu(x, negative_slope=0.3)),
    ],
    "relu6": [nnf.relu6, nn.ReLU6(), in_place(nn.ReLU6(True)), lambda x: x.clamp(0, 6), nn.Hardtanh(0, 6)],
    "sigmoid": [torch.sigmoid, nnf.sigmoid, nn.Sigmoid(), lambda x: x.sigmoid(), in_place(torch.sigmoid_)],
    "exp": [torch.exp, lambda x: x.exp(), in_place(lambda x: x.exp_())],
    "mul": [
        *(lambda x: x * positive(x.roll(1, -1)), lambda x: torch.mul(x, positive(x.roll(1, -1)))),
        *(lambda x: positive(x.roll(1, -1)).mul(x), in_place(multiplied)),
        in_place(lambda x: x.mul_(positive(x.roll(1, -1)))),
    ],
    "div": [
        *(lambda x: x / positive(x.roll(1, -1)), lambda x: torch.div(x, positive(x.roll(1, -1)))),
        *(in_place(divided), in_place(lambda x: x.div_(positive(x.roll(1, -1))))),
    ],
    "reciprocal": [
        lambda x: 2 / positive(x),
        lambda x: 2 * positive(x).reciprocal(),
        lambda x: 2 * positive(x) ** -1,
    ],
    "matmul": [
        lambda x: x @ x.mT,
        lambda x: torch.matmul(x, x.mT),
        lambda x: torch.bmm(x, x.transpose(1, 2)),
    ],
    "softmax": [
        *(lambda x: nnf.softmax(x, -1), lambda x: torch.softmax(x, dim=-1), lambda x: x.softmax(2)),
        *(nn.Softmax(-1), lambda x: nnf.softmin(-x, -1), lambda x: torch.special.softmax(x, -1)),
    ],
    "max_pool2d": [
        *(lambda x: nnf.max_pool2d(x, 2), lambda x: torch.max_pool2d(x, 2), nn.MaxPool2d(2)),
        *(
            lambda x: nnf.max_pool2d(x, 2, return_indices=True)[0],
            lambda x: nnf.adaptive_max_pool2d(x, (2, 3)),
        ),
        lambda x: nnf.max_pool2d_with_indices(x, 2)[0],
    ],
    "max": [
        *(
            lambda x: x.max(-1).values,
            lambda x: torch.max(x, 2)[0],
            lambda x: x.amax(-1),
            lambda x: x.max(dim=-1)[0],
        ),
        *(lambda x: -(-x).min(-1).values, lambda x: x.max(-1, keepdim=True).values.squeeze(-1)),
    ],
    "layer_norm": [
        *(nn.LayerNorm(6, dtype=torch.float64), lambda x: nnf.layer_norm(x, (6,))),
        *(lambda x: torch.layer_norm(x, (6,)), lambda x: nnf.group_norm(x.flatten(0, 1), 1).view(x.shape)),
        lambda x: nnf.instance_norm(x),
    ],
    "attention": [
        lambda x: nnf.scaled_dot_product_attention(x, x, x),
        lambda x: (x @ x.mT / math.sqrt(6)).softmax(-1) @ x,
        lambda x: torch.baddbmm(torch.zeros(1, 4, 4).to(x), x * 6**-0.5, x.mT).softmax(-1).bmm(x),
    ],
    "norm": [
        *(
            lambda x: x.norm(dim=-1),
            lambda x: torch.norm(x, dim=-1),
            lambda x: torch.linalg.vector_norm(x, dim=-1),
        ),
        lambda x: x.square().sum(-1).sqrt(),
    ],
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_call_is_the_same(name: str) -> None:
    first, *others = FORMS[name]
    expected = explain(first)
    assert expected.error.max() < 1e-7
    for other in others:
        found = explain(other)
        assert not found.unruled
        torch.testing.assert_close(found.values, expected.values)


def test_one_relu_module_may_serve_several_calls() -> None:
    relu, lines = nn.ReLU(inplace=True), nn.ModuleList(nn.Linear(6, 6, dtype=torch.float64) for _ in range(3))

    def head(a: Tensor) -> Tensor:
        for line in lines:
            a = relu(line(a))
        return a

    def apart(a: Tensor) -> Tensor:
        for line in lines:
            a = nn.ReLU()(line(a))
        return a

    assert explain(head).error.max() < 1e-9
    torch.testing.assert_close(explain(head).values, explain(apart).values)


def test_in_place_call_on_a_part_of_a_tensor() -> None:
    def head(a: Tensor) -> Tensor:
        z = 2 * a
        z[:, :2].relu_()
        z[:, 2:, ::2].sigmoid_()
        z += a
        return z

    assert explain(head).error.max() < 1e-7


# --- attention and other modules ---


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(batch_first: bool, need_weights: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=batch_first, dtype=torch.float64).eval()

    def head(a: Tensor) -> Tensor:
        a = a if batch_first else a.transpose(0, 1)
        y = attention(a, a, a, need_weights=need_weights)[0]
        return y if batch_first else y.transpose(0, 1)

    found = explain(head)
    assert found.error.max() < 1e-7
    assert not found.unruled
    torch.testing.assert_close(found.output, weighted(head(X)).detach())


@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_layer_takes_no_fast_path_around_the_rules(norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        6, 2, 12, activation="gelu", batch_first=True, norm_first=norm_first, dtype=torch.float64
    ).eval()
    layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad():
        found = explain(layers)
        torch.testing.assert_close(found.output, weighted(layers(X)))
    assert found.error.max() < 1e-7
    assert not found.unruled


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_mask": noise(4, 4) > 0},
        {"attn_mask": noise(4, 4)},
        {"is_causal": True},
        {"scale": 0.3},
    ],
)
def test_attention_settings(settings: dict[str, Any]) -> None:
    if "attn_mask" in settings and settings["attn_mask"].dtype == torch.bool:
        settings = {"attn_mask": settings["attn_mask"] | torch.eye(4, dtype=torch.bool)}

    def head(a: Tensor) -> Tensor:
        return nnf.scaled_dot_product_attention(a, a.roll(1, 1), a, **settings)

    found = explain(head)
    assert found.error.max() < 1e-7
    torch.testing.assert_close(found.output, weighted(head(X)))


def test_grouped_query_attention() -> None:
    x, b = noise(3, 4, 5, 6), noise(1, 4, 5, 6, seed=1)

    def head(a: Tensor) -> Tensor:
        return nnf.scaled_dot_product_attention(a, a[:, :2], a[:, 2:], enable_gqa=True)

    found = explain(head, x, b)
    assert found.error.max() < 1e-7
    torch.testing.assert_close(found.output, weighted(head(x)))


def test_functions_that_torch_writes_in_python_need_no_rule() -> None:
    heads: list[Head] = [
        lambda a: nnf.normalize(a, dim=1),
        nnf.softsign,
        nnf.tanhshrink,
        lambda a: nnf.local_response_norm(a, 3),
        lambda a: 3 - 2**a,
    ]
    for head in heads:
        found = explain(head)
        assert found.error.max() < 1e-7
        assert not found.unruled


# --- against Captum ---


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs))
        self.short = nn.Conv2d(inputs, outputs, 1, stride)
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x)) + self.short(x))


def networks() -> dict[str, nn.Sequential]:
    """Where Captum is right: no module twice, no windows that overlap, never two non-linear ones in a row.

    Of two in a row the second's rule is lost: the first notes its output's gradient before that rule has run.
    """
    torch.manual_seed(0)

    def convolution(inputs: int = 8) -> nn.Module:
        return nn.Conv2d(inputs, 8, 3, padding=1)

    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    pool = [convolution(), nn.MaxPool2d(2), convolution(), nn.ReLU(), convolution(), nn.MaxPool2d(4)]
    return {
        "convolutional": nn.Sequential(convolution(3), nn.ReLU(), convolution(), nn.ReLU(), *end),
        "pooling": nn.Sequential(convolution(3), nn.ReLU(), *pool, *end),
        "curved": nn.Sequential(
            convolution(3), nn.ReLU(), convolution(), nn.Sigmoid(), convolution(), nn.ELU(), *end
        ),
        "residual": nn.Sequential(
            convolution(3), nn.ReLU(), Block(8, 8, 1), Block(8, 8, 2), Block(8, 8, 2), *end
        ),
    }


def captums(model: nn.Sequential, x: Tensor, baseline: Tensor) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values: Tensor = attr.LayerDeepLift(model, model[1]).attribute(x, baseline, target=2)
    return values.detach()


def ours(model: nn.Sequential, x: Tensor, baseline: Tensor) -> Attribution:
    trunk, head = model[:2], model[2:]
    with torch.no_grad():
        return explain(head, trunk(x), trunk(baseline), target=lambda y: y[:, 2])


@pytest.mark.parametrize("name", networks())
def test_equals_captum_where_captum_is_right(name: str) -> None:
    model = networks()[name].eval().double()
    x, baseline = noise(4, 3, 16, 16), torch.ones(1, 3, 16, 16, dtype=torch.float64)
    expected, found = captums(model, x, baseline), ours(model, x, baseline)
    torch.testing.assert_close(expected.sum((1, 2, 3)), found.difference)
    torch.testing.assert_close(found.values, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_complete_where_captum_is_not() -> None:
    torch.manual_seed(0)
    rows: dict[str, list[nn.Module]] = {
        "two non-linear modules in a row": [nn.ReLU(), nn.MaxPool2d(2)],
        "overlapping windows": [nn.MaxPool2d(3, 1, 1)],
    }
    x, baseline = noise(4, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    for layers in rows.values():
        model = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), *layers),
            *(nn.Flatten(), nn.LazyLinear(5)),
        ).double()
        model(x)
        expected, found = captums(model, x, baseline), ours(model, x, baseline)
        assert found.error.max() < 1e-9
        assert ((expected.sum((1, 2, 3)) - found.difference) / found.difference).abs().max() > 0.05


# --- baseline and batch ---


def windows(a: Tensor) -> Tensor:
    """As in Swin: windows on the batch axis, and heads beside them."""
    n = len(a)
    z = a.view(n, 2, 2, 3, 2).transpose(2, 3).reshape(n * 6, 2, 2)
    z = (z @ z.mT).softmax(-1).sigmoid() @ z
    return z.view(n, -1)


def test_tensors_with_the_batch_inside_an_axis_find_their_baseline() -> None:
    assert explain(windows).error.max() < 1e-7
    assert explain(lambda a: a.permute(1, 0, 2).exp().permute(1, 0, 2)).error.max() < 1e-7
    assert explain(lambda a: a.flatten(0, 1).exp().view(a.shape)).error.max() < 1e-7


def test_a_baseline_paired_wrongly_shows_in_the_error() -> None:
    # The batch is the fast index here, which no shape can tell.
    found = explain(lambda a: a.transpose(0, 1).flatten(0, 1).exp().view(4, len(a), 6).transpose(0, 1))
    assert found.error.max() > 1e-3


def test_one_baseline_for_each_image() -> None:
    baselines = 2 * noise(3, 4, 6, seed=5)
    together = explain(windows, X, baselines)
    for i in range(3):
        alone = explain(windows, X[i : i + 1], baselines[i : i + 1])
        torch.testing.assert_close(together.values[i], alone.values[0])
        torch.testing.assert_close(together.difference[i], alone.difference[0])


def test_a_tape_serves_many_batches() -> None:
    tape = record(windows, B, weighted)
    whole = attribute(windows, X, tape, weighted)
    parts = [attribute(windows, part, tape, weighted) for part in X.split([2, 1])]
    torch.testing.assert_close(torch.cat([part.values for part in parts]), whole.values)
    assert len(tape.entries) == 4


def test_baseline_itself_gets_nothing() -> None:
    found = explain(windows, B.clone(), B)
    assert found.values.count_nonzero() == 0
    assert found.error.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtype_and_layout_are_kept(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.ReLU6(True), nn.Conv2d(8, 8, 1)
    )
    head = head.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = noise(3, 8, 8, 8, dtype=torch.float32).to(dtype=dtype, memory_format=torch.channels_last)
    found = explain(head, x, torch.ones_like(x[:1]))
    assert found.values.dtype == dtype
    assert found.values.is_contiguous(memory_format=torch.channels_last)
    assert found.error.max() < (0.2 if dtype == torch.bfloat16 else 1e-4)


def test_long_rows_are_done_in_blocks_alike() -> None:
    x, b = noise(5, 300, 400), noise(1, 300, 400, seed=1)
    found = explain(lambda a: nnf.silu(a).relu(), x, b, target=lambda y: y.flatten(1).sum(1))
    assert found.error.max() < 1e-7


# --- nothing is touched ---


def model_and_input() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ReLU(inplace=True), nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(6, 2)
    )
    model[1].weight.requires_grad_(False)
    return model.eval(), X.float()


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("fails", [False, True])
def test_model_activations_and_grad_mode_are_given_back(context: Any, fails: bool) -> None:
    model, x = model_and_input()
    flags = [p.requires_grad for p in model.parameters()]
    with context():
        given = x.clone()
        mode = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        tape = record(model, B.float(), weighted)
        if fails:
            with pytest.raises(ZeroDivisionError):
                attribute(lambda a: model(a).mul(1 // 0), given, tape, weighted)
        else:
            assert attribute(model, given, tape, weighted).error.max() < 1e-4
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == mode
    assert torch.equal(given, x)
    assert not given.requires_grad
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not torch.overrides._get_current_function_mode_stack()
    assert not any(module._forward_hooks or module.training for module in model.modules())


def test_derived_parameters_do_no_harm() -> None:
    torch.manual_seed(0)
    scale, slope = nn.Parameter(noise(6)), nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6, dtype=torch.float64))

    def head(a: Tensor) -> Tensor:
        return layer((a * scale.exp()).relu() * slope.clamp(max=0.2).exp()).sigmoid()

    assert explain(head).error.max() < 1e-7
    assert scale.grad is None


def test_weights_that_batch_norm_standardises_are_not_in_training_mode() -> None:
    """NFNets and BiT call ``batch_norm`` in training mode, on weights; on activations it mixes the images."""
    weight, gain = nn.Parameter(noise(6, 6)), nn.Parameter(noise(6))

    def standard(w: Tensor) -> Tensor:
        return nnf.batch_norm(w[None], None, None, weight=gain, training=True)[0]

    found = explain(lambda a: nnf.linear(a.relu(), standard(weight * gain.exp())).sigmoid())
    assert found.error.max() < 1e-7
    assert not found.unruled
    for head in (standard, lambda a: standard(weight * a.mean())):
        with pytest.raises(AttributionError, match="batch_norm is in training mode"):
            explain(lambda a, head=head: head(a[0].relu())[None])


# --- what must not pass silently ---


def test_what_no_gradient_passes_is_named() -> None:
    found = explain(lambda a: a.relu() + (a > 0.3).to(a) * 2)
    assert found.lost == ("gt",)
    assert found.error.max() > 1e-3
    with pytest.raises(AttributionError, match=r"by any way that a gradient can go, past gt"):
        explain(lambda a: (a > 0.3).to(a))


def test_an_output_of_parameters_alone_is_refused() -> None:
    weight = nn.Parameter(torch.ones(4, 6, dtype=X.dtype))
    with pytest.raises(AttributionError, match="does not depend on the activations"):
        explain(lambda a: a.detach() * weight)


def test_an_operation_without_a_rule_is_named() -> None:
    found = explain(lambda a: a.cumprod(-1))
    assert found.unruled == ("cumprod",)
    assert found.error.max() > 1e-3


def test_a_head_that_does_other_operations_is_refused() -> None:
    heads: list[tuple[Head, str]] = [
        (
            lambda a: a.relu() if len(a) == 1 else a.sigmoid(),
            "operation 1 of the head is sigmoid .* was relu",
        ),
        (lambda a: a.relu() if len(a) == 1 else a.relu().relu(), "operation 2 .* was nothing"),
        (lambda a: a.relu().relu() if len(a) == 1 else a.relu(), "1 operations for the images and 2"),
        (lambda a: a.relu() if len(a) == 1 else a[:, :2].relu(), "no axis holds the batch"),
        (lambda a: a.relu() if len(a) == 1 else a.flatten(1).relu(), "no axis holds the batch"),
    ]
    for head, message in heads:
        with pytest.raises(AttributionError, match=message):
            explain(head, target=lambda y: y.flatten(1).sum(1))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(AttributionError, match="do not fit a baseline"):
        explain(torch.relu, X, B[:, :2])
    with pytest.raises(AttributionError, match="do not fit a baseline"):
        explain(torch.relu, X, torch.cat([B, B]))
    with pytest.raises(AttributionError, match=r"shape \(1, 4, 6\)"):
        explain(torch.relu, target=same)
    with pytest.raises(AttributionError, match="does not depend on the activations"):
        explain(lambda a: a.detach().relu())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    x = X.clone()
    x[1, 2, 3] = value
    with pytest.raises(AttributionError, match="activations of row 1"):
        explain(torch.relu, x)
    with pytest.raises(AttributionError, match="baseline are not finite"):
        explain(torch.relu, X, x[1:2])
    with pytest.raises(AttributionError, match="output"):
        explain(torch.log, positive(X) * (X > -3), positive(B), target=lambda y: (y / 0.0).flatten(1).sum(1))


def test_training_mode_is_refused() -> None:
    for layer in (nn.Dropout(), nn.BatchNorm1d(4, dtype=torch.float64)):
        with pytest.raises(AttributionError, match="training mode"):
            explain(layer)


def test_target_may_be_a_part_of_any_output_and_not_linear() -> None:
    found = explain(
        lambda a: SimpleNamespace(logits=a.relu().mean(-1)),
        target=lambda output: output.logits.softmax(-1)[:, 1],
    )
    assert found.error.max() < 1e-7
