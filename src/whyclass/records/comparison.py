"""How methods that find concepts of a class compare in the same tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whyclass.records.audit import AuditedConcept
from whyclass.records.base import FORMAT, ClassImage, ModelInfo, Part, PoolInfo, Prediction, Record
from whyclass.records.explanation import PredictionTests
from whyclass.records.worth import Contribution, Refits, Stability


@dataclass(frozen=True)
class ComparedConcept(Part):
    """One direction that a method found, and what it is worth.

    Attributes
    ----------
    shown
        Its vector, share and nearest crops.
    heat
        Where it is held on the class's example images, shape (n, h, w), 0 to 1 relative to its largest value.
    importance
        Sobol's total index for the class's logit.
    carried
        What it carries of the class's logit, in parts of the whole difference from the baseline.
    contribution, stability
        As of an explanation's concept; None where that was not asked for.
    """

    shown: AuditedConcept
    heat: np.ndarray = field(repr=False)
    importance: float
    carried: float
    contribution: Contribution | None = None
    stability: Stability | None = None


@dataclass(frozen=True)
class CarriedClass(Part):
    """A class with the mean difference of its logit from the baseline's, and how much of it is carried."""

    target: Prediction
    whole: float
    carried: float


@dataclass(frozen=True)
class MethodResult(Record):
    """What one method found for one class, and what all methods are measured by.

    Attributes
    ----------
    method
        A row of the table of methods, or ``file:`` and a path.
    concepts
        Largest share first; none where ``problem`` says why.
    prediction_test
        With and without the class's images; None where there are no concepts.
    measures
        Numbers by the name of the measure, of those that could be made.
    carried
        The class itself, its rivals and others: what is carried of their logits.
    refits
        Whether the tests of the halves' concepts end as this; None where that was not asked for.
    problem
        Why there are no concepts; empty where there are.
    """

    method: str
    target: Prediction
    concepts: tuple[ComparedConcept, ...]
    prediction_test: PredictionTests | None
    measures: dict[str, float]
    carried: tuple[CarriedClass, ...] = ()
    refits: Refits | None = None
    problem: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class ComparedClass(Part):
    """A class with what each method found; ``examples`` are the images that heat maps lie on."""

    target: Prediction
    n_images: int
    n_predicted: int
    examples: tuple[ClassImage, ...]
    results: tuple[MethodResult, ...]


@dataclass(frozen=True)
class Comparison(Record):
    """Methods that find concepts, on the same classes of a model at a layer, in the same tests.

    Attributes
    ----------
    methods
        Their names, in the order asked for.
    classes
        Each with a result of each method, in that order.
    names
        Digest of the class names.
    """

    model: ModelInfo
    pool: PoolInfo
    names: str
    methods: tuple[str, ...]
    classes: tuple[ComparedClass, ...]
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
