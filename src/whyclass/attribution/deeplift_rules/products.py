"""DeepLift's rule for products of activations: the Jacobian at the midpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

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
    substituted,
    tensors,
)

# Midpoint


PRODUCTS = (
    *("mul", "multiply", "addcmul", "einsum", "tensordot", "inner", "outer", "dot", "bilinear", "linear"),
    *("matmul", "bmm", "mm", "mv", "baddbmm", "addbmm", "addmm", "addmv", "conv1d", "conv2d", "conv3d"),
)
"""Operations of degree two, and linear where only one factor depends on the activations."""

QUADRATIC = ("var",)
"""Operations of degree two in a single input."""


def midpoint_rule(factors: int, plain: Operation, inplace: bool) -> Rule:
    """The rule of one spelling of an operation of degree two, of ``factors`` or more dependent inputs."""

    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        xs = [t for t in tensors((args, kwargs)) if depends(t)]
        if len(xs) < factors:
            return func(*args, **kwargs)
        bs = run.baseline(plain.__name__, *xs)
        if bs is None:
            return func(*args, **kwargs)

        def f(*zs: Tensor) -> Tensor:
            new = iter(zs)
            result: Tensor = plain(*substituted(args, new), **substituted(kwargs, new))
            return result

        with torch.no_grad():
            halfway = [(x + run.stretch(b, x)).mul_(0.5) for x, b in zip(xs, bs, strict=True)]
        result = averaged(partial(plain, *args, **kwargs), partial(_pull_at, f, halfway), *xs)
        return args[0].copy_(result) if inplace else result

    return rule


def _pull_at(f: Operation, points: list[Tensor], g: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        points = [z.requires_grad_() for z in points]
        y = f(*points)
        return torch.autograd.grad(y, points, g.to(y.dtype))
