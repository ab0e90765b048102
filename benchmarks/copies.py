"""As many noisy copies as it takes (``copies="auto"``) against the paper's twenty: concepts, tests, seconds.

    python benchmarks/copies.py planted --out copies.jsonl
    python benchmarks/copies.py resnet --store runs/copies --images 10 --classes 10 --out copies.jsonl
    python benchmarks/copies.py resnet --store runs/copies --images 400 --others 1000 --classes 100 \\
        --out copies.jsonl
    python benchmarks/copies.py print --out copies.jsonl

Three explanations of each class and layer: twenty copies, twenty with another seed, and as many as it takes.
The first two say how much of a difference is the seed's. Each class and layer is written as it is done; a run
goes on where the last one stopped, and begins none after ``--minutes``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_rows
import numpy as np
import torch
from kept_rows import Row
from real_data import SHARED, others, resnet50

from whyclass import Settings, Study
from whyclass.concepts.matching import cosines, matched
from whyclass.planted import demo, world
from whyclass.records import Explanation
from whyclass.report import verdict_checks
from whyclass.study.class_evidence import evidence_of

WAYS: dict[str, dict[str, Any]] = {"full": {}, "seed": {"seed": 1}, "auto": {"copies": "auto"}}
"""Changes to the settings of each way."""

NO_NULLS = {"null_crops": 20, "null_cells": 0, "null_scores": 0, "fillings": 0, "refits": 0}
"""What an explanation is worth is not asked: its prediction tests, with controls, are compared."""

LEAST = 0.99
"""Cosine of the concepts that is wanted."""


def planted(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Study]]]:
    """The planted world at both its late layers."""
    pool = world.write_pool(Path(tempfile.mkdtemp()) / "pool", options.images)
    for layer in ("stage3", "stage4"):
        given = {name: Settings(**NO_NULLS | changes) for name, changes in WAYS.items()}
        yield (
            layer,
            {
                name: Study(demo.loaded(), layer, pool, None, settings, progress=False)
                for name, settings in given.items()
            },
        )


def resnet(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Study]]]:
    """ResNet-50 on so many images of each folder, at two layers; one store has the pass for all ways."""
    folders = [*sorted((SHARED / "imagenette/val").iterdir()), *sorted((SHARED / "breeds").iterdir())]
    files = [file for folder in folders for file in sorted(folder.iterdir())[: options.images]]
    files = files if options.classes > 10 else files[: 10 * options.images]
    files += others(options.others)
    loaded = resnet50()
    for layer in options.layers.split(","):
        given = {name: Settings(**NO_NULLS | changes) for name, changes in WAYS.items()}
        yield (
            layer,
            {
                name: Study(loaded, layer, files, options.store, settings, progress=False)
                for name, settings in given.items()
            },
        )


def measured(studies: dict[str, Study], target: int) -> Row:
    """One class at one layer, all ways."""
    row: Row = {"name": studies["full"].context().name(target)}
    found: dict[str, Explanation] = {}
    for way, study in studies.items():
        own = evidence_of(study.context(), target)
        own.images, own.activations  # noqa: B018  # read before the clock starts
        busy = time.process_time()
        copies = own.evidence.missed.shape[1]
        row[way] = {"processor": time.process_time() - busy, "copies": copies, "images": len(own.chosen)}
        found[way] = study.explain(target)
        tests = found[way].prediction_test
        row[way]["tests"] = [verdict_checks.outcome(one) for one in (tests.including, tests.excluding) if one]
        row[way]["scores"] = [one.score for one in (tests.including, tests.excluding) if one]
    for way in ("seed", "auto"):
        pairs = matched(cosines(found["full"].vectors, found[way].vectors), 0.0)
        row[way]["cosines"] = sorted(cosine for _, _, cosine in pairs)
    return row


def table(rows: list[Row]) -> Iterator[str]:
    """A line of each class, and what holds of all at each layer."""
    yield "layer class images | least cosine: seed, auto | copies | s: full, auto | tests: full, seed, auto"
    for row in rows:
        least = ", ".join(f"{row[way]['cosines'][0]:.4f}" for way in ("seed", "auto"))
        took = ", ".join(f"{row[way]['processor']:.1f}" for way in ("full", "auto"))
        tests = ", ".join("/".join(row[way]["tests"]) for way in WAYS)
        named = f"{row['layer']} {row['name']} {row['full']['images']}"
        yield f"{named} | {least} | {row['auto']['copies']} | {took} | {tests}"
    for layer in dict.fromkeys(row["layer"] for row in rows):
        own = [row for row in rows if row["layer"] == layer]
        spent = [sum(row[way]["processor"] for row in own) for way in ("full", "auto")]
        held = {way: np.mean([row[way]["cosines"][0] >= LEAST for row in own]) for way in ("seed", "auto")}
        other = {way: sum(row[way]["tests"] != row["full"]["tests"] for row in own) for way in held}
        yield (
            f"{layer}: {len(own)} classes, least cosine at least {LEAST} in {held['auto']:.0%} "
            f"(another seed: {held['seed']:.0%}), tests that say something else {other['auto']} "
            f"(another seed: {other['seed']}), processor time of the attribution {spent[0] / spent[1]:.2f}x"
        )


POOLS = {"planted": planted, "resnet": resnet}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", choices=(*POOLS, "print"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--layers", default="layer4.2,layer3.5")
    parser.add_argument("--images", type=int, default=30, help="of each folder")
    parser.add_argument("--others", type=int, default=100, help="images of other classes in the pool")
    parser.add_argument(
        "--classes", type=int, default=10, help="those predicted most often; beyond 10 with breeds"
    )
    parser.add_argument("--minutes", type=float, default=8, help="no class is begun later")
    options = parser.parse_args()
    done = kept_rows.read(options.out)
    until = time.time() + 60 * options.minutes
    opened = {} if options.pool == "print" else dict(POOLS[options.pool](options))
    facts = {"pool": options.pool, "files": options.images, "threads": torch.get_num_threads()}
    known = {(row["pool"], row["files"], row["layer"], row["target"]) for row in done}
    for number in range(options.classes):
        for layer, studies in opened.items():
            if time.time() > until:
                continue
            classes = sorted(studies["full"].classes(), key=lambda one: (-one.n_images, one.index))
            if number >= len(classes):
                continue
            target = classes[number].index
            if (options.pool, options.images, layer, target) in known:
                continue
            row = facts | {"layer": layer, "target": target} | measured(studies, target)
            kept_rows.add(options.out, [row])
            done.append(row)
            print(f"{layer} {row['name']}: {row['auto']['copies']} copies", flush=True)
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
