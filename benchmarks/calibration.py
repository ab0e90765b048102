"""How often is a verdict wrong? Planted explanations known to be right, and others known to be wrong.

Each case is explained by the whole pipeline with default settings but for those named in ``SETTINGS``. What
is wrong is made wrong before the factorisation (its scores) or after it (its concepts), and everything that
follows, nulls and refits among it, is the product's own.

    python benchmarks/calibration.py --seeds 10 --out calibration.json
    python benchmarks/calibration.py --seeds 1 --cases real,shuffled --classes hawk,snail
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from whyclass import Explanation, Settings, Study
from whyclass.planted import demo, nets, world
from whyclass.records import Factors
from whyclass.report.verdict import verdict
from whyclass.study.class_evidence import ClassEvidence, evidence_of

SETTINGS: dict[str, Any] = {"precision": "float32", "examples": 0}
"""What differs from the defaults: float32 as on most processors, and no heat maps."""

IMAGES = 60
"""Of each class in the pool."""

CLASSES = tuple(planted.name for planted in world.CLASSES[:-1])

Spoil = Callable[[ClassEvidence, int], list[int]]
"""Spoils what is kept of a class with a seed, and gives the numbers of the concepts that are nonsense now."""


def _right(own: ClassEvidence, seed: int) -> list[int]:
    return []


def _nonsense(count: int) -> Spoil:
    """So many of the concepts with their own channels in another order."""

    def spoil(own: ClassEvidence, seed: int) -> list[int]:
        generator = np.random.default_rng((seed, own.target, count))
        factors = own.factors
        concepts = factors.concepts.copy()
        which = generator.choice(len(concepts), min(count, len(concepts)), replace=False)
        for k in which:
            concepts[k] = concepts[k][generator.permutation(concepts.shape[1])]
        _keep(own, replace(factors, concepts=concepts))
        return sorted(which.tolist())

    return spoil


def _keep(own: ClassEvidence, factors: Factors) -> None:
    own.context.store.keep(factors, own.factors_file)


def _keep_scores(own: ClassEvidence, scores: np.ndarray) -> None:
    own.context.store.keep(replace(own.evidence, scores=scores), own.evidence_file)


def _shuffled(own: ClassEvidence, seed: int) -> list[int]:
    """The attribution's scores shuffled within each image."""
    generator = np.random.default_rng((seed, own.target))
    scores = own.evidence.scores.reshape(len(own.evidence.scores), -1).copy()
    for row in scores:
        generator.shuffle(row)
    _keep_scores(own, scores.reshape(own.evidence.scores.shape))
    return []


def _other_logit(own: ClassEvidence, seed: int) -> list[int]:
    """The attribution of another class's logit on the images of this one."""
    other = (own.target + 1 + seed % 7) % len(CLASSES)
    strange = ClassEvidence(own.context, other, own.predicted, own.chosen)
    _keep_scores(own, strange.scored().cells)
    return []


CASES: dict[str, Spoil] = {
    "real": _right,
    **{f"{count} nonsense": _nonsense(count) for count in range(1, 6)},
    "shuffled": _shuffled,
    "other logit": _other_logit,
    "random weights": _right,
    "one image": _right,
}


