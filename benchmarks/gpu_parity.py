"""Stages of ``gpu.py``: whether the card finds what the processor finds, and what TF32 and bfloat16 cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_common import KINDS, LAYER, Bench, inputs, moved, photographs, resnet50, tf32, timed
from scipy.optimize import linear_sum_assignment

from whyclass.attribution import smoothgrad
from whyclass.models.fast_trunk import fast_trunk
from whyclass.models.setup import example_of
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.planted import demo, world
from whyclass.records import Explanation
from whyclass.report.verdict import verdict
from whyclass.settings import Settings
from whyclass.study.study import Study

Found = dict[str, Any]

WAYS = {
    "tf32 off": (False, "float32", "processor"),
    "tf32 on": (True, "float32", "processor"),
    "auto": (False, "auto", "processor"),
    "its own noise": (False, "auto", "device"),
}
"""By name, whether TF32 is allowed, the precision asked for, and what draws the noise. The first must agree,
others are told: other noise gives what another seed gives."""

ALIKE: dict[str, Any] = {"precision": "float32", "noise_on": "processor"}
"""Settings under which a card is to find what the processor finds."""

COMPLETENESS, COSINE = 1e-4, 0.99


SMALL = Settings(
    images=6, copies=2, starts=1, iterations=50, controls=2, crops=4, null_crops=9, null_cells=1,
    null_scores=1, audit_nulls=1, fillings=2, refits=1,
)  # fmt: skip


def planted(bench: Bench) -> Found:
    """The planted world, whose weights come with the package."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # nets so small would only wait for a second thread
    try:
        pool = bench.folder / "planted"
        world.write_pool(pool, n_per_class=6 if bench.small else 30, seed=0)
        names = list(world.TWINS[:1]) if bench.small else [*world.TWINS, "snail", "comet"]
        settings = SMALL if bench.small else Settings(images=30)
        found = _compared(bench, "planted", demo.loaded(), world.LAYER, pool, names, settings)
        found["audit"] = _audited(bench, pool, settings)
        found["contrast"] = _contrasted(bench, pool, settings)
        return found
    finally:
        torch.set_num_threads(threads)


def _compared(
    bench: Bench, name: str, loaded: Any, layer: str, pool: Any, classes: Sequence[Any], settings: Settings
) -> Found:
    """Explanations of some classes on the processor, and on the device in each of ``WAYS``."""

    def explained(device: str, precision: str, noise_on: str) -> tuple[float, list[Explanation]]:
        mine = replace(settings, precision=precision, noise_on=noise_on)
        study = Study(loaded, layer, pool, settings=mine, device=device)
        return timed(bench, lambda: [study.explain(target) for target in classes])

    seconds, wanted = explained("cpu", "float32", "processor")
    bench.tell(f"{name}: the processor took {seconds:.1f} s for {len(wanted)} classes")
    found: Found = {"seconds of the processor": seconds, "completeness of the processor": _complete(wanted)}
    for way, (allowed, precision, noise_on) in WAYS.items():
        if (allowed or noise_on == "device") and not bench.cuda:
            continue
        with tf32(allowed, allowed):
            seconds, got = explained(bench.device, precision, noise_on)
        one = found[way] = {"seconds": seconds, "completeness": _complete(got), **_apart(wanted, got)}
        bench.tell(
            f"{name}, {way}: {seconds:.1f} s; completeness {one['completeness']['mean']:.1e}; "
            f"least cosine {one['least cosine']:.4f}; same crops {one['same crops']:.0%}"
        )
    off = found["tf32 off"]
    bench.check(
        f"{name}: mean completeness error, TF32 off, <= {COMPLETENESS}",
        off["completeness"]["mean"],
        off["completeness"]["mean"] <= COMPLETENESS,
    )
    bench.check(f"{name}: least cosine >= {COSINE}", off["least cosine"], off["least cosine"] >= COSINE)
    bench.check(f"{name}: the same verdicts", off["same verdicts"], off["same verdicts"] == 1.0)
    bench.check(f"{name}: the same predictions", off["same predictions"], off["same predictions"] == 1.0)
    return found


