"""Contrasts of classes that are alike: every way to lay the plane and to score cells, on the same evidence.

    python benchmarks/contrasts.py shift --layer layer3.5 --pairs hard --store runs/c --out shift.jsonl
    python benchmarks/contrasts.py crops --layer layer3.5 --pairs hard --store runs/c --out crops.jsonl
    python benchmarks/contrasts.py print --out shift.jsonl crops.jsonl

Evidence of each class (attribution, cells) is made once and kept in the store; each pair is written as it is
done, and a run goes on where the last one stopped. ``--minutes`` begins no pair later.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import contrast_pools
import contrast_tables
import kept_rows
import numpy as np
import torch
from contrast_pools import Tried
from torch import Tensor

from whyclass.checks import interventions, statistics
from whyclass.concepts.hyperplane_training import Fitting, hyperplanes
from whyclass.concepts.hyperplanes import Cells
from whyclass.concepts.nmf import factorise
from whyclass.concepts.planes import PLANES
from whyclass.errors import AttributionError
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place
from whyclass.records import Factors
from whyclass.study import sweeps
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_scores import CONTRASTS
from whyclass.study.contrast_tests import Attempt
from whyclass.study.plane_trust import Plane
from whyclass.study.prediction_test_and_control import masks_of, stitched_pieces

RANDOM, ON = 5, 4
"""Random directions of each test, each on so many images."""

SCORED = (
    *((plane, "plane") for plane in PLANES),
    ("balanced", "attribution"),
    ("balanced", "both"),
    ("converged", "both"),
)
"""What crops are made by; attribution alone knows no plane."""

Row = dict[str, Any]


def shift_rows(tried: Tried, pair: tuple[int, int], options: argparse.Namespace) -> Iterator[Row]:
    """Every plane's accuracy, stability and shifting test of one ordered pair, on one set of steps."""
    a, b = pair
    own = {k: evidence_of(tried.context, k) for k in pair}
    cells, source = {k: one.cells for k, one in own.items()}, own[b]
    images = replace(source, chosen=source.chosen[: options.images])
    for name in PLANES:
        started = time.perf_counter()
        planes = hyperplanes(cells, [pair], Fitting(plane=name))
        attempt = Attempt(images, a, planes.weights[0], float(planes.biases[0]), float(planes.apart[0]))
        moved, _ = sweeps.best_shift(attempt, False)
        yield {
            "variant": name,
            "training": float(planes.training.balanced[0]),
            "held_out": float(planes.held_out.balanced[0]),
            "halves": _halves(cells, pair, name),
            "default": float(attempt.before[:, a].mean()),
            "shifted": moved.highest,
            "at": moved.at,
            "swapped": bool(moved.swapped),
            "first": moved.first,
            "unit": float(planes.apart[0]),
            **_controls(tried, attempt, moved.at if moved.first is None else moved.first, pair),
            "seconds": time.perf_counter() - started,
        }


def _halves(cells: dict[int, Cells], pair: tuple[int, int], name: str) -> float:
    """Cosine of the normals of two fits to disjoint halves of the images."""
    normals = []
    for half in (0, 1):
        part = {}
        for k, own in cells.items():
            images = np.random.default_rng(k).permutation(np.unique(own.image))[half::2]
            part[k] = Cells(own.vectors[np.isin(own.image, images)], own.image[np.isin(own.image, images)])
        normals.append(hyperplanes(part, [pair], Fitting(plane=name, held_out=0.0)).weights[0])
    return float(normals[0] @ normals[1] / np.linalg.norm(normals[0]) / np.linalg.norm(normals[1]))


def _controls(tried: Tried, attempt: Attempt, at: float, pair: tuple[int, int]) -> Row:
    """Random directions and other pairs' directions of the same length at one step: shares that swap."""
    generator = np.random.default_rng(pair)
    random = statistics.random_directions(attempt.step, RANDOM, generator)
    others = [p for p in tried.pairs if not set(p) & set(pair)]
    drawn = [others[i] for i in generator.choice(len(others), min(RANDOM, len(others)), replace=False)]
    lengths = np.linalg.norm(attempt.step)
    theirs = [_difference(tried, *p) * lengths for p in drawn]
    found: Row = {}
    for name, directions in (("random", list(random)), ("others", theirs)):
        scores = []
        for number, w in enumerate(directions):
            rows = np.arange(number * ON, (number + 1) * ON) % attempt.n
            given = attempt.activations[rows], attempt.images[rows]
            scores.append(
                interventions.shift(tried.context.split, *given, w.astype(np.float32), (at,)).mean((0, 1))
            )
        table = np.stack(scores)
        found[f"{name} swaps"] = float((table.argmax(1) == attempt.target).mean())
        found[f"{name} score"] = float(table[:, attempt.target].mean())
    return found


_KEPT: dict[tuple[int, int], np.ndarray] = {}


