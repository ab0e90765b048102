"""An operation whose Jacobian is replaced by an average between baseline and image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

Pull = Callable[[Tensor], tuple[Tensor, ...]]
Operation = Callable[..., Any]
Args = tuple[Any, ...]
Named = dict[str, Any]


class Run(Protocol):
    """The run of a head, on images or on the baseline, as a rule sees it."""

    unruled: set[str]
    lost: set[str]

    def baseline(self, name: str, *xs: Tensor) -> list[Tensor] | None:
        """What the baseline's run had where this one has ``xs``; None in the baseline's own run."""

    def stretch(self, b: Tensor, x: Tensor) -> Tensor:
        """The baseline's tensor in the shape of the images' tensor."""

    def __enter__(self) -> object:
        """Follow the rules again, within a rule."""

    def __exit__(self, *_: Any) -> None:
        """Stop following them."""


Rule = Callable[[Run, Operation, Args, Named], Any]
"""What happens instead of ``func(*args, **kwargs)`` when an argument depends on the activations."""


class _Averaged(torch.autograd.Function):
    """An operation with its own value, and ``pull`` for a gradient."""

    @staticmethod
    def forward(ctx: Any, value: Callable[[], Tensor], pull: Pull, inplace: bool, *xs: Tensor) -> Tensor:
        ctx.pull = pull
        y = value()
        if inplace:
            ctx.mark_dirty(xs[0])
            return xs[0]
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        pull, ctx.pull = ctx.pull, None  # lets go of what the rule saved
        return None, None, None, *pull(g)


def averaged(value: Callable[[], Tensor], pull: Pull, *xs: Tensor, inplace: bool = False) -> Tensor:
    """The operation's own value, with ``pull`` in place of its gradient."""
    result: Tensor = _Averaged.apply(value, pull, inplace, *xs)  # type: ignore[no-untyped-call]
    return result


def depends(t: Tensor) -> bool:
    """Whether a tensor was computed from the activations (or from parameters, which does no harm)."""
    # Parameters require gradients too, but are leaves; the head's input is made not to be one.
    return t.requires_grad and not t.is_leaf


def of_parameters(t: Tensor) -> bool:
    """Whether a tensor was computed from parameters alone, by the graph that leads to it."""
    nodes, seen = [t.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and not isinstance(leaf, torch.nn.Parameter):
            return False
        nodes += [before for before, _ in node.next_functions]
    return True


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from tensors(branch)
    elif isinstance(tree, dict):
        yield from tensors(list(tree.values()))


def substituted(tree: Any, new: Iterator[Tensor]) -> Any:
    """The same arguments with the tensors that depend on the activations replaced in order."""
    if isinstance(tree, Tensor):
        return next(new) if depends(tree) else tree
    if isinstance(tree, (tuple, list)):
        return type(tree)(substituted(branch, new) for branch in tree)
    if isinstance(tree, dict):
        return {key: substituted(branch, new) for key, branch in tree.items()}
    return tree


def without_rule(run: Run, func: Operation, args: Args, kwargs: Named) -> Any:
    """The plain operation with its plain gradient; its name is kept, as a suspect or a loss."""
    result = func(*args, **kwargs)
    found = list(tensors(result))
    if any(map(depends, found)):
        run.unruled.add(getattr(func, "__name__", str(func)).strip("_"))
    elif found:
        run.lost.add(getattr(func, "__name__", str(func)).strip("_"))
    return result