def _complete(found: Sequence[Explanation]) -> Found:
    of = [one.completeness for one in found]
    return {"mean": float(np.mean([one.mean for one in of])), "worst": max(one.worst for one in of)}


def _apart(wanted: Sequence[Explanation], got: Sequence[Explanation]) -> Found:
    """How far explanations of the same classes are from each other."""
    cosines: list[float] = []
    crops: list[float] = []
    for a, b in zip(wanted, got, strict=True):
        matched = _matched(a, b)
        cosines += [cosine for _, _, cosine in matched]
        for i, k, _ in matched:
            crops += [_shared(a.concepts[i].including, b.concepts[k].including)]
            crops += [_shared(a.concepts[i].excluding, b.concepts[k].excluding)]
    scores = [abs(x.score - y.score) for x, y in zip(_tests(wanted), _tests(got), strict=False)]
    flags = [(x.predicted, y.predicted) for x, y in zip(_tests(wanted), _tests(got), strict=False)]
    levels = [(verdict(a).level, verdict(b).level) for a, b in zip(wanted, got, strict=True)]
    return {
        "least cosine": min(cosines),
        "cosines": cosines,
        "same crops": float(np.mean(crops)),
        "largest difference of a test's score": max(scores),
        "same predictions": float(np.mean([x == y for x, y in flags])),
        "same verdicts": float(np.mean([x == y for x, y in levels])),
        "verdicts": [x for _, x in levels],
        "images": [[a.n_images, b.n_images] for a, b in zip(wanted, got, strict=True)],
    }


def _tests(found: Sequence[Explanation]) -> list[Any]:
    both = [(one.prediction_test.including, one.prediction_test.excluding) for one in found]
    return [test for tests in both for test in tests if test is not None]


def _matched(a: Explanation, b: Explanation) -> list[tuple[int, int, float]]:
    """Pairs of concepts after the best assignment, with their cosine."""
    cosine = np.stack([c.vector for c in a.concepts]) @ np.stack([c.vector for c in b.concepts]).T
    rows, columns = linear_sum_assignment(-cosine)
    return [(int(i), int(k), float(cosine[i, k])) for i, k in zip(rows, columns, strict=True)]


