"""Classes whose own explanation fails a test, and what contrasts with the class that won make of them.

    python benchmarks/contrast_repairs.py make --layer layer4.2 --store runs/r --out repairs.jsonl
    python benchmarks/contrast_repairs.py print --out repairs.jsonl

The ten classes and the pool of ``docs/results.md``, default settings but for nulls and starts of the NMF, as
``whyclass explain --repair`` asks. By each way to score cells; each class is written as it is done.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import kept_rows
import real_data

from whyclass import Settings, Study
from whyclass.errors import WhyclassError
from whyclass.records import PredictionTests
from whyclass.study.contrast_scores import CONTRASTS

SETTINGS = Settings(
    null_crops=0,
    null_cells=0,
    null_scores=0,
    fillings=0,
    refits=0,
    plane_starts=0,
    plane_bootstraps=0,
    plane_permutations=0,
    controls=1,
    finer=0,
    shifts=(0.0, 2.0),
    tests=("shifting",),
)

Row = dict[str, Any]


def repaired(study: Study, target: int) -> list[Row]:
    """A row for the class alone, and where a test failed one for each way to contrast it."""
    alone = study.explain(target)
    name, rows = alone.target.name, [{"variant": "alone", **_told(alone.prediction_test)}]
    if alone.rival is None:
        return [row | {"class": name} for row in rows]
    settings = study.settings
    for by in CONTRASTS:
        study.settings = replace(settings, contrast_by=by)
        try:
            tests = study.contrast(target, alone.rival.index).a.prediction_test
        except WhyclassError as error:
            rows.append({"variant": by, "problem": str(error)})
            continue
        rows.append({"variant": by, **({} if tests is None else _told(tests))})
    study.settings = settings
    return [row | {"class": name, "rival": alone.rival.name} for row in rows]


def _told(tests: PredictionTests) -> Row:
    found = {"including": tests.including, "excluding": tests.excluding, "unlabelled": tests.unlabelled}
    return {name: [one.score, one.predicted] for name, one in found.items() if one is not None}


def show(rows: list[Row]) -> None:
    """By layer, each class that failed, and how many are repaired: no test fails that failed alone."""
    for layer in sorted({row["layer"] for row in rows}):
        mine = [row for row in rows if row["layer"] == layer]
        failed = [row for row in mine if row["variant"] == "alone" and "rival" in row]
        print(f"\n## {layer}: {len(failed)} of {len({row['class'] for row in mine})} classes fail a test\n")
        for alone in failed:
            own = [row for row in mine if row["class"] == alone["class"]]
            told = " | ".join(f"{row['variant']}: {_cells(row)}" for row in own)
            print(f"| {alone['class']} | {alone['rival']} | {told} |")
        for by in CONTRASTS:
            done = [_mended(alone, mine, by) for alone in failed]
            print(
                f"{by}: all failed tests pass in {sum(done_all for done_all, _ in done)} of {len(failed)}, "
                f"one does in {sum(some for _, some in done)}"
            )


def _cells(row: Row) -> str:
    names = [name for name in ("including", "excluding", "unlabelled") if name in row]
    return ", ".join(f"{row[name][0]:.2f}{'' if row[name][1] else ' failed'}" for name in names) or row.get(
        "problem", "none"
    )


def _mended(alone: Row, rows: list[Row], by: str) -> tuple[bool, bool]:
    """Whether all and whether some of the tests with and without own images that failed pass."""
    (row,) = (one for one in rows if one["class"] == alone["class"] and one["variant"] == by)
    failed = [name for name in ("including", "excluding") if name in alone and not alone[name][1]]
    passed = [bool(row.get(name, [0, False])[1]) for name in failed]
    return all(passed) and bool(passed), any(passed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("make", "print"))
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--classes", type=int, nargs="+", help="of ImageNet; the default is Imagenette's")
    parser.add_argument("--starts", type=int, default=8, help="of the NMF")
    parser.add_argument("--small", action="store_true", help="few images, to see that it runs")
    kept_rows.add_options(parser)
    options = parser.parse_args()
    if options.command == "print":
        show(kept_rows.read(*options.out))
        return
    until = time.time() + 60 * options.minutes
    files = [str(one) for one in real_data.POOL]
    settings = replace(SETTINGS, starts=options.starts)
    if options.small:
        files = [
            str(one) for folder in sorted(real_data.POOL[0].iterdir()) for one in sorted(folder.iterdir())[:6]
        ]
        settings = replace(SETTINGS, images=6, copies=2, starts=1, iterations=100)
    study = Study(real_data.resnet50(), options.layer, files, options.store, settings, device=options.device)
    wanted = (options.classes or real_data.imagenette())[options.part]
    done = {(row["layer"], row["target"]) for row in kept_rows.read(*options.out)}
    for target in wanted:
        if (options.layer, target) in done or time.time() > until:
            continue
        started = time.time()
        facts = {"layer": options.layer, "target": target, "starts": options.starts, "device": options.device}
        kept_rows.add(options.out[0], [facts | row for row in repaired(study, target)])
        print(f"{target}: {time.time() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
