"""Tests of one image's concepts: taken out of its activations, or blanked, against what is random.

Notation
--------
``A (c, h, w)``
    the image's activations. ``W (h, w, k)`` how much of each concept ``H (k, c)`` its cells hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from whyclass.checks import interventions, statistics
from whyclass.records import Fall, ImageSide
from whyclass.settings import seed_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import filling
from whyclass.study.image_concepts import Held, Images, finished

REMOVALS = 10
"""Random directions that are taken out for each concept, at most."""

TESTED, BLANKS = 2, 4
"""So many of the concepts that count most have their pixels blanked, each against so many draws of others."""

HOLDS = 0.5
"""A cell holds a concept where its embedding is at least this part of the largest in the image."""

ROUNDS = 16
"""In which a random direction is scaled to the concept's energy; it is within a thousandth after few."""


@dataclass(frozen=True)
class Tested:
    """One image whose concepts are changed.

    Attributes
    ----------
    target, against
        Index of the class whose fall is told, and of the one that it leads over; the latter -1 for none.
    digest
        Of its content: seeds what is drawn.
    """

    images: Images = field(repr=False)
    row: int
    target: int
    against: int
    digest: str

    @property
    def context(self) -> Context:
        """Where it takes place."""
        return self.images.context

    @property
    def activations(self) -> Tensor:
        """Shape (c, h, w)."""
        return torch.from_numpy(self.images.activations[self.row]).to(self.context.split.example)

    @property
    def tensor(self) -> Tensor:
        """Shape (1, C, S, T)."""
        return self.images.tensors[self.row : self.row + 1]

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose: those of the image, whatever is asked beside it."""
        return np.random.default_rng(seed_of(purpose, self.context.settings.seed, self.digest))

    def falls(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fall (m,) of the class's logit, and of its lead, by logits (m, K) after changes."""
        before = self.images.logits[self.row]
        fall = before[self.target] - logits[:, self.target]
        if self.against < 0:
            return fall, fall
        return fall, fall - (before[self.against] - logits[:, self.against])


def tested(one: Tested, mine: Held, shown: ImageSide) -> ImageSide:
    """The image's side with both tests of its concepts."""
    order = np.argsort([-concept.contribution for concept in shown.concepts], kind="stable")
    first = [int(k) for k in order if shown.concepts[k].amount > 0][:TESTED]
    removed, blanked = _removed(one, mine), _blanked(one, mine, first)
    concepts = (
        replace(concept, removed=removed.get(k), blanked=blanked.get(k))
        for k, concept in enumerate(shown.concepts)
    )
    return replace(shown, concepts=tuple(concepts))


def part(amounts: np.ndarray, direction: np.ndarray) -> Tensor:
    """What cells with amounts (h, w) hold of a direction (c,): (c, h, w)."""
    return torch.from_numpy(direction)[:, None, None] * torch.from_numpy(amounts)


def less(activations: Tensor, taken: Tensor, signed: bool) -> Tensor:
    """Activations without what is taken, cut at 0 where they are never negative."""
    left = activations - taken
    return left if signed else left.clamp_(min=0)


def permuted(direction: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` directions (count, c): a concept with its channels in other orders."""
    return np.stack([direction[generator.permutation(len(direction))] for _ in range(count)])


def less_as_much(activations: Tensor, taken: Tensor, energy: float, signed: bool) -> Tensor:
    """Activations less a multiple of what is taken: so much that as much energy goes, if it is there."""
    scale = 1.0
    for _ in range(1 if signed else ROUNDS):
        gone = float((activations - less(activations, scale * taken, signed)).norm())
        if gone <= 0 or abs(gone - energy) <= 1e-3 * energy:
            break
        scale *= min(energy / gone, 1e3)
    return less(activations, scale * taken, signed)


def _removed(one: Tested, mine: Held) -> dict[int, Fall]:
    context, A = one.context, one.activations
    W, H, signed = mine.amounts[one.row], mine.basis.vectors, context.split.signed
    n, generator = min(REMOVALS, context.settings.controls), one.generator("removed")
    found = {}
    for k in np.flatnonzero(W.sum((0, 1)) > 0).tolist():
        clean = less(A, part(W[..., k], H[k]).to(A), signed)
        energy = float((A - clean).norm())
        others = [
            less_as_much(A, part(W[..., k], direction).to(A), energy, signed)
            for direction in (permuted(H[k], n, generator) if n else ())
        ]
        logits, scores = finished(context, torch.stack([clean, *others]), one.tensor)
        found[k] = _fall(one, logits, scores, int((W[..., k] > 0).sum()))
    return found


def _blanked(one: Tested, mine: Held, which: list[int]) -> dict[int, Fall]:
    context, W = one.context, mine.amounts[one.row]
    generator, masks, cells = one.generator("blanked"), [], []
    n = min(BLANKS, context.settings.controls)
    for k in which:
        own = W[..., k] >= HOLDS * W[..., k].max()
        others = np.flatnonzero(~own) if (~own).sum() >= own.sum() else np.arange(own.size)
        masks.append(own)
        cells.append(int(own.sum()))
        for _ in range(n):
            drawn = np.zeros(own.size, bool)
            drawn[generator.choice(others, cells[-1], replace=False)] = True
            masks.append(drawn.reshape(own.shape))
    if not masks:
        return {}
    images = one.tensor.expand(len(masks), *one.tensor.shape[1:])
    blank = interventions.mask(images, np.stack(masks), filling(context))
    logits, scores = finished(context, torch.from_numpy(context.activations(blank)), blank)
    rows = [slice(i * (n + 1), (i + 1) * (n + 1)) for i in range(len(which))]
    return {
        k: _fall(one, logits[own], scores[own], count)
        for k, own, count in zip(which, rows, cells, strict=True)
    }


def _fall(one: Tested, logits: np.ndarray, scores: np.ndarray, cells: int) -> Fall:
    """What the first of some changes does, against the others."""
    (fall, *random), (margin, *_) = one.falls(logits)
    null, winner = np.array(random), int(one.context.task.winner(scores[0]))
    return Fall(
        logit=float(fall),
        margin=float(margin),
        predicted=one.context.prediction(winner, scores[0, winner]),
        random=float(null.mean()) if random else 0.0,
        highest=float(null.max()) if random else 0.0,
        p=statistics.rank_p(float(fall), null),
        n=len(random),
        cells=cells,
    )
