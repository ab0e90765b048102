"""How many crops, put together how: the prediction test of 3 to 8 concepts, stacked or side by side.

A later preprint of the paper (arXiv 2502.03422v2, abstract) tells of four crops, which name 911 of 1,000
classes of ResNet-50 without the class's images; the first version's six name 710. How is not said. Here a
class's attribution and the search for crops are done once, and only what follows differs: how many concepts,
the layout of the test image and its crops' size (`grid.CROPS`). ``grid`` is a near-square grid of crops at
their own size. Beside it stand what random crops reach in the same form, and crops nearest to random cells
of the class's own images, which explain nothing.

    python benchmarks/four_crops.py make --store S --minutes 9 --part 1/1 --out four.jsonl
    python benchmarks/four_crops.py print four.jsonl
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kept_rows
import numpy as np
import real_data
import torch
from kept_rows import Row
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from whyclass import Settings
from whyclass.checks import stitching
from whyclass.concepts.nmf import factorise
from whyclass.concepts.other_dictionaries import random_cells
from whyclass.grid import CROPS, Box, Crops
from whyclass.pool.nearest_crops import Place, Query
from whyclass.study import searching
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import Controls, asked, masks_of

SIZES = {
    "real": Settings(images=30, starts=2, crops=1, examples=0),
    "small": Settings(images=8, copies=3, starts=1, crops=1, examples=0),
}
"""Sized to a card, and to two cores."""

MASKS = ("including", "excluding")
RANDOM, NONSENSE = 3, 2
"""Draws of random crops, and sets of random cells."""

DRAWS = 10_000
"""Of the bootstrap over classes."""

STABLE = (4, 6)
"""Numbers of concepts whose stability is measured."""

BASE = "6 stacked centred"
"""What the others are compared with: the default."""

Cut = Callable[[Crops, int, tuple[int, int]], Box]


CUTS: dict[str, Cut] = {name: CROPS[name][1] for name in ("centred", "paper", "cell", "larger", "wide")}


@dataclass(frozen=True)
class Tried:
    """How many concepts, and which cuts."""

    numbers: tuple[int, ...]
    cuts: tuple[str, ...]


TRIED = {"all": Tried((3, 4, 5, 6, 7, 8), tuple(CUTS)), "few": Tried((4, 6), ("centred", "larger", "wide"))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make")
    made.add_argument("--layer", default="layer4.2")
    made.add_argument("--classes", default="200", help="those predicted most")
    made.add_argument("--store", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--minutes", type=float, default=9, help="no class is begun later")
    made.add_argument("--size", choices=SIZES, default="real", help="settings")
    made.add_argument("--tried", choices=TRIED, default="all", help="numbers of concepts and cuts")
    made.add_argument("--pool", type=Path, nargs="+", default=list(real_data.LARGE_POOL))
    made.add_argument("--device", default="auto")
    kept_rows.add_part(made)
    made.add_argument("--threads", type=int, default=2)
    told = commands.add_parser("print")
    told.add_argument("rows", type=Path, nargs="+")
    told.add_argument("--layer", default="layer4.2")
    options = parser.parse_args()
    if options.command == "print":
        _print([row for row in kept_rows.read(*options.rows) if row["layer"] == options.layer])
        return
    torch.set_num_threads(options.threads)
    _run(options)


def _run(options: argparse.Namespace) -> None:
    study = real_data.prepared(
        options.layer, options.pool, options.store, SIZES[options.size], device=options.device
    )
    context, ends = study.context(), time.perf_counter() + 60 * options.minutes
    done = {row["class"] for row in kept_rows.read(options.out) if row["layer"] == options.layer}
    controls, tried = Controls(context), TRIED[options.tried]
    for target in real_data.most_predicted(study, options.classes)[options.part]:
        if target in done or time.perf_counter() > ends:
            continue
        started, images = time.perf_counter(), int(context.index.counting(target).sum())
        facts = {"class": target, "layer": options.layer, "images": images}
        kept_rows.add(options.out, [facts | _row(context, target, controls, tried)])
        print(f"{context.name(target)}: {time.perf_counter() - started:.1f} s", flush=True)


def _row(context: Context, target: int, controls: Controls, tried: Tried) -> Row:
    own, masks = evidence_of(context, target), masks_of(context, target)
    concepts = {k: _concepts(own, slice(None), k) for k in tried.numbers}
    nonsense = _random_cells(own, max(tried.numbers))
    asked_for = [Query(found, masks, context.clipped) for found in [*concepts.values(), *nonsense]]
    found = searching.nearest(context, asked_for, 1)
    places, theirs = found[: len(concepts)], found[len(concepts) :]
    row: Row = {"stability": {str(k): _stability(own, k, concepts[k]) for k in STABLE}}
    drawn = {name: controls.draws(RANDOM, max(tried.numbers), masks[name]) for name in MASKS}
    for name in MASKS:
        tests: Row = {}
        for k, mine in zip(concepts, places, strict=True):
            nothing = [[best[0] for best in one[name][:k]] for one in theirs]
            random = [list(one[:k]) for one in drawn[name]]
            sets = [[best[0] for best in mine[name]], *random, *nothing]
            tests.update(_scores(context, sets, (k, target), tried.cuts))
        row[name] = tests
    return row


def _random_cells(own: ClassEvidence, count: int) -> list[np.ndarray]:
    """Directions of random cells of the class's images, as many as the most concepts."""
    settings = replace(own.context.settings, concepts=count)
    found = (random_cells(own.activations, settings, f"{own.target} {draw}") for draw in range(NONSENSE))
    return [one.concepts[np.random.default_rng(0).permutation(len(one.concepts))] for one in found]


