"""An audit on paper: what each stage reads, writes and computes, from the settings and the layers' shapes.

Operations of the net are counted (``FlopCounterMode``; a multiplication and an addition are two), those of
factorisations and of the search follow from the sizes of their matrices. How fast a machine does them is
either measured here (``measure``) or the data sheet's peak times a share that is assumed, and said.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from gpu_common import operations

from whyclass.grid import pooled_shape
from whyclass.models import loading
from whyclass.models.setup import example_of
from whyclass.models.split import Split, split
from whyclass.models.tasks import logit
from whyclass.planted import demo, world
from whyclass.progress import Progress
from whyclass.settings import Settings
from whyclass.study import comparisons
from whyclass.study.study import Study

LAYERS = ("layer3.5", "layer4.2")

FILE_KB = 110.0
"""Assumed: of a photograph as it lies in ImageNet."""

NMF_ROUNDS = 200
"""Assumed of each start, which may take ``iterations``; refits and nulls are held to so many."""


@dataclass(frozen=True)
class Net:
    """Operations of one image: through the whole net, to each layer, and an attribution from there."""

    whole: float
    trunks: tuple[float, ...]
    heads: tuple[float, ...]
    shapes: tuple[tuple[int, int, int], ...]
    side: int


@dataclass(frozen=True)
class Stage:
    """What a stage of an audit does in all."""

    name: str
    kind: str
    operations: float = 0.0
    read: float = 0.0
    written: float = 0.0
    images: float = 0.0


@dataclass(frozen=True)
class Machine:
    """How much of each kind of work is done in a second.

    Attributes
    ----------
    rates
        Operations by kind of stage.
    decoded
        Images.
    disk
        Bytes read or written.
    """

    name: str
    rates: dict[str, float]
    decoded: float
    disk: float


# ---------------------------------------------------------------- counting


@cache
def resnet50() -> Net:
    """ResNet-50 at 224 pixels, with random weights: operations do not depend on them."""
    from whyclass.attribution import methods, smoothgrad

    torch.manual_seed(0)
    loaded = loading.load("torchvision:resnet50", pretrained=False, resize=224, crop=224)
    example = example_of(loaded)
    cuts = [split(loaded.model, layer, example) for layer in LAYERS]

    def backward(cut: Split) -> float:
        baseline = smoothgrad.prepare(cut, torch.zeros_like(cut.example), logit(0))
        with torch.no_grad():
            activations = cut.trunk(cut.example + 0.1)
        own = methods.METHODS["deeplift"]
        return _counted(lambda: own(cut, activations, cut.example, baseline, logit(0)))

    return Net(
        whole=operations(lambda: loaded.model(example)),
        trunks=tuple(operations(lambda c=cut: c.trunk(c.example)) for cut in cuts),  # type: ignore[misc]
        heads=tuple(backward(cut) for cut in cuts),
        shapes=tuple(cut.shape for cut in cuts),
        side=224,
    )


def _counted(call: Callable[[], Any]) -> float:
    """As ``operations``, of what needs gradients."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def directions(settings: Settings) -> int:
    """Of each class, that are searched for in the pool: its own, and what they are compared with."""
    counts = comparisons.of_audit(settings)
    sets = 1 + counts.cells + counts.scores + 2 * counts.refits
    return sets * settings.concepts + counts.directions


@cache
def tested() -> tuple[float, float]:
    """Images of full size that pass the whole net for the tests of one class, and its records' bytes.

    Counted on the planted world with default settings: of four classes what two of them do not take already.
    """
    (few, some), (more, several) = _tested(("owl", "hawk")), _tested(("owl", "hawk", "bee", "snail"))
    return (more - few) / 2, (several - some) / 2


