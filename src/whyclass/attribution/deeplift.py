"""DeepLift at a layer of an untouched model: what made its output differ from a baseline's?

Notation
--------
``a``, ``b``
    activations at the layer for ``n`` images, and for the baseline (one row, or one per image).
``f``
    head and target together: activations -> one number per image.

Attribution is ``J^T 1 * (a - b)``, with ``J`` the product of the averaged Jacobians that ``deeplift_rules``
gives to each operation. It sums to ``f(a) - f(b)``: *completeness*, which is measured and reported for every
row.

The baseline runs once (``record``); its tape then serves any number of batches (``attribute``). While the
head runs, torch functions are intercepted by a ``TorchFunctionMode``: modules that serve several calls,
functional and in-place forms all work, and neither the model nor its gradients are touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from whyclass.attribution.deeplift_rules.averaging import (
    Args,
    Named,
    Operation,
    depends,
    tensors,
    without_rule,
)
from whyclass.attribution.deeplift_rules.table import LINEAR, RULES
from whyclass.errors import AttributionError

Head = Callable[[Tensor], Any]
Target = Callable[[Any], Tensor]


class Entry(NamedTuple):
    """One non-linear operation of the baseline's run."""

    name: str
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Tape:
    """What the baseline's run leaves behind.

    Attributes
    ----------
    baseline
        (k, ...) its activations at the layer, ``k`` = 1 or one row for each image.
    output
        (k,) the target's value for it.
    entries
        the non-linear operations of the head with their inputs, in call order.
    """

    baseline: Tensor
    output: Tensor
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Attribution:
    """How much each activation contributed to ``f(a) - f(b)``.

    Attributes
    ----------
    values
        (n, ...) like the activations; in units of the output.
    output
        (n,) ``f(a)``.
    difference
        (n,) ``f(a) - f(b)``, what the values of a row should sum to; float64.
    missed
        (n,) ``|sum(values) - difference|``; float64, 0 is exact.
    unruled
        names of operations that passed a gradient on but have no rule and are not known to be linear;
        the first to suspect when much is missed.
    lost
        names of operations that gave something which no gradient reaches, such as comparisons.
    multipliers
        (n, ...) what each activation counts for one unit of it: ``values / (a - b)``, where these differ.
    """

    values: Tensor
    output: Tensor
    difference: Tensor
    missed: Tensor
    unruled: tuple[str, ...]
    lost: tuple[str, ...] = ()
    multipliers: Tensor | None = None

    @property
    def error(self) -> Tensor:
        """Relative completeness error (n,): ``missed / |difference|``, float64."""
        return torch.where(self.missed == 0, 0.0, self.missed / self.difference.abs())


def record(head: Head, baseline: Tensor, target: Target) -> Tape:
    """Run the head on the baseline and remember the inputs of its non-linear operations.

    Parameters
    ----------
    head
        activations -> output of the model, which must be in evaluation mode; called once.
    baseline
        (1, ...) activations of the baseline, or (n, ...) when each image has its own.
    target
        output -> (n,) one number per image, such as a class's logit; may be non-linear.

    Raises
    ------
    AttributionError
        if activations or output are not finite, or the output has the wrong shape or no gradient.
    """
    run = _Run()
    with _gradients():
        _, output = _through(run, head, baseline, target)
    if not bool(baseline.isfinite().all() and output.isfinite().all()):
        raise AttributionError("the activations or the output of the baseline are not finite")
    return Tape(baseline.detach().clone(), output.detach(), tuple(run.seen))


