"""Stages of ``gpu.py``: seconds of each step, beside the plain way on the same card and the measured peak.

*The plain way* of attribution is hooks and a backward pass for each noisy copy by itself, together with the
baseline, in float32 as torch has it; then one factorisation by scikit-learn. At ``layer4.2`` nothing but a
mean and a linear layer follows, so that this is DeepLift.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_common import LAYER, Bench, inputs, moved, operations, photographs, timed
from gpu_parity import SMALL, named
from torch import Tensor, nn

from whyclass.attribution.noise import drawn_on, noisy_copies
from whyclass.checks import stitching
from whyclass.concepts.hyperplane_training import Fitting, hyperplanes
from whyclass.models.fast_trunk import fast_trunk, noisy_precision, smooth_trunk
from whyclass.models.setup import example_of
from whyclass.models.split import Split, split
from whyclass.settings import Settings
from whyclass.study.study import Study

Found = dict[str, Any]
NMF_OF = 6

AUDITED = 104
"""Classes that are audited: those predicted for the most pictures."""


def _cut(bench: Bench) -> Split:
    found: Split = bench.once("cut", lambda: split(moved(bench).model, LAYER, example_of(moved(bench))))
    return found


def _precision(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def host(bench: Bench) -> Found:
    """What limits a card from outside: reading, noise, upload; and the trunk alone on what is there."""
    loaded, settings = moved(bench), Settings()
    paths = photographs(bench)
    seconds, images = timed(bench, lambda: inputs(bench, loaded.preprocessing, 32))
    block = images[:20].clone()
    noise = timed(bench, lambda: [noisy_copies(images[0], str(n), settings) for n in range(3)])[0] / 3
    on = drawn_on(torch.device(bench.device), settings)
    noisy_copies(images[0], "", settings, on)
    itself = timed(bench, lambda: [noisy_copies(images[0], str(n), settings, on) for n in range(9)])[0] / 9
    upload = timed(bench, lambda: [block.to(bench.device) for _ in range(5)])[0] / 5
    found: Found = {
        "pictures": len(paths),
        "decoded images/s, all threads": 32 / seconds,
        "noise of 20 copies, s": noise,
        "the same by what computes, s": itself,
        "upload of 20 images, s": upload,
        "upload GB/s": block.nbytes / upload / 1e9,
        "trunk": {},
    }
    if bench.cuda:
        pinned = block.pin_memory()
        quick = timed(bench, lambda: [pinned.to(bench.device, non_blocking=True) for _ in range(5)])[0] / 5
        found["upload GB/s, pinned"] = block.nbytes / quick / 1e9
    cut = _cut(bench)
    work = operations(lambda: cut.trunk(cut.example))
    there = images[: 4 if bench.small else 32].to(bench.device)
    for dtype in dict.fromkeys((torch.float32, noisy_precision("auto", cut))):
        trunk = fast_trunk(cut, dtype)
        found["trunk"][_precision(dtype)] = _alone(bench, trunk, there, work, _peak_of(dtype))
    own = _alone(bench, cut.trunk, there, work, _peak_of(torch.float32))
    found["trunk"]["the model's own, float32"] = own
    return found


def _peak_of(dtype: torch.dtype) -> str:
    """Convolutions in float32 use TF32, as torch has it on a card."""
    tf32 = dtype == torch.float32 and torch.cuda.is_available() and torch.backends.cudnn.allow_tf32
    return "tf32" if tf32 else _precision(dtype)


def _alone(bench: Bench, trunk: Any, images: Tensor, work: float, peak: str) -> Found:
    rounds = 1 if bench.small else 10

    def call() -> None:
        with torch.no_grad():
            for _ in range(rounds):
                trunk(images)

    timed(bench, call)
    rate = rounds * len(images) / timed(bench, call)[0]
    bench.tell(f"trunk {named(trunk)}, {peak}: {rate:.0f} images/s")
    return {
        "taken": named(trunk),
        "images/s": rate,
        f"share of {peak} peak": bench.share(work * rate, 1, peak),
    }


# ---------------------------------------------------------------- explaining one class


def _settings(bench: Bench) -> Settings:
    return replace(SMALL, images=2) if bench.small else Settings()


def _study(bench: Bench, paths: list[Path], settings: Settings) -> Study:
    """Opened anew, with an empty store."""
    study = Study(moved(bench), LAYER, paths, settings=settings)
    bench.made["progress"] = study.progress  # what is told where time runs out
    return study


def _prepared(bench: Bench, study: Study) -> float:
    """Seconds to make the fast trunks, which a study does once."""
    wanted = (torch.float32, noisy_precision("auto", study.split))
    return timed(bench, lambda: [study.trunk(dtype) for dtype in wanted])[0]


def explain(bench: Bench) -> Found:
    """One class of 60 images and 20 copies, steps by their seconds; against the plain way."""
    settings, paths = _settings(bench), photographs(bench)
    paths = paths[:16] if bench.small else paths
    _study(bench, paths[:16], replace(settings, images=4)).explain(_target(bench, paths[:16]))  # warms up
    target = _target(bench, paths)
    study = _study(bench, paths, settings)
    prepare = _prepared(bench, study)
    seconds, found = timed(bench, lambda: study.explain(target))
    steps = study.progress.seconds
    bench.tell(f"explain: {seconds:.2f} s, " + ", ".join(f"{k} {v:.2f}" for k, v in steps.items()))
    n, cut = found.n_images, _cut(bench)
    plain = _plain(bench, target, n, settings)
    ours = sum(steps[name] for name in ("attribution", "activations", "concepts"))
    theirs = sum(plain[name] for name in ("attribution", "activations", "concepts"))
    single = _peak_of(torch.float32)
    half = _peak_of(noisy_precision("auto", cut))
    trunk, whole = (operations(partial(call, cut.example)) for call in (cut.trunk, moved(bench).model))
    noisy = n * int(settings.copies) * (trunk + 2 * (whole - trunk))
    return {
        "images": n,
        "copies": settings.copies,
        "pool": len(paths),
        "completeness": found.completeness.mean,
        "prepare seconds": prepare,
        "seconds": seconds,
        "seconds by step": dict(steps),
        "GFLOP an image": {"trunk": trunk / 1e9, "whole": whole / 1e9},
        "share of peak": {
            f"index ({single})": bench.share(len(paths) * whole, steps["index"], single),
            f"attribution ({half})": bench.share(noisy, steps["attribution"], half),
            f"activations ({single})": bench.share(n * trunk, steps["activations"], single),
        },
        "plain": plain,
        "ratio of attribution, activations and concepts": theirs / ours,
        "ratio of attribution": plain["attribution"] / steps["attribution"],
    }


def _target(bench: Bench, paths: list[Path]) -> int:
    """The class that most pictures are called."""
    index = _study(bench, paths, _settings(bench)).index()
    classes, counts = np.unique(index.predicted, return_counts=True)
    return int(classes[counts.argmax()])


def _plain(bench: Bench, target: int, count: int, settings: Settings) -> Found:
    """Seconds of the plain way for so many images, from a sample."""
    model, tried = moved(bench).model, 1 if bench.small else 4
    images = inputs(bench, moved(bench).preprocessing, max(tried, count))
    module = model.get_submodule(LAYER)
    one = partial(_scored, bench, model, module, target=target, settings=settings)
    one(images[0], copies=1)  # warms up
    copies = int(settings.copies)
    attribution = timed(bench, lambda: [one(image, copies=copies) for image in images[:tried]])[0]
    some = images[: 2 if bench.small else 20]
    clean = timed(bench, lambda: [_activations(bench, model, module, image) for image in some])[0]
    cut = _cut(bench)
    with torch.no_grad():
        blocks = [cut.trunk(block.to(bench.device)).cpu() for block in images[:count].split(32)]
    X = torch.cat(blocks).permute(0, 2, 3, 1).flatten(0, 2).numpy()
    nmf = timed(bench, lambda: _factorised(X))[0]
    return {
        "attribution": attribution / tried * count,
        "activations": clean / len(some) * count,
        "concepts": nmf,
        "sample": f"{tried} images of {settings.copies} copies, {len(some)} images, one factorisation",
    }


def _scored(
    bench: Bench, model: nn.Module, module: nn.Module, image: Tensor, *, target: int, settings: Settings,
    copies: int,
) -> Tensor:  # fmt: skip
    """Scores of an image's cells: copy by copy, a hook and a backward pass."""
    baseline, kept = torch.ones_like(image), list[Tensor]()
    hook = module.register_forward_hook(lambda _, __, output: kept.append(output))
    total = torch.zeros(())
    try:
        for _ in range(copies):
            noisy = image + settings.noise * torch.randn_like(image)
            output = model(torch.stack([noisy, baseline]).to(bench.device))
            a = kept.pop()
            (gradient,) = torch.autograd.grad(output[0, target], a)
            total = total + (gradient[0] * (a[0] - a[1])).detach().mean(0).relu().cpu()
    finally:
        hook.remove()
    return total / copies


