"""What somebody's function does, as a text that two share only where they do the same."""

from __future__ import annotations

import hashlib
import inspect
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
    if isinstance(value, dict):
        return str([(_text(key, depth), _text(one, depth)) for key, one in value.items()])
    if isinstance(value, (list, tuple, set, frozenset)):
        return str([_text(one, depth) for one in value])
    if inspect.ismethod(value):
        return _text(value.__func__, depth) + _text(value.__self__, depth)
    if inspect.isfunction(value):
        return _code(value, depth)
    if hasattr(value, "__dict__") and not isinstance(value, nn.Module):
        kind = type(value)
        return f"{kind.__module__}.{kind.__qualname__} {_source(kind)} {_text(vars(value), depth)}"
    if isinstance(value, nn.Module) and not any(True for _ in value.children()):
        kept = {key: one for key, one in vars(value).items() if not key.startswith("_")}
        return f"{type(value).__qualname__} {_source(type(value))} {_text(kept, depth)} {_tensors(value)}"
    return uuid4().hex


def _tensors(module: nn.Module) -> str:
    return str([(name, _text(one, 1)) for name, one in module.state_dict().items()])


def _source(kind: type) -> str:
    try:
        return hashed(inspect.getsource(kind).encode())
    except (OSError, TypeError):
        return ""


def _code(function: Any, depth: int) -> str:
    code = function.__code__
    inner = [one for one in code.co_consts if inspect.iscode(one)]
    names = {name for one in (code, *inner) for name in one.co_names}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    world = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
    constants = [one for one in code.co_consts if not inspect.iscode(one)]
    parts = [code.co_code.hex(), repr(sorted(names)), repr(constants), *(one.co_code.hex() for one in inner)]
    parts += [repr([c for c in one.co_consts if not inspect.iscode(c)]) for one in inner]
    return "\n".join(parts + [_text(one, depth) for one in (*cells, *(function.__defaults__ or ()), world)])
