"""The command in a process of its own, stopped from outside."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from helpers.planted_world import nth
from whyclass.cli import main

SLOW = """
import os
import time

from whyclass.planted.nets import PlantedNet

class Net(PlantedNet):
    def forward(self, images):
        if images.shape[0] < 0:  # a branch on the input, so that no copy without the pause can be made
            return images
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return super().forward(images)

def net():
    return Net()
"""
"""A factory whose model takes its time where the environment says so."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["whyclass.cli.main", "whyclass.study.study"])  # once for all of them


def child(out: Path, kill_at: int, pause: float, arguments: list[str]) -> None:
    """The command in a process of its own, which kills itself at a file that is to be put in its place."""
    torch.set_num_threads(1)
    os.environ["PAUSE"] = str(pause)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.replace = nth(kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL), os.replace)
    sys.argv = ["whyclass", *arguments]
    with out.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        main.main()


@contextmanager
def started(store: Path, given: list[str], kill_at: int = 0, pause: float = 0.0) -> Iterator[BaseProcess]:
    """Such a process; at the end of the block it has ended."""
    out = store.parent / f"{time.monotonic_ns()}.txt"
    process = PROCESSES.Process(target=child, args=(out, kill_at, pause, [*given, "--store", str(store)]))
    process.start()
    try:
        yield process
        process.join(60)
    finally:
        process.kill()
        process.join()
