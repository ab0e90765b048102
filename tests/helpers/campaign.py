"""What the campaign of faults shares: how much of it is run, its tally, and a command that kills itself."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import torch

from whyclass.cli import main

LENGTH = int(os.environ.get("WHYCLASS_CAMPAIGN", "1"))
"""How many times as much is tried as in every run of the tests."""

SEED = int(os.environ.get("WHYCLASS_CAMPAIGN_SEED", "0"))

T = TypeVar("T")


def chance(kind: str) -> random.Random:
    """What a kind of fault draws from: the same in each run, unless another seed is asked for."""
    return random.Random(f"{kind} {SEED}")


def some(kind: str, found: Sequence[T], count: int) -> list[T]:
    """So many of what could be tried, or as many times as the campaign is long."""
    wanted = min(len(found), count * LENGTH)
    return sorted(chance(kind).sample(list(found), wanted), key=list(found).index)


def tell(kind: str, tried: int, held: int) -> None:
    """A line of ``docs/reliability.md``."""
    print(f"| {kind} | {tried} | {held} |", file=sys.__stdout__)


# ---------------------------------------------------------------- a command that kills itself

CALLS = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")
"""Of ``os``: what a store is written with. Before each of them a process may die."""


def dying(out: Path, point: int, torn: bool, arguments: list[str]) -> None:
    """The command, killed before its ``point``-th call of those; the number of calls is kept at its end.

    ``torn`` cuts the file in two that was to be brought to the disk, as a machine does that loses its power.
    """
    torch.set_num_threads(1)
    count = 0

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == point:
                if torn and name == "fsync":
                    os.ftruncate(given[0], os.fstat(given[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        return call

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))
    sys.argv = ["whyclass", *arguments]
    with out.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            main.main()
        finally:
            out.with_suffix(".calls").write_text(str(count))
