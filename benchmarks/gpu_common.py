"""What the stages of ``gpu.py`` share: the run, the clock, ResNet-50, and pictures that need no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

KINDS = 8
"""Kinds of synthetic pictures, each a class of the model."""

MANY = 256
"""The same where many classes are to be predicted."""

LAYER = "layer4.2"


@dataclass(frozen=True)
class Bench:
    """One run: where, how much, and what it found so far."""

    device: str
    small: bool
    weights: Path | None
    folder: Path
    started: float
    peaks: dict[str, float] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def side(self) -> int:
        """Of ResNet-50's pictures."""
        return 64 if self.small else 224

    def tell(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.started:6.1f} s] {text}", flush=True)

    def check(self, name: str, value: Any, passed: bool) -> None:
        self.checks.append({"name": name, "value": value, "passed": bool(passed)})

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several stages need, made by the first of them."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def share(self, operations: float, seconds: float, precision: str) -> float | None:
        """Of the peak measured in the same run."""
        return operations / seconds / self.peaks[precision] if self.peaks.get(precision) else None


@contextmanager
def tf32(products: bool, convolutions: bool) -> Iterator[None]:
    """TF32 allowed or not while the block runs."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = products, convolutions
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def timed(bench: Bench, call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the device is done, and what came of it."""
    if bench.cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    found = call()
    if bench.cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started, found


# ---------------------------------------------------------------- pictures


def photographs(bench: Bench, many: bool = False) -> list[Path]:
    """Smoothed noise as JPEG, 300 x 256, of some kinds in turn, each of one scale, colours, grain.

    ``many`` of many kinds, so that more classes are predicted.
    """
    count, kinds = (64 if bench.small else 512), KINDS
    if many:
        count, kinds = (64, MANY) if bench.small else (4 * MANY, MANY)
    name = "many photographs" if many else "photographs"

    def make() -> list[Path]:
        folder = bench.folder / name
        folder.mkdir()
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda number: _photograph(folder, number, kinds), range(count)))

    found: list[Path] = bench.once(name, make)
    return found


def _photograph(folder: Path, number: int, kinds: int) -> Path:
    import numpy as np
    from PIL import Image

    kind = np.random.default_rng(number % kinds)
    rng = np.random.default_rng((number, 7))
    side = int(kind.integers(4, 24))
    ground, colours = kind.uniform(60, 190, 3), kind.normal(0, 28, (3, 3))
    blobs = rng.normal(0, 1, (side, side, 3)).astype(np.float32)
    planes = [
        np.asarray(Image.fromarray(blobs[..., c]).resize((300, 256), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    pixels = np.stack(planes, -1) @ colours + ground + rng.normal(0, kind.uniform(2, 16), (256, 300, 1))
    path = folder / f"{number:04d}.jpg"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


# ---------------------------------------------------------------- the model


def resnet50(bench: Bench) -> Any:
    """ResNet-50 on the processor, with the weights given or else random ones, as a ``Loaded``."""
    loaded = bench.once("resnet50", lambda: _resnet50(bench))
    return loaded


def _resnet50(bench: Bench) -> Any:
    from whyclass.models import loading

    torch.manual_seed(0)
    if bench.weights is not None:
        return loading.load("torchvision:resnet50", bench.weights, resize=bench.side, crop=bench.side)
    loaded = loading.load("torchvision:resnet50", pretrained=False, resize=bench.side, crop=bench.side)
    images = inputs(bench, loaded.preprocessing, 3 * KINDS if bench.small else 16 * KINDS)
    model = loaded.model.to(bench.device)
    with tf32(False, False), torch.no_grad():
        _calibrate(model, images.split(32), bench.device)
        _teach(model, images.split(32), bench.device)
    model.cpu().eval()
    return loaded


def inputs(bench: Bench, preprocessing: Any, count: int) -> Tensor:
    """The first so many pictures as the model takes them."""
    from PIL import Image

    def one(path: Path) -> Tensor:
        with Image.open(path) as picture:
            tensor: Tensor = preprocessing.tensor(preprocessing.pixels(picture))
            return tensor

    with ThreadPoolExecutor() as threads:
        return torch.stack(list(threads.map(one, photographs(bench)[:count])))


def _calibrate(model: nn.Module, blocks: Any, device: str) -> None:
    """Norms get the mean and deviation of what passes them, as training would have left them."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all blocks
    model.train()
    for block in blocks:
        model(block.to(device))
    model.eval()
    for norm in norms:
        norm.momentum = 0.1


def _teach(model: Any, blocks: Any, device: str) -> None:
    """A head that tells the kinds of pictures apart, by least squares; the other classes stay silent."""
    head, model.fc = model.fc, nn.Identity()
    features = torch.cat([model(block.to(device)).cpu() for block in blocks]).double()
    model.fc = head
    mean = features.mean(0)
    centred = features - mean
    scale = centred.square().mean().sqrt()
    kinds = torch.arange(len(features)) % KINDS
    wanted = 8.0 * torch.nn.functional.one_hot(kinds, KINDS).double() - 1.0
    gram = (centred / scale) @ (centred / scale).T
    gram += 1e-2 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weight = ((centred / scale).T @ torch.linalg.solve(gram, wanted)).T / scale
    head.weight.data.mul_(0.01)
    head.bias.data.fill_(-4.0)
    head.weight.data[:KINDS] = weight.to(head.weight)
    head.bias.data[:KINDS] = -(weight @ mean).to(head.bias)


def operations(call: Callable[[], Any]) -> float:
    """Floating point operations of a call, counted; a multiplication and an addition are two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())


def moved(bench: Bench) -> Any:
    """The same ResNet-50 on the device, as a ``Loaded``."""
    from whyclass.models.setup import opened

    return bench.once("moved", lambda: opened(resnet50(bench), None, None, None, bench.device))
