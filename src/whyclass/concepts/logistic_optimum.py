"""The least of many smooth convex functions in lock-step: L-BFGS with a halving of steps, row by row.

A row that has arrived stays as it is, so that what is minimised beside it changes no more than the rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From points (Q, d) to values (Q,) and derivatives (Q, d)."""

KEPT = 5
"""Steps remembered of each row."""

ENOUGH = 1e-4
"""Part of the promised descent that a step must bring (Armijo)."""

ROUNDING = 1e-6
"""A value that rises by less than this part of itself has not risen: float32 says no more."""


@dataclass(frozen=True)
class Stop:
    """After so many evaluations, or where the derivative is this part of that at zero."""

    rounds: int
    part: float


@dataclass(frozen=True)
class _Step:
    """One accepted step of each row; zero where none was."""

    s: Tensor
    y: Tensor
    rho: Tensor


def minimised(objective: Objective, start: Tensor, stop: Stop) -> Tensor:
    """Where each of the functions is least, (Q, d), from ``start``."""
    at = start
    value, slope = objective(at)
    least = stop.part * (slope if not start.any() else objective(torch.zeros_like(start))[1]).norm(dim=1)
    past: deque[_Step] = deque(maxlen=KEPT)
    way, length = _scaled(slope), torch.ones_like(value)
    for _ in range(stop.rounds):
        live = slope.norm(dim=1) > least
        if not bool(live.any()):
            break
        trial = torch.addcmul(at, length[:, None], way)
        new, steep = objective(trial)
        promised = ENOUGH * length * (way * slope).sum(1)
        good = live & (new <= value + promised + ROUNDING * value.abs())
        past.append(
            _step(torch.where(good[:, None], trial - at, 0), torch.where(good[:, None], steep - slope, 0))
        )
        at, slope = torch.where(good[:, None], trial, at), torch.where(good[:, None], steep, slope)
        value = torch.where(good, new, value)
        onward = _direction(slope, past)
        downhill = (onward * slope).sum(1) < 0
        onward = torch.where(downhill[:, None], onward, _scaled(slope))
        way = torch.where(good[:, None], onward, way)
        length = torch.where(good, 1.0, length / 2)
    return at


def strongest_best(losses: Tensor, strengths: Sequence[float]) -> Tensor:
    """For each of Q rows the first of the strengths whose loss (strengths, Q) is least."""
    return losses.new_tensor(strengths)[losses.argmin(0)]


def _scaled(slope: Tensor) -> Tensor:
    """Downhill, of length at most one."""
    return -slope / slope.norm(dim=1, keepdim=True).clamp_min(1)


def _step(s: Tensor, y: Tensor) -> _Step:
    curvature = (s * y).sum(1)
    rho = torch.where(curvature > 0, 1 / curvature, 0.0)
    return _Step(s, y, rho)


def _direction(slope: Tensor, past: Sequence[_Step]) -> Tensor:
    """The two loops of L-BFGS, of all rows; a step that was none takes no part."""
    q, taken = slope.clone(), []
    for step in reversed(past):
        a = step.rho * (step.s * q).sum(1)
        q.addcmul_(-a[:, None], step.y)
        taken.append(a)
    q *= _curvature(slope, past)[:, None]
    for step, a in zip(past, reversed(taken), strict=True):
        back = step.rho * (step.y * q).sum(1)
        q.addcmul_((a - back)[:, None], step.s)
    return q.neg_()


def _curvature(slope: Tensor, past: Sequence[_Step]) -> Tensor:
    """How far one unit of slope goes, by the last step of each row."""
    found = 1 / slope.norm(dim=1).clamp_min(1)
    for step in past:
        good = step.rho > 0
        squares = step.y.square().sum(1)
        found = torch.where(good & (squares > 0), 1 / (step.rho * squares).clamp_min(1e-30), found)
    return found
