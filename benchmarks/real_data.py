"""The real network and photographs that benchmarks run on, kept outside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whyclass.models import loading
from whyclass.models.described import Loaded

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

POOL = (SHARED / "imagenette/val", SHARED / "imagenet_sample/val")
"""Many photographs of ten classes, and one of each class."""


def resnet50() -> Loaded:
    """The ResNet-50 of ImageNet, for whole photographs of 224 pixels."""
    weights = SHARED / "models/resnet50_imagenet.safetensors"
    return loading.load("torchvision:resnet50", weights, resize=224, crop=224)


def folders() -> list[str]:
    """Names of ImageNet's folders; a class's index is its place."""
    return sorted(one.name for one in (SHARED / "imagenet_sample/val").iterdir())


def imagenette() -> list[int]:
    """The ten classes of which there are many photographs."""
    every = folders()
    return [every.index(one.name) for one in sorted((SHARED / "imagenette/val").iterdir())]


def others(count: int) -> list[Path]:
    """One image of so many classes, drawn evenly."""
    every = folders()
    steps = np.linspace(0, len(every) - 1, count).astype(int)
    return [next((SHARED / "imagenet_sample/val" / every[step]).iterdir()) for step in steps]
