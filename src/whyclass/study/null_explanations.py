"""What explanations of nothing reach: what an explanation has to beat before it is believed.

They are made by the same steps: crops nearest to random cells of the class's own images, and to the concepts
of scores shuffled within each image. The factorisation of images of one class finds what they share whatever
the scores, so the set of crops often passes the test; what tells an explanation from these is its *backing*:
the gain of each crop by itself, weighted with the share of the explanation that its concept is said to carry.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whyclass.checks.statistics import log_odds, rank_p
from whyclass.pool.nearest_crops import Place
from whyclass.records import Null, NullSet
from whyclass.study.concept_contributions import Fillings


def backing(fill: Fillings, places: Sequence[Sequence[Place]], shares: np.ndarray) -> float:
    """Mean gain of each concept's nearest crops, weighted with the concepts' shares (k,)."""
    fill.expect(places)
    gains = [fill.gain(nearest) for nearest in places]
    return float(np.array(gains) @ (shares / shares.sum()))


def nulls(
    fill: Fillings, real: float, sets: Sequence[NullSet], places: Sequence[Sequence[Sequence[Place]]]
) -> tuple[Null, ...]:
    """What the sets reach by their nearest places, of each kind, beside the explanation's own backing."""
    found = []
    for kind in dict.fromkeys(one.kind for one in sets):
        mine = [(one, theirs) for one, theirs in zip(sets, places, strict=True) if one.kind == kind]
        fill.expect([nearest for _, theirs in mine for nearest in theirs])
        backed = np.array([backing(fill, theirs, one.shares) for one, theirs in mine])
        together = [tuple(nearest[0] for nearest in theirs) for _, theirs in mine]
        found.append(
            Null(
                kind=kind,
                n=len(mine),
                mean=float(fill.scores(together).mean()),
                predicted=fill.predicted(together),
                highest=float(backed.max()),
                p=rank_p(real, backed),
                reached=tuple(backed.tolist()),
            )
        )
    return tuple(found)


def of_random_crops(fill: Fillings, score: float, alike: Sequence[int]) -> Null:
    """What draws of random crops, repeated as the explanation's are, reach by their score."""
    drawn = fill.controls.draws(fill.context.settings.null_crops, len(alike), fill.mask)
    drawn = [tuple(places[i] for i in alike) for places in drawn]
    scores = fill.scores(drawn)
    return Null(
        kind="random crops",
        n=len(scores),
        mean=float(scores.mean()),
        predicted=fill.predicted(drawn),
        highest=float(scores.max()),
        p=rank_p(float(log_odds(np.array(score))), log_odds(scores)),
    )