def _activations(bench: Bench, model: nn.Module, module: nn.Module, image: Tensor) -> Tensor:
    kept = list[Tensor]()
    hook = module.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        with torch.no_grad():
            model(image[None].to(bench.device))
    finally:
        hook.remove()
    return kept[0].cpu()


def _factorised(X: np.ndarray) -> None:
    from sklearn.decomposition import NMF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        NMF(NMF_OF, random_state=0).fit(X)


# ---------------------------------------------------------------- the audit


def audit(bench: Bench) -> Found:
    """Every class that is predicted, prediction tests with all nulls; the plain way from a sample."""
    settings, paths = _settings(bench), photographs(bench, many=True)
    paths = paths[:16] if bench.small else paths
    study = _study(bench, paths, settings)
    context = study.context()
    counts = {k: int(context.index.counting(k).sum()) for k in context.classes()}
    most = sorted(counts, key=lambda k: (-counts[k], k))[: 2 if bench.small else AUDITED]
    classes = sorted(most)
    study = _study(bench, paths, settings)
    prepare = _prepared(bench, study)
    with _counted() as passed:
        seconds, found = timed(bench, lambda: study.audit(classes))
    steps = dict(study.progress.seconds)
    explained = sum(one.n_images for one in found.classes)
    inside = sum(steps.get(name, 0.0) for name in ("images", "attribution", "activations"))
    nmf = steps["attribution and concepts"] - inside
    bench.tell(f"audit: {seconds:.1f} s, " + ", ".join(f"{k} {v:.2f}" for k, v in steps.items()))
    plain = _plain_audit(bench, context, len(paths), explained, len(classes))
    plain["prediction tests"] = sum(passed) * _plain_test(bench)
    return {
        "images": len(paths),
        "classes": len(found.classes),
        "explained": explained,
        "starts": settings.starts,
        "unexplained": sum(bool(one.problem) for one in found.classes),
        "prepare seconds": prepare,
        "seconds": seconds,
        "seconds by step": steps,
        "factorisation seconds": nmf,
        "test images": sum(passed),
        "images/s": {
            "index": len(paths) / steps["index"],
            "attribution": explained / steps["attribution"],
        },
        "plain": plain,
        "ratio": sum(plain.values()) / seconds,
    }