def _concepts(own: ClassEvidence, rows: Any, k: int) -> np.ndarray:
    settings = replace(own.context.settings, concepts=k)
    return factorise(own.activations[rows], own.evidence.scores[rows], settings, 1).concepts


def _stability(own: ClassEvidence, k: int, whole: np.ndarray) -> float:
    """Mean cosine with the concepts of both halves of the images; 0 where there are too few images."""
    if len(own.chosen) < 4:
        return 0.0
    found = []
    for part in (0, 1):
        cosine = whole @ _concepts(own, slice(part, None, 2), k).T
        found += cosine[linear_sum_assignment(-cosine)].tolist()
    return float(np.mean(found))


def _scores(
    context: Context, sets: Sequence[Sequence[Place]], of: tuple[int, int], cuts: Sequence[str]
) -> list[tuple[str, Any]]:
    """By layout and cut: the class's score, whether it is predicted, and how often nothing is."""
    needed = {place.position for places in sets for place in places}
    images = {position: context.read([position])[0].tensor for position in needed}
    told, (k, target) = [], of
    for cut_name, cut in ((name, CUTS[name]) for name in cuts):
        resized = cut_name in ("centred", "larger")
        layouts = stitching.LAYOUTS if resized else {"stacked": stitching.stack, "grid": stitching.grid}
        pieces = [
            [_piece(context, place, images[place.position], cut) for place in places] for places in sets
        ]
        for layout, make in layouts.items():
            stacked = torch.stack([make(crops, context.preprocessing.crop) for crops in pieces])
            scores = stitching.scores_of_images(asked(context), stacked, context.split.link)
            counts = context.task.counts(scores, target)
            beside = counts[1 : 1 + RANDOM], counts[1 + RANDOM :]
            value = [float(scores[0, target]), *(float(part.mean()) for part in (counts[:1], *beside))]
            told.append((f"{k} {layout} {cut_name}", value))
    return told


def _piece(context: Context, place: Place, image: Tensor, cut: Cut) -> Tensor:
    left, top, right, bottom = cut(context.crops, place.cell, (image.shape[1], image.shape[2]))
    return image[:, top:bottom, left:right]


def _print(rows: Sequence[Row]) -> None:
    if not rows:
        return
    print(f"{len(rows)} classes, {sum(row['images'] >= 10 for row in rows)} of ten images or more")
    steady = [row["stability"] for row in rows if row["images"] >= 4]
    for k in map(str, STABLE):
        apart = np.array([one[k] - one[str(STABLE[-1])] for one in steady])
        print(f"stability of {k} concepts: {np.mean([one[k] for one in steady]):.3f}, {_difference(apart)}")
    for mask in MASKS:
        labels = sorted(rows[0][mask], key=lambda label: -np.mean([row[mask][label][1] for row in rows]))
        print(f"\n{mask}: score, predicted, random crops, random cells; differences from {BASE}")
        base = np.array([row[mask][BASE] for row in rows])
        for label in labels:
            own = np.array([row[mask][label] for row in rows])
            score, predicted, random, cells = own.mean(0)
            lead = own[:, 1] - own[:, 3] - base[:, 1] + base[:, 3]
            print(
                f"  {label:20} {score:.3f} {predicted:6.1%} {random:6.1%} {cells:6.1%}   predicted "
                f"{_difference(own[:, 1] - base[:, 1])}, beyond random cells {_difference(lead)}"
            )


def _difference(apart: np.ndarray) -> str:
    """Mean over classes with its 95 % interval."""
    draws = np.random.default_rng(0).integers(len(apart), size=(DRAWS, len(apart)))
    low, high = np.quantile(apart[draws].mean(1), (0.025, 0.975))
    return f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
