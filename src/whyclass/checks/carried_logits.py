"""What share of a class's logit the concepts carry, at any layer.

Notation
--------
``a_j``, ``b_j``
    a cell of an image, and the baseline's at the same place. ``m_cj`` the multiplier of class ``c`` there:
    DeepLift's averaged Jacobian.
``w_jk``, ``v_jk``
    what the cell, and the baseline's, hold of direction ``d_k`` (non-negative least squares); ``r_j``,
    ``s_j`` what is left of either.

Derivation
----------
DeepLift is complete: ``y_c = f_c(a) - f_c(b) = sum_j m_cj (a_j - b_j)``. With ``a_j = sum_k w_jk d_k + r_j``
and ``b_j = sum_k v_jk d_k + s_j`` this is

``y_c = sum_k [sum_j (m_cj d_k) (w_jk - v_jk)] + sum_j m_cj (r_j - s_j)``.

The first term is what the concepts carry, one summand for each of them, and the second what they leave.
The multipliers are the image's own and know nothing of the concepts, so that nothing is fitted that could
make up for what these lack. Where the mean over cells and a linear layer follow, ``m_cj`` is the class's
weight over the number of cells whatever the image, and the sum is the linear surrogate of SURF
(https://arxiv.org/abs/2504.10833), less that of the baseline: this is the same measure for layers which
anything may follow. Directions that span all cells carry everything; none carry nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from whyclass.attribution import deeplift
from whyclass.attribution.methods import Baseline
from whyclass.checks.concept_fidelity import Asked
from whyclass.models.tasks import class_logits

ROWS = 32
"""Pairs of an image and a class that are attributed together."""

Embed = Callable[[np.ndarray], np.ndarray]
"""From activations (n, c, h, w) to embeddings (n, h, w, k)."""


@dataclass(frozen=True)
class Multipliers:
    """Of ``n`` images and some classes.

    ``values`` has shape (n, C, c, h, w) in logits per activation, ``differences`` (n, C) is ``f(a) - f(b)``,
    and ``baseline`` (1, c, h, w) the baseline's activations.
    """

    classes: tuple[int, ...]
    values: np.ndarray = field(repr=False)
    differences: np.ndarray = field(repr=False)
    baseline: np.ndarray = field(repr=False)


def multipliers(asked: Asked, baseline: Baseline, classes: Sequence[int]) -> Multipliers:
    """DeepLift's multipliers of each class's logit at each activation of the asked images."""
    split, given = asked.split, torch.from_numpy(asked.activations)
    n, m = len(given), len(classes)
    image, wanted = torch.arange(n).repeat_interleave(m), torch.tensor(classes).repeat(n)
    values, differences = [], []
    for start in range(0, n * m, ROWS):
        rows, own = image[start : start + ROWS], wanted[start : start + ROWS]
        found, change = _of_rows(asked, baseline, given[rows].to(split.example), rows, own)
        values.append(found.cpu().numpy())
        differences.append(change.cpu().numpy())
    shape = (n, m, *asked.activations.shape[1:])
    return Multipliers(
        tuple(classes),
        np.concatenate(values).reshape(shape),
        np.concatenate(differences).reshape(n, m),
        baseline.activations.cpu().numpy(),
    )


def _of_rows(
    asked: Asked, baseline: Baseline, activations: Tensor, rows: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Multipliers of rows of activations, each for a class of its own, and the change of its logit."""
    theirs = asked.images[rows].to(asked.split.example)

    def head(a: Tensor) -> Tensor:
        return class_logits(asked.split.head(a, theirs))

    def target(logits: Tensor) -> Tensor:
        own = torch.nn.functional.one_hot(classes, logits.shape[1]).to(logits)
        return (logits * own).sum(1)

    base = baseline.activations.expand_as(activations)
    tape = deeplift.record(head, base, target)
    return deeplift.multipliers(head, activations, tape, target)


@dataclass(frozen=True)
class CarriedLogits:
    """What the concepts carry of the logits of some classes.

    Attributes
    ----------
    classes
        Their indexes.
    whole
        Mean of ``f(a) - f(b)`` over the images, of each class (C,).
    carried
        Mean of what each concept carries of it (C, k).
    kept
        ``1 - sum |y - y'| / sum |y|`` over images and classes, with ``y'`` what all concepts carry together:
        1 where every class's logit is carried in every image, 0 where nothing is; below 0 where they
        mislead.
    """

    classes: tuple[int, ...]
    whole: np.ndarray
    carried: np.ndarray
    kept: float

    @property
    def shares(self) -> np.ndarray:
        """Share (C,) of each class's mean difference that is carried; NaN where there is none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self.whole == 0, np.nan, self.carried.sum(1) / self.whole))


def carried(found: Multipliers, W: np.ndarray, D: np.ndarray, embed: Embed) -> CarriedLogits:
    """What directions (k, c) carry, with the images' embeddings ``W`` (n, h, w, k) and the baseline's."""
    change = W - embed(found.baseline)
    with threadpool_limits(1, user_api="blas"):  # sums of several threads come in another order
        along = np.einsum("nmchw,kc->nmhwk", found.values, D, optimize=True)
        each = np.einsum("nmhwk,nhwk->nmk", along, change, optimize=True)
    total = np.abs(found.differences).sum()
    missed = np.abs(found.differences - each.sum(2)).sum()
    kept = float(1 - missed / total) if total > 0 else 0.0
    return CarriedLogits(found.classes, found.differences.mean(0), each.mean(0), kept)
