"""Contrasts of classes that are alike: every way to lay the plane and to score cells, on the same evidence.

    python benchmarks/contrasts.py pairs --layer layer3.5 --store runs/c --out rows.jsonl
    python benchmarks/contrasts.py pairs --store runs/c --out rows0.jsonl --device cuda --part 1/6
    python benchmarks/contrasts.py print --out rows*.jsonl

``pairs`` tries planes (``--what shift``) and crops (``--what crops``) on breeds that are confused (``--which
hard``) and on all pairs of ten unlike classes (``--which easy``). Evidence of each class is made once and
kept in the store, which several processes share; each pair is written as it is done, and a run goes on where
the last one stopped. ``--minutes`` begins nothing later.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import contrast_crops
import contrast_planes
import contrast_pools
import contrast_tables
import kept_rows
import torch
from contrast_pools import Pair, Tried

CHUNK = 8
"""Pairs that are fitted, factorised and searched together."""

Row = dict[str, Any]
Rows = Callable[[Tried, Sequence[Pair], argparse.Namespace], Iterator[tuple[Pair, list[Row]]]]

WHAT: dict[str, Rows] = {
    "shift": lambda tried, pairs, options: contrast_planes.rows(tried, pairs, options.images),
    "crops": lambda tried, pairs, options: contrast_crops.rows(tried, pairs),
}


def pairs(options: argparse.Namespace) -> None:
    """One process's share of all that is asked for, hard pairs first."""
    until = time.time() + 60 * options.minutes
    started = time.time()
    context = contrast_pools.resnet(options.layer, options.store, options.device, options.small)
    _tell(started, "ready")
    for which in options.which:
        every = contrast_pools.tried_on(context, which, options.limit)
        if not contrast_pools.gather(every, until, options.part):
            return
        _tell(started, f"evidence of {which} pairs")
        mine = contrast_pools.share(every, options.part).pairs
        for what in options.what:
            facts = {"part": what, "layer": options.layer, "pairs": which, "device": options.device}
            try:
                _one(every, mine, facts, options, until)
            except Exception:  # what else was asked for is still tried
                traceback.print_exc()
            _tell(started, f"{what} of {which} pairs")


def _one(tried: Tried, mine: Sequence[Pair], facts: Row, options: argparse.Namespace, until: float) -> None:
    known = [row for row in kept_rows.read(*options.out) if facts.items() <= row.items()]
    done = {tuple(row["pair"]) for row in known}
    left = [pair for pair in mine if pair not in done]
    for start in range(0, len(left), CHUNK):
        if time.time() > until:
            return
        for pair, rows in WHAT[facts["part"]](tried, left[start : start + CHUNK], options):
            kept_rows.add(options.out[0], [facts | {"pair": pair} | row for row in rows])
        tried.pixels.clear()
        if torch.cuda.is_available():  # other processes share the card
            torch.cuda.empty_cache()


def _tell(started: float, text: str) -> None:
    print(f"[{time.time() - started:6.1f} s] {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("pairs", "print"))
    parser.add_argument("--layer", default="layer3.5")
    parser.add_argument("--which", nargs="+", choices=contrast_pools.PAIRS, default=["hard", "easy"])
    parser.add_argument("--what", nargs="+", choices=WHAT, default=["shift", "crops"])
    parser.add_argument("--images", type=int, default=50, help="shifted of each pair, at most")
    parser.add_argument("--limit", type=int, help="pairs of classes tried, both ways, of each kind")
    parser.add_argument("--small", action="store_true", help="few images, to see that it runs")
    kept_rows.add_options(parser)
    options = parser.parse_args()
    if options.command == "print":
        contrast_tables.show(kept_rows.read(*options.out))
        return
    torch.set_num_threads(1 if options.device != "cpu" else torch.get_num_threads())
    pairs(options)


if __name__ == "__main__":
    main()
