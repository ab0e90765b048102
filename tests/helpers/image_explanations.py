"""Made-up explanations of one image, out of the pictures and crops of a made-up explanation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from helpers.explanations import HOSTILE, explanation
from whyclass.records import (
    ConceptBasis,
    Explanation,
    Fall,
    HeatMap,
    ImageConcept,
    ImageExplanation,
    ImageSide,
    Prediction,
    SpuriousFeature,
    SpuriousFeatures,
    Swap,
)

CASES = ("mistaken", "not found", "alone", "untested", "hostile")


def image_explanation(case: str = "mistaken", **looks: Any) -> ImageExplanation:
    """One of ``CASES``; ``looks`` are for the made-up explanation."""
    one = explanation("hostile" if case == "hostile" else "both", **looks)
    name = HOSTILE if case == "hostile" else "cornet"
    image = replace(one.images[0].image, prediction=one.target, label=name, labelled=name, score=0.91)
    other = Prediction(1, name, 0.06)
    swap = Swap(one.target, other, (0, 2), (1,), Prediction(1, name, 0.71), True, False, 90, 0.05, 20)
    made = ImageExplanation(
        model=one.model,
        pool=one.pool,
        image=image,
        picture=one.images[0].picture,
        top=(one.target, other, *one.prediction_test.including.top[2:]),
        target=_side(one, one.target, tested=True),
        against=_side(one, other, tested=False),
        mistaken=True,
        swap=swap,
        warnings=one.warnings,
        settings=one.settings,
        versions=one.versions,
    )
    if case == "not found":
        return replace(made, swap=replace(swap, found=False, predicted=one.target))
    if case == "untested":
        plain = tuple(replace(c, removed=None, blanked=None) for c in made.target.concepts)
        return replace(made, swap=None, target=replace(made.target, concepts=plain))
    if case == "alone":
        plain = tuple(replace(c, margin=None) for c in made.target.concepts)
        known = replace(image, label=None, labelled=None)
        return replace(
            made,
            against=None,
            swap=None,
            mistaken=False,
            image=known,
            target=replace(made.target, concepts=plain),
        )
    return made


def basis() -> ConceptBasis:
    """Concepts of a class, ready to be looked for."""
    one = explanation()
    k = len(one.concepts)
    return ConceptBasis(
        model=one.model,
        pool=one.pool,
        target=one.target,
        vectors=np.stack([concept.vector for concept in one.concepts]),
        shares=np.full(k, 1 / k),
        typical=np.ones((k, 7, 7), np.float32),
        largest=np.ones(k, np.float32),
        reference=np.zeros((16, 7, 7), np.float32),
        crops=tuple(concept.including[:4] for concept in one.concepts),
        settings=one.settings,
        versions=one.versions,
    )


def spurious(case: str = "passed") -> SpuriousFeatures:
    """Two concepts; ``"hostile"`` and ``"bare"``, which holds none."""
    one = explanation("hostile" if case == "hostile" else "both")
    crops = [concept.including[:4] for concept in one.concepts]
    features = tuple(
        SpuriousFeature(one.target, k, 0.5 - 0.2 * k, 2.0, 0.01, 0.05, 0.6, 0.1, 8, crops[k])
        for k in range(0 if case == "bare" else 2)
    )
    return SpuriousFeatures(one.model, one.pool, features, True, 19, one.warnings, one.settings, one.versions)


def _side(one: Explanation, target: Prediction, tested: bool) -> ImageSide:
    counted = [3.1, -0.4, 2.0, 0.0, 0.7, 0.2]
    fall = Fall(2.9, 3.3, target, 0.4, 1.1, 1 / 11, 10, 20)
    concepts = tuple(
        ImageConcept(
            number=k,
            vector=concept.vector,
            share=concept.share,
            amount=0.0 if k == 3 else 40.0 - k,
            typical=30.0 if k else 0.0,
            contribution=counted[k],
            margin=counted[k] - 0.5,
            heat_map=HeatMap(concept.heat_maps[0].values * (k != 3)),
            contributions=np.full((7, 7), counted[k] / 49, np.float32),
            crops=concept.including[:4],
            removed=fall if tested and k != 3 else None,
            blanked=replace(fall, n=4) if tested and k in (0, 2) else None,
        )
        for k, concept in enumerate(one.concepts)
    )
    return ImageSide(target, 9.4, 1.2, concepts, 8.2 - sum(counted), 0.0, 0.41)
