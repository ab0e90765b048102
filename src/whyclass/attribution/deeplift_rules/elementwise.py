"""DeepLift's rule for elementwise functions: the slope between baseline and image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from whyclass.attribution.deeplift_rules.averaging import (
    Args,
    Named,
    Operation,
    Rule,
    Run,
    averaged,
    depends,
    tensors,
    without_rule,
)

# Slope


class Ends(NamedTuple):
    """Both ends of the line, and the function with its settings, never in place."""

    f: Callable[[Tensor], Tensor]
    x: Tensor
    b: Tensor
    y_b: Tensor


Slope = Callable[..., Tensor]
"""(ends, the operation's settings) -> slope in the shape of ``x``."""


def _share(x: Tensor, b: Tensor, kink: Any = 0.0) -> Tensor:
    """The share of the way from b to x that lies above the kink; at x = b, whether x does."""
    if isinstance(kink, Tensor) or kink != 0.0:
        x, b = x - kink, b - kink
    way = torch.sub(x, b).abs_()
    # Both above: at least 1. Both below: at most 0. Equal: infinite, and 0 / 0 on the kink itself.
    return torch.maximum(x, b).div_(way).clamp_(0.0, 1.0).nan_to_num_(nan=0.0)


_Kinks = tuple[Any, list[tuple[Any, Any]]]


def _kinked(kinks: Callable[..., _Kinks]) -> Slope:
    """Slope of a piecewise linear function, from its slope at minus infinity and (where, change of slope)."""

    def slope(ends: Ends, *settings: Any, **named: Any) -> Tensor:
        start, changes = kinks(*settings, **named)
        first, *rest = (_share(ends.x, ends.b, kink).mul_(change) for kink, change in changes)
        for other in rest:
            first += other
        return first.add_(start)

    return slope


def _relu(ends: Ends) -> Tensor:
    return _share(ends.x, ends.b)


def _prelu(ends: Ends, weight: Tensor) -> Tensor:
    weight = weight if weight.numel() == 1 else weight.view(-1, *[1] * (ends.x.ndim - 2))
    return _share(ends.x, ends.b).mul_(1 - weight).add_(weight)


def _leaky(negative_slope: float = 0.01) -> _Kinks:
    return negative_slope, [(0.0, 1.0 - negative_slope)]


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> _Kinks:
    return _leaky((lower + upper) / 2)


def _clamp(min: Any = None, max: Any = None) -> _Kinks:
    bounds = [(min, 1.0), (max, -1.0)]
    return (1.0 if min is None else 0.0), [bound for bound in bounds if bound[0] is not None]


NEAR = 1e-2
"""Inputs closer than this to each other, compared to the scale on which the function varies, count as equal:
the difference of two rounded outputs says less about the slope there than the derivative halfway."""


def _chord(scale: float) -> Slope:
    """Slope of a smooth function that varies on the scale of its input, but at most of ``scale``."""

    def slope(ends: Ends, *_: Any, **__: Any) -> Tensor:
        f, x, b, y_b = ends
        if x.dtype in (torch.float16, torch.bfloat16):
            x, b = x.float(), b.float()
            y_b = f(b)
        way = x - b
        near = way.abs() <= NEAR * torch.maximum(x.abs(), b.abs()).clamp_(max=scale)
        slope = (f(x) - y_b).div_(way)
        if bool(near.any()):
            slope[near] = _derivative(f, torch.lerp(x, b, 0.5)[near])
        return slope

    return slope


def _derivative(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]


def _sqrt(ends: Ends) -> Tensor:
    # 1 / (sqrt x + sqrt b) also holds at zero, where the norms of padding are.
    return (ends.f(ends.x) + ends.y_b).clamp_min_(torch.finfo(ends.x.dtype).tiny).reciprocal_()


_smooth = _chord(1.0)
_power = _chord(float("inf"))

ELEMENTWISE: dict[str, Slope] = {
    "relu": _relu,
    "relu6": _kinked(lambda: _clamp(0.0, 6.0)),
    "leaky_relu": _kinked(_leaky),
    "prelu": _prelu,
    "rrelu": _kinked(_rrelu),
    "hardtanh": _kinked(lambda min_val=-1.0, max_val=1.0: _clamp(min_val, max_val)),
    "hardsigmoid": _kinked(lambda: (0.0, [(-3.0, 1 / 6), (3.0, -1 / 6)])),
    "softshrink": _kinked(lambda lambd=0.5: (1.0, [(-lambd, -1.0), (lambd, 1.0)])),
    "clamp": _kinked(_clamp),
    "clip": _kinked(_clamp),
    "clamp_min": _kinked(_clamp),
    "clamp_max": _kinked(lambda max: _clamp(None, max)),
    "abs": _kinked(lambda: (-1.0, [(0.0, 2.0)])),
    "elu": _smooth,
    "selu": _smooth,
    "celu": _smooth,
    "gelu": _smooth,
    "silu": _smooth,
    "mish": _smooth,
    "hardswish": _smooth,
    "softplus": _smooth,
    "sigmoid": _smooth,
    "expit": _smooth,
    "logsigmoid": _smooth,
    "tanh": _smooth,
    "erf": _smooth,
    "sin": _smooth,
    "cos": _smooth,
    "atan": _smooth,
    "exp": _smooth,
    "expm1": _smooth,
    "log1p": _smooth,
    "log": _power,
    "rsqrt": _power,
    "reciprocal": _power,
    "square": _power,
    "pow": _power,
    "sqrt": _sqrt,
}
"""Elementwise functions by torch's name. Softsign, tanhshrink and others that torch writes in Python in terms
of these need no row."""


def elementwise_rule(slope: Slope, plain: Operation, inplace: bool) -> Rule:
    """The rule of one spelling of an elementwise function, from its slope."""

    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        x, *settings = args
        named = {key: value for key, value in kwargs.items() if key != "inplace"}
        if x.is_complex() or any(map(depends, tensors((settings, named)))):
            return without_rule(run, func, args, kwargs)

        def f(z: Tensor) -> Tensor:
            result: Tensor = plain(z, *settings, **named)
            return result

        recalled = run.baseline(plain.__name__, x)
        if recalled is None:
            return func(*args, **kwargs)
        (b,) = recalled
        with torch.no_grad():
            ends = Ends(f, x.detach(), run.stretch(b, x), run.stretch(f(b), x))
            s = _in_blocks(partial(_applied, slope, settings, named), ends)
        value = partial(func, *args, **kwargs)
        return averaged(value, lambda g: (s.mul_(g),), x, inplace=inplace or kwargs.get("inplace", False))

    return rule


def _applied(slope: Slope, settings: list[Any], named: Named, ends: Ends) -> Tensor:
    return slope(ends, *settings, **named)


BLOCK = 2**17
"""Elements that the cache of a processor's core holds several times over."""


def _in_blocks(slope: Callable[[Ends], Tensor], ends: Ends) -> Tensor:
    """The slope, on a CPU a few rows at a time, so that its many passes stay in the cache."""
    f, x, *others = ends
    rows = max(1, BLOCK * len(x) // max(1, x.numel())) if x.ndim else 1
    if x.device.type != "cpu" or x.ndim < 2 or rows >= len(x):
        return slope(ends).to(x.dtype)
    s = torch.empty_like(x)
    for part, *parts in zip(s.split(rows), *(t.split(rows) for t in (x, *others)), strict=True):
        part.copy_(slope(Ends(f, *parts)))
    return s
