"""Pools, models and pairs that contrasts are tried on, and the evidence of their classes, kept in a store."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

from real_data import SHARED, folders, imagenette, resnet50

from whyclass import Settings, Study
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.pair_evidence import evidence_against

HARD = (
    "n02094114/n02094258 n02113186/n02113023 n02093256/n02093428 n02106030/n02105855 n02107683/n02107908 "
    "n02090721/n02092002 n02094433/n02097658 n02098413/n02086240 n02089867/n02089973 n02113624/n02113712 "
    "n02115641/n02115913 n02097047/n02097209"
)
"""Breeds that ImageNet nets confuse: 24 ordered pairs."""

FOLDERS = {"breeds": 50, "imagenet_sample/val": 1, "imagenette/val": 60}
"""Images taken of each class's folder."""

SETTINGS = Settings(
    images=50, copies=5, starts=2, null_crops=0, null_cells=0, null_scores=0, fillings=0, refits=0
)


@dataclass(frozen=True)
class Tried:
    """A context with the ordered pairs (A, B) that are tried on it."""

    context: Context
    pairs: tuple[tuple[int, int], ...]

    def rivals(self, target: int) -> list[int]:
        return sorted({b for a, b in self.pairs if a == target})


def resnet(layer: str, which: str, store: Path) -> Tried:
    """ResNet-50 with the ``hard`` pairs of breeds or all pairs of the ten ``easy`` classes."""
    loaded = resnet50()
    files = [
        image
        for folder, count in FOLDERS.items()
        for own in sorted((SHARED / folder).iterdir())
        for image in sorted(own.iterdir())[:count]
    ]
    context = Study(loaded, layer, files, store, SETTINGS).context()
    if which == "hard":
        every = folders()
        two = [tuple(every.index(one) for one in pair.split("/")) for pair in HARD.split()]
        return Tried(context, tuple(pair for a, b in two for pair in ((a, b), (b, a))))
    return Tried(context, tuple(itertools.permutations(imagenette(), 2)))


def gather(tried: Tried, until: float, pairs: bool = True) -> bool:
    """Make the evidence that is missing; whether all is there."""
    for target in sorted({k for pair in tried.pairs for k in pair}):
        if time.time() > until:
            return False
        own, at = evidence_of(tried.context, target), time.time()
        found = evidence_against(own, tried.rivals(target) if pairs else [])
        n = len(own.evidence.images)
        print(
            f"{tried.context.name(target)}: {n} images, {len(found)} rivals, {time.time() - at:.1f} s",
            flush=True,
        )
    return True
