"""The same explanation from halves of the class's images: do its concepts and its verdict come again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from whyclass.concepts.nmf import factorise, side_by_side
from whyclass.errors import AttributionError
from whyclass.pool.nearest_crops import Place
from whyclass.records import Factors, Refits, Stability
from whyclass.settings import seed_of
from whyclass.study.class_evidence import ClassEvidence

FEWEST = 4
"""Images of a class without two of which a half holds nothing to compare."""


@dataclass(frozen=True)
class Half:
    """Concepts found from one half of the images, in the order of those they are matched with.

    ``cosines`` (k,) are theirs with the whole explanation's concepts.
    """

    factors: Factors = field(repr=False)
    cosines: np.ndarray = field(repr=False)
    images: int


def halves(own: ClassEvidence, factors: Factors) -> list[Half]:
    """Two disjoint halves of the images for each refit, factorised from one start of a seed of their own."""
    context, n = own.context, len(own.chosen)
    if n < FEWEST:
        return []
    asked = []
    for refit in range(context.settings.refits):
        lots = [
            seed_of(f"half {refit}", context.settings.seed, context.index.items[p].digest) for p in own.chosen
        ]
        order = np.argsort(lots, kind="stable")
        asked += [(rows, f"{refit} {part}") for part, rows in enumerate((order[: n // 2], order[n // 2 :]))]
    made = side_by_side(lambda one: _half(own, factors, np.sort(one[0]), one[1]), asked)
    return [half for half in made if half is not None]


def _half(own: ClassEvidence, factors: Factors, rows: np.ndarray, name: str) -> Half | None:
    settings = own.context.settings
    seed = seed_of("refit", settings.seed, name) % 2**31
    try:
        made = factorise(
            own.activations[rows], own.evidence.scores[rows], replace(settings, starts=1, seed=seed), 1
        )
    except AttributionError:  # nothing in this half speaks for the class
        return None
    cosine = factors.concepts @ made.concepts.T
    mine, theirs = linear_sum_assignment(-cosine)
    cosines = np.zeros(len(factors.concepts))
    cosines[mine] = cosine[mine, theirs]
    return Half(
        replace(made, concepts=made.concepts[_places(mine, theirs, len(cosines))]), cosines, len(rows)
    )


def _places(mine: np.ndarray, theirs: np.ndarray, count: int) -> np.ndarray:
    """For each of ``count`` concepts the matched one of the half; its first where none is left."""
    order = np.zeros(count, int)
    order[mine] = theirs
    return order


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
