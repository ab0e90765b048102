"""A made-up comparison of two models, out of a made-up explanation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from helpers.explanations import explanation
from whyclass.records import (
    ChangedImage,
    ClassComparison,
    ConceptOfModel,
    Match,
    ModelComparison,
    Move,
    Prediction,
    Predictions,
    Strip,
    Trial,
)

CASES = ("changed", "apart", "hostile")


def comparison(case: str = "changed", **looks: Any) -> ModelComparison:
    """One of ``CASES``: ``"apart"`` has no image in both pools, and a class that could not be explained."""
    one = explanation("hostile" if case == "hostile" else "both", **looks)
    name = one.target.name
    apart = case == "apart"
    concepts = tuple(
        ConceptOfModel(k, concept.share, Strip((), concept.including[0].picture))
        for k, concept in enumerate(one.concepts)
    )
    trial = Trial(0.93, True, one.target, "stacked", None)
    failed = replace(trial, score=0.2, predicted=False, winner=Prediction(1, name, 0.6))
    compared = ClassComparison(
        index=0,
        name=name,
        n=381,
        others=350,
        concepts=() if apart else concepts,
        other_concepts=() if apart else concepts[:5],
        matches=() if apart else (Match(0, 1, 0.97), Match(2, 0, 0.88), Match(1, 2, 0.6)),
        threshold=0.0 if apart else 0.55,
        including=None if apart else trial,
        excluding=None if apart else trial,
        other_including=None if apart else trial,
        other_excluding=None if apart else failed,
        problem="no cell has a positive attribution" if apart else "",
    )
    changed = ChangedImage(one.images[0].image, Prediction(1, name, 0.8), one.images[0].picture)
    told = Predictions(
        n=0 if apart else 3925,
        changed=0 if apart else 17,
        moves=() if apart else (Move(0, name, 1, name, 17),),
        images=() if apart else (changed,),
        labelled=0 if apart else 3925,
        right=None if apart else 0.91,
        other_right=None if apart else 0.93,
    )
    return ModelComparison(
        model=one.model,
        pool=one.pool,
        other_model=replace(one.model, weights="1b" * 32),
        other_pool=one.pool,
        predictions=told,
        measure="co-activation" if apart else "cosine",
        channels=None if apart else 0.81,
        classes=(compared,),
        gone=(name,),
        new=(),
        warnings=one.warnings,
        settings=one.settings,
        other_settings=one.settings,
        versions=one.versions,
    )
