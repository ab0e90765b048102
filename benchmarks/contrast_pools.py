"""Pools, models and pairs that contrasts are tried on, and the evidence of their classes, kept in a store."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from real_data import SHARED, folders, imagenette, resnet50
from torch import Tensor

from whyclass import Settings, Study, store
from whyclass.concepts.hyperplanes import Cells
from whyclass.study.class_evidence import ClassEvidence, evidence_of
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

SMALL = {"breeds": 6, "imagenette/val": 6}

SETTINGS = Settings(
    images=50,
    copies=5,
    starts=2,
    iterations=500,
    null_crops=0,
    null_cells=0,
    null_scores=0,
    fillings=0,
    refits=0,
)

Pair = tuple[int, int]
"""Ordered: A and B."""


@dataclass(frozen=True)
class Tried:
    """A context with the ordered pairs (A, B) that are tried on it, and what was read of it."""

    context: Context
    pairs: tuple[Pair, ...]
    held: dict[int, ClassEvidence] = field(default_factory=dict, repr=False)
    pixels: dict[int, Tensor] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        return self.context.split.example.device

    def own(self, target: int) -> ClassEvidence:
        """A class, whose images and activations are read once."""
        if target not in self.held:
            self.held[target] = evidence_of(self.context, target)
        return self.held[target]

    @property
    def cells(self) -> Mapping[int, Cells]:
        return _Cells(self)

    def rivals(self, target: int) -> list[int]:
        return sorted({b for a, b in self.pairs if a == target})

    def read(self, positions: Sequence[int]) -> None:
        """Have the pixels of images of the pool, (3, S, T) each, in ``pixels``."""
        missing = sorted(set(positions) - set(self.pixels))
        for position, sample in zip(missing, self.context.read(missing), strict=True):
            self.pixels[position] = sample.tensor


@dataclass(frozen=True)
class _Cells(Mapping[int, Cells]):
    tried: Tried

    def __getitem__(self, target: int) -> Cells:
        return self.tried.own(target).cells

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({k for pair in self.tried.pairs for k in pair}))

    def __len__(self) -> int:
        return len(list(iter(self)))


def resnet(layer: str, folder: Path, device: str, small: bool = False) -> Context:
    """ResNet-50 with breeds, Imagenette and one image of each class; or few of them, to see that it runs."""
    settings = replace(SETTINGS, images=6, copies=2, iterations=100) if small else SETTINGS
    files = [
        image
        for part, count in (SMALL if small else FOLDERS).items()
        for own in sorted((SHARED / part).iterdir())
        for image in sorted(own.iterdir())[:count]
    ]
    return Study(resnet50(), layer, files, folder, settings, device=device).context()


def hard() -> list[Pair]:
    every = folders()
    two = [tuple(every.index(one) for one in pair.split("/")) for pair in HARD.split()]
    return [pair for a, b in two for pair in ((a, b), (b, a))]


PAIRS = {"hard": hard, "easy": lambda: list(itertools.permutations(imagenette(), 2))}
"""Breeds that are confused, and all 90 ordered pairs of ten unlike classes."""


def tried_on(context: Context, which: str, limit: int | None = None) -> Tried:
    """Pairs in a fixed drawn order, both directions of a pair side by side; at most ``limit`` such twos."""
    together: dict[Pair, list[Pair]] = {}
    for a, b in PAIRS[which]():
        together.setdefault((min(a, b), max(a, b)), []).append((a, b))
    drawn = sorted(together, key=lambda pair: hashlib.blake2b(str(pair).encode()).digest())
    return Tried(context, tuple(pair for two in drawn[:limit] for pair in together[two]))


ALL = slice(None)


def share(tried: Tried, part: slice) -> Tried:
    """The pairs of one of several processes; both directions of a pair are one's."""
    twos = [tried.pairs[start : start + 2] for start in range(0, len(tried.pairs), 2)]
    return replace(tried, pairs=tuple(pair for two in twos[part] for pair in two))


def gather(tried: Tried, until: float, part: slice = ALL) -> bool:
    """Make the evidence that is missing, this process's share first, then what no other made; whether all is
    there.
    """
    targets = sorted({k for pair in tried.pairs for k in pair})
    mine = targets[part]
    for target in mine + [k for k in targets if k not in mine]:
        if time.time() > until:
            return False
        own, rivals = evidence_of(tried.context, target), tried.rivals(target)
        if _whole(own, rivals):
            continue
        with store.locked(tried.context.store, str(target), "making"):
            started, missing = time.time(), not _whole(own, rivals)
            if missing:
                evidence_against(own, rivals)
        if missing:
            told = f"{len(own.chosen)} images, {len(rivals)} rivals, {time.time() - started:.1f} s"
            print(f"{tried.context.name(target)}: {told}", flush=True)
    return True


def _whole(own: ClassEvidence, rivals: Sequence[int]) -> bool:
    files = [own.evidence_file, *(own.evidence_against(other) for other in rivals)]
    return all(file.exists() for file in files)
