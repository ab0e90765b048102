"""Numbers of a method's concepts that ask the model's head, and need no crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from whyclass.attribution.methods import Baseline
from whyclass.checks import carried_logits, concept_fidelity
from whyclass.checks.carried_logits import CarriedLogits, Multipliers
from whyclass.checks.concept_fidelity import Asked, LinearHead, rebuilt
from whyclass.concepts.reconstruction import Fit, embedded
from whyclass.records import CarriedClass
from whyclass.settings import seed_of
from whyclass.study.class_evidence import ClassEvidence

IMAGES, VARIED, ATTRIBUTED = 16, 6, 8
"""Images that are finished from what concepts rebuild; of them those whose embeddings are varied for Sobol's
indices, and those whose multipliers are found."""

RIVALS, OTHERS = 7, 8
"""Classes beside the class whose logits are asked for: the highest ones on its images, and drawn ones."""


@dataclass(frozen=True)
class HeadAsked:
    """What all methods of a class are measured with: made once."""

    asked: Asked
    logits: np.ndarray = field(repr=False)
    linear: LinearHead | None = field(repr=False)
    multipliers: Multipliers = field(repr=False)


@dataclass(frozen=True)
class HeadMeasures:
    """What the head says of a set of concepts: numbers by name, and arrays of one entry a concept."""

    numbers: dict[str, float]
    importance: np.ndarray = field(repr=False)
    carried: np.ndarray = field(repr=False)
    classes: tuple[CarriedClass, ...] = field(repr=False)


def evenly(n: int, most: int) -> np.ndarray:
    """Numbers of at most so many of n, spread evenly over them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def head_asked(own: ClassEvidence) -> HeadAsked:
    """The head with some of a class's images, its logits, and multipliers of several classes."""
    context, rows = own.context, evenly(len(own.chosen), IMAGES)
    asked = Asked(context.split, own.activations[rows], own.images[torch.from_numpy(rows)], own.target)
    logits = asked.logits(asked.activations)
    few = evenly(len(rows), ATTRIBUTED)
    some = Asked(context.split, asked.activations[few], asked.images[torch.from_numpy(few)], own.target)
    with torch.no_grad():
        reference = context.preprocessing.constant(context.settings.baseline).to(context.split.example)
        baseline = Baseline(context.split.trunk(reference))
    classes = _classes(logits.mean(0), own.target, context.settings.seed)
    found = carried_logits.multipliers(some, baseline, classes)
    return HeadAsked(asked, logits, concept_fidelity.linear_head(asked), found)


def _classes(logits: np.ndarray, target: int, seed: int) -> list[int]:
    """The class, the highest others, and some drawn from the rest, in that order."""
    others = [int(k) for k in np.argsort(-logits, kind="stable") if k != target]
    rest = np.random.default_rng(seed_of("carried classes", seed, str(target))).permutation(others[RIVALS:])
    return [target, *others[:RIVALS], *rest[:OTHERS].tolist()]


def head_measures(own: ClassEvidence, head: HeadAsked, D: np.ndarray, fit: Fit) -> HeadMeasures:
    """The literature's measures and the carried share of directions (k, c)."""
    asked, target = head.asked, own.target
    W = embedded(asked.activations, D, fit)
    after = asked.logits(rebuilt(W, D))
    kept = concept_fidelity.ice(head.logits, after, target)
    varied = evenly(len(W), VARIED)
    importance = concept_fidelity.importances(_some(asked, varied), W[varied], D)
    curves = concept_fidelity.curves(asked, W, D, np.argsort(-importance, kind="stable").tolist())
    left = np.linalg.norm(asked.activations - rebuilt(W, D))
    numbers = {
        "residual": float(left / max(np.linalg.norm(asked.activations), np.finfo(float).tiny)),
        "ice_error": kept.error,
        "ice_agreement": kept.agreement,
        "insertion": float(curves.inserted.mean()),
        "deletion": float(curves.deleted.mean()),
        "deletion_beside_rest": float(curves.deleted_beside_rest.mean()),
    }
    if head.linear is not None:
        surrogate = concept_fidelity.surf(asked, head.linear, W, D)
        numbers |= {"surf_mae": surrogate.mae, "surf_emd": surrogate.emd}
    few = evenly(len(W), ATTRIBUTED)
    found = carried_logits.carried(head.multipliers, W[few], D, lambda a: embedded(a, D, fit))
    own_share = float(found.shares[0])
    if np.isfinite(own_share):
        numbers["carried"] = own_share
    numbers["carried_everywhere"] = found.kept
    whole = float(found.whole[0])
    parts = found.carried[0] / whole if whole else np.zeros(len(D))
    return HeadMeasures(numbers, importance, parts, _told(own, found, head.logits.mean(0)))


def _some(asked: Asked, rows: np.ndarray) -> Asked:
    return Asked(asked.split, asked.activations[rows], asked.images[torch.from_numpy(rows)], asked.target)


def _told(own: ClassEvidence, found: CarriedLogits, logits: np.ndarray) -> tuple[CarriedClass, ...]:
    sums: Sequence[float] = found.carried.sum(1).tolist()
    scores = own.context.index.scores(own.chosen).mean(0)
    return tuple(
        CarriedClass(own.context.prediction(k, float(scores[k])), float(whole), carried)
        for k, whole, carried in zip(found.classes, found.whole, sums, strict=True)
    )
