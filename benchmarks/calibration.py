"""How often is a verdict wrong? Planted explanations known to be right, and others known to be wrong.

Each case is explained by the product's own steps with default settings but for ``SETTINGS``; what is wrong is
made wrong before the factorisation (its scores) or after it (its concepts). Each explanation is written when
it is made, and the same command goes on from there:

    python benchmarks/calibration.py --first 10 --seeds 10 --out calibration.jsonl --seconds 540
    python benchmarks/calibration.py --seeds 1 --cases real,shuffled --classes hawk,snail --out some.jsonl
    python benchmarks/calibration.py --out calibration.jsonl --table

Where the level cannot be the highest, whatever else is found, the rest is not computed, and the row says so
(``by``): a class of one image fails the ten-image rule, so its nulls are left out, and of a contrast of such
classes nothing is computed; halves of one class are contrasted only where their hyperplane passes.
Explanations of one pool and network share the scores of test images, which are the same for all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import calibration_cases as cases
import kept_rows
import numpy as np
import torch
from calibration_cases import CASES, CLASSES
from scipy.stats import binomtest

from whyclass import Explanation, Settings, Study
from whyclass.planted import world
from whyclass.records import Hyperplane
from whyclass.report import contrast_verdict
from whyclass.report.verdict import verdict
from whyclass.report.verdict_checks import FEWEST_IMAGES
from whyclass.study import contrast as study_contrast
from whyclass.study import explain, plane_trust
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.context import Context
from whyclass.study.prediction_test_and_control import Controls

SETTINGS: dict[str, Any] = {"precision": "float32", "examples": 0}
"""What differs from the defaults: float32 as on most processors, and no heat maps."""

BARE: dict[str, Any] = {"null_cells": 0, "null_scores": 0, "fillings": 0, "refits": 0}

LEVELS = ("trust", "careful", "distrust")

Alone = dict[int, Explanation]
"""Of a world and seed, the classes that contrasts have explained alone already."""


def run(
    task: tuple[str, int, tuple[str, ...], tuple[str, ...], frozenset[str]], given: argparse.Namespace
) -> int:
    """The cases of one world and seed that are missing; how many were made before the time was over."""
    name, seed, wanted, classes, done = task
    torch.set_num_threads(1)
    missing = [(c, k) for k in classes for c in wanted if _key(c, seed, k) not in done]
    if name == "random weights":
        missing = [(c, "") for c in wanted if _key(c, seed, "") not in done]
    if not missing or time.time() > given.until:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        pool = world.write_pool(Path(scratch) / "pool", cases.IMAGES, seed)
        loaded = cases.loaded_of(name, seed, pool)
        settings = Settings(seed=seed, **SETTINGS, **(BARE if name == "one image" else {}))
        layer = cases.layer_of(name)
        context = Study(loaded, layer, pool, Path(scratch) / "store", settings, progress=False).context()
        if name == "doubled":
            cases.halve(context, seed)
        shared: dict[str, Controls] = {}  # each test image passes the model once, and contrasts cut others
        setattr(explain, "Controls", lambda own: shared.setdefault(own.settings.crop_at, Controls(own)))  # noqa: B010
        alone: Alone = {}
        made = 0
        for case, label in missing:
            if time.time() > given.until:
                break
            for row in _rows(context, case, seed, label, alone):
                kept_rows.add(given.out, [row | {"case": case, "seed": seed}])
                made += 1
        return made


def _key(case: str, seed: int, label: str) -> str:
    return f"{case} {seed} {label}"


def _rows(context: Context, case: str, seed: int, label: str, alone: Alone) -> Iterator[dict[str, Any]]:
    """What came of a case: one row, or of a network of random weights one for each of its classes."""
    names = [label] if label else [context.name(k) for k in context.classes()]
    for name in names:
        started = time.perf_counter()
        k = world.class_index(name)
        made = (
            _contrasted(context, case, seed, k, alone)
            if CASES[case].contrast
            else _explained(context, case, seed, k)
        )
        asked = {"class": name, "asked": label, "seconds": round(time.perf_counter() - started, 2)}
        yield made | asked


def _explained(context: Context, case: str, seed: int, k: int) -> dict[str, Any]:
    if not context.index.counting(k).any():
        return {"level": "none", "by": "predicted for no image"}
    with cases.spoilt(context, k, CASES[case].spoil, seed) as (own, which):
        found = explain.explanation(context, own)
    by = "ten images" if CASES[case].world == "one image" else "all checks"
    return told(found, which, seed) | {"by": by}


def _contrasted(context: Context, case: str, seed: int, k: int, alone: Alone) -> dict[str, Any]:
    """The level of a contrast, or that something rules the highest out."""
    if CASES[case].world == "one image":
        return {"level": "below", "by": "ten images"}
    halves = CASES[case].contrast == "halves"
    against = k + len(world.CLASSES) if halves else cases.other_of(k, seed)
    if min(context.index.counting(one).sum() for one in (k, against)) < FEWEST_IMAGES:
        return {"level": "none", "by": "ten images of each class"}
    bare = replace(context, settings=replace(context.settings, **BARE))
    two = evidence_of(bare, k), evidence_of(bare, against)
    if halves and (plane := _plane(bare, two)) is not None:
        return plane
    for own in two:
        if own.target not in alone:
            alone[own.target] = explain.explanation(bare, own)
    found = study_contrast.contrast_of(bare, two, (alone[k], alone[against]))
    judged, raised = contrast_verdict.verdict(found), contrast_verdict.raised(found.a)
    row = {"level": judged.level, "sentence": judged.sentence, "tests": contrast_verdict.outcomes(found)}
    return row | {"raised": raised is not None, "against": context.name(against), "by": "all checks"}


def _plane(context: Context, two: tuple[ClassEvidence, ClassEvidence]) -> dict[str, Any] | None:
    """What is known where the hyperplane between two classes keeps the highest level away."""
    cells = {own.target: own.cells for own in two}
    planes = study_contrast.fit(context, cells, [(two[0].target, two[1].target)])
    w, bias = planes.weights[0], float(planes.biases[0])
    trust, _ = plane_trust.examined(two, planes, study_contrast.fitting_of(context))
    training, held_out = study_contrast.separation(planes.training, 0), study_contrast.held_out(planes, 0)
    if contrast_verdict.plane_outcome(Hyperplane(w, bias, training, held_out, trust)) == "passed":
        return None
    p = trust.permutations.p if trust.permutations else None
    return {"level": "below", "by": "hyperplane on images not seen", "p": p}


def told(found: Explanation, spoilt: list[int], seed: int) -> dict[str, Any]:
    """What is needed to judge the explanation, and to try other rules of judging."""
    judged = verdict(found)
    tests = found.prediction_test
    test = tests.excluding or tests.including
    return {
        "level": judged.level,
        "sentence": judged.sentence,
        "images": found.n_images,
        "scores": [one.score for one in (tests.including, tests.excluding) if one],
        "predicted": [one.predicted for one in (tests.including, tests.excluding) if one],
        "again": [list(one.again) for one in (tests.including, tests.excluding) if one],
        "backing": test.backing,
        "nulls": {
            one.kind: {"p": one.p, "predicted": one.predicted, "n": one.n, "reached": one.reached}
            for one in test.nulls
        },
        "refits": found.refits.same if found.refits else None,
        "smallest": test.smallest,
        "concepts": [_concept(found, k, k in spoilt, seed) for k in range(len(found.concepts))],
    }


def _concept(found: Explanation, k: int, nonsense: bool, seed: int) -> dict[str, Any]:
    one = found.concepts[k]
    done = one.contribution
    return {
        "share": one.share,
        "nonsense": nonsense,
        "shows": shows(found, k, seed),
        "needed": done.needed if done else None,
        "p": done.p if done else None,
        "kept": done.kept if done else None,
        "sufficiency": done.sufficiency if done else None,
        "stability": one.stability.least if one.stability else None,
    }


def shows(found: Explanation, k: int, seed: int) -> float:
    """Share of a concept's nearest crops without the class's images that show a part of the class."""
    parts = next(one.needs for one in world.CLASSES if one.name == found.target.name)
    crops = found.concepts[k].excluding or found.concepts[k].including
    hits = []
    for crop in crops:
        masks = _masks(crop.image.path, seed)
        left, top, right, bottom = crop.box
        hits.append(
            any(name in masks and masks[name][top:bottom, left:right].mean() >= 0.25 for name in parts)
        )
    return float(np.mean(hits))


@cache
def _masks(path: str, seed: int) -> dict[str, np.ndarray]:
    return dict(world.pool_picture(path, seed).masks)


def rates(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By case: how often each level was given, with Wilson's 95 % interval, and what ruled the rest out."""
    out: dict[str, dict[str, Any]] = {}
    for case in CASES:
        mine = [one for one in found if one["case"] == case and one["level"] != "none"]
        if not mine:
            continue
        out[case] = {"n": len(mine), "levels": {}, "by": {}}
        for level in LEVELS:
            hits = sum(one["level"] == level for one in mine)
            interval = binomtest(hits, len(mine)).proportion_ci(method="wilson")
            out[case]["levels"][level] = [hits / len(mine), interval.low, interval.high]
        for by in dict.fromkeys(one["by"] for one in mine):
            out[case]["by"][by] = sum(one["by"] == by for one in mine)
    return out