def _tested(classes: Sequence[str]) -> tuple[float, float]:
    counted, counting = [0.0], [False]

    class Steps(Progress):
        @contextmanager
        def step(
            self, name: str, total: int | None = None, unit: str = "images"
        ) -> Iterator[Callable[[int], None]]:
            with super().step(name, total, unit) as advance:
                before, counting[0] = counting[0], counting[0] or name == "prediction tests"
                yield advance
                counting[0] = before

    def count(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        n, _, h, w = given[0].shape
        counted[0] += n * h * w / 12**2 if counting[0] else 0.0

    loaded = demo.loaded()
    last: Any = loaded.model.get_submodule("stage4")
    with tempfile.TemporaryDirectory() as folder, last.register_forward_pre_hook(count):
        pool, store = world.write_pool(Path(folder) / "pool", 12), Path(folder) / "store"
        settings = Settings(copies=1, starts=1, iterations=50)  # which change no test
        Study(loaded, world.LAYER, pool, store, settings, progress=Steps()).audit(classes)
        kept = [file for kind in RECORDS for file in (store / kind).glob("*")]
        return counted[0], float(sum(file.stat().st_size for file in kept))


RECORDS = ("evidence", "factors", "comparisons", "findings")
"""Kinds that an audit keeps of each class."""


def stages(images: int, classes: int, settings: Settings, net: Net) -> Iterator[Stage]:
    """An audit of all classes at all layers, in its order."""
    chosen = classes * min(settings.images, images / classes)
    pixels = net.side**2 * 3
    yield Stage("list and hash files", "disk", read=images * FILE_KB * 1e3)
    yield Stage(
        "decode", "decode", read=images * FILE_KB * 1e3, written=images * pixels, images=float(images)
    )
    rows = [(math.prod(pooled_shape(*shape[1:], settings.pool)), shape[0]) for shape in net.shapes]
    yield Stage(
        "passes over the pool, one a layer",
        "net",
        operations=len(rows) * images * net.whole,
        read=len(rows) * images * pixels,
        written=sum(images * (cells * channels * 2 + classes * 4) for cells, channels in rows),
    )
    deepest = max(net.trunks)
    copies = chosen * int(settings.copies)
    yield Stage(
        "attribution, layers together",
        "attribution",
        operations=copies * (deepest + sum(net.heads)) + chosen * sum(net.trunks),
        read=chosen * pixels,
        written=0.0,
    )
    counts = comparisons.of_audit(settings)
    starts = settings.starts + counts.scores + counts.refits  # two halves are as many cells as one whole
    cells = [math.prod(shape) for shape in net.shapes]
    yield Stage(
        "factorisations",
        "nmf",
        operations=sum(4 * chosen * own * settings.concepts * NMF_ROUNDS * starts for own in cells),
    )
    yield Stage(
        "search for crops",
        "search",
        operations=sum(2 * images * own * channels for own, channels in rows)
        * classes
        * directions(settings),
        read=sum(images * own * channels * 2 for own, channels in rows),
    )
    passed, kept = tested()
    yield Stage(
        "prediction tests, nulls, contributions",
        "net",
        operations=len(rows) * classes * passed * net.whole,
        written=len(rows) * classes * kept,
    )


def seconds(stage: Stage, machine: Machine) -> float:
    """The longest of what computing, decoding, and reading and writing take, which overlap."""
    rate = machine.rates.get(stage.kind)
    computed = stage.operations / rate if rate else 0.0
    return max(computed, stage.images / machine.decoded, (stage.read + stage.written) / machine.disk)


# ---------------------------------------------------------------- machines

CARD = 67e12
"""NVIDIA's data sheet of the H100 SXM5: operations in float32 without TF32, in a second."""

SHARES: dict[str, float] = {"net": 0.5, "attribution": 0.3, "search": 0.05}
"""Assumed of that peak, not measured; the search sorts more than it multiplies."""

CORES = 16
"""Assumed beside a card: they decode and factorise as fast as those measured here."""


def card(measured: dict[str, Any], cards: int) -> Machine:
    """Cards with ``CORES`` processors each: net, attribution and search there, all else beside them."""
    here = machine(measured)
    scale = cards * CORES / measured["threads"]
    rates = {
        kind: cards * SHARES[kind] * CARD if kind in SHARES else rate * scale
        for kind, rate in here.rates.items()
    }
    name = "one H100" if cards == 1 else f"{cards} H100 under Ray"
    return Machine(name, rates, here.decoded * scale, min(cards, 4) * 2e9)


def machine(measured: dict[str, Any]) -> Machine:
    """The one that was measured."""
    return Machine(f"{measured['threads']} cores", measured["rates"], measured["decoded"], measured["disk"])


# ---------------------------------------------------------------- measuring


def measure(options: argparse.Namespace) -> None:
    """Rates of each kind of work on this machine, into a file."""
    from gpu_common import KINDS, Bench, inputs

    threads = torch.get_num_threads()
    a = torch.rand(2048, 2048)
    peak = 2 * 2048**3 / min(_took(lambda: a @ a) for _ in range(5))
    net, rates = resnet50(), dict[str, float]()
    bench = Bench("cpu", False, options.weights, Path(tempfile.mkdtemp()), time.perf_counter())
    loaded = _loaded(options.weights)
    cut = split(loaded.model, LAYERS[1], example_of(loaded))
    with torch.no_grad():
        images = inputs(bench, loaded.preprocessing, 2 * KINDS)
        rates["net"] = len(images) * net.whole / min(_took(lambda: loaded.model(images)) for _ in range(3))
        activations = cut.trunk(images).numpy()
    rates["attribution"] = _attributing(cut, images, net)
    rates["nmf"] = _factorising(activations)
    rates["search"] = _searching(net)
    found = {
        "threads": threads,
        "peak": peak,
        "rates": rates,
        "decoded": _decoding(bench, loaded.preprocessing),
        "disk": 1e9,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "measured.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


def _loaded(weights: Path | None) -> Any:
    if weights is not None:
        return loading.load("torchvision:resnet50", weights, resize=224, crop=224)
    return loading.load("torchvision:resnet50", pretrained=False, resize=224, crop=224)


def _took(call: Callable[[], Any]) -> float:
    """Seconds on a machine to itself: processor seconds, shared evenly among the threads."""
    started = time.process_time()
    call()
    return (time.process_time() - started) / torch.get_num_threads()


def _attributing(cut: Split, images: torch.Tensor, net: Net) -> float:
    from whyclass.attribution import smoothgrad

    settings = Settings(precision="float32")
    baseline = smoothgrad.prepare(cut, torch.zeros_like(cut.example), logit(0))
    asked = smoothgrad.Question(0, baseline)
    given = [(image, str(number)) for number, image in enumerate(images[:2])]
    took = _took(lambda: smoothgrad.smoothgrad(cut, cut.trunk, given, asked, settings))
    return len(given) * int(settings.copies) * (net.trunks[1] + net.heads[1]) / took


def _factorising(activations: np.ndarray) -> float:
    """All starts of a class, of 64 images made of 16 and noise, with the rounds that they took."""
    from sklearn import decomposition

    from whyclass.concepts import nmf

    rng = np.random.default_rng(0)
    many = np.concatenate([activations * rng.uniform(0.5, 1.5, activations.shape) for _ in range(4)])
    scores = rng.random((len(many), *many.shape[2:])).astype(np.float32)
    rounds: list[int] = []

    class Counted(decomposition.NMF):  # type: ignore[misc]
        def fit_transform(self, X: Any, *given: Any, **named: Any) -> Any:
            found = super().fit_transform(X, *given, **named)
            rounds.append(int(self.n_iter_))
            return found

    with patch.object(nmf, "NMF", Counted):
        took = _took(lambda: nmf.factorise(many.astype(np.float32), scores, Settings()))
    size = len(many) * many.shape[1] * many.shape[2] * many.shape[3]
    print(f"NMF: {len(rounds)} starts of {rounds} rounds, {took:.1f} s")
    return 4 * size * Settings().concepts * sum(rounds) / took


def _searching(net: Net) -> float:
    from whyclass.pool import nearest_crops
    from whyclass.pool.nearest_crops import Query

    rng, count, several = np.random.default_rng(0), 320, 100
    cells = int(np.prod(pooled_shape(*net.shapes[0][1:], 2)))
    every = rng.random((count, cells, net.shapes[0][0]), np.float32).astype(np.float16)
    masks = {"including": np.ones(count, bool), "excluding": np.ones(count, bool)}
    queries = [Query(rng.random((6, net.shapes[0][0]), np.float32), masks) for _ in range(several)]
    took = _took(lambda: nearest_crops.best_of(every, queries, 8, slice(0, None)))
    return 2 * every.size * 6 * several / took


def _decoding(bench: Any, preprocessing: Any) -> float:
    from gpu_common import photographs

    from whyclass.pool import images as pool_images

    pool = pool_images.pool(photographs(bench)[:200])
    every = range(len(pool.items))
    took = _took(lambda: list(pool_images.samples(pool, every, preprocessing)))
    return len(pool.items) / took


# ---------------------------------------------------------------- tables

CASES = ((50_000, 1000), (1_300_000, 1000))
"""Images and classes."""


def work_table(images: int, classes: int) -> list[str]:
    """Bytes and operations of each stage."""
    lines = ["| stage | TFLOP | GB read | GB written |", "|---|---|---|---|"]
    every = list(stages(images, classes, Settings(), resnet50()))
    total = Stage(
        "all",
        "",
        sum(one.operations for one in every),
        sum(one.read for one in every),
        sum(one.written for one in every),
    )
    for one in (*every, total):
        parts = one.operations / 1e12, one.read / 1e9, one.written / 1e9
        lines.append(f"| {one.name} | " + " | ".join(f"{part:,.0f}" if part else "" for part in parts) + " |")
    return lines


def time_table(images: int, classes: int, machines: Sequence[Machine]) -> list[str]:
    """Minutes of each stage on some machines."""
    lines = [
        "| stage | " + " | ".join(one.name for one in machines) + " |",
        "|---|" + "---|" * len(machines),
    ]
    every = list(stages(images, classes, Settings(), resnet50()))
    for stage in every:
        told = (f"{seconds(stage, one) / 60:,.1f}" for one in machines)
        lines.append(f"| {stage.name} | " + " | ".join(told) + " |")
    total = (f"{sum(seconds(stage, one) for stage in every) / 60:,.1f}" for one in machines)
    return [*lines, "| all | " + " | ".join(total) + " |"]


def paper(options: argparse.Namespace) -> None:
    """All tables, as ``docs/scale.md`` has them."""
    net = resnet50()
    print(
        f"ResNet-50: {net.whole / 1e9:.2f} GFLOP; "
        + "; ".join(
            f"{layer} {shape}: trunk {trunk / 1e9:.2f}, attribution from there {head / 1e9:.2f}"
            for layer, shape, trunk, head in zip(LAYERS, net.shapes, net.trunks, net.heads, strict=True)
        )
    )
    passed, kept = tested()
    print(f"{directions(Settings())} directions of each class and layer are searched for")
    print(f"{passed:.0f} test images of each pass the net, and {kept / 1e3:.0f} KB of records are kept")
    file = options.folder / "measured.json"
    measured = json.loads(file.read_text()) if file.exists() else None
    for images, classes in CASES:
        print(f"\n{images:,} images, {classes:,} classes\n")
        print("\n".join(work_table(images, classes)))
        if measured:
            machines = [machine(measured), card(measured, 1), card(measured, 8)]
            print("\n" + "\n".join(time_table(images, classes, machines)))
