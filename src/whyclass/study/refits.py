"""The same explanation from halves of the class's images: do its concepts and its verdict come again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from whyclass.pool.nearest_crops import Place
from whyclass.records import Factors, HalfConcepts, Refits, Stability


@dataclass(frozen=True)
class Half:
    """Concepts (k, c) found from one half of the images, in the order of those they are matched with.

    ``cosines`` (k,) are theirs with the whole explanation's concepts.
    """

    concepts: np.ndarray = field(repr=False)
    cosines: np.ndarray = field(repr=False)
    images: int


def matched(factors: Factors, half: HalfConcepts) -> Half:
    """A half's concepts in the order of the whole explanation's; its first where none is left."""
    cosine = factors.concepts @ half.concepts.T
    mine, theirs = linear_sum_assignment(-cosine)
    cosines, order = np.zeros(len(cosine)), np.zeros(len(cosine), int)
    cosines[mine], order[mine] = cosine[mine, theirs], theirs
    return Half(half.concepts[order], cosines, half.images)


def stabilities(
    found: Sequence[Half], best: Sequence[Sequence[Place]], own: Sequence[Place]
) -> tuple[Stability, ...]:
    """Of each concept, from the halves with their best places, beside the explanation's own best places."""
    cosines = np.stack([half.cosines for half in found])
    cells = [[(place.position, place.cell) for place in places] for places in best]
    same = [
        float(np.mean([cell[k] == (place.position, place.cell) for cell in cells]))
        for k, place in enumerate(own)
    ]
    return tuple(
        Stability(float(column.min()), float(column.mean()), same[k], len(found))
        for k, column in enumerate(cosines.T)
    )


def agreement(found: Sequence[Half], same: Sequence[bool]) -> Refits:
    """How many of the halves' explanations end as the whole one's."""
    return Refits(len(found), float(np.mean(same)), found[0].images)
