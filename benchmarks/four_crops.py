"""How many crops, put together how: the prediction test of 3 to 8 concepts, stacked or side by side.

A later preprint of the paper (arXiv 2502.03422v2, abstract) tells of four crops, which name 911 of 1,000
classes of ResNet-50 without the class's images; the first version's six name 710. How is not said. Here a
class's attribution and the search for crops are done once, and only what follows differs: how many concepts,
the layout of the test image and its crops' size. ``grid`` is a near-square grid of crops at their own size,
``wide`` crops of one and a half times the size around the same middle.

    python benchmarks/four_crops.py --store S --minutes 9 --out four.json
    python benchmarks/four_crops.py --out four.json --print
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_data import POOL, resnet50
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from whyclass import Settings, Study
from whyclass.checks import stitching
from whyclass.concepts.nmf import factorise
from whyclass.grid import CROPS, Box, Crops, mosaic_shape
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place
from whyclass.study import explain
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import Controls, asked, masks_of

SETTINGS = Settings(images=8, copies=3, starts=2, crops=1, examples=0)
NUMBERS = (3, 4, 5, 6, 7, 8)
MASKS = ("including", "excluding")
DRAWS = 10_000
"""Of the bootstrap over classes."""

BASE = "6 stacked centred"
"""What the others are compared with: the default."""

WIDER = 1.5

Cut = Callable[[Crops, int, tuple[int, int]], Box]


def _wide(crops: Crops, cell: int, image: tuple[int, int]) -> Box:
    left, top, right, bottom = CROPS["centred"][1](crops, cell, image)
    height, width = (
        min(round(WIDER * side), most)
        for side, most in zip(_sides(left, top, right, bottom), image, strict=True)
    )
    x = min(max(0, (left + right - width) // 2), image[1] - width)
    y = min(max(0, (top + bottom - height) // 2), image[0] - height)
    return x, y, x + width, y + height


def _sides(left: int, top: int, right: int, bottom: int) -> tuple[int, int]:
    return bottom - top, right - left


CUTS: dict[str, Cut] = {
    "centred": CROPS["centred"][1],
    "paper": CROPS["paper"][1],
    "cell": CROPS["cell"][1],
    "wide": _wide,
}


def _grid(crops: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Near-square, at native size; empty places repeat the first crops."""
    rows, columns = mosaic_shape(len(crops))
    filled = [crops[i % len(crops)] for i in range(rows * columns)]
    return torch.cat([torch.cat(filled[r * columns : (r + 1) * columns], 2) for r in range(rows)], 1)


LAYOUTS = {**stitching.LAYOUTS, "grid": _grid}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--classes", type=int, default=200, help="those predicted most")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9, help="no class is begun later")
    parser.add_argument("--print", action="store_true", help="only tell what the file holds")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    if not options.print:
        torch.set_num_threads(2)
        _run(options, rows)
    _print(rows)


def _run(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    loaded = resnet50()
    study = Study(loaded, options.layer, list(POOL), options.store, SETTINGS, progress=False)
    context = study.context()
    counts = {k: int(context.index.counting(k).sum()) for k in context.classes()}
    done, ends = {row["class"] for row in rows}, time.perf_counter() + 60 * options.minutes
    for target in sorted(counts, key=lambda k: (-counts[k], k))[: options.classes]:
        if target in done or time.perf_counter() > ends:
            continue
        started = time.perf_counter()
        rows.append({"class": target, "images": counts[target], **_row(context, target)})
        options.out.write_text(json.dumps(rows))
        print(f"{context.name(target)}: {time.perf_counter() - started:.1f} s", flush=True)


def _row(context: Context, target: int) -> dict[str, Any]:
    own, masks = evidence_of(context, target), masks_of(context, target)
    concepts = {k: _concepts(own, slice(None), k) for k in NUMBERS}
    queries = [
        replace(explain.query(context, own.factors, masks), concepts=found) for found in concepts.values()
    ]
    found = nearest_crops.nearest(context.index, queries, 1)
    row: dict[str, Any] = {"stability": {str(k): _stability(own, k, concepts[k]) for k in (4, 6)}}
    drawn = {name: Controls(context).draws(2, max(NUMBERS), masks[name]) for name in MASKS}
    for name in MASKS:
        tests: dict[str, Any] = {}
        for k, places in zip(NUMBERS, found, strict=True):
            sets = [[best[0] for best in places[name]], *(list(one[:k]) for one in drawn[name])]
            tests.update(_scores(context, sets, k, target))
        row[name] = tests
    return row


def _concepts(own: ClassEvidence, rows: Any, k: int) -> np.ndarray:
    settings = replace(own.context.settings, concepts=k, starts=1)
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


def _scores(context: Context, sets: Sequence[Sequence[Place]], k: int, target: int) -> list[tuple[str, Any]]:
    """By layout and cut, the class's score, whether it is predicted, and how often random crops are."""
    tensors = {place.position: None for places in sets for place in places}
    images = {position: context.read([position])[0].tensor for position in tensors}
    told = []
    for cut_name, cut in CUTS.items():
        layouts = LAYOUTS if cut_name == "centred" else {"stacked": LAYOUTS["stacked"], "grid": _grid}
        pieces = [
            [_piece(context, place, images[place.position], cut) for place in places] for places in sets
        ]
        for layout, make in layouts.items():
            stacked = torch.stack([make(crops, context.preprocessing.crop) for crops in pieces])
            scores = stitching.scores_of_images(asked(context), stacked, context.split.link)
            counts = context.task.counts(scores, target)
            value = [float(scores[0, target]), float(counts[0]), float(counts[1:].mean())]
            told.append((f"{k} {layout} {cut_name}", value))
    return told


def _piece(context: Context, place: Place, image: Tensor, cut: Cut) -> Tensor:
    left, top, right, bottom = cut(context.crops, place.cell, (image.shape[1], image.shape[2]))
    return image[:, top:bottom, left:right]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    print(f"{len(rows)} classes, {sum(row['images'] >= 10 for row in rows)} of ten images or more")
    steady = [row["stability"] for row in rows if row["images"] >= 4]
    for k in ("4", "6"):
        print(f"stability of {k} concepts: {np.mean([one[k] for one in steady]):.3f}")
    draws = np.random.default_rng(0).integers(len(rows), size=(DRAWS, len(rows)))
    for mask in MASKS:
        labels = sorted(rows[0][mask], key=lambda label: -np.mean([row[mask][label][1] for row in rows]))
        print(f"\n{mask}: score, predicted, random crops predicted; difference of predicted from {BASE}")
        for label in labels:
            own = np.array([row[mask][label] for row in rows])
            apart = own[:, 1] - np.array([row[mask][BASE][1] for row in rows])
            low, high = np.quantile(apart[draws].mean(1), (0.025, 0.975))
            score, predicted, random = own.mean(0)
            print(
                f"  {label:20} {score:.3f} {predicted:6.1%} {random:5.1%}   "
                f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            )


if __name__ == "__main__":
    main()
