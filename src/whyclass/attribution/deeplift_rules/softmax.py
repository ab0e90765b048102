"""DeepLift's rule for softmax and log-softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from whyclass.attribution.deeplift_rules.averaging import Args, Named, Operation, Rule, Run, averaged

# Softmax


def _pull_softmax(L: Tensor, dim: int, g: Tensor) -> tuple[Tensor]:
    gL = g * L
    return (gL - L * (gL.sum(dim, keepdim=True) / L.sum(dim, keepdim=True)),)


def _pull_log_softmax(L: Tensor, dim: int, g: Tensor) -> tuple[Tensor]:
    return (g - L * (g.sum(dim, keepdim=True) / L.sum(dim, keepdim=True)),)


PullSoftmax = Callable[[Tensor, int, Tensor], tuple[Tensor]]
SOFTMAX: dict[str, PullSoftmax] = {"softmax": _pull_softmax, "log_softmax": _pull_log_softmax}


def _logarithmic_mean(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``(p - q) / (log p - log q)``, and p where they are equal."""
    ratio = (log_p - log_q).abs_()
    # max(p, q) (1 - e^-ratio) / ratio cannot overflow; nan: equal, or both log 0 under a mask.
    return torch.expm1(-ratio).div_(-ratio).nan_to_num_(nan=1.0).mul_(torch.maximum(log_p, log_q).exp_())


def softmax_rule(pull: PullSoftmax, plain: Operation, inplace: bool) -> Rule:
    """The rule of one spelling of a softmax."""

    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        x = args[0]
        recalled = run.baseline(plain.__name__, x)
        if recalled is None:
            return func(*args, **kwargs)
        dim = _softmax_dim(*args, **kwargs)
        wide = torch.promote_types(x.dtype, torch.float32)
        with torch.no_grad():
            log_y, log_y_b = (torch.log_softmax(t, dim, dtype=wide) for t in (x, recalled[0]))
            L = _logarithmic_mean(log_y, run.stretch(log_y_b, log_y))
        value = partial(func, *args, **kwargs)
        return averaged(value, lambda g: (pull(L, dim, g)[0].to(x.dtype),), x)

    return rule


def _softmax_dim(x: Tensor, dim: int | None = None, *_: Any, **__: Any) -> int:
    return (0 if x.ndim in (0, 1, 3) else 1) if dim is None else dim
