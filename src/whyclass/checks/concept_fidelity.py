"""The literature's measures of a set of concepts: does the model say the same of what they rebuild?

Notation
--------
``A (n, c, h, w)``
    a layer's activations; ``W (n, h, w, k)`` embeddings; ``D (k, c)`` directions; ``A' = W D``.
``f_t``
    the class's logit, finished from activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from whyclass.models.split import Split
from whyclass.models.tasks import class_logits, softmax

BATCH = 64
"""Activations finished together."""

DESIGN = 32
"""Points of the design of Sobol's indices, as in the authors' code."""

EPSILON = 1e-4
"""Added to the denominator of ICE's fidelity error, as in its code."""

NEAR = 1e-3
"""A head is linear where what it gives differs by less than this part from what a linear one would."""


@dataclass(frozen=True)
class Asked:
    """The rest of a model, some images' activations, and the class that is asked about."""

    split: Split
    activations: np.ndarray = field(repr=False)
    images: Tensor = field(repr=False)
    target: int

    def logits(self, activations: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Every class's logit (m, C), float64, of activations (m, c, h, w) standing for ``rows``."""
        given = np.arange(len(activations)) if rows is None else rows
        found, step = [], self.split.together(BATCH)
        with torch.no_grad():
            for start in range(0, len(activations), step):
                block = torch.from_numpy(np.ascontiguousarray(activations[start : start + step]))
                theirs = self.images[given[start : start + step]].to(self.split.example)
                output = self.split.head(block.to(self.split.example), theirs)
                found.append(class_logits(output).double().cpu().numpy())
        return np.concatenate(found)

    def logits_rebuilt(self, W: np.ndarray, D: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Logits (m, C) of what embeddings (m, h, w, k) rebuild for ``rows``: put together on its device."""
        found, step, device = [], self.split.together(BATCH), self.split.example.device
        directions, shape = torch.from_numpy(np.ascontiguousarray(D)).to(device).double(), W.shape[1:3]
        with torch.no_grad():
            for start in range(0, len(W), step):
                block = torch.from_numpy(np.ascontiguousarray(W[start : start + step])).to(device).double()
                cells = (directions.T @ block.flatten(1, 2).mT).unflatten(2, shape)
                theirs = self.images[rows[start : start + step]].to(self.split.example)
                output = self.split.head(cells.to(self.split.example), theirs)
                found.append(class_logits(output).double().cpu().numpy())
        return np.concatenate(found)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """What logits (m, C) say as scores."""
        return 1 / (1 + np.exp(-logits)) if self.split.link == "sigmoid" else softmax(logits)


@dataclass(frozen=True)
class Kept:
    """What ICE measures: ``error`` of the class's logit, and ``agreement`` of the argmax, 0 to 1."""

    error: float
    agreement: float


def rebuilt(embeddings: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Activations (n, c, h, w), float32, of embeddings (n, h, w, k)."""
    return np.moveaxis(embeddings @ D, -1, 1).astype(np.float32)


def ice(before: np.ndarray, after: np.ndarray, target: int) -> Kept:
    """What is left of logits (n, C) where the activations are those rebuilt from concepts.

    ``error = mean |f_t(A) - f_t(A')| / (|mean f_t(A)| + 1e-4)``; 0 is best. ``agreement`` is the share of
    images whose class stays.

    References
    ----------
    Zhang et al. 2021, https://arxiv.org/abs/2006.15417, section 4; the formula is that of the code,
    github.com/zhangrh93/InvertibleCE, ``Explainer._train_reducer``.
    """
    own, new = before[:, target], after[:, target]
    error = float(np.abs(own - new).mean() / (abs(own.mean()) + EPSILON))
    return Kept(error, float((before.argmax(1) == after.argmax(1)).mean()))


def design(k: int, points: int = DESIGN) -> np.ndarray:
    """Masks (points * (k + 2), k), 0 to 1: A, B, and A with each column in turn from B (Halton sequence)."""
    both = qmc.Halton(2 * k, scramble=False).random(points)
    A, B = both[:, :k], both[:, k:]
    mixed = np.stack([A] * k)
    for column in range(k):
        mixed[column, :, column] = B[:, column]
    return np.concatenate([A, B, mixed.reshape(-1, k)])


def total_indices(outputs: np.ndarray, k: int) -> np.ndarray:
    """Sobol's total index (k,) of each of k inputs, from outputs (points * (k + 2),) of `design`; Jansen's.

    ``S_i = sum (f(A) - f(A with B's column i))^2 / (2 N var f(A))``: the share of the variance of ``f``
    that is left where all inputs but the i-th are known. All 0 where ``f`` does not vary.

    References
    ----------
    Jansen 1999, https://doi.org/10.1016/S0010-4655(98)00154-4; for concepts: Fel et al. 2023,
    https://arxiv.org/abs/2211.10154, section 3.2.
    """
    points = len(outputs) // (k + 2)
    own, mixed = outputs[:points], outputs[2 * points :].reshape(k, points)
    variance = own.var(ddof=1)
    if not variance > 0:
        return np.zeros(k)
    return np.asarray(((own - mixed) ** 2).sum(1) / (2 * points * variance))


def importances(asked: Asked, W: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Sobol's total indices (k,) of the concepts for the class's logit, mean over the images.

    Each concept's embeddings are multiplied with a number of the design at every place of an image at once.
    """
    masks = design(len(D))
    found = []
    for image, own in enumerate(W):
        varied = own[None] * masks[:, None, None, :]
        logits = asked.logits_rebuilt(varied, D, np.full(len(masks), image))[:, asked.target]
        found.append(total_indices(logits, len(D)))
    return np.asarray(np.mean(found, 0))


@dataclass(frozen=True)
class Curves:
    """The class's mean score while concepts come or go, the most important ones first; each (k + 1,)."""

    inserted: np.ndarray
    deleted: np.ndarray
    deleted_beside_rest: np.ndarray


def curves(asked: Asked, W: np.ndarray, D: np.ndarray, order: Sequence[int]) -> Curves:
    """C-insertion and C-deletion.

    *Inserted*: nothing but the first j concepts is rebuilt. *Deleted*: all but those are. *Beside the rest*:
    what the concepts do not rebuild, ``A - W D``, stays, so that before the first deletion the activations
    are the model's own. The mean of a curve is the area under it: of insertion high is good, of deletion low.

    References
    ----------
    Ghorbani et al. 2019, https://arxiv.org/abs/1902.03129, section 4.2 (smallest sufficient and smallest
    destroying concepts); with Sobol's indices as the order: Fel et al. 2023, section 4.1.
    """
    n, k = len(W), len(D)
    rest = asked.activations - rebuilt(W, D)
    first = [np.isin(np.arange(k), order[:j]) for j in range(k + 1)]
    rows = np.tile(np.arange(n), k + 1)
    inserted = asked.logits_rebuilt(np.concatenate([W * one for one in first]), D, rows)
    deleted = asked.logits_rebuilt(np.concatenate([W * ~one for one in first]), D, rows)
    beside = [asked.logits(rebuilt(W * ~one, D) + rest) for one in first]
    curves = (inserted, deleted, np.concatenate(beside))
    found = [asked.probabilities(one)[:, asked.target].reshape(k + 1, n).mean(1) for one in curves]
    return Curves(*found)


@dataclass(frozen=True)
class LinearHead:
    """A head that is the mean over cells and a linear layer: ``weights`` (C, c), ``bias`` (C,)."""

    weights: np.ndarray
    bias: np.ndarray


def linear_head(asked: Asked) -> LinearHead | None:
    """The head as a linear layer on the mean cell; None where it is anything else, as trials show."""
    split, some = asked.split, asked.activations[:2]
    if split.bypassed or split.head(split.trunk(split.example)).dim() != 2:
        return None
    _, c, h, w = some.shape
    mean = np.broadcast_to(some.mean((2, 3), keepdims=True), some.shape).astype(np.float32)
    zero = np.zeros((1, c, h, w), np.float32)
    base = asked.logits(zero)
    trials = asked.logits(np.concatenate([some, mean, mean.sum(0, keepdims=True)]), np.zeros(5, int))
    whole, flat, both = trials[: len(some)], trials[len(some) : -1], trials[-1:]
    scale = NEAR * max(float(np.abs(trials - base).max()), np.finfo(float).tiny)
    added = flat.sum(0, keepdims=True) - (len(some) - 1) * base
    if np.abs(whole - flat).max() > scale or np.abs(added - both).max() > scale:
        return None
    size, columns = float(np.abs(mean).max()) or 1.0, []
    for start in range(0, c, BATCH):
        unit = np.zeros((min(BATCH, c - start), c, h, w), np.float32)
        unit[np.arange(len(unit)), start + np.arange(len(unit))] = size
        columns.append((asked.logits(unit, np.zeros(len(unit), int)) - base) / size)
    return LinearHead(np.concatenate(columns).T, base[0])


@dataclass(frozen=True)
class Surrogate:
    """How far a linear surrogate is from the model, over all classes: of logits and of scores."""

    mae: float
    emd: float


def surf(asked: Asked, head: LinearHead, W: np.ndarray, D: np.ndarray) -> Surrogate:
    """SURF: how well ``y_i = b_i + sum_j sum_k alpha_ik W_jk`` gives every class's logit.

    ``MAE = mean |y - y'|`` over images and classes, ``EMD = mean over images of 1/2 sum |p - p'|`` with
    ``p`` the scores. The importance of a direction for a class is what the model's own linear layer gives for
    it, ``alpha_ik = w_i D_k / (h w)``; one set of directions, the explained class's, serves all classes.

    References
    ----------
    Measuring the (Un)Faithfulness of Concept-Based Explanations, https://arxiv.org/abs/2504.10833.
    """
    model = asked.logits(asked.activations)
    alpha = head.weights @ D.T
    surrogate = head.bias + W.mean((1, 2)) @ alpha.T
    p, q = asked.probabilities(model), asked.probabilities(surrogate)
    return Surrogate(float(np.abs(model - surrogate).mean()), float(np.abs(p - q).sum(1).mean() / 2))