def _shared(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Share of places that both have."""
    mine, theirs = ({(crop.image.path, crop.box) for crop in crops} for crops in (a, b))
    return len(mine & theirs) / max(1, len(mine), len(theirs))


def _audited(bench: Bench, pool: Path, settings: Settings) -> Found:
    """The audit of all planted classes, its tests' outcomes on both devices."""
    settings = replace(settings, images=min(10, settings.images), copies=4, **ALIKE)
    told = []
    with tf32(False, False):
        for device in ("cpu", bench.device):
            study = Study(demo.loaded(), world.LAYER, pool, settings=settings, device=device)
            told.append(study.audit(world.TWINS if bench.small else None).classes)
    bench.tell("planted: audited on both")
    pairs = [(a, b) for x, y in zip(*told, strict=True) for a, b in _trials(x, y)]
    same = float(np.mean([a.predicted == b.predicted for a, b in pairs]))
    apart = max(abs(a.score - b.score) for a, b in pairs)
    bench.check("planted: the audit's tests end the same", same, same == 1.0)
    return {"tests": len(pairs), "same predictions": same, "largest difference of a score": apart}


def _trials(x: Any, y: Any) -> list[tuple[Any, Any]]:
    both = [(x.including, y.including), (x.excluding, y.excluding)]
    return [(a, b) for a, b in both if a is not None and b is not None]


def _contrasted(bench: Bench, pool: Path, settings: Settings) -> Found:
    """The twins against each other, on both devices."""
    tests = ("shifting",) if bench.small else ("shifting", "masking")
    settings = replace(settings, **ALIKE, controls=min(4, settings.controls), tests=tests)
    with tf32(False, False):
        wanted, got = (
            Study(demo.loaded(), world.LAYER, pool, settings=settings, device=device).contrast(*world.TWINS)
            for device in ("cpu", bench.device)
        )
    sweeps = [
        (getattr(x, test), getattr(y, test))
        for x, y in ((wanted.a, got.a), (wanted.b, got.b))
        for test in tests
    ]
    same = all(x.swapped == y.swapped for x, y in sweeps)
    accuracy = [one.hyperplane.training.plain for one in (wanted, got)]
    bench.check("planted: the contrast's tests end the same", same, same)
    return {"same swaps": same, "accuracy of the hyperplane": accuracy}


# ---------------------------------------------------------------- ResNet-50


def resnet50_pool(bench: Bench) -> list[Path]:
    """Pictures of the comparison: few enough for the processor."""
    return photographs(bench)[: (2 if bench.small else 16) * KINDS]


def resnet50_settings(bench: Bench) -> Settings:
    """So few copies and images that the processor is done soon."""
    return replace(SMALL, images=3) if bench.small else Settings(images=12, copies=5, starts=4)


def resnet50_stage(bench: Bench) -> Found:
    """ResNet-50 at its last block, and the completeness where more follows."""
    loaded, pool, settings = resnet50(bench), resnet50_pool(bench), resnet50_settings(bench)
    targets = _most_predicted(loaded, pool, bench)[: 1 if bench.small else 3]
    found = _compared(bench, "resnet50", loaded, LAYER, pool, targets, settings)
    found["weights"] = "random, norms calibrated" if bench.weights is None else bench.weights.name
    found["targets"] = targets
    found["deeper head"] = _deeper(bench, targets[0])
    return found


def _most_predicted(loaded: Any, pool: list[Path], bench: Bench) -> list[int]:
    with tf32(False, False):
        study = Study(moved(bench), LAYER, pool, device="auto")
        index = study.index()
    classes, counts = np.unique(index.predicted[index.usable], return_counts=True)
    return [int(k) for k in classes[np.argsort(-counts, kind="stable")]]


def _deeper(bench: Bench, target: int) -> Found:
    """Attribution at layer3.5, where nine convolutions follow: completeness and seconds without TF32, as it
    is done, and with it."""
    images = 1 if bench.small else 4
    settings = Settings(copies=2 if bench.small else 5)
    loaded = moved(bench)
    given = [(image, str(n)) for n, image in enumerate(inputs(bench, loaded.preprocessing, images))]
    cut = split(loaded.model, "layer3.5", example_of(loaded))
    trunk, reference = fast_trunk(cut, torch.float32), loaded.preprocessing.constant("ones")
    found: Found = {}
    for way, (allowed, precision, _) in WAYS.items():
        if precision == "auto" or (allowed and not bench.cuda):
            continue
        # what turns TF32 off is left out where it is to be on
        prepare, score = ((one.__wrapped__ if allowed else one) for one in EXACT)
        with tf32(allowed, allowed):
            asked = [
                smoothgrad.Asked(cut, smoothgrad.Question(target, prepare(cut, reference, logit(target))))
            ]
            call = partial(score, asked, lambda copies: [trunk(copies)], settings=settings)
            call(images=given[:1])  # warms up
            seconds, (scores,) = timed(bench, partial(call, images=given))
        errors = scores.errors
        found[way] = {"mean": float(errors.mean()), "worst": float(errors.max()), "seconds": seconds}
        bench.tell(f"resnet50, layer3.5, {way}: completeness {errors.mean():.1e}, {seconds:.3f} s")
    found["trunk"] = named(trunk)
    if "tf32 on" in found:
        found["seconds without TF32, times those with"] = (
            found["tf32 off"]["seconds"] / found["tf32 on"]["seconds"]
        )
    mean = found["tf32 off"]["mean"]
    bench.check(f"resnet50, layer3.5: mean completeness <= {COMPLETENESS}", mean, mean <= COMPLETENESS)
    return found


EXACT: tuple[Any, Any] = (smoothgrad.prepare, smoothgrad.at_layers)
"""What runs with TF32 off, whatever the caller has."""


def named(trunk: Any) -> str:
    """Which of the fast trunks was close enough to the model to be taken."""
    name = getattr(trunk, "__qualname__", str(trunk)).split(".")[0].strip("_")
    return "the model's own" if name == "Split" else name
