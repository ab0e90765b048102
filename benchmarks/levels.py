"""What the verdict says of real classes, by the two tests alone and by all that is asked of an explanation.

The ten Imagenette classes of ResNet-50, whose photographs are labelled, over the whole pool. A store keeps
what is done, so the same command goes on where it stopped.

    python benchmarks/levels.py --layer layer4.2 --layer layer3.5 --store S --copies 5
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from real_data import POOL, imagenette, resnet50

from whyclass import Explanation, Settings, Study
from whyclass.report import verdict
from whyclass.report.verdict_checks import checks


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
    resnet = resnet50()
    for layer in options.layer:
        settings = Settings(copies=options.copies)
        study = Study(resnet, layer, list(POOL), options.store, settings, progress=False)
        rows = []
        for target in imagenette():
            if time.time() > until:
                break
            started, busy = time.perf_counter(), time.process_time()
            found = study.explain(target)
            rows.append(row(found))
            took = f"{time.perf_counter() - started:.0f} s, {time.process_time() - busy:.0f} s of processors"
            print(f"{layer}, {found.target.name}: {took}", flush=True)
        print(f"\n{layer}: {study.settings.copies} copies\n")
        print("| class | with | without | without labelled | by the two tests | all checks | not passed |")
        print("|---|---|---|---|---|---|---|")
        print("\n".join(rows), flush=True)


def row(found: Explanation) -> str:
    """A class's scores, both levels, and the checks that did not pass."""
    tests = found.prediction_test
    told = [
        f"{one.score:.2f}{'' if one.predicted else ', failed'}" if one else ""
        for one in (tests.including, tests.excluding, tests.unlabelled)
    ]
    missed = [f"{one.name} ({one.told or one.result})" for one in checks(found) if one.result != "passed"]
    levels = verdict.tests_level(found), verdict.level(found)
    return f"| {found.target.name} | {' | '.join(told)} | {' | '.join(levels)} | {'; '.join(missed)} |"


if __name__ == "__main__":
    main()
