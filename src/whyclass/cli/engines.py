"""The options that say who computes: this machine, or the workers of a cluster."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

ENGINES = "local, ray (a cluster begun here), or ray:ADDRESS of one that runs"
"""Who can compute."""

Engine = Annotated[str, typer.Option(help=ENGINES)]
Workers = Annotated[
    int | None, typer.Option(help="workers that --engine ray begins here; default: the processors")
]


def begun(engine: str, workers: int | None) -> dict[str, Any]:
    """Who computes, as the functions take it; unless told as many as this machine holds."""
    return {"engine": engine, "workers": processors(engine) if workers is None else workers}


def processors(engine: str) -> int:
    """How many processors this process may use; how many workers with its threads they hold."""
    import torch

    allowed = getattr(os, "sched_getaffinity", None)
    count = len(allowed(0)) if allowed else os.cpu_count() or 1
    return count if engine == "local" else max(1, count // torch.get_num_threads())