@contextmanager
def _counted() -> Iterator[list[int]]:
    """How many test images of crops pass the model meanwhile."""
    plain, found = stitching.scores_of_sets, list[int]()

    def counted(model: Any, sets: Sequence[Any], *others: Any, **more: Any) -> np.ndarray:
        found.append(len(sets))
        return plain(model, sets, *others, **more)

    stitching.scores_of_sets = counted
    try:
        yield found
    finally:
        stitching.scores_of_sets = plain


def _plain_test(bench: Bench) -> float:
    """Seconds of one test image by itself: crops cut and stacked, the model, and its answer."""
    model, images = moved(bench).model, inputs(bench, moved(bench).preprocessing, 6)
    half = bench.side // 2

    def one() -> None:
        stacked = torch.cat([image[:, :half, :half] for image in images], 1)
        with torch.no_grad():
            model(stacked[None].to(bench.device)).softmax(1).cpu()

    def several(count: int) -> None:
        for _ in range(count):
            one()

    count = 2 if bench.small else 32
    several(1)
    return timed(bench, lambda: several(count))[0] / count


def _plain_audit(bench: Bench, context: Any, pool: int, explained: int, classes: int) -> Found:
    """Seconds of the plain way, but for the tests."""
    per_class = max(1, explained // max(1, classes))
    plain = _plain(bench, int(context.classes()[0]), per_class, context.settings)
    model = moved(bench).model
    images = inputs(bench, moved(bench).preprocessing, 4 if bench.small else 32)

    def predicted() -> None:
        with torch.no_grad():
            for image in images:
                model(image[None].to(bench.device)).cpu()

    predicted()
    index = timed(bench, predicted)[0] / len(images) * pool
    concepts = np.random.default_rng(0).random((NMF_OF, context.split.shape[0])).astype(np.float32)

    def scanned() -> None:
        cells = np.asarray(context.index.cells, np.float32).reshape(-1, concepts.shape[1])
        np.argsort(-(cells @ concepts.T), axis=0)[:8]

    scan = timed(bench, scanned)[0]
    decoded = timed(bench, lambda: inputs(bench, moved(bench).preprocessing, len(images)))[0]
    return {
        "decode": decoded / len(images) * pool,
        "predictions": index,
        "attribution": plain["attribution"] / per_class * explained,
        "activations": plain["activations"] / per_class * explained,
        "concepts": plain["concepts"] * classes,
        "crops": scan * 2 * classes,
    }


# ---------------------------------------------------------------- hyperplanes


def all_pairs(bench: Bench) -> Found:
    """All pairs of 200 classes against the plain loop, which is timed on 16 pairs and extrapolated."""
    import hyperplanes as plainly

    classes, count, channels = (12, 60, 64) if bench.small else (200, 1000, 1024)
    cells = plainly._synthetic(classes, count, channels)
    pairs = list(itertools.combinations(range(classes), 2))
    sample = [pairs[i] for i in np.random.default_rng(0).choice(len(pairs), 16, replace=False)]
    bench.tell("hyperplanes: the cells are drawn")
    fit = partial(hyperplanes, cells, fitting=Fitting(held_out=0, device=bench.device))
    fit(pairs[: classes - 1]), plainly._plain(cells, sample[0], bench.device)  # warm up
    plain = [timed(bench, partial(plainly._plain, cells, pair, bench.device))[0] for pair in sample[:8]]
    seconds, found = timed(bench, lambda: fit(pairs))
    apart = []
    for row, pair in zip([pairs.index(pair) for pair in sample[8:]], sample[8:], strict=True):
        took, w = timed(bench, partial(plainly._plain, cells, pair, bench.device))
        plain.append(took)
        apart.append(float(np.abs(found.weights[row] - w).max()))
    work = 8.0 * count * channels * plainly.EPOCHS * len(pairs)
    return {
        "classes": classes,
        "pairs": len(pairs),
        "cells": count,
        "channels": channels,
        "seconds": seconds,
        "TFLOP": work / 1e12,
        "share of float32 peak": bench.share(work, seconds, "float32"),
        "plain seconds of a pair, median and fastest": [float(np.median(plain)), min(plain)],
        "plain seconds, extrapolated": float(np.median(plain)) * len(pairs),
        "ratio": float(np.median(plain)) * len(pairs) / seconds,
        "ratio to the fastest": min(plain) * len(pairs) / seconds,
        "largest difference of a weight": max(apart),
    }


# ---------------------------------------------------------------- drawing


def drawing(bench: Bench) -> Found:
    """Six pictures as spectra, and the trunk's forward and backward pass beside it."""
    from whyclass.visualise import optimise, parametrisations

    cut, preprocessing = _cut(bench), moved(bench).preprocessing
    steps, pictures = (3, 2) if bench.small else (256, 6)
    dtype = noisy_precision("auto", cut)
    trunk = smooth_trunk(cut, dtype)
    vectors = torch.rand(pictures, cut.shape[0], generator=torch.Generator().manual_seed(0))
    space = parametrisations.Fourier(preprocessing)
    draw = partial(optimise.draw, cut, vectors, space, preprocessing, trunk=trunk)
    draw(steps=2)
    seconds, found = timed(bench, lambda: draw(steps=steps))
    cosines = [float(one) for one in found.cosines]
    begun = [float(one) for one in draw(steps=1).cosines]
    plain = _forward_backward(bench, cut.trunk, pictures)
    work = pictures * steps * 2 * operations(lambda: cut.trunk(cut.example))
    return {
        "pictures": pictures,
        "steps": steps,
        "taken": named(trunk),
        "precision": _precision(dtype),
        "seconds": seconds,
        "steps/s": steps / seconds,
        "images/s": steps * pictures / seconds,
        "share of peak": bench.share(work, seconds, _peak_of(dtype)),
        "plain forward and backward, images/s": plain,
        "ratio": steps * pictures / seconds / plain,
        "mean cosine, begun and drawn": [float(np.mean(begun)), float(np.mean(cosines))],
        "problems": [one for one in found.problems if one],
    }


def _forward_backward(bench: Bench, trunk: Callable[[Tensor], Tensor], pictures: int) -> float:
    """Images a second of the model's own trunk, in the faster memory format."""
    rates: list[float] = []
    for form in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(pictures, 3, bench.side, bench.side, device=bench.device)
        images = images.contiguous(memory_format=form).requires_grad_()
        rounds = 1 if bench.small else 16
        call = partial(_gradients, trunk, images, rounds)
        call()
        rates.append(rounds * pictures / timed(bench, call)[0])
    return max(rates)


def _gradients(trunk: Callable[[Tensor], Tensor], images: Tensor, rounds: int) -> Sequence[Tensor]:
    return [torch.autograd.grad(trunk(images).mean(), images)[0] for _ in range(rounds)]