def marks(found: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Share of nonsense concepts, and of concepts that show a part, that are marked as not needed, with n."""
    concepts = [one for each in found if "nonsense" in each["case"] for one in each["concepts"]]
    real = [one for each in found if each["case"] == "real" for one in each["concepts"]]
    nonsense = [not one["needed"] for one in concepts if one["nonsense"]]
    parts = [not one["needed"] for one in real if one["shows"] >= 0.5]
    every = [not one["needed"] for one in real]
    half = [
        each["level"] == "trust"
        for each in found
        if each.get("concepts")
        and 2 * sum(one["needed"] is False for one in each["concepts"]) >= len(each["concepts"])
    ]
    named = {
        "nonsense marked": nonsense,
        "parts marked": parts,
        "real marked": every,
        "highest of sets half marked": half,
    }
    return {name: [float(np.mean(v)), len(v)] for name, v in named.items() if v}


def show(found: list[dict[str, Any]]) -> None:
    """Print the table as Markdown."""
    print(
        "| case | n | supported [95 %, Wilson] | with care | not supported | decided by |\n"
        "|---|---|---|---|---|---|"
    )
    for case, one in rates(found).items():
        first, *others = (one["levels"][level] for level in LEVELS)
        shares = " | ".join(f"{share[0]:.2f}" for share in others)
        by = ", ".join(f"{name} ({n})" for name, n in one["by"].items())
        print(f"| {case} | {one['n']} | {first[0]:.2f} [{first[1]:.2f}, {first[2]:.2f}] | {shares} | {by} |")
    print({name: [round(share, 3), n] for name, (share, n) in marks(found).items()})


def main() -> None:
    """Make what is missing, for as long as there is time, and show what there is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=10, help="the rule was chosen on seeds 0 to 9")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--classes", default=",".join(CLASSES))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing new after so many")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only show what there is")
    given = parser.parse_args()
    given.until = time.time() + given.seconds
    if not given.table:
        _make(given)
    show(kept_rows.read(given.out))


def _make(given: argparse.Namespace) -> None:
    done = frozenset(_key(one["case"], one["seed"], one["asked"]) for one in kept_rows.read(given.out))
    wanted, classes = given.cases.split(","), tuple(given.classes.split(","))
    tasks = []
    for seed in range(given.first, given.first + given.seeds):
        for name in dict.fromkeys(CASES[case].world for case in wanted):
            mine = tuple(case for case in wanted if CASES[case].world == name)
            tasks.append((name, seed, mine, classes, done))
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        jobs = [pool.apply_async(run, (task, given)) for task in tasks]
        for number, job in enumerate(jobs, 1):
            made = job.get()
            print(f"{number} of {len(tasks)}: {made} made", flush=True)


if __name__ == "__main__":
    main()