def attribute(head: Head, activations: Tensor, tape: Tape, target: Target) -> Attribution:
    """DeepLift attribution of each activation, relative to the baseline on the tape.

    Parameters
    ----------
    head, target
        the same as for ``record``.
    activations
        (n, ...) at the layer; left as they are.
    tape
        from ``record``, with one row or n rows.

    Returns
    -------
    Attribution
        values of the activations' shape, and how far they are from complete.

    Raises
    ------
    AttributionError
        as ``record``, and if the head does other operations than it did for the baseline.

    References
    ----------
    Shrikumar, Greenside, Kundaje 2017, https://arxiv.org/abs/1704.02685, section 3.5.1 (rescale rule); the
    rules for other operations are derived in ``whyclass.attribution.deeplift_rules``.
    """
    n, k = len(activations), len(tape.baseline)
    if activations.shape[1:] != tape.baseline.shape[1:] or k not in (1, n):
        raise AttributionError(
            f"activations {tuple(activations.shape)} do not fit a baseline {tuple(tape.baseline.shape)}: "
            f"it needs 1 or {n} rows of the same shape"
        )
    run = _Run(tape.entries, images=n // k)
    with _gradients():
        a, output = _through(run, head, activations, target)
        run.check_finished()
        (gradient,) = torch.autograd.grad(output.sum(), a, allow_unused=True)
        if gradient is None:  # only the model's own parameters are behind the output
            raise AttributionError(_independent(run))
        values = (a.detach() - tape.baseline).mul_(gradient)
    difference = output.detach().double() - tape.output.double()
    total = values.sum(tuple(range(1, values.ndim)), dtype=torch.float64)
    if not bool(total.isfinite().all()):
        raise AttributionError(_why_not_finite(activations, output, run))
    missed, suspects = (total - difference).abs(), (tuple(sorted(run.unruled)), tuple(sorted(run.lost)))
    return Attribution(values, output.detach(), difference, missed, *suspects, gradient)


def multipliers(head: Head, activations: Tensor, tape: Tape, target: Target) -> tuple[Tensor, Tensor]:
    """The averaged Jacobian that ``attribute`` multiplies with, and ``f(a) - f(b)`` (n,), float64.

    Of the activations' shape, in output per unit of each activation. Times what changed, ``activations -
    baseline``, it is the attribution; times any other change it is what this one would count for.
    """
    run = _Run(tape.entries, images=len(activations) // len(tape.baseline))
    with _gradients():
        a, output = _through(run, head, activations, target)
        run.check_finished()
        (gradient,) = torch.autograd.grad(output.sum(), a, materialize_grads=True)
    return gradient, output.detach().double() - tape.output.double()


@contextmanager
def _gradients() -> Iterator[None]:
    # Callers are often inside no_grad or inference_mode.
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _through(run: _Run, head: Head, activations: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The leaf that holds the activations, and the target's value for them."""
    a = (activations.clone() if activations.is_inference() else activations).detach().requires_grad_()
    # A clone, because many layers are followed by an in-place ReLU, which must not reach the caller.
    given = a.clone()
    with run:
        output = target(head(given))
    if output.shape != (len(activations),):
        raise AttributionError(
            f"the target returned shape {tuple(output.shape)} for {len(activations)} rows; "
            f"needed is one number each"
        )
    if not output.requires_grad:
        raise AttributionError(_independent(run))
    return a, output


def _independent(run: _Run) -> str:
    """What is said where no path leads from the output back to the activations."""
    by = f", past {', '.join(sorted(run.lost))}" if run.lost else ""
    return (
        f"the target does not depend on the activations by any way that a gradient can go{by}; choose a "
        "later layer, or a model that computes in torch's differentiable operations"
    )


def _why_not_finite(activations: Tensor, output: Tensor, run: _Run) -> str:
    for what, t in (("activations", activations), ("output", output)):
        if not bool(t.isfinite().all()):
            return f"the {what} of row {int((~t.isfinite()).nonzero()[0, 0])} are not finite"
    suspects = ", ".join(sorted(run.unruled)) or "none"
    return f"the attribution is not finite; operations without a rule: {suspects}"


class _Run(TorchFunctionMode):
    """While active, torch functions follow the rules, whatever module, function or method called them.

    Without a tape it is the baseline's run, which is recorded; with one, the run of ``images`` images to each
    row of the baseline.
    """

    def __init__(self, tape: Sequence[Entry] | None = None, images: int = 1) -> None:
        super().__init__()
        self.tape = tape
        self.images = images
        self.seen: list[Entry] = []
        self.count = 0
        self.unruled: set[str] = set()
        self.lost: set[str] = set()

    def __torch_function__(
        self, func: Operation, types: object, args: Args = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        if not any(map(depends, tensors((args, kwargs)))):
            return func(*args, **kwargs)
        rule = RULES.get(func)
        if rule is not None:
            return rule(self, func, args, kwargs)
        if getattr(func, "__name__", "").strip("_") in LINEAR:
            return func(*args, **kwargs)
        if isinstance(func, FunctionType) and func.__globals__["__name__"] in _PYTHON:
            with self:
                return _opened(func)(*args, **kwargs)
        return without_rule(self, func, args, kwargs)

    def baseline(self, name: str, *xs: Tensor) -> list[Tensor] | None:
        """What the baseline's run had where this one has ``xs``; None in the baseline's own run."""
        if self.tape is None:
            # Cloned because an in-place operation may follow.
            self.seen.append(Entry(name, tuple(x.detach().clone() for x in xs)))
            return None
        self.count += 1
        expected = self.tape[self.count - 1].name if self.count <= len(self.tape) else "nothing"
        if name != expected:
            raise AttributionError(
                f"operation {self.count} of the head is {name} for the images and was {expected} for the "
                f"baseline: the head must do the same operations for every input"
            )
        return list(self.tape[self.count - 1].inputs)

    def check_finished(self) -> None:
        """Raise if the baseline's run went on."""
        assert self.tape is not None
        if self.count < len(self.tape):
            raise AttributionError(
                f"the head did {self.count} operations for the images and {len(self.tape)} for the baseline"
            )

    def stretch(self, b: Tensor, x: Tensor) -> Tensor:
        """The baseline's tensor in the shape of the images' tensor.

        The axis on which the shapes differ holds the batch, image by image: ``k`` against ``images * k``
        (k = 1 mostly; windows in Swin, heads in ``MultiheadAttention``).
        """
        if b.shape == x.shape:
            return b
        axes = [axis for axis, size in enumerate(x.shape) if b.shape[axis : axis + 1] != (size,)]
        if b.ndim != x.ndim or len(axes) != 1 or x.shape[axes[0]] != self.images * b.shape[axes[0]]:
            raise AttributionError(
                f"operation {self.count} of the head has shape {tuple(x.shape)} for {self.images} images and "
                f"{tuple(b.shape)} for the baseline: no axis holds the batch"
            )
        (axis,) = axes
        if b.shape[axis] == 1:
            return b.expand_as(x)
        copies = [-1] * (b.ndim + 1)
        copies[axis] = self.images
        return b.unsqueeze(axis).expand(copies).reshape(x.shape)


_PYTHON = {"torch.nn.functional", "torch.functional", "torch._tensor"}


@cache
def _opened(func: FunctionType) -> FunctionType:
    """A function of torch that is written in Python, without its own override check.

    The check would hand the call back to the mode for ever; without it the body runs and its inner calls meet
    the rules, so that ``F.multi_head_attention_forward`` or ``F.normalize`` need none of their own.
    """
    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    blind = {**func.__globals__, **dict.fromkeys(checks, lambda *_: False)}
    opened = FunctionType(func.__code__, blind, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened
