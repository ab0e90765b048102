"""What somebody's function does, as a text that two share only where they do the same."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
from torch import Tensor, nn

PLAIN = (int, float, str, bytes, bool, complex, type(None))
DEPTH = 4
"""So deep is looked into what a function holds."""


def digest_of(value: Any) -> str:
    """Hash of a value, or of a function's code and what it holds.

    What cannot be looked into gets a mark that nothing else has: results of it are never taken for another's.
    """
    return hashed(_text(value, DEPTH).encode())


def hashed(data: bytes) -> str:
    """A short hash."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _text(value: Any, depth: int) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return hashed(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    if inspect.ismodule(value) or inspect.isbuiltin(value) or inspect.isclass(value):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    return _inside(value, depth - 1) if depth else uuid4().hex


def _inside(value: Any, depth: int) -> str:
    rows = ((test, way) for test, way in WAYS if test(value))
    found = next(rows, None)
    return uuid4().hex if found is None else found[1](value, depth)


def _mapping(value: Any, depth: int) -> str:
    return str([(_text(key, depth), _text(one, depth)) for key, one in value.items()])


def _sequence(value: Any, depth: int) -> str:
    return str([_text(one, depth) for one in value])


def _method(value: Any, depth: int) -> str:
    return _text(value.__func__, depth) + _text(value.__self__, depth)


def _module(value: Any, depth: int) -> str:
    kept = {key: one for key, one in vars(value).items() if not key.startswith("_")}
    children = [(name, _text(one, depth)) for name, one in value.named_children()]
    return f"{_kind(value)} {_text(kept, depth)} {_tensors(value)} {children}"


def _object(value: Any, depth: int) -> str:
    return f"{_kind(value)} {_text(vars(value), depth)}"


def _kind(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__} {_source(kind)}"


def _tensors(module: nn.Module) -> str:
    return str([(name, _text(one, 1)) for name, one in module.state_dict().items()])


def _source(kind: type) -> str:
    try:
        return hashed(inspect.getsource(kind).encode())
    except (OSError, TypeError):
        return ""


def _code(function: Any, depth: int) -> str:
    code = function.__code__
    codes = [code, *filter(inspect.iscode, code.co_consts)]
    names = sorted({name for one in codes for name in one.co_names})
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    world = {name: function.__globals__[name] for name in names if name in function.__globals__}
    written = [
        (one.co_code.hex(), repr([c for c in one.co_consts if not inspect.iscode(c)])) for one in codes
    ]
    return f"{written} {names} {_text([cells, list(function.__defaults__ or ()), world], depth)}"


WAYS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], str]], ...] = (
    (lambda value: isinstance(value, dict), _mapping),
    (lambda value: isinstance(value, (list, tuple)), _sequence),
    (inspect.ismethod, _method),
    (inspect.isfunction, _code),
    (lambda value: isinstance(value, nn.Module), _module),
    (lambda value: hasattr(value, "__dict__"), _object),
)
"""How each kind of thing is looked into, the first that fits."""
