"""The prediction test of every class with its crops stacked and as a mosaic, from the same crops, in one run.

A model that only takes one size gets the six best crops as a mosaic resized to it, all others get them
stacked at their own size. This asks what the mosaic alone does to the test: the store of a finished audit of
ResNet-50, which takes both, says where the best crops of each class lie; they are cut from the images
anew and shown to the model in both layouts. The stacked score must be the one that the audit kept.

    python benchmarks/layouts.py --store runs/resnet50 --layer layer4.2
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from real_data import POOL, resnet50
from torch import Tensor

from whyclass import intervals
from whyclass.checks import stitching
from whyclass.models.forward import run
from whyclass.pool import images as pool_images
from whyclass.records import Finding
from whyclass.settings import seed_of
from whyclass.store import find_store

KINDS = ("including", "excluding")
ROUNDING = 1e-3
"""Difference to the audit's stacked score that other processors and threads may make."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--classes", type=int, help="so many classes, evenly; default all")
    options = parser.parse_args()
    loaded = resnet50()
    findings = [f for f in _findings(options.store) if f.model.layer == options.layer and f.prediction_test]
    if options.classes:
        findings = findings[:: max(1, len(findings) // options.classes)][: options.classes]
    print(f"{len(findings)} classes at {options.layer}, torch {torch.__version__}")
    pool = pool_images.pool(list(POOL))
    places = {item.path: position for position, item in enumerate(pool.items)}

    def model(images: Tensor) -> Tensor:
        return run(loaded.model, images)

    for kind in KINDS:
        rows = []
        for finding in findings:
            test = getattr(finding.prediction_test, kind)
            if test is None:
                continue
            crops = [
                _crop(pool.sample(places[spot.image.path], loaded.preprocessing).tensor, spot.box)
                for spot in (getattr(concept, kind).spots[0] for concept in finding.concepts)
            ]
            found = [
                stitching.stitch(model, crops, loaded.preprocessing.crop, layout).scores
                for layout in stitching.LAYOUTS
            ]
            rows.append(_row(found, finding.target.index))
            if abs(rows[-1][0][0] - test.score) > ROUNDING:
                raise SystemExit(
                    f"{finding.target.name}: {rows[-1][0][0]} stacked, the audit has {test.score}"
                )
        _tell(kind, np.array(rows))


def _findings(store: Path) -> Iterator[Finding]:
    return (Finding.load(file) for file in find_store(store).records("findings"))


def _crop(image: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    left, top, right, bottom = box
    return image[:, top:bottom, left:right]


def _row(found: list[np.ndarray], target: int) -> list[tuple[float, float]]:
    """Of each layout the class's score, and whether it is the prediction."""
    return [(float(scores[target]), float(scores.argmax() == target)) for scores in found]


def _tell(kind: str, rows: np.ndarray) -> None:
    """Means by layout, and the paired difference with its 95 % interval over classes."""
    stacked, mosaic = rows[:, 0], rows[:, 1]
    print(f"\n{kind} the class's images, n = {len(rows)}")
    for column, (name, unit) in enumerate((("mean score", 1), ("predicted, %", 100))):
        means = unit * stacked[:, column].mean(), unit * mosaic[:, column].mean()
        difference = unit * (mosaic - stacked)[:, column]
        generator = np.random.default_rng(seed_of("layouts", 0, kind))
        low, high = intervals.interval(difference, generator, (-unit, unit)) or (np.nan, np.nan)
        print(f"  {name:12s}  stacked {means[0]:7.3f}  mosaic {means[1]:7.3f}", end="")
        print(f"  mosaic - stacked {difference.mean():+7.3f} [{low:+.3f}, {high:+.3f}]")
    only = [int((one[:, 1] > other[:, 1]).sum()) for one, other in ((stacked, mosaic), (mosaic, stacked))]
    print(f"  predicted only when stacked: {only[0]} classes, only as a mosaic: {only[1]}")
    correlation = np.corrcoef(stacked[:, 0], mosaic[:, 0])[0, 1]
    print(f"  correlation of the scores {correlation:.3f}")


if __name__ == "__main__":
    main()
