"""Which cells of a class's images speak for it against another class: rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whyclass.concepts import hyperplanes
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.pair_evidence import evidence_against
from whyclass.study.plane_trust import Plane


@dataclass(frozen=True)
class By:
    """A row of ``CONTRASTS``, of ``own`` against another class where the plane's normal points to ``own``.

    Attributes
    ----------
    scores
        Shape (n, h, w), zero or above: what the cells of its images are weighted with (paper, 5.1.2).
    lean
        Shape (n, h, w), of any sign: by what its cells are ranked where they are masked; above zero for it.
    """

    scores: Callable[[ClassEvidence, int, Plane], np.ndarray]
    lean: Callable[[ClassEvidence, int, Plane], np.ndarray]


def _distance(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    return hyperplanes.signed_distance(own.activations, plane.w, plane.b)


def _behind(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    return hyperplanes.against(own.activations, plane.w, plane.b)


def _attributed(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    return evidence_against(own, [other])[0].scores


def _signed(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    return evidence_against(own, [other])[0].signed


def _product(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    return _behind(own, other, plane) * _attributed(own, other, plane)


def _agreed(own: ClassEvidence, other: int, plane: Plane) -> np.ndarray:
    """Ranks from below zero: the product where both have one sign, with it; of the others by distance."""
    z, signed = _distance(own, other, plane), _signed(own, other, plane)
    both = np.where(z * signed > 0, np.sign(z) * np.abs(z * signed), 0)
    order = np.lexsort((z.reshape(-1), both.reshape(-1)))
    rank = np.empty(order.size)
    rank[order] = np.arange(order.size) - int((both < 0).sum() + (both == 0).sum() // 2)
    return rank.reshape(z.shape)


CONTRASTS: dict[str, By] = {
    "plane": By(_behind, _distance),
    "attribution": By(_attributed, _signed),
    "both": By(_product, _agreed),
}
"""What makes a contrast, by `Settings.contrast_by`."""
