"""Large blocks of memory stay with the process when they are freed, to be used again."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

LARGEST = 1 << 30
"""Bytes up to which a block is kept, and of the free end of the heap that the system gets back beyond."""

_MAPPED_FROM, _MAPPED_AT_MOST, _TRIMMED_FROM = -3, -4, -1
"""``M_MMAP_THRESHOLD``, ``M_MMAP_MAX`` and ``M_TRIM_THRESHOLD`` of ``mallopt``."""

CHOSEN = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
"""Variables of the environment by which a user has decided it."""


@cache
def keep_blocks() -> bool:
    """Let the C library reuse blocks above 32 MiB, which it else asks of the system anew each time.

    The activations of a batch are such blocks, and a page of each is faulted in at its first use: with 32
    photographs of 224 pixels half of a ResNet-50's time. What is computed does not change. Of glibc alone;
    where a user has set its allocator by the environment it is left alone.

    Returns
    -------
    bool
        Whether blocks are kept. It is done once in a process.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # before glibc 2.35 none above 32 MiB is taken: then no block is mapped
    kept = mallopt(_MAPPED_FROM, LARGEST) or mallopt(_MAPPED_AT_MOST, 0)
    return bool(kept and mallopt(_TRIMMED_FROM, LARGEST))
