"""DeepLift's rule for maxima: all of a window's change goes to one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from whyclass.attribution.deeplift_rules.averaging import (
    Args,
    Named,
    Operation,
    Rule,
    Run,
    averaged,
    without_rule,
)

# Largest


Select = Callable[[Tensor], tuple[Tensor, Tensor]]


def _largest(run: Run, name: str, x: Tensor, select: Select, axes: int) -> tuple[Tensor, Tensor]:
    """The largest of each window, chosen by ``select`` as (values, places on the last ``axes`` flattened).

    All of ``y - y_b`` goes to one place, the winner of the image or of the baseline, whichever is larger.
    The value there changed by at least as much and in the same direction, so its share
    ``(y - y_b) / (x - b)`` lies in [0, 1], and no window is without one. Where windows overlap the shares
    add up. Captum treats a window alike, but of overlapping ones it keeps one and is incomplete.
    """
    recalled = run.baseline(name, x)
    if recalled is None:
        return select(x)
    with torch.no_grad():
        y, at_x = select(x.detach())
        y_b, at_b = (run.stretch(t, y) for t in select(recalled[0]))
        place = torch.where(y >= y_b, at_x, at_b).flatten(-axes)
        b = run.stretch(recalled[0], x).flatten(-axes)
        way = x.detach().flatten(-axes).gather(-1, place).sub_(b.gather(-1, place))
        share = (y - y_b).flatten(-axes).div_(way).nan_to_num_(nan=1.0)

    def pull(g: Tensor) -> tuple[Tensor]:
        flat = g.new_zeros(b.shape).scatter_add_(-1, place, g.flatten(-axes) * share)
        return (torch.empty_like(x).copy_(flat.view(x.shape)),)  # in the layout of x

    return averaged(lambda: y, pull, x), at_x


def _max_pool(pool: Operation, axes: int, indices: bool) -> Rule:
    def rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
        settings = {**kwargs, "return_indices": True}
        pair = _largest(run, pool.__name__, args[0], lambda z: pool(z, *args[1:], **settings), axes)
        return pair if indices or kwargs.get("return_indices") else pair[0]

    return rule


def max_rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    """The rule of a maximum over one dimension."""
    x, *settings = args
    dim, keepdim = (*settings, *kwargs.values(), False, False)[:2] if settings or kwargs else (None, False)
    if dim is None:  # over the batch as well
        return without_rule(run, func, args, kwargs)

    def select(z: Tensor) -> tuple[Tensor, Tensor]:
        y, place = z.max(-1, keepdim=True)
        return y, place

    pair = _largest(run, "max", x.movedim(dim, -1), select, 1)
    values, places = (t.movedim(-1, dim) if keepdim else t.squeeze(-1) for t in pair)
    return torch.return_types.max((values, places))


def max_pool_rules() -> Iterator[tuple[Operation, Rule]]:
    """Every spelling of max-pooling with its rule."""
    for axes in (1, 2, 3):
        for kind in ("max_pool", "adaptive_max_pool"):
            pool = getattr(functional, f"{kind}{axes}d")
            yield pool, _max_pool(pool, axes, indices=False)
            yield getattr(functional, f"{kind}{axes}d_with_indices"), _max_pool(pool, axes, indices=True)
        pool = getattr(functional, f"max_pool{axes}d")
        yield getattr(torch, f"max_pool{axes}d"), _max_pool(pool, axes, indices=False)
