"""The masking test, narrowed, against the whole curve: images through the model, seconds, and what both tell.

    python benchmarks/masking.py planted --out masking.jsonl
    python benchmarks/masking.py resnet --store runs/masking --images 30 --minutes 6 --out masking.jsonl
    python benchmarks/masking.py print --out masking.jsonl

Each pair is tested both ways in one run, on the same evidence and hyperplane, and written as it is done; a
run goes on where the last one stopped, and begins no pair after ``--minutes``.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import kept_rows
import torch
from contrast_pools import HARD
from kept_rows import Row
from real_data import SHARED, resnet50
from real_data import folders as imagenet_folders
from torch import Tensor

from whyclass import Settings, Study
from whyclass.planted import demo, world
from whyclass.records import Sweep
from whyclass.report import contrast_verdict
from whyclass.study import contrast, narrowed_masking, sweeps
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import Attempt

EASY = ("n03000684", "n03394916")
"""Chain saw and French horn, which nobody confuses."""

PLANTED = ("hawk", "owl", "snail", "bee")


def planted(options: argparse.Namespace) -> tuple[Context, list[tuple[int, int]]]:
    """The planted world and ordered pairs of four of its classes."""
    pool = world.write_pool(Path(tempfile.mkdtemp()) / "pool", options.images)
    settings = Settings(images=options.images, copies=2, starts=1, precision="float32")
    context = Study(demo.loaded(), world.LAYER, pool, None, settings, progress=False).context()
    numbers = [world.class_index(name) for name in PLANTED]
    return context, list(itertools.permutations(numbers, 2))


def resnet(options: argparse.Namespace) -> tuple[Context, list[tuple[int, int]]]:
    """ResNet-50 with pairs of breeds that it confuses, and one pair of classes that it does not."""
    hard = [tuple(pair.split("/")) for pair in HARD.split()][: options.pairs]
    every = imagenet_folders()
    folders = [SHARED / "breeds" / one for pair in hard for one in pair]
    folders += [SHARED / "imagenette/val" / one for one in EASY]
    files = [file for folder in folders for file in sorted(folder.iterdir())[: options.images + 10]]
    loaded = resnet50()
    settings = Settings(images=options.images, copies=2, starts=1)
    context = Study(loaded, options.layer, files, options.store, settings, progress=False).context()
    two = [(every.index(a), every.index(b)) for a, b in [*hard, EASY]]
    return context, [pair for a, b in two for pair in ((a, b), (b, a))]


def measured(context: Context, pair: tuple[int, int]) -> Row:
    """One pair, whose first class is sought in images of the second: both ways to test it."""
    a, b = pair
    own = {k: evidence_of(context, k) for k in pair}
    planes = contrast.fit(context, {k: one.cells for k, one in own.items()}, [pair])
    attempt = Attempt(own[b], a, planes.weights[0], float(planes.biases[0]))
    attempt.images  # noqa: B018  # read before the clock starts
    row: Row = {"target": context.name(a), "source": context.name(b), "n": attempt.n}
    for name, test in WAYS.items():
        row[name] = _timed(test, attempt)
    return row


WAYS: dict[str, Callable[[Attempt], Sweep]] = {"narrowed": narrowed_masking.masking, "whole": sweeps.masking}


def _timed(test: Callable[[Attempt], Sweep], attempt: Attempt) -> Row:
    passes, real = [0], Context.scores

    def counted(self: Context, images: Tensor, *advance: Any) -> Any:
        passes[0] += len(images)
        return real(self, images, *advance)

    with patch.object(Context, "scores", counted):
        started, busy = time.perf_counter(), time.process_time()
        found = test(attempt)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    best = found.steps[found.best]
    return {
        "passes": passes[0],
        "seconds": seconds,
        "processor": busy,
        "outcome": contrast_verdict.outcome(found),
        "at": best.at,
        "score": best.target,
        "interval": [found.low, found.high],
        "swapped": found.swapped,
        "random": max(found.random.highest) if found.random else None,
        "reversed": max(found.reversed.highest),
        "steps": [(step.at, step.target, step.n) for step in found.steps],
    }


def table(rows: list[Row]) -> Iterator[str]:
    """What both ways tell of each pair, and what they took together."""
    yield "pool    n  target in source | whole: step score outcome | narrowed | passes | processor s"
    for row in rows:
        ways = [row["whole"], row["narrowed"]]
        told = " | ".join(f"{one['at']:.0%} {one['score']:.4f} {one['outcome']}" for one in ways)
        counts = " | ".join(", ".join(f"{one[key]:.0f}" for one in ways) for key in ("passes", "processor"))
        yield f"{row['pool']:7s} {row['n']} {row['target']} in {row['source']} | {told} | {counts}"
    for pool in dict.fromkeys(row["pool"] for row in rows):
        both = [row for row in rows if row["pool"] == pool]
        sums = {
            key: [sum(row[way][key] for row in both) for way in ("whole", "narrowed")]
            for key in ("passes", "processor")
        }
        same = sum(row["whole"]["at"] == row["narrowed"]["at"] for row in both)
        alike = sum(row["whole"]["outcome"] == row["narrowed"]["outcome"] for row in both)
        off = max((abs(row["whole"]["score"] - row["narrowed"]["score"]) for row in both), default=0.0)
        ratios = [f"{key} {a:.0f} to {b:.0f} ({a / max(b, 1e-9):.2f}x)" for key, (a, b) in sums.items()]
        yield (
            f"{pool}: {len(both)} pairs, {', '.join(ratios)}; the same step {same}, outcome {alike}; "
            f"highest scores differ by at most {off:.1e}"
        )


POOLS = {"planted": planted, "resnet": resnet}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", choices=(*POOLS, "print"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--images", type=int, default=60, help="of each class")
    parser.add_argument("--pairs", type=int, default=2, help="hard pairs of breeds, both ways")
    parser.add_argument("--minutes", type=float, default=6, help="no pair is begun later")
    options = parser.parse_args()
    done = kept_rows.read(options.out)
    if options.pool != "print":
        until = time.time() + 60 * options.minutes
        context, pairs = POOLS[options.pool](options)
        facts = {"pool": options.pool, "images": options.images, "threads": torch.get_num_threads()}
        known = {(row["pool"], row["images"], *row["pair"]) for row in done}
        for pair in pairs:
            if (options.pool, options.images, *pair) in known or time.time() > until:
                continue
            row = facts | {"pair": pair} | measured(context, pair)
            kept_rows.add(options.out, [row])
            done.append(row)
            print(f"{row['target']} in {row['source']}: {row['narrowed']['passes']} passes", flush=True)
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