def random_net(seed: int, pool: Path) -> torch.nn.Module:
    """The planted network untrained, its norms and its logits brought to scale on some of the pictures."""
    torch.manual_seed(seed)
    net = nets.PlantedNet()
    files = sorted(pool.rglob("*.png"))[:: max(1, len(list(pool.rglob("*.png"))) // 64)]
    from PIL import Image

    x = nets.as_input([np.asarray(Image.open(file)) for file in files])
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        net.train()(x)
        logits = net.eval()(x)
        net.head.weight.mul_(4 / logits.std(0)[:, None])
        net.head.bias.copy_(
            net.head.bias - (logits.mean(0) - net.head.bias) * 4 / logits.std(0) - net.head.bias
        )
    return net


def explained(case: str, seed: int, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every class of one planted pool in one case."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        pool = world.write_pool(Path(scratch) / "pool", IMAGES, seed)
        if case == "one image":
            for name in classes:
                for file in sorted((pool / name).glob("*.png"))[1:]:
                    file.unlink()
        loaded = demo.loaded()
        if case == "random weights":
            loaded = replace(loaded, model=random_net(seed, pool), name="random")
        study = Study(
            loaded,
            world.LAYER,
            pool,
            Path(scratch) / "store",
            Settings(seed=seed, **SETTINGS),
            progress=False,
        )
        context = study.context()
        wanted = [
            k for k in context.classes() if case == "random weights" or world.CLASSES[k].name in classes
        ]
        return [_one(study, case, seed, k) for k in wanted]


def _one(study: Study, case: str, seed: int, k: int) -> dict[str, Any]:
    started = time.perf_counter()
    spoilt = CASES[case](evidence_of(study.context(), k), seed)
    found = study.explain(k)
    return told(found, spoilt, seed) | {"case": case, "seed": seed, "seconds": time.perf_counter() - started}


def told(found: Explanation, spoilt: list[int], seed: int) -> dict[str, Any]:
    """What is needed to judge the explanation, and to try other rules of judging."""
    judged = verdict(found)
    tests = found.prediction_test
    test = tests.excluding or tests.including
    return {
        "class": found.target.name,
        "level": judged.level,
        "sentence": judged.sentence,
        "images": found.n_images,
        "scores": [one.score for one in (tests.including, tests.excluding) if one],
        "predicted": [one.predicted for one in (tests.including, tests.excluding) if one],
        "again": [list(one.again) for one in (tests.including, tests.excluding) if one],
        "backing": test.backing,
        "nulls": {one.kind: {"p": one.p, "predicted": one.predicted, "n": one.n} for one in test.nulls},
        "refits": found.refits.same if found.refits else None,
        "smallest": test.smallest,
        "concepts": [
            {
                "share": one.share,
                "nonsense": k in spoilt,
                "shows": shows(found, k, seed),
                "needed": one.contribution.needed if one.contribution else None,
                "p": one.contribution.p if one.contribution else None,
                "kept": one.contribution.kept if one.contribution else None,
                "sufficiency": one.contribution.sufficiency if one.contribution else None,
                "stability": one.stability.least if one.stability else None,
            }
            for k, one in enumerate(found.concepts)
        ],
    }


def shows(found: Explanation, k: int, seed: int) -> float:
    """Share of a concept's nearest crops without the class's images that show a part of the class."""
    parts = next(one.needs for one in world.CLASSES if one.name == found.target.name)
    crops = found.concepts[k].excluding or found.concepts[k].including
    hits = []
    for crop in crops:
        masks = world.pool_picture(crop.image.path, seed).masks
        left, top, right, bottom = crop.box
        hits.append(
            any(name in masks and masks[name][top:bottom, left:right].mean() >= 0.25 for name in parts)
        )
    return float(np.mean(hits))


def rates(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By case: how often each level was given, with Wilson's 95 % interval."""
    out: dict[str, dict[str, Any]] = {}
    for case in dict.fromkeys(one["case"] for one in found):
        mine = [one for one in found if one["case"] == case]
        out[case] = {"n": len(mine)}
        for level in ("trust", "careful", "distrust"):
            hits = sum(one["level"] == level for one in mine)
            interval = binomtest(hits, len(mine)).proportion_ci(method="wilson")
            out[case][level] = [hits / len(mine), interval.low, interval.high]
    return out


def marks(found: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Share of nonsense concepts and of concepts that show a part which are marked as not needed, with n."""
    concepts = [one for each in found if "nonsense" in each["case"] for one in each["concepts"]]
    real = [one for each in found if each["case"] == "real" for one in each["concepts"]]
    nonsense = [not one["needed"] for one in concepts if one["nonsense"]]
    parts = [not one["needed"] for one in real if one["shows"] >= 0.5]
    return {name: [float(np.mean(v)), len(v)] for name, v in (("nonsense", nonsense), ("parts", parts)) if v}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--classes", default=",".join(CLASSES))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    classes = tuple(given.classes.split(","))
    tasks = [
        (c, s, classes) for s in range(given.first, given.first + given.seeds) for c in given.cases.split(",")
    ]
    started, found = time.perf_counter(), []
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        for number, rows in enumerate(pool.imap_unordered(_starred, tasks), 1):
            found += rows
            if given.out:
                given.out.write_text(json.dumps(found, indent=1))
            print(f"{number} of {len(tasks)}, {time.perf_counter() - started:.0f} s", flush=True)
    for case, levels in rates(found).items():
        print(
            f"{case:15s} n = {levels.pop('n'):4d}",
            *(f"{k} {v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" for k, v in levels.items()),
        )
    print("marked:", marks(found))


def _starred(task: tuple[str, int, tuple[str, ...]]) -> list[dict[str, Any]]:
    return explained(*task)


if __name__ == "__main__":
    main()
