"""Operations written in terms of simpler ones, whose rules then make them complete.

Each function computes what torch's function of that name computes, in operations that ``table`` knows.
``NotImplemented`` leaves the call to the rule of its name, and where there is none it is linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Dims = int | tuple[int, ...]


def _varies(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


# Arithmetic


def _div(x: Any, other: Any, rounding_mode: str | None = None) -> Any:
    return other.reciprocal() * x if rounding_mode is None and _varies(other) else NotImplemented


def _addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return x + value * (tensor1 / tensor2)


def _pow(x: Any, exponent: Any) -> Any:
    if not _varies(exponent):
        return NotImplemented
    return torch.exp(exponent * (torch.log(x) if isinstance(x, Tensor) else math.log(x)))


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    signal, gate = x.chunk(2, dim)
    return signal * torch.sigmoid(gate)


def _abs(x: Tensor) -> Any:
    """Only of complex numbers."""
    return torch.view_as_real(x).square().sum(-1).sqrt() if x.is_complex() else NotImplemented


# Largest and smallest


def _maximum(x: Tensor, other: Tensor) -> Tensor:
    return other + torch.relu(x - other)


def _minimum(x: Tensor, other: Tensor) -> Tensor:
    return other - torch.relu(other - x)


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> Any:
    """Only where a bound is a tensor."""
    if not isinstance(min, Tensor) and not isinstance(max, Tensor):
        return NotImplemented
    x = torch.maximum(x, min) if isinstance(min, Tensor) else x if min is None else x.clamp(min=min)
    return torch.minimum(x, max) if isinstance(max, Tensor) else x if max is None else x.clamp(max=max)


def max_rule(x: Tensor, *settings: Any, **named: Any) -> Any:
    """Of ``max(x)``, ``max(x, dim)`` and ``max(x, other)`` only the last."""
    other = settings[0] if settings else named.get("other")
    return torch.maximum(x, other) if isinstance(other, Tensor) else NotImplemented


def _min(x: Tensor, *settings: Any, **named: Any) -> Any:
    other = settings[0] if settings else named.get("other")
    if isinstance(other, Tensor):
        return torch.minimum(x, other)
    result = torch.max(-x, *settings, **named)
    return -result if isinstance(result, Tensor) else torch.return_types.min((-result[0], result[1]))


def _gathered(x: Tensor, dim: Dims | None) -> tuple[Tensor, list[int]]:
    """The reduced axes as one, at the end, and where they were."""
    dims = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    dims = sorted(d % x.ndim for d in dims)
    return x.movedim(dims, list(range(-len(dims), 0))).flatten(-len(dims)), dims


def _kept(y: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    for dim in dims if keepdim else ():
        y = y.unsqueeze(dim)
    return y


def _amax(x: Tensor, dim: Dims | None = None, keepdim: bool = False) -> Tensor:
    last, dims = _gathered(x, dim)
    return _kept(last.max(-1).values, dims, keepdim)


def _amin(x: Tensor, dim: Dims | None = None, keepdim: bool = False) -> Tensor:
    return -torch.amax(-x, () if dim is None else dim, keepdim)


def _logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    last, dims = _gathered(x, dim)
    # The same for every element, hence for their mean.
    return _kept((last - torch.log_softmax(last, -1)).mean(-1), dims, keepdim)


# Statistics and norms


def _std(*args: Any, **kwargs: Any) -> Tensor:
    return torch.var(*args, **kwargs).sqrt()


def _vector_norm(
    x: Tensor, ord: float = 2, dim: Dims | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    x = x if dtype is None else x.to(dtype)
    if ord == 2:
        return x.square().sum(dim, keepdim).sqrt()
    if ord == 1:
        return x.abs().sum(dim, keepdim)
    if ord == math.inf:
        return _amax(x.abs(), dim, keepdim)
    return x.abs().pow(ord).sum(dim, keepdim).pow(1 / ord) if ord else NotImplemented


def _cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    return (functional.normalize(x1, dim=dim, eps=eps) * functional.normalize(x2, dim=dim, eps=eps)).sum(dim)


def _standardised(u: Tensor, dims: list[int], eps: float) -> Tensor:
    """Square, root and product are each complete, hence so is the whole; quadrature would not be."""
    return u * torch.rsqrt(u.square().mean(dims, keepdim=True) + eps)


def _affine(u: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    u = u if weight is None else u * weight
    return u if bias is None else u + bias


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    u, dims = _wide(x), list(range(-len(normalized_shape), 0))
    return _affine(_standardised(u - u.mean(dims, keepdim=True), dims, eps), weight, bias).to(x.dtype)


def _rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    dims = list(range(-len(normalized_shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _affine(_standardised(_wide(x), dims, eps), weight, None).to(x.dtype)


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    u = _wide(x).reshape(x.shape[0], num_groups, -1)
    u = _standardised(u - u.mean(-1, keepdim=True), [-1], eps).reshape(x.shape)
    weight, bias = (None if t is None else t.view(-1, *[1] * (x.ndim - 2)) for t in (weight, bias))
    return _affine(u, weight, bias).to(x.dtype)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    return _group_norm(x, x.shape[1], weight, bias, eps) if use_input_stats else NotImplemented


# Attention


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        heads = query.shape[-3]
        key, value = (t.repeat_interleave(heads // t.shape[-3], -3) for t in (key, value))
    logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -math.inf)
    logits = logits if attn_mask is None else logits + attn_mask
    return functional.dropout(torch.softmax(logits, -1), dropout_p) @ value


REWRITES: dict[str, Callable[..., Any]] = {
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "addcdiv": _addcdiv,
    "pow": _pow,
    "glu": _glu,
    "abs": _abs,
    "absolute": torch.abs,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda x, max: _clamp(x, None, max),
    "maximum": _maximum,
    "minimum": _minimum,
    "max": max_rule,
    "min": _min,
    "amax": _amax,
    "amin": _amin,
    "logsumexp": _logsumexp,
    "std": _std,
    "vector_norm": _vector_norm,
    "cosine_similarity": _cosine_similarity,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "scaled_dot_product_attention": _attention,
}
"""Torch's name of an operation, and what it is rewritten to."""
