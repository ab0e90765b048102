"""The cases of ``calibration.py``: planted explanations that are right, and what makes others wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from whyclass.models.described import Loaded
from whyclass.planted import demo, nets, world
from whyclass.records import Factors
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.comparisons import comparisons, comparisons_file, of_explanation
from whyclass.study.context import Context

IMAGES = 60
"""Of each class in the pool."""

CLASSES = tuple(planted.name for planted in world.CLASSES[:-1])

Spoil = Callable[[ClassEvidence, int], list[int]]
"""Spoils what is kept of a class with a seed, and gives the numbers of the concepts that are nonsense now."""


@contextmanager
def spoilt(
    context: Context, target: int, spoil: Spoil, seed: int
) -> Iterator[tuple[ClassEvidence, list[int]]]:
    """A class with what is kept of it spoilt; afterwards all is kept again as it was."""
    own, counts = evidence_of(context, target), of_explanation(context.settings)
    assert len(own.factors.concepts)  # made here, and kept in the store, with what they are compared with
    if counts.any:
        comparisons(own, counts)
    files = [own.evidence_file, own.factors_file, comparisons_file(own, counts)]
    before = {file: file.read_bytes() for file in files if file.exists()}
    try:
        which = spoil(own, seed)
        yield evidence_of(context, target), which
    finally:
        for file in files:
            file.unlink(missing_ok=True)
            if file in before:
                file.write_bytes(before[file])


def right(own: ClassEvidence, seed: int) -> list[int]:
    """Nothing is spoilt."""
    return []


def nonsense(count: int) -> Spoil:
    """So many of the concepts with their own channels in another order; the nulls stay what they are."""

    def spoil(own: ClassEvidence, seed: int) -> list[int]:
        generator = np.random.default_rng((seed, own.target, count))
        factors = own.factors
        concepts = factors.concepts.copy()
        which = generator.choice(len(concepts), min(count, len(concepts)), replace=False)
        for k in which:
            concepts[k] = concepts[k][generator.permutation(concepts.shape[1])]
        _keep(own, replace(factors, concepts=concepts))
        return sorted(which.tolist())

    return spoil


def _keep(own: ClassEvidence, factors: Factors) -> None:
    own.context.store.keep(factors, own.factors_file)


def _keep_scores(own: ClassEvidence, scores: np.ndarray) -> None:
    """Other scores; the concepts and nulls that come of them are made anew."""
    own.context.store.keep(replace(own.evidence, scores=scores), own.evidence_file)
    for file in (own.factors_file, comparisons_file(own, of_explanation(own.context.settings))):
        file.unlink(missing_ok=True)


def shuffled(own: ClassEvidence, seed: int) -> list[int]:
    """The attribution's scores shuffled within each image."""
    generator = np.random.default_rng((seed, own.target))
    scores = own.evidence.scores.reshape(len(own.evidence.scores), -1).copy()
    for row in scores:
        generator.shuffle(row)
    _keep_scores(own, scores.reshape(own.evidence.scores.shape))
    return []


def other_of(target: int, seed: int) -> int:
    """Another planted class, and not the twin: owl's parts are hawk's too."""
    twins = {world.class_index(name) for name in world.TWINS}
    others = [k for k in range(len(CLASSES)) if k != target and {k, target} != twins]
    return others[(target + seed) % len(others)]


def other_logit(own: ClassEvidence, seed: int) -> list[int]:
    """The attribution of another class's logit on the images of this one."""
    strange = ClassEvidence(own.context, other_of(own.target, seed), own.predicted, own.chosen)
    _keep_scores(own, strange.scored().cells)
    return []


@dataclass(frozen=True)
class Case:
    """What is spoilt of a class, in a pool and with a model of one of ``WORLDS``."""

    world: str
    spoil: Spoil = right
    contrast: str = ""


CASES: dict[str, Case] = {
    "real": Case("planted"),
    **{f"{count} nonsense": Case("planted", nonsense(count)) for count in range(1, 6)},
    "shuffled": Case("planted", shuffled),
    "other logit": Case("planted", other_logit),
    "random weights": Case("random weights"),
    "one image": Case("one image"),
    "contrast of real pairs": Case("planted", contrast="pairs"),
    "contrast of random weights": Case("random weights", contrast="pairs"),
    "contrast of halves": Case("doubled", contrast="halves"),
    "contrast of one image": Case("one image", contrast="pairs"),
}


class Doubled(nn.Module):
    """A network with every output twice: what is called one and what the other differ in nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 2 K)."""
        logits = self.net(x)
        return torch.cat([logits, logits], 1)


def random_net(seed: int, pool: Path) -> nn.Module:
    """The planted network untrained, its norms and its logits brought to scale on some of the pictures."""
    torch.manual_seed(seed)
    net = nets.PlantedNet()
    files = sorted(pool.rglob("*.png"))[:: max(1, len(list(pool.rglob("*.png"))) // 64)]
    x = nets.as_input([np.asarray(Image.open(file)) for file in files])
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        net.train()(x)
        logits = net.eval()(x)
        net.head.weight.mul_(4 / logits.std(0)[:, None])
        net.head.bias.copy_(
            net.head.bias - (logits.mean(0) - net.head.bias) * 4 / logits.std(0) - net.head.bias
        )
    return net


def loaded_of(name: str, seed: int, pool: Path) -> Loaded:
    """The model of one of ``WORLDS``, which spoils the pool where that belongs to it."""
    loaded = demo.loaded()
    if name == "one image":
        for label in CLASSES:
            for file in sorted((pool / label).glob("*.png"))[1:]:
                file.unlink()
    if name == "random weights":
        return replace(loaded, model=random_net(seed, pool), name="random")
    if name == "doubled":
        again = tuple(f"{one} again" for one in loaded.class_names)
        return replace(loaded, model=Doubled(loaded.model), class_names=(*loaded.class_names, *again))
    return loaded


def layer_of(name: str) -> str:
    """The layer of the model of one of ``WORLDS``."""
    return f"net.{world.LAYER}" if name == "doubled" else world.LAYER


def halve(context: Context, seed: int) -> None:
    """Half of the images of each class count for its double."""
    predicted = context.index.predicted.copy()
    generator = np.random.default_rng(seed)
    for k in range(len(CLASSES)):
        mine = generator.permutation(np.flatnonzero(predicted == k))
        predicted[mine[: len(mine) // 2]] = k + len(world.CLASSES)
    context.index.__dict__["predicted"] = predicted  # a property that is computed once
