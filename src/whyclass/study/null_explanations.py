"""Explanations of nothing, made by the same steps: what an explanation has to beat before it is believed.

*Random cells*: the crops nearest to cells drawn from the class's own images, which show the class and explain
nothing. *Shuffled scores*: the attribution's scores are shuffled within each image, and all that follows is
done with them. The factorisation of images of one class finds what they share whatever the scores, so the
set of crops often passes the test; what tells an explanation from these is its *backing*: the gain of each
crop by itself, weighted with the share of the explanation that its concept is said to carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from whyclass.checks.statistics import log_odds, rank_p
from whyclass.concepts.nmf import factorise, side_by_side
from whyclass.pool.nearest_crops import Place
from whyclass.records import Null
from whyclass.settings import Settings, seed_of
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.concept_contributions import TRIED, Fillings


@dataclass(frozen=True)
class NullSet:
    """Concepts (k, c) that explain nothing, rows of length 1, with their shares (k,)."""

    kind: str
    concepts: np.ndarray = field(repr=False)
    shares: np.ndarray = field(repr=False)


def null_sets(own: ClassEvidence, cells: int, scores: int) -> list[NullSet]:
    """So many sets of random cells of a class's images, and of concepts of shuffled scores."""
    count = len(own.factors.concepts)
    made = [_of_cells(own, count, draw) for draw in range(cells)]
    return made + side_by_side(lambda draw: _of_shuffled(own, draw), range(scores))


def _of_cells(own: ClassEvidence, count: int, draw: int) -> NullSet:
    """Random cells of the images; those without any activation have no direction."""
    activations = own.activations
    generator = np.random.default_rng(
        seed_of("random cells", own.context.settings.seed, f"{own.target} {draw}")
    )
    flat = activations.reshape(*activations.shape[:2], -1)
    alive = np.argwhere(np.abs(flat).sum(1) > 0)
    picked = alive[generator.choice(len(alive), count, replace=len(alive) < count)]
    found = np.stack([flat[image, :, cell] for image, cell in picked])
    return NullSet("random cells", _unit(found), np.full(count, 1 / count))


def _of_shuffled(own: ClassEvidence, draw: int) -> NullSet:
    """The class's concepts had its scores lain elsewhere in each image."""
    settings = own.context.settings
    seed = seed_of("shuffled scores", settings.seed, f"{own.target} {draw}")
    scores = own.evidence.scores.reshape(len(own.evidence.scores), -1).copy()
    generator = np.random.default_rng(seed)
    for row in scores:
        generator.shuffle(row)
    changed: Settings = replace(settings, starts=1, seed=seed % 2**31)
    found = factorise(own.activations, scores.reshape(own.evidence.scores.shape), changed, 1)
    return NullSet("shuffled scores", found.concepts, found.shares)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def backing(fill: Fillings, places: Sequence[Sequence[Place]], shares: np.ndarray) -> float:
    """Mean gain of each concept's nearest crops, weighted with the concepts' shares (k,)."""
    gains = [fill.gain(nearest[:TRIED]) for nearest in places]
    return float(np.array(gains) @ (shares / shares.sum()))


def nulls(
    fill: Fillings, real: float, sets: Sequence[NullSet], places: Sequence[Sequence[Sequence[Place]]]
) -> tuple[Null, ...]:
    """What the sets reach by their nearest places, of each kind, beside the explanation's own backing."""
    found = []
    for kind in dict.fromkeys(one.kind for one in sets):
        mine = [(one, theirs) for one, theirs in zip(sets, places, strict=True) if one.kind == kind]
        fill.expect([nearest for _, theirs in mine for nearest in theirs], TRIED)
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
