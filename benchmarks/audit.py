"""The audit of every class: against the plain way, and how time and memory grow.

``plain`` times both ways on a sample of the work of an audit of ResNet-50, step by step in one run, then
extrapolates with the counts of the whole: every class that is predicted for an image of the pool. What an
audit kept in ``--store`` is used where it is there, the pass over the pool at least. The plain way is what
the paper describes: images one at a time in float32, Captum's ``NoiseTunnel(LayerDeepLift)`` on a copy with
separate ReLUs, one scikit-learn NMF for each class, one scan of the pool's cells for each class.

``growth`` audits pools of 1,000 to 4,000 pictures of the planted world, and 10 to 1,000 classes: the
planted network's trunk with a head that names the nearest of so many of its own pictures. Each run is a
process of its own, whose peak memory is measured.

``nulls`` audits the classes predicted most often without and with nulls, each from the passes over the pool
alone: of ResNet-50 and of the planted world.

    python benchmarks/audit.py plain --store runs/resnet50 --layer layer4.2
    python benchmarks/audit.py nulls --store runs/resnet50 --layer layer4.2 --classes 4
    python benchmarks/audit.py growth --plot docs/growth.svg
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerDeepLift, NoiseTunnel
from explain import _floor, _separate_relus
from real_data import POOL, resnet50
from sklearn.decomposition import NMF
from torch import Tensor, nn

from whyclass.attribution import smoothgrad
from whyclass.concepts import nmf
from whyclass.models.described import Loaded
from whyclass.models.fast_trunk import noisy_precision
from whyclass.models.tasks import logit
from whyclass.planted import demo, world
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Query
from whyclass.report.standings import standing
from whyclass.settings import Settings
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.running_audit import decode
from whyclass.study.study import Study


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plain", "growth", "nulls", "one"])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    {"plain": plain, "growth": growth, "nulls": nulls, "one": one}[options.what](options)


# ---------------------------------------------------------------- against the plain way


def plain(options: argparse.Namespace) -> None:
    loaded = resnet50()
    study = Study(loaded, options.layer, list(POOL), options.store)
    decode(study)
    scene = study.context()
    every = [evidence_of(scene, target) for target in scene.classes()]
    classes, images, pool = len(every), sum(len(own.chosen) for own in every), int(scene.index.usable.sum())
    print(f"{pool} images, {images} explained, {classes} classes; {torch.get_num_threads()} threads")
    print(_floor(study.loaded.model, options.layer, images), flush=True)
    sample = [own for own in every if len(own.chosen) >= 5]
    some = every[:: max(1, classes // 20)]
    rows = [_predictions(study, pool), *_attribution(study, sample, images), _nmf(some, classes)]
    rows += [_scan(study, some, classes), _tests(study, classes)]
    print(f"{'step':24s}{'plain':>12s}{'whyclass':>12s}{'ratio':>8s}   sample")
    for name, slow, fast, note in rows:
        print(f"{name:24s}{slow:10.0f} s{fast:10.0f} s{slow / fast:7.1f}x   {note}")
    slow, fast = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{'together':24s}{slow:10.0f} s{fast:10.0f} s{slow / fast:7.1f}x   extrapolated")


Measured = tuple[str, float, float, str]
"""Step, seconds of the plain way and of ours for the whole audit, and what was timed."""


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _predictions(study: Study, pool: int) -> Measured:
    scene, model = study.context(), study.loaded.model
    images = torch.stack([sample.tensor for sample in scene.read(range(64))])
    trunk = study.trunk(torch.float32)

    def ours() -> None:
        with torch.no_grad():
            for block in images.split(32):
                study.split.head(trunk(block), block)

    def theirs() -> None:
        with torch.no_grad():
            for image in images[:24]:
                model(image[None])

    ours()
    return "predictions", _timed(theirs) / 24 * pool, _timed(ours) / 64 * pool, "24 and 64 images"


def _attribution(study: Study, sample: list[ClassEvidence], images: int) -> list[Measured]:
    own = sample[0]
    separate = _separate_relus(study.loaded.model)
    module = separate.get_submodule(study.split.layer)
    method, baseline = NoiseTunnel(LayerDeepLift(separate, module)), torch.ones(1, 3, 224, 224)

    def theirs() -> None:
        for image in own.images[:3]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                method.attribute(
                    image[None],
                    baselines=baseline,
                    nt_type="smoothgrad",
                    nt_samples=20,
                    nt_samples_batch_size=1,
                    stdevs=0.25,
                    target=own.target,
                )

    def clean() -> None:
        with torch.no_grad():
            for image in own.images[:20]:
                study.split.trunk(image[None])

    noisy = study.trunk(noisy_precision(study.settings.precision, study.split))
    given = [(s.tensor, study.pool.items[p].digest) for s, p in zip(own.samples, own.chosen, strict=True)]
    prepared = smoothgrad.prepare(study.split, baseline, logit(own.target))
    question = smoothgrad.Question(own.target, prepared)

    def ours() -> None:
        smoothgrad.smoothgrad(study.split, noisy, given[:5], question, study.settings)

    slow, fast = _timed(theirs) / 3 * images, _timed(ours) / 5 * images
    many = min(32, len(own.images))
    rows: list[Measured] = [("attribution", slow, fast, "3 and 5 images of 20 copies")]
    fast_clean = _timed(lambda: study.context().activations(own.images[:many])) / many * images
    rows.append(("clean activations", _timed(clean) / 20 * images, fast_clean, f"20 and {many} images"))
    return rows


def _nmf(chosen: list[ClassEvidence], classes: int) -> Measured:
    """Both ways, on classes of all sizes."""
    matrices = [(own.activations, own.evidence.scores) for own in chosen]

    def theirs() -> None:
        for activations, scores in matrices:
            X = (activations * scores[:, None]).transpose(0, 2, 3, 1).reshape(-1, activations.shape[1])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                NMF(6, random_state=0).fit(X)

    def ours() -> None:
        for activations, scores in matrices:
            nmf.factorise(activations, scores, chosen[0].context.settings)

    scale = classes / len(chosen)
    return (
        "factorisations",
        _timed(theirs) * scale,
        _timed(ours) * scale,
        f"{len(chosen)} classes; 1 and 8 starts",
    )


def _scan(study: Study, chosen: list[ClassEvidence], classes: int) -> Measured:
    index = study.index()
    vectors = [own.factors.concepts for own in chosen]

    def theirs() -> None:
        for own in vectors[:4]:
            cells = np.asarray(index.cells, np.float32).reshape(-1, own.shape[1])
            np.argsort(-(cells @ own.T), axis=0)[:8]

    queries = [Query(own, {"all": index.usable, "other": index.usable}) for own in vectors]
    slow = _timed(theirs) / 4 * classes * 2  # over the whole pool, and without the class's images
    fast = _timed(lambda: nearest_crops.nearest(index, queries, 8)) / len(queries) * classes
    return "crops", slow, fast, f"4 and {len(queries)} classes, whole pool"


def _tests(study: Study, classes: int) -> Measured:
    side = 6 * (224 // study.index().grid[0])
    image, model = torch.randn(1, 3, side, side // 6), study.loaded.model

    def both() -> None:
        with torch.no_grad():
            for _ in range(20):
                model(image)

    both()
    seconds = _timed(both) / 20 * 2 * classes
    return "prediction tests", seconds, seconds, "20 stitched images, the same both ways"


# ---------------------------------------------------------------- growth


class Prototypes(nn.Module):
    """The planted network's trunk with a head that names the nearest of some prototypes."""

    def __init__(self, net: nn.Module, pictures: Tensor) -> None:
        super().__init__()
        self.net = net
        with torch.no_grad():
            features = self._pooled(self._features(pictures))
            features = features / features.norm(dim=1, keepdim=True)
        self.head = nn.Linear(features.shape[1], len(features))
        self.head.weight.data = 20 * features / features.std()
        self.head.bias.data.zero_()

    def _features(self, images: Tensor) -> Tensor:
        x = images
        for name, part in self.net.named_children():
            x = part(x)
            if name == world.LAYER:
                return x
        raise AssertionError(world.LAYER)

    @staticmethod
    def _pooled(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        pooled = self._pooled(self._features(images))
        return self.head(pooled / pooled.norm(dim=1, keepdim=True))


def one(options: argparse.Namespace) -> None:
    """One audit, in a process of its own; prints what it cost."""
    planted = demo.loaded()
    study_pool = sorted(options.store.glob("pool/*/*.png"))[: options.images]
    with torch.no_grad():
        from PIL import Image

        step = max(1, len(study_pool) // options.classes)
        chosen = study_pool[::step][: options.classes]
        preprocessing = planted.preprocessing
        pictures = torch.stack([preprocessing.tensor(preprocessing.pixels(Image.open(p))) for p in chosen])
        model = Prototypes(planted.model, pictures).eval()
    loaded = Loaded("prototypes", model, preprocessing)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        settings = Settings(images=10, copies=4, starts=2)
        study = Study(loaded, f"net.{world.LAYER}", study_pool, folder, settings)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = study.audit()
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {
        "images": options.images,
        "classes": len(found.classes),
        "explained": sum(c.n_images for c in found.classes),
        "seconds": seconds,
        "peak": peak,
        "before": before,
        "steps": study.progress.seconds,
    }
    print(json.dumps(told))


def growth(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world.write_pool(Path(folder) / "pool", 4000 // len(world.CLASSES) + 1, 0)
        by_pool = [_one(folder, images, 10) for images in (1000, 2000, 4000)]
        by_class = [_one(folder, 4000, classes) for classes in (10, 100, 1000)]
    for name, rows in (("pool", by_pool), ("classes", by_class)):
        for row in rows:
            steps = ", ".join(f"{step} {value:.1f}" for step, value in row["steps"].items() if value > 0.5)
            print(
                f"{name}: {row['images']} images, {row['classes']} classes, {row['explained']} explained: "
                f"{row['seconds']:.1f} s, peak {row['peak']:.0f} MiB ({row['before']:.0f} before); {steps}"
            )
    if options.plot:
        options.plot.write_text(_plot(by_pool, by_class))


def _one(folder: str, images: int, classes: int) -> dict[str, Any]:
    arguments = ["one", "--store", folder, "--images", str(images), "--classes", str(classes)]
    ran = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def nulls(options: argparse.Namespace) -> None:
    """Seconds of an audit without and with nulls."""
    resnet = resnet50()
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.store or Path(scratch) / "kept"
        _with_nulls(resnet, options.layer, list(POOL), kept, options.classes)
        pool = world.write_pool(Path(scratch) / "pool", 60)
        _with_nulls(demo.loaded(), world.LAYER, pool, Path(scratch) / "planted", options.classes)


def _with_nulls(loaded: Loaded, layer: str, pool: Any, kept: Path, count: int) -> None:
    context = Study(loaded, layer, pool, kept, progress=False).context()
    often = sorted(context.classes(), key=lambda k: -int(context.index.counting(k).sum()))[:count]
    seconds = {}
    for asked in (0, 3):
        with tempfile.TemporaryDirectory() as scratch:
            store = Path(scratch) / "store"
            shutil.copytree(kept / "index", store / "index", copy_function=os.link)
            shutil.copy(kept / "whyclass.json", store)
            study = Study(loaded, layer, pool, store, Settings(audit_nulls=asked), progress=False)
            decode(study)
            started, busy = time.perf_counter(), time.process_time()
            found = study.audit(classes=often)
            seconds[asked] = time.perf_counter() - started
            busy = time.process_time() - busy
            levels = [standing(one) for one in found.classes]
            took = f"{seconds[asked]:.1f} s, {busy:.1f} s of processors"
            print(f"{loaded.name}, {len(often)} classes, {asked} nulls: {took}, {levels}", flush=True)
    print(f"  {seconds[3] / seconds[0]:.2f} times")


def _plot(by_pool: list[dict[str, Any]], by_class: list[dict[str, Any]]) -> str:
    """Four small curves: seconds and MiB against images of the pool and against classes."""
    parts = []
    panels = [
        ("images in the pool", "seconds", [(r["images"], r["seconds"]) for r in by_pool]),
        ("images in the pool", "peak MiB", [(r["images"], r["peak"]) for r in by_pool]),
        ("images explained", "seconds", [(r["explained"], r["seconds"]) for r in by_class]),
        ("classes", "peak MiB", [(r["classes"], r["peak"]) for r in by_class]),
    ]
    for number, (across, up, points) in enumerate(panels):
        left, top = 40 + 320 * (number % 2), 20 + 230 * (number // 2)
        right, highest = max(x for x, _ in points), max(y for _, y in points)
        dots = [(left + 250 * x / right, top + 160 * (1 - y / highest)) for x, y in points]
        parts.append(f'<path d="M{left} {top}V{top + 160}H{left + 260}" fill="none" stroke="#888"/>')
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#14558f" stroke-width="2"/>')
        for row, ((x, y), (value, height)) in enumerate(zip(dots, points, strict=True)):
            beside = 16 if row == 1 else -7  # the one in the middle below, since two may lie close together
            anchor = "start" if row < 2 else "end"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#14558f"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{y + beside:.1f}" text-anchor="{anchor}">{height:,.0f}</text>'
            )
            if row != 0 or x - left > 30:
                parts.append(f'<text x="{x:.1f}" y="{top + 175}" text-anchor="{anchor}">{value:,}</text>')
        parts.append(f'<text x="{left}" y="{top - 6}">{up}</text>')
        parts.append(f'<text x="{left + 260}" y="{top + 192}" text-anchor="end">{across}</text>')
    style = "<style>text{font:12px sans-serif;fill:#333}</style><rect width='660' height='470' fill='#fff'/>"
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 470">{style}\n{body}\n</svg>\n'


if __name__ == "__main__":
    main()
