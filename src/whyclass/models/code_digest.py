"""What somebody's function does, as a text that two share only where they do the same."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
from torch import Tensor, nn

PLAIN = (int, float, str, bytes, bool, complex, enum.Enum, type(None))
MOST = 10_000
"""So many things are looked at in what a function holds; what holds more is never known again."""

Seen = dict[int, Any]
"""What was looked at, by its address; held, so that none is given twice."""


def digest_of(value: Any) -> str:
    """Hash of a value, or of a function's code and what it holds.

    What cannot be looked into gets a mark that nothing else has: results of it are never taken for another's.
    """
    try:
        return hashed(_text(value, {}).encode(errors="backslashreplace"))
    except RecursionError:
        return uuid4().hex


def hashed(data: bytes) -> str:
    """A short hash."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _text(value: Any, seen: Seen) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return hashed(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    if inspect.ismodule(value) or inspect.isbuiltin(value) or inspect.isclass(value):
        return f"{getattr(value, '__module__', '')}.{value.__name__}"
    if id(value) in seen:
        return f"#{list(seen).index(id(value))}"
    if len(seen) > MOST:
        return uuid4().hex
    seen[id(value)] = value
    found = next(((test, way) for test, way in WAYS if test(value)), None)
    return uuid4().hex if found is None else found[1](value, seen)


def _mapping(value: Any, seen: Seen) -> str:
    return str([(_text(key, seen), _text(one, seen)) for key, one in value.items()])


def _sequence(value: Any, seen: Seen) -> str:
    return str([_text(one, seen) for one in value])


def _method(value: Any, seen: Seen) -> str:
    return _text(value.__func__, seen) + _text(value.__self__, seen)


def _module(value: Any, seen: Seen) -> str:
    kept = {key: one for key, one in vars(value).items() if not key.startswith("_")}
    tensors = [(name, _text(one, seen)) for name, one in value.state_dict().items()]
    children = [(name, _text(one, seen)) for name, one in value.named_children()]
    return f"{_kind(value)} {_text(kept, seen)} {tensors} {children}"


def _partial(value: Any, seen: Seen) -> str:
    return _text([value.func, list(value.args), value.keywords], seen)


def _own(value: Any) -> bool:
    """Whether a thing is of a class that somebody wrote, which keeps all that it has by name."""
    return hasattr(value, "__dict__") and all(
        kind is object or kind.__module__ not in ("builtins", "functools", "collections")
        for kind in type(value).__mro__
    )


def _object(value: Any, seen: Seen) -> str:
    return f"{_kind(value)} {_text(vars(value), seen)}"


def _kind(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__} {_source(kind)}"


def _source(kind: type) -> str:
    try:
        return hashed(inspect.getsource(kind).encode())
    except (OSError, TypeError):
        return ""


def _code(function: Any, seen: Seen) -> str:
    code = function.__code__
    codes = [code, *filter(inspect.iscode, code.co_consts)]
    names = sorted({name for one in codes for name in one.co_names})
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    world = {name: function.__globals__[name] for name in names if name in function.__globals__}
    written = [
        (one.co_code.hex(), repr([c for c in one.co_consts if not inspect.iscode(c)])) for one in codes
    ]
    return f"{written} {names} {_text([cells, list(function.__defaults__ or ()), world], seen)}"


WAYS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Seen], str]], ...] = (
    (lambda value: isinstance(value, dict), _mapping),
    (lambda value: isinstance(value, (list, tuple)), _sequence),
    (inspect.ismethod, _method),
    (inspect.isfunction, _code),
    (lambda value: isinstance(value, nn.Module), _module),
    (lambda value: isinstance(value, functools.partial), _partial),
    (_own, _object),
)
"""How each kind of thing is looked into, the first that fits."""
