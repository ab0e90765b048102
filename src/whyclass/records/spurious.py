"""Concepts that speak for a class where the class is not: what a model may have learnt beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whyclass.records.base import FORMAT, ModelInfo, Part, PoolInfo, Prediction, Record
from whyclass.records.explanation import Crop


@dataclass(frozen=True)
class SpuriousFeature(Part):
    """One concept of a class in images that are not of the class.

    Attributes
    ----------
    target
        The class; its score is the mean over those images as they are.
    number
        The concept's number on the page of the class's explanation, from 0.
    raised
        How much higher the class's score is than without the concept in the activations: mean over the
        images, of scores from 0 to 1.
    log_odds
        The same of the class's log-odds.
    random, p
        What random directions of the same energy raise the score by, mean over draws; and the share of draws,
        with the concept among them, that raise it as much: rank p-value.
    predicted, without
        Share of the images that the model says are the class, as they are and without the concept.
    n
        How many images: those whose cells are nearest to the concept.
    crops
        These cells, nearest first.
    """

    target: Prediction
    number: int
    raised: float
    log_odds: float
    random: float
    p: float
    predicted: float
    without: float
    n: int
    crops: tuple[Crop, ...]


@dataclass(frozen=True)
class SpuriousFeatures(Record):
    """Concepts of classes that raise their class in images without it, the most first.

    ``labelled`` is whether an image is without a class by its label, where that is known; else by what the
    model predicts, and a shortcut that the model always follows then stays unseen. ``draws`` counts random
    directions for each concept.
    """

    model: ModelInfo
    pool: PoolInfo
    features: tuple[SpuriousFeature, ...]
    labelled: bool
    draws: int
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
