"""Explaining one class of ResNet-50 against the plain way, on the same images, in one run.

The plain way is what the paper's authors describe: Captum's ``NoiseTunnel(LayerDeepLift)``, one image at
a time in float32, on a copy of the model whose ReLUs were made separate (Captum cannot run on the
stock model), then scikit-learn's NMF. Both ways time attribution, clean activations and NMF.

    python benchmarks/explain.py --layer layer4.2 --layer layer3.5

With ``--worth`` it times the whole of `Study.explain` instead, without and with all that says what an
explanation is worth, on all photographs of two folders, whose pass is made once (or taken from ``--store``).

    python benchmarks/explain.py --layer layer4.2 --worth
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerDeepLift, NoiseTunnel
from real_data import POOL, SHARED, resnet50
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import Bottleneck

import whyclass
from whyclass.attribution import smoothgrad
from whyclass.concepts import nmf as concepts_nmf
from whyclass.models import described
from whyclass.models.fast_trunk import fast_trunk, noisy_precision
from whyclass.models.split import split
from whyclass.models.tasks import logit
from whyclass.pool import images as pool_images
from whyclass.report.verdict import verdict

TARGET = 217  # English springer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", action="append")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--skip-plain", action="store_true")
    parser.add_argument("--worth", action="store_true")
    parser.add_argument("--store", type=Path, help="with --worth: a store that may hold the pass already")
    options = parser.parse_args()
    loaded = resnet50()
    if options.worth:
        for layer in options.layer or ["layer4.2"]:
            _worth(loaded, layer, options)
        return
    images = _images(loaded, options.images)
    print(f"{len(images)} images, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for layer in options.layer or ["layer4.2", "layer3.5"]:
        _compare(loaded.model, layer, images, plain=not options.skip_plain)


BEFORE: dict[str, Any] = {"null_cells": 0, "null_scores": 0, "fillings": 0, "refits": 0}

WAYS: dict[str, dict[str, Any]] = {
    "20 random crops": {**BEFORE, "null_crops": 20},
    "199 random crops": BEFORE,
    "all nulls": {},
}
"""Settings of the ways to be timed: as before there were nulls, with more random crops, and the default."""


def _worth(loaded: described.Loaded, layer: str, options: argparse.Namespace) -> None:
    """Seconds of an explanation without and with nulls, each from the pass over the pool alone."""
    folders = list(POOL)
    with tempfile.TemporaryDirectory() as scratch:
        indexed = options.store or Path(scratch) / "indexed"
        clock = _Clock()
        study = whyclass.Study(loaded, layer, folders, indexed, progress=False)
        size = len(study.context().index.items)
        clock("pass over the pool")
        print(f"\n{layer}: {size} photographs, {torch.get_num_threads()} threads, torch {torch.__version__}")
        print(f"  pass over the pool, kept or made: {clock.seconds['pass over the pool']:.1f} s")
        for name, changes in WAYS.items():
            store = Path(scratch) / name
            shutil.copytree(indexed / "index", store / "index", copy_function=os.link)
            shutil.copy(indexed / "whyclass.json", store)
            settings = whyclass.Settings(images=options.images, **changes)
            fresh = whyclass.Study(loaded, layer, folders, store, settings, progress=False)
            fresh.context()
            before, busy = time.perf_counter(), time.process_time()
            found = fresh.explain(TARGET)
            seconds, busy = time.perf_counter() - before, time.process_time() - busy
            took = f"{seconds:6.1f} s, {busy:6.1f} s of processors"
            print(f"  {name:17s} {took}  {found.n_images} images, {verdict(found).level}", flush=True)


def _compare(model: nn.Module, layer: str, images: list[tuple[Tensor, str]], plain: bool) -> None:
    ours = {precision: _ours(model, layer, images, precision) for precision in ("auto", "float32")}
    print(f"\n{layer}: {_floor(model, layer, len(images))}")
    for precision, (seconds, found) in ours.items():
        steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
        cosines = _matched(found, ours["float32"][1])
        print(
            f"  whyclass {precision:8s} {sum(seconds.values()):6.1f} s ({steps}); "
            f"concepts' cosine to float32: least {min(cosines):.4f}"
        )
    if plain:
        seconds, found = _plain(model, layer, images)
        steps = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
        total, fast = sum(seconds.values()), sum(ours["auto"][0].values())
        cosines = _matched(ours["auto"][1], found)
        print(f"  plain             {total:6.1f} s ({steps}); ratio {total / fast:.1f}x")
        print(f"  concepts' cosine of whyclass auto to plain (other noise): {np.round(sorted(cosines), 3)}")


def _ours(
    model: nn.Module, layer: str, images: list[tuple[Tensor, str]], precision: str
) -> tuple[dict[str, float], np.ndarray]:
    settings = whyclass.Settings(precision=precision)
    clock = _Clock()
    cut = split(model, layer, torch.randn(1, 3, 224, 224))
    noisy, clean = fast_trunk(cut, noisy_precision(precision, cut)), fast_trunk(cut, torch.float32)
    clock("prepare")
    baseline = smoothgrad.prepare(cut, torch.ones(1, 3, 224, 224), logit(TARGET))
    scores = smoothgrad.smoothgrad(cut, noisy, images, smoothgrad.Question(TARGET, baseline), settings)
    clock("attribution")
    with torch.no_grad():
        blocks = torch.stack([image for image, _ in images]).split(32)
        activations = np.concatenate([clean(block).numpy() for block in blocks])
    clock("clean")
    found = concepts_nmf.factorise(activations, scores.cells, settings)
    clock("nmf")
    return clock.seconds, found.concepts


def _plain(
    model: nn.Module, layer: str, images: list[tuple[Tensor, str]]
) -> tuple[dict[str, float], np.ndarray]:
    clock = _Clock()
    separate = _separate_relus(model)
    module = separate.get_submodule(layer)
    method = NoiseTunnel(LayerDeepLift(separate, module))
    baseline = torch.ones(1, 3, 224, 224)
    torch.manual_seed(0)
    rows = []
    for image, _ in images:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = method.attribute(
                image[None],
                baselines=baseline,
                nt_type="smoothgrad",
                nt_samples=20,
                nt_samples_batch_size=1,
                stdevs=0.25,
                target=TARGET,
            )
        rows.append(found.detach().mean(1).relu())
    clock("attribution")
    cut = split(separate, layer, baseline)
    with torch.no_grad():
        activations = torch.cat([cut.trunk(image[None]) for image, _ in images])
    clock("clean")
    scaled = activations * torch.cat(rows)[:, None]
    X = scaled.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nmf = NMF(6, random_state=0).fit(X)
    clock("nmf")
    return clock.seconds, nmf.components_


def _separate_relus(model: nn.Module) -> nn.Module:
    """A copy with a ReLU module for each call, as Captum needs."""
    import copy

    def forward(self: Bottleneck, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        return self.relu3(out + (x if self.downsample is None else self.downsample(x)))

    own = copy.deepcopy(model)
    for block in own.modules():
        if isinstance(block, Bottleneck):
            block.relu1, block.relu2, block.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
            block.forward = types.MethodType(forward, block)
    return own


def _floor(model: nn.Module, layer: str, count: int) -> str:
    """Operations that must be done, and their time at this machine's measured matrix-product peaks."""
    cut = split(model, layer, torch.randn(1, 3, 224, 224))
    one = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        whole, trunk = _flops(lambda: model(one)), _flops(lambda: cut.trunk(one))
    head = 2 * (whole - trunk)  # forward, and backward to the layer
    noisy = noisy_precision("auto", cut)  # a processor without bfloat16 units would take minutes for its peak
    single = _peak(torch.float32)
    half = single if noisy is torch.float32 else _peak(noisy)
    seconds = count * (20 * trunk / half + 20 * head / single + trunk / single)
    return (
        f"per image 20 x ({trunk / 1e9:.2f} GFLOP trunk + {head / 1e9:.2f} GFLOP head); "
        f"peaks {single / 1e9:.0f} GFLOP/s float32, {half / 1e9:.0f} GFLOP/s {noisy} for the noisy copies; "
        f"floor {seconds:.1f} s without NMF"
    )


def _flops(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def _peak(dtype: torch.dtype) -> float:
    matrix = torch.randn(4096, 4096).to(dtype)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * 4096**3 / best


def _matched(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Cosines of concepts after the best assignment."""
    cosine = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    rows, columns = linear_sum_assignment(-cosine)
    return [float(value) for value in cosine[rows, columns]]


def _images(loaded: described.Loaded, count: int) -> list[tuple[Tensor, str]]:
    pool = pool_images.pool(SHARED / "imagenette/val/n02102040")
    samples = [pool.sample(position, loaded.preprocessing) for position in range(count)]
    return [(sample.tensor, item.digest) for sample, item in zip(samples, pool.items, strict=False)]


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


if __name__ == "__main__":
    main()