def _difference(tried: Tried, a: int, b: int) -> np.ndarray:
    """Unit normal of another pair's balanced plane."""
    if (a, b) not in _KEPT:
        cells = {k: evidence_of(tried.context, k).cells for k in (a, b)}
        w = hyperplanes(cells, [(a, b)], Fitting(plane="balanced", held_out=0.0)).weights[0]
        _KEPT[a, b] = w / np.linalg.norm(w)
    return _KEPT[a, b]


def crop_rows(tried: Tried, pair: tuple[int, int], options: argparse.Namespace) -> Iterator[Row]:
    """The prediction tests of the concepts that every variant finds for A against B, cut in every way."""
    a, b = pair
    own = {k: evidence_of(tried.context, k) for k in pair}
    cells = {k: one.cells for k, one in own.items()}
    for number, (plane, by) in enumerate((("balanced", "alone"), *SCORED)):
        variant = by if by in ("alone", "attribution") else f"{plane}, {by}"
        if options.variants and variant not in options.variants:
            continue
        found = hyperplanes(cells, [pair], Fitting(plane=plane, held_out=0.0))
        laid = Plane(found.weights[0], float(found.biases[0]), None)
        scores = own[a].evidence.scores if number == 0 else CONTRASTS[by].scores(own[a], b, laid)
        started = time.perf_counter()
        try:
            factors = factorise(own[a].activations, scores, tried.context.settings)
        except AttributionError:
            continue
        rows = list(_cut(own[a], factors, b, laid))
        yield from ({"variant": variant, **row} for row in rows)
        print(f"  {variant}: {time.perf_counter() - started:.1f} s", flush=True)


def _cut(own: ClassEvidence, factors: Factors, other: int, laid: Plane) -> Iterator[Row]:
    """By how far the search leans to the normal, how many crops are taken of each concept, and their size."""
    context = own.context
    masks = masks_of(context, own.target, [other])
    unit = laid.w / np.linalg.norm(laid.w)
    tilted = []
    for tilt in TILTS:
        leaning = factors.concepts + tilt * unit
        leaning /= np.linalg.norm(leaning, axis=1, keepdims=True)
        tilted.append(nearest_crops.Query(leaning.astype(np.float32), masks))
    found = nearest_crops.nearest(context.index, tilted, max(COUNTS))
    for tilt, places in zip(TILTS, found, strict=True):
        for count, size in itertools.product(COUNTS, SIZES):
            row: Row = {"tilt": tilt, "count": count, "size": size, "predicted": []}
            for name in masks:
                best = [place for one in places[name] for place in one[:count]]
                pieces = [_piece(context, place, size) for place in best]
                test = stitched_pieces(context, pieces).scores
                row[name] = float(test[own.target])
                row[f"{name}, other"] = float(test[other])
                row["predicted"] += [name] if context.task.counts(test, own.target) else []
                row[f"{name} winner"] = int(test.argmax())
            yield row


TILTS, COUNTS, SIZES = (0.0, 1.0), (1, 2), (1, 2, 3)
"""Part of the unit normal added to each concept before crops are searched; crops of each; their side."""


def _piece(context: Context, place: Place, size: int) -> Tensor:
    """The crop at a place, so many times as wide and high around the same middle, moved inside the image."""
    image = _pixels(context, place.position)
    left, top, right, bottom = place.box(context.crops, (image.shape[1], image.shape[2]))
    height, width = min(size * (bottom - top), image.shape[1]), min(size * (right - left), image.shape[2])
    y = min(max(0, (top + bottom - height) // 2), image.shape[1] - height)
    x = min(max(0, (left + right - width) // 2), image.shape[2] - width)
    return image[:, y : y + height, x : x + width]


_READ: dict[int, Tensor] = {}


def _pixels(context: Context, position: int) -> Tensor:
    if position not in _READ:
        _READ[position] = context.read([position])[0].tensor
    return _READ[position]


PARTS: dict[str, Callable[[Tried, tuple[int, int], argparse.Namespace], Iterator[Row]]] = {
    "shift": shift_rows,
    "crops": crop_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=(*PARTS, "print"))
    parser.add_argument("--layer", default="layer3.5")
    parser.add_argument("--pairs", choices=("hard", "easy"), default="hard")
    parser.add_argument("--images", type=int, default=25, help="shifted of each pair")
    parser.add_argument("--variants", nargs="+", help="of crops, such as alone attribution 'paper, plane'")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=9, help="no pair is begun later")
    options = parser.parse_args()
    if options.part == "print":
        contrast_tables.show(kept_rows.read(*options.out))
        return
    until = time.time() + 60 * options.minutes
    tried, (out,) = contrast_pools.resnet(options.layer, options.pairs, options.store), options.out
    if not contrast_pools.gather(tried, until):
        return
    done = {tuple(row["pair"]) for row in kept_rows.read(out)}
    for pair in tried.pairs:
        if pair in done or time.time() > until:
            continue
        facts = {"part": options.part, "layer": options.layer, "pairs": options.pairs, "pair": pair}
        rows = [facts | row for row in PARTS[options.part](tried, pair, options)]
        kept_rows.add(out, rows)
        print(f"{pair}: {sum(row.get('seconds', 0) for row in rows):.0f} s", flush=True)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
