"""What a method finds in halves of a class's images: the halves that explanations are refitted on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from whyclass.concepts.nmf import side_by_side
from whyclass.errors import AttributionError
from whyclass.records import Factors
from whyclass.settings import seed_of
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.comparisons import FEWEST, ROUNDS
from whyclass.study.concept_methods import Material, Method, found_by
from whyclass.study.refits import Half


def halves_of(own: ClassEvidence, factors: Factors, method: Method, whole: Material) -> list[Half]:
    """A method's concepts of two disjoint halves of the images for each refit, matched with its own."""
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
    made = side_by_side(lambda one: _half(factors, method, whole, np.sort(one[0]), one[1]), asked)
    return [half for half in made if half is not None]


def _half(factors: Factors, method: Method, whole: Material, rows: np.ndarray, name: str) -> Half | None:
    settings = whole.settings
    seed = seed_of("refit", settings.seed, name) % 2**31
    try:
        changed = replace(settings, starts=1, iterations=min(settings.iterations, ROUNDS), seed=seed)
        made = found_by(method, whole.part(rows, changed, name))
    except AttributionError:  # nothing in this half is found
        return None
    cosine = factors.concepts @ made.concepts.T
    mine, theirs = linear_sum_assignment(-cosine)
    cosines, order = np.zeros(len(cosine)), np.zeros(len(cosine), int)
    cosines[mine], order[mine] = cosine[mine, theirs], theirs
    return Half(made.concepts[order], cosines, len(rows))
