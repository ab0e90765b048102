"""Batches through a ResNet-50 with large blocks kept by the process, and asked of the system each time.

Each run is a process of its own; both ways take turns. Processor seconds are what the process and the system
worked for it, which other work on the machine changes less than the time on the clock.

    python benchmarks/allocation.py --images 32 --batches 4 --turns 3
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
import torchvision

from whyclass.allocation import keep_blocks

SIZE = 224


def measured(images: int, batches: int, backward: bool) -> dict[str, float]:
    """Seconds for each image, and the most memory in MiB."""
    torch.set_num_threads(1)
    model = torchvision.models.resnet50().eval()
    batch = torch.randn(images, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def passed() -> None:
        if not backward:
            with torch.inference_mode():
                model(batch)
            return
        taken = batch.clone().requires_grad_()
        model(taken)[:, 0].sum().backward()

    passed()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(batches):
        passed()
    n, after = images * batches, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": (time.perf_counter() - started) / n,
        "own": (after.ru_utime - before.ru_utime) / n,
        "system": (after.ru_stime - before.ru_stime) / n,
        "MiB": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--backward", action="store_true", help="gradients to the image too")
    parser.add_argument("--way", choices=("kept", "asked"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        if options.way == "kept":
            assert keep_blocks()
        print(json.dumps(measured(options.images, options.batches, options.backward)))
        return
    found: dict[str, list[dict[str, float]]] = {"asked": [], "kept": []}
    for _ in range(options.turns):
        for way, rows in found.items():
            ran = subprocess.run(
                [sys.executable, *sys.argv, "--way", way], capture_output=True, text=True, check=True
            )
            rows.append(json.loads(ran.stdout))
    for name in ("seconds", "own", "system", "MiB"):
        asked, kept = (statistics.median(row[name] for row in rows) for rows in found.values())
        print(f"{name:8} asked {asked:10.4f}  kept {kept:10.4f}  ratio {asked / max(kept, 1e-9):.2f}")
    work = [statistics.median(row["own"] + row["system"] for row in rows) for rows in found.values()]
    print(f"processor seconds: ratio {work[0] / work[1]:.2f} (n = {options.turns} turns)")


if __name__ == "__main__":
    main()
