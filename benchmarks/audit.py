"""The audit of every class: against the plain way, and how time and memory grow.

``plain`` times both ways on a sample of the work of an audit of ResNet-50, step by step in one run, then
extrapolates with the counts of the whole: every class that is predicted for an image of the pool. What an
audit kept in ``--store`` is used where it is there, the pass over the pool at least. The plain way is what
the paper describes: images one at a time in float32, Captum's ``NoiseTunnel(LayerDeepLift)`` on a copy with
separate ReLUs, one scikit-learn NMF for each class, one scan of the pool's cells for each class. It runs in
a process of its own, which gives freed blocks of memory back to the system, as PyTorch by itself does.

``growth`` audits pools of 1,000 to 4,000 pictures of the planted world, and 10 to 1,000 classes: the
planted network's trunk with a head that names the nearest of so many of its own pictures. Each run is a
process of its own, whose peak memory is measured.

``nulls`` audits the classes predicted most often without and with nulls, each from the passes over the pool
alone: of ResNet-50 and of the planted world.

    python benchmarks/audit.py plain --store runs/resnet50 --layers layer4.2
    python benchmarks/audit.py plain --store runs/resnet50 --layers layer3.5,layer4.2
    python benchmarks/audit.py nulls --store runs/resnet50 --layers layer4.2 --classes 4
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerDeepLift, NoiseTunnel
from explain import _floor, _separate_relus
from real_data import POOL, resnet50
from sklearn.decomposition import NMF
from torch import Tensor, nn

from whyclass.attribution import copies_together, enough_copies, smoothgrad
from whyclass.concepts import nmf
from whyclass.models.described import Loaded
from whyclass.models.fast_trunk import noisy_precision, shared_trunk
from whyclass.planted import demo, world
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Query
from whyclass.report.standings import standing
from whyclass.settings import AUTO, PRECISIONS, Settings
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.running_audit import decode
from whyclass.study.study import Study


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plain", "growth", "nulls", "one"])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--layers", default="layer4.2", help="of plain, with commas; of nulls one")
    parser.add_argument("--copies", default="20", help="ours, of plain: a number, or auto")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="ours, of plain")
    parser.add_argument("--side", default="both", choices=("both", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    {"plain": plain, "growth": growth, "nulls": nulls, "one": one}[options.what](options)


# ---------------------------------------------------------------- against the plain way


@dataclass(frozen=True)
class Step:
    """A step of the audit on a sample: the plain way and ours, with what makes the whole of its seconds."""

    name: str
    plain: Callable[[], Any]
    plain_times: float
    ours: Callable[[], Any]
    ours_times: float
    sample: str


UNTOUCHED = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}
"""A default, which has whyclass leave memory as the plain way would find it."""


def plain(options: argparse.Namespace) -> None:
    """Both ways; the plain one in a process of its own, which does not keep freed blocks of memory."""
    steps = _steps(options)
    if options.side == "plain":
        print(json.dumps({step.name: _timed(step.plain) * step.plain_times for step in steps}))
        return
    fast = {step.name: _timed(step.ours) * step.ours_times for step in steps}
    again = [*sys.argv[1:], "--side", "plain"]
    ran = subprocess.run(
        [sys.executable, __file__, *again], env=os.environ | UNTOUCHED, stdout=subprocess.PIPE, check=True
    )
    slow = json.loads(ran.stdout.splitlines()[-1])
    print(f"{'step':34s}{'plain':>10s}{'whyclass':>12s}{'ratio':>8s}   sample")
    for step in steps:
        _told(step.name, slow[step.name], fast[step.name], step.sample)
    _told("together", sum(slow.values()), sum(fast.values()), "extrapolated")


def _told(name: str, slow: float, fast: float, note: str) -> None:
    print(f"{name:34s}{slow:8.0f} s{fast:10.0f} s{slow / fast:7.1f}x   {note}")


def _steps(options: argparse.Namespace) -> list[Step]:
    loaded, layers = resnet50(), options.layers.split(",")
    copies = options.copies if options.copies == AUTO else int(options.copies)
    settings = Settings(copies=copies, precision=options.precision)
    studies = [Study(loaded, layer, list(POOL), options.store, settings) for layer in layers]
    for study in studies:
        decode(study)
    scene = studies[0].context()
    every = [evidence_of(scene, target) for target in scene.classes()]
    classes, images, pool = len(every), sum(len(own.chosen) for own in every), int(scene.index.usable.sum())
    print(f"{pool} images, {images} explained, {classes} classes; {torch.get_num_threads()} threads")
    some = [own.target for own in every[:: max(1, classes // 20)]]
    sample = next(own.target for own in every if len(own.chosen) >= 20)
    own = {study.split.layer: [evidence_of(study.context(), k) for k in some] for study in studies}
    steps = [_predictions(studies, pool), _attribution(studies, sample, own, images)]
    steps.append(_clean(studies, sample, images))
    for study in studies:
        print(_floor(study.loaded.model, study.split.layer, images), flush=True)
        steps += [_nmf(own[study.split.layer], classes), _scan(study, own[study.split.layer], classes)]
    return [*steps, _tests(studies, classes)]


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _predictions(studies: Sequence[Study], pool: int) -> Step:
    """The plain way has the cells of all layers from one pass, an audit passes the pool for each layer."""
    scene, model = studies[0].context(), studies[0].loaded.model
    images = torch.stack([sample.tensor for sample in scene.read(range(64))])
    trunks = [study.trunk(torch.float32) for study in studies]

    def ours() -> None:
        with torch.no_grad():
            for study, trunk in zip(studies, trunks, strict=True):
                for block in images.split(32):
                    study.split.head(trunk(block), block)

    def theirs() -> None:
        with torch.no_grad():
            for image in images[:24]:
                model(image[None])

    ours()
    theirs()
    return Step("predictions", theirs, pool / 24, ours, pool / 64, "24 and 64 images")


def _attribution(
    studies: Sequence[Study], sample: int, some: dict[str, list[ClassEvidence]], images: int
) -> Step:
    """At all layers: one after the other the plain way, in one pass of noisy copies ours.

    The plain way takes images one at a time, of whichever class; ours some whole classes of all sizes, with
    what is prepared for each.
    """
    own = evidence_of(studies[0].context(), sample)
    separate, baseline = _separate_relus(studies[0].loaded.model), torch.ones(1, 3, 224, 224)
    methods = [
        NoiseTunnel(LayerDeepLift(separate, separate.get_submodule(study.split.layer))) for study in studies
    ]

    def attribute(image: Tensor, copies: int) -> None:
        for method in methods:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                method.attribute(
                    image[None],
                    baselines=baseline,
                    nt_type="smoothgrad",
                    nt_samples=copies,
                    nt_samples_batch_size=1,
                    stdevs=0.25,
                    target=sample,
                )

    def theirs() -> None:
        for image in own.images[:4]:
            attribute(image, 20)

    settings, splits = studies[0].settings, [study.split for study in studies]
    dtype = noisy_precision(settings.precision, splits[0])
    trunks = [study.trunk(dtype) for study in studies]
    at_a_time = enough_copies.together(settings, splits[0].together(copies_together.BATCH))
    shared = shared_trunk(splits, trunks, dtype, at_a_time) if len(studies) > 1 else None
    together = shared or (lambda copies: [trunk(copies) for trunk in trunks])
    given = [first.given for first in some[splits[0].layer]]  # read before the clock starts

    def ours() -> None:
        for number, images_of_class in enumerate(given):
            asked = [smoothgrad.Asked(split, some[split.layer][number].question()) for split in splits]
            enough_copies.at_layers(asked, together, images_of_class, settings)

    attribute(own.images[0], 2)
    timed, way = sum(map(len, given)), "shared" if shared else "one by one"
    note = f"4 and {timed} images, {len(given)} classes ({way}, {dtype})"
    return Step("attribution", theirs, images / 4, ours, images / timed, note)


def _clean(studies: Sequence[Study], target: int, images: int) -> Step:
    """The plain way has the activations of all layers from one pass to the deepest, which comes last."""
    given = evidence_of(studies[0].context(), target).images[:32]

    def theirs() -> None:
        with torch.no_grad():
            for image in given[:20]:
                studies[-1].split.trunk(image[None])

    def ours() -> None:
        for study in studies:
            study.context().activations(given)

    few, many = len(given[:20]), len(given)
    return Step("clean activations", theirs, images / few, ours, images / many, f"{few} and {many} images")


def _nmf(chosen: list[ClassEvidence], classes: int) -> Step:
    """Both ways, on classes of all sizes."""
    matrices = [(own.activations, own.evidence.scores) for own in chosen]
    settings, layer = chosen[0].context.settings, chosen[0].context.split.layer

    def theirs() -> None:
        for activations, scores in matrices:
            X = (activations * scores[:, None]).transpose(0, 2, 3, 1).reshape(-1, activations.shape[1])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                NMF(6, random_state=0).fit(X)

    def ours() -> None:
        for activations, scores in matrices:
            nmf.factorise(activations, scores, settings)

    times, note = classes / len(chosen), f"{len(chosen)} classes; 1 and {settings.starts} starts"
    return Step(f"{layer}: factorisations", theirs, times, ours, times, note)


def _scan(study: Study, chosen: list[ClassEvidence], classes: int) -> Step:
    index = study.index()
    vectors = [own.factors.concepts for own in chosen]

    def theirs() -> None:
        for own in vectors[:4]:
            cells = np.asarray(index.cells, np.float32).reshape(-1, own.shape[1])
            np.argsort(-(cells @ own.T), axis=0)[:8]

    def ours() -> None:
        nearest_crops.nearest(index, queries, 8)

    queries = [Query(own, {"all": index.usable, "other": index.usable}) for own in vectors]
    twice = classes / 4 * 2  # over the whole pool, and without the class's images
    note = f"4 and {len(queries)} classes, whole pool"
    return Step(f"{study.split.layer}: crops", theirs, twice, ours, classes / len(queries), note)


def _tests(studies: Sequence[Study], classes: int) -> Step:
    sides = [6 * (224 // study.index().grid[0]) for study in studies]
    images, model = [torch.randn(1, 3, side, side // 6) for side in sides], studies[0].loaded.model

    def both() -> None:
        with torch.no_grad():
            for image in images * 20:
                model(image)

    both()
    times, note = classes / 20 * 2, "20 stitched images of each layer, the same both ways"
    return Step("prediction tests", both, times, both, times, note)


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
        _with_nulls(resnet, options.layers, list(POOL), kept, options.classes)
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
