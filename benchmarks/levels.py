"""What the verdict says of real classes, by the two tests alone and by all that is asked of an explanation.

The ten Imagenette classes of ResNet-50, whose photographs are labelled, over the whole pool. A store keeps
what is done, so the same command goes on where it stopped.

    python benchmarks/levels.py --layer layer4.2 --layer layer3.5 --store S --copies 5
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import whyclass
from whyclass import Explanation, Settings, Study
from whyclass.report import verdict
from whyclass.report.verdict_checks import checks

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = ("imagenette/val", "imagenet_sample/val")

CLASSES = (
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
)


def main() -> None:
    """Explain what is missing, for as long as there is time, and print a table of each layer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", action="append", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=Settings().copies)
    parser.add_argument("--minutes", type=float, default=1e9, help="no class is begun later")
    options = parser.parse_args()
    until = time.time() + 60 * options.minutes
    weights = SHARED / "models/resnet50_imagenet.safetensors"
    resnet = whyclass.load("torchvision:resnet50", weights, resize=224, crop=224)
    pool = [SHARED / folder for folder in FOLDERS]
    for layer in options.layer:
        settings = Settings(copies=options.copies)
        study = Study(resnet, layer, pool, options.store, settings, progress=False)
        rows = []
        for name in CLASSES:
            if time.time() > until:
                break
            started, busy = time.perf_counter(), time.process_time()
            rows.append(row(name, study.explain(name)))
            took = f"{time.perf_counter() - started:.0f} s, {time.process_time() - busy:.0f} s of processors"
            print(f"{layer}, {name}: {took}", flush=True)
        print(f"\n{layer}: {study.settings.copies} copies\n")
        print("| class | with | without | without labelled | by the two tests | all checks | not passed |")
        print("|---|---|---|---|---|---|---|")
        print("\n".join(rows), flush=True)


def row(name: str, found: Explanation) -> str:
    """A class's scores, both levels, and the checks that did not pass."""
    tests = found.prediction_test
    told = [
        f"{one.score:.2f}{'' if one.predicted else ', failed'}" if one else ""
        for one in (tests.including, tests.excluding, tests.unlabelled)
    ]
    missed = [f"{one.name} ({one.told or one.result})" for one in checks(found) if one.result != "passed"]
    levels = verdict.tests_level(found), verdict.level(found)
    return f"| {name} | {' | '.join(told)} | {' | '.join(levels)} | {'; '.join(missed)} |"


if __name__ == "__main__":
    main()
