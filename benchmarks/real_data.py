"""The real network and photographs that benchmarks run on, kept outside the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whyclass import Settings, Study
from whyclass.models import loading
from whyclass.models.described import Loaded
from whyclass.study import running_audit

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

POOL = (SHARED / "imagenette/val", SHARED / "imagenet_sample/val")
"""Many photographs of ten classes, and one of each class."""

LARGE_POOL = (*POOL, SHARED / "breeds")
"""Also 50 of each of 26 breeds of dogs, which are images the model was trained on."""


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


def prepared(
    layer: str, pool: Sequence[Path], store: Path, settings: Settings, device: str = "auto"
) -> Study:
    """A study of the ResNet-50 with its pool decoded and passed: here, or found in the store."""
    study = Study(resnet50(), layer, list(pool), store, settings, device=device, progress=False)
    running_audit.decode(study)
    study.index()
    return study


def most_predicted(study: Study, classes: str) -> list[int]:
    """So many classes, those predicted for the most images of the pool first; or the ten of Imagenette."""
    if classes == "imagenette":
        return imagenette()
    counts = {one.index: one.n_images for one in study.classes()}
    return sorted(counts, key=lambda k: (-counts[k], k))[: int(classes)]
