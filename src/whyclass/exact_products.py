"""Products of float32 numbers in float32: what libraries may round them to is off while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

EXACT = "ieee"
"""What torch calls products of float32 that are not rounded to TF32 or bfloat16 on the way."""

_lock = RLock()
_depth = 0
_before: list[tuple[Callable[[Any], None], Any]] = []


@contextmanager
def exact_products() -> Iterator[None]:
    """TF32 is off (and on processors bfloat16 for float32) while any thread is in such a block.

    An attribution adds up to the change it explains only as far as the products do: with TF32, which torch
    takes for convolutions on a card unless told, a thousand times worse. The last to leave restores
    what there was.
    """
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            flags = list(_flags())
            _before[:] = [(put, value) for put, value, _ in flags]
            for put, _, exact in flags:
                put(exact)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                for put, value in _before:
                    put(value)


def _flags() -> Iterator[tuple[Callable[[Any], None], Any, Any]]:
    """What sets each flag, its value, and the exact one; first the older ones, which set newer ones too."""
    backends: Any = torch.backends
    older = [
        (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision, "highest"),
        (_put(backends.cudnn, "allow_tf32"), lambda: backends.cudnn.allow_tf32, False),
    ]
    for put, read, exact in older:
        try:
            yield put, read(), exact
        except RuntimeError:  # where the user set a newer one, torch reads no older one
            continue
    if not hasattr(
        backends.cuda.matmul, "fp32_precision"
    ):  # before torch 2.9 there were the older ones alone
        return
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    for home in (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn):
        yield _put(home, "fp32_precision"), home.fp32_precision, EXACT


def _put(home: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(home, name, value)
