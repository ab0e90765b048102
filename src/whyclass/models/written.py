"""What modules write on themselves while the model runs: caches, counters, the last features.

It is left out of a model's fingerprint, which is to change with what decides the output alone. Whether what
is kept does decide it, the proof of a cut shows.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from whyclass.models.forward import run

PLAIN = (bool, int, float, str, tuple, Tensor)
"""Kinds of values beside weights and buffers that may change the output."""


def written(model: nn.Module, example: Tensor) -> frozenset[str]:
    """Paths of attributes and buffers that a pass of the model changes."""
    found, before = set[str](), _values(model)
    with torch.no_grad():
        for images in (example[:1], -example[:1]):
            run(model, images)
            after = _values(model)
            found |= {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
            before = after
    return frozenset(found)


def _values(model: nn.Module) -> dict[str, Any]:
    """Attributes and buffers by path, in a form that can be compared."""
    kept: dict[str, Any] = dict(model.named_buffers())
    for path, module in model.named_modules():
        kept |= {f"{path}.{k}".lstrip("."): v for k, v in vars(module).items() if isinstance(v, PLAIN)}
    return {name: _comparable(value) for name, value in kept.items()}


def _comparable(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return repr(value)
    flat = value.detach().cpu().contiguous().flatten()
    return tuple(value.shape), value.dtype, flat.view(torch.uint8).numpy().tobytes()


@cache
def by_forward(kind: type) -> frozenset[str]:
    """Names of attributes that a class's forward, or a method which it calls, sets on itself."""
    # what torch's own classes keep is said by `derived`
    own = [one for one in reversed(kind.__mro__) if one.__module__.partition(".")[0] != "torch"]
    methods = {name: f for one in own for name, f in vars(one).items() if inspect.isfunction(f)}
    waiting, reached, found = {"forward"} & methods.keys(), set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        of_self = _of_self(methods[name])
        found |= {node.attr for node in of_self if isinstance(node.ctx, ast.Store)}
        waiting |= ({node.attr for node in of_self} & methods.keys()) - reached
    return frozenset(found)


def _of_self(function: Any) -> list[ast.Attribute]:
    """Where a method's source names an attribute of ``self``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # typed into a prompt, or made while running
        return []
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [node for node in named if isinstance(node.value, ast.Name) and node.value.id == "self"]


def derived(module: nn.Module, name: str, value: Any) -> bool:
    """Whether an attribute comes from weights before each call, as of weight norm, or is set by forward."""
    kind: Any = type(module)
    of_torch = kind.__module__.partition(".")[0] == "torch"
    return (of_torch and isinstance(value, Tensor)) or name in by_forward(kind)
