"""Hyperplanes of all pairs of many classes against the plain loop, on the same cells, in one run.

The plain loop is one pair after the other with ``torch.optim.SGD`` and ``BCEWithLogitsLoss``, on the same
device and threads; it is timed on a sample of the pairs, half before and half after, and extrapolated.
Both do the fit alone; with ``--held-out`` the call that measures held-out accuracy too is timed besides.

    python benchmarks/hyperplanes.py --classes 200 --cells 1000 --channels 1024

``--planes paper balanced converged`` times these ways to lay a plane instead, in turns, and no plain loop.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from whyclass.concepts.hyperplane_training import Fitting, hyperplanes, start_seed
from whyclass.concepts.hyperplanes import Cells, Hyperplanes
from whyclass.concepts.planes import PLANES

EPOCHS, IMAGES, LEAST_RATIO, LEAST_SHARE = 100, 60, 5.0, 0.7
Pair = tuple[int, int]


def main() -> None:
    options = _options()
    device, count = options.device, options.sample
    cells = _synthetic(options.classes, options.cells, options.channels)
    pairs = list(itertools.combinations(range(options.classes), 2))
    sample = [pairs[i] for i in np.random.default_rng(0).choice(len(pairs), count, replace=False)]

    def fit(pairs: list[Pair], held_out: float, plane: str = "paper") -> Hyperplanes:
        budget = int(options.budget * 2**30)
        fitting = Fitting(held_out=held_out, budget_bytes=budget, device=device, plane=plane)
        return hyperplanes(cells, pairs, fitting)

    print(
        f"{options.classes} classes, {len(pairs):,} pairs, {options.cells} cells of {options.channels} "
        f"channels, {EPOCHS} epochs, budget {options.budget:g} GiB\n"
        f"on {device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    if options.planes:
        _ways(partial(fit, held_out=0), pairs, sample[:1], options.planes, options.once)
        return
    fit(sample[:1], 0), _plain(cells, sample[0], device)  # warm up
    peak = _matmul_peak(device)
    plain = [_timed(partial(_plain, cells, p, device)) for p in sample[: count // 2]]
    before = _memory(device, start=True)
    busy = time.process_time()
    seconds, found = _timed(lambda: fit(pairs, 0))
    busy = (time.process_time() - busy) / seconds / torch.get_num_threads()
    memory = _memory(device) - before
    plain += [_timed(partial(_plain, cells, p, device)) for p in sample[count // 2 :]]
    peak = max(peak, _matmul_peak(device))
    work = 8.0 * options.cells * options.channels * EPOCHS * len(pairs)
    _report(found, seconds, work, peak, np.array([took for took, _ in plain]))
    print(f"whyclass had the processor for {busy:.0%} of its time: a machine shared with others gives less")
    result = found.weights.nbytes / 2**20
    print(f"memory: {memory / 2**20:.0f} MiB beside the cells, of them the result {result:.0f}")
    rows = {tuple(pair): row for row, pair in enumerate(found.pairs.tolist())}
    apart = max(np.abs(found.weights[rows[p]] - w).max() for p, (_, w) in zip(sample, plain, strict=True))
    print(f"largest difference of a weight to the plain loop: {apart:.1e}")
    if options.held_out:
        seconds, found = _timed(lambda: fit(pairs, 0.2))
        accuracy = f"{found.training.plain.mean():.3f}, held-out {found.held_out.plain.mean():.3f}"
        print(f"with held-out accuracy: {seconds:.1f} s; mean accuracy in training {accuracy}")


def _ways(
    fit: Callable[..., Hyperplanes], pairs: list[Pair], few: list[Pair], planes: list[str], once: bool
) -> None:
    """Seconds of wall and of processors of each way, twice in turns, and in parts of the first one's."""
    wall: dict[str, list[float]] = {plane: [] for plane in planes}
    busy: dict[str, list[float]] = {plane: [] for plane in planes}
    for plane in planes:
        fit(few, plane=plane)
    for plane in planes if once else [*planes, *reversed(planes)]:
        began = time.process_time()
        wall[plane].append(_timed(partial(fit, pairs, plane=plane))[0])
        busy[plane].append(time.process_time() - began)
        print(f"{plane}: {wall[plane][-1]:.1f} s, of processors {busy[plane][-1]:.1f} s", flush=True)
    for plane in planes:
        least, worked = min(wall[plane]), min(busy[plane])
        print(
            f"{plane:10} {least:8.1f} s, of processors {worked:8.1f} s: {least / min(wall[planes[0]]):.2f} "
            f"and {worked / min(busy[planes[0]]):.2f} times {planes[0]}"
        )


def _report(found: Hyperplanes, seconds: float, work: float, peak: float, plain: np.ndarray) -> None:
    share = work / seconds / peak
    print(
        f"{work / 1e12:.2f} TFLOP; product of 4096 x 4096 matrices at best {peak / 1e9:.0f} GFLOP/s: "
        f"floor {work / peak:.1f} s\n"
        f"whyclass   {seconds:8.1f} s, {work / seconds / 1e9:.0f} GFLOP/s, {share:.0%} of that "
        f"(target {LEAST_SHARE:.0%})"
    )
    for name, one in (("median", np.median(plain)), ("fastest", plain.min())):
        total = one * len(found.pairs)
        print(
            f"plain loop {total:8.1f} s, extrapolated from the {name} of {len(plain)} pairs, "
            f"{one * 1e3:.1f} ms; ratio {total / seconds:.1f}x (target {LEAST_RATIO:g}x)"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", type=float, default=2.0, help="GiB to work in")
    parser.add_argument("--sample", type=int, default=16, help="pairs of the plain loop")
    parser.add_argument("--planes", nargs="+", choices=PLANES, help="time these ways instead")
    parser.add_argument("--once", action="store_true", help="each of them once, not twice in turns")
    parser.add_argument("--held-out", action="store_true", help="time the held-out accuracy too")
    return parser.parse_args()


def _synthetic(classes: int, cells: int, channels: int) -> dict[int, Cells]:
    """Cells like what leaves a ReLU: non-negative, more than half zeros, their means by class."""
    rng = np.random.default_rng(0)
    image = np.arange(cells) * IMAGES // cells
    means = rng.normal(-0.3, 0.05, (classes, channels)).astype(np.float32)
    noise = (rng.standard_normal((cells, channels), np.float32) for _ in range(classes))
    return {k: Cells(np.maximum(values + means[k], 0), image) for k, values in enumerate(noise)}


def _plain(cells: dict[int, Cells], pair: Pair, device: str) -> np.ndarray:
    torch.manual_seed(start_seed(0, *pair))
    A, B = (torch.from_numpy(cells[k].vectors) for k in pair)
    X = torch.cat([A, B]).to(device)
    y = torch.cat([torch.ones(len(A), 1), torch.zeros(len(B), 1)]).to(device)
    layer = nn.Linear(X.shape[1], 1).to(device)
    optimiser, loss = torch.optim.SGD(layer.parameters(), lr=0.01), nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        optimiser.zero_grad()
        loss(layer(X), y).backward()
        optimiser.step()
    return layer.weight.detach().cpu().numpy()[0]


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def _matmul_peak(device: str) -> float:
    matrix = torch.randn(4096, 4096, device=device)
    return max(2 * 4096**3 / _timed(lambda: matrix @ matrix)[0] for _ in range(6))


def _memory(device: str, start: bool = False) -> int:
    """Bytes held now (at the start), or at the most since: of the device, or resident."""
    if device.startswith("cuda"):
        if start:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    if start:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
