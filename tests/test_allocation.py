"""Large blocks of memory that are kept and used again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

import whyclass
from whyclass import allocation
from whyclass.planted import demo, world

FAULTS = """
import resource, sys
import numpy as np
from whyclass.allocation import keep_blocks
kept = keep_blocks() if sys.argv[1] == "kept" else None
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(12 << 20)
before = faults()
for _ in range(10):
    np.ones(12 << 20)
print(kept, faults() - before)
"""
"""Ten blocks of 96 MiB, one after the other: so many pages are asked of the system."""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc")


def told(way: str, **environment: str) -> list[str]:
    """Of a process of its own: what ``keep_blocks`` returned, and how many pages were faulted in."""
    kept = {name: value for name, value in os.environ.items() if name not in allocation.CHOSEN}
    asked = [sys.executable, "-c", FAULTS, way]
    ran = subprocess.run(asked, capture_output=True, text=True, check=True, env=kept | environment)
    return ran.stdout.split()


@glibc
def test_a_large_block_that_was_freed_is_used_again():
    (_, without), (kept, faults) = told("plain"), told("kept")
    assert kept == "True"
    assert int(faults) < int(without) / 5


@glibc
def test_an_allocator_that_the_user_has_set_is_left_alone():
    assert told("kept", MALLOC_MMAP_THRESHOLD_="200000")[0] == "False"
    assert told("kept", GLIBC_TUNABLES="glibc.malloc.check=0")[0] == "False"


def test_blocks_are_kept_as_soon_as_a_model_is_opened(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(allocation, "keep_blocks", lambda: asked.append("kept"))
    pool = world.write_pool(tmp_path / "pool", 1)
    whyclass.Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", progress=False)
    assert asked == ["kept"]


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert not allocation.keep_blocks.__wrapped__()


def test_a_library_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.sys, "platform", "linux")
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())
    for name in allocation.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    assert not allocation.keep_blocks.__wrapped__()
