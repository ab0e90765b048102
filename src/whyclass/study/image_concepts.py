"""How much of a class's concepts images hold, and what each counts for the class's logit.

Notation
--------
``A (n, c, h, w)``
    activations of the images; ``B`` of the baseline image. ``M (n, c, h, w)`` multipliers: ``M (A - B)`` is
    the attribution of the class's logit.
``H (k, c)``, ``W (n, h, w, k)``
    the class's concepts, and how much of each the cells hold: ``A ~ W H``, ``W >= 0``.

A concept's contribution in a cell is ``W_k (M . H_k)``: its part ``W_k H_k`` of each channel's activation,
times what a unit of that counts. All contributions, and ``M (A - B - W H)`` for what they leave over, add up
to the attribution, which adds up to the logit's difference from the baseline's as far as it is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whyclass.attribution import methods, smoothgrad
from whyclass.concepts import nnls
from whyclass.models.tasks import class_logits, logit, scores_of
from whyclass.records import ConceptBasis, HeatMap, ImageConcept, ImageSide
from whyclass.study.concept_basis import seen
from whyclass.study.context import Context

BATCH = 32
"""Images that are finished or attributed together, at most."""


@dataclass(frozen=True)
class Images:
    """Images at the layer.

    Attributes
    ----------
    tensors
        Shape (n, C, S, T), normalised.
    activations
        Shape (n, c, h, w).
    logits, scores
        Shapes (n, K) and (n, columns), float64, as the model's head gives them for these activations.
    """

    context: Context = field(repr=False)
    tensors: Tensor = field(repr=False)
    activations: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)

    def some(self, rows: list[int]) -> Images:
        """Those of some rows."""
        return Images(
            self.context, self.tensors[rows], self.activations[rows], self.logits[rows], self.scores[rows]
        )


@dataclass(frozen=True)
class Held:
    """What images hold of one class's concepts.

    ``amounts`` is ``W``, shape (n, h, w, k); ``multipliers`` is ``M``; ``logits`` and ``baseline``, shape
    (n,), are the class's for the images and the baseline image; ``attributed``, shape (n,), is the
    attribution's sum; ``residual``, shape (n,), the relative error of ``W H``.
    """

    basis: ConceptBasis
    amounts: np.ndarray = field(repr=False)
    multipliers: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)
    baseline: np.ndarray = field(repr=False)
    attributed: np.ndarray = field(repr=False)
    residual: np.ndarray = field(repr=False)

    def alone(self, i: int) -> Held:
        """What one of the images holds."""
        parts = (self.amounts, self.multipliers, self.logits, self.baseline, self.attributed, self.residual)
        return Held(self.basis, *(part[i : i + 1] for part in parts))

    def contributions(self, multipliers: np.ndarray) -> np.ndarray:
        """Contributions (n, h, w, k) by multipliers (n, c, h, w), of the class's logit or of a lead."""
        counted = np.einsum("nchw,kc->nhwk", multipliers, self.basis.vectors, optimize=True)
        return np.asarray(self.amounts * counted)


def images_at(context: Context, tensors: Tensor) -> Images:
    """Images (n, C, S, T) taken to the layer, and what the model says of them."""
    activations = context.activations(tensors)
    logits, scores = finished(context, torch.from_numpy(activations), tensors)
    return Images(context, tensors, activations, logits, scores)


def finished(context: Context, activations: Tensor, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, K) and scores (n, columns), float64, of activations (n, c, h, w).

    ``images`` (n, C, S, T), or one (1, C, S, T) that all belong to, matter where something goes around the
    layer.
    """
    split, found = context.split, []
    with torch.no_grad():
        for start in range(0, len(activations), most := split.together(BATCH)):
            block = activations[start : start + most].to(split.example)
            theirs = images if len(images) == 1 else images[start : start + most]
            theirs = theirs.to(split.example).expand(len(block), *images.shape[1:])
            output = split.head(block, theirs)
            found.append((class_logits(output).double().cpu().numpy(), scores_of(output, split.link)))
    logits, scores = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(scores)


def held(images: Images, basis: ConceptBasis) -> Held:
    """What images hold of a class's concepts, and the attribution of its logit."""
    context, A = images.context, images.activations
    W = nnls.maps(seen(context, A), basis.vectors)
    M, logits, baseline, attributed = _attribution(images, basis)
    left = seen(context, A) - np.einsum("nhwk,kc->nchw", W, basis.vectors, optimize=True)
    size = np.sqrt(np.square(seen(context, A), dtype=np.float64).sum((1, 2, 3)))
    residual = np.sqrt(np.square(left, dtype=np.float64).sum((1, 2, 3))) / np.maximum(size, 1e-30)
    return Held(basis, W, M, logits, baseline, attributed, residual)


def _attribution(
    images: Images, basis: ConceptBasis
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers, the class's logits, the baseline's, and the attribution's sums, of clean images."""
    context, split = images.context, images.context.split
    target, image = basis.target.index, context.preprocessing.constant(context.settings.baseline)
    reference = torch.from_numpy(basis.reference)[None].to(split.example)
    baseline = smoothgrad.prepared(split, reference, image, logit(target))
    found = []
    for start in range(0, len(images.tensors), most := split.together(BATCH)):
        block = torch.from_numpy(images.activations[start : start + most]).to(split.example)
        theirs = images.tensors[start : start + most].to(split.example)
        given = baseline, logit(target), context.settings.method
        M, logits, reference = methods.multipliers(split, block, theirs, *given)
        attributed = (M.double() * (block - baseline.activations)).sum((1, 2, 3))
        parts = (M, logits.double(), reference.double().expand_as(logits), attributed)
        found.append([one.cpu().numpy() for one in parts])
    M_all, *numbers = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return M_all, numbers[0], numbers[1], numbers[2]


def side(images: Images, mine: Held, i: int, lead: np.ndarray | None) -> ImageSide:
    """One class as image ``i`` shows it; ``lead`` (n, c, h, w) are multipliers of the lead over the other."""
    basis, target = mine.basis, mine.basis.target.index
    one = mine.alone(i)
    cells = one.contributions(one.multipliers)[0]
    leads = None if lead is None else one.contributions(lead[i : i + 1])[0].sum((0, 1))
    total, change = float(cells.sum(dtype=np.float64)), float(mine.logits[i] - mine.baseline[i])
    return ImageSide(
        target=images.context.prediction(target, images.scores[i, target]),
        logit=float(mine.logits[i]),
        baseline=float(mine.baseline[i]),
        concepts=tuple(_concept(basis, k, one.amounts[0], cells, leads) for k in range(len(basis.vectors))),
        rest=float(mine.attributed[i]) - total,
        missed=change - float(mine.attributed[i]),
        residual=float(mine.residual[i]),
    )


def _concept(
    basis: ConceptBasis, k: int, amounts: np.ndarray, cells: np.ndarray, leads: np.ndarray | None
) -> ImageConcept:
    return ImageConcept(
        number=k,
        vector=basis.vectors[k],
        share=float(basis.shares[k]),
        amount=float(amounts[..., k].sum()),
        typical=float(basis.typical[k].sum()),
        contribution=float(cells[..., k].sum(dtype=np.float64)),
        margin=None if leads is None else float(leads[k]),
        heat_map=HeatMap(amounts[..., k] / max(float(basis.largest[k]), 1e-30)),
        contributions=np.ascontiguousarray(cells[..., k], np.float32),
        crops=basis.crops[k],
    )
