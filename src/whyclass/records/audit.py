"""Every class of a model: what an audit found of one class, and the table over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whyclass.records.arrays import ConceptArrays
from whyclass.records.base import (
    FORMAT,
    ClassImage,
    ModelInfo,
    Part,
    Picture,
    PoolInfo,
    Prediction,
    Record,
    Source,
)
from whyclass.records.explanation import (
    Completeness,
    Control,
    PredictionTests,
)
from whyclass.records.shifting_and_masking import Separation, Shifts
from whyclass.records.worth import Contribution, Null, Refits, Stability


@dataclass(frozen=True)
class Spot(Part):
    """A place in a pool image that lies close to a concept.

    ``box`` is (left, top, right, bottom) in pixels of the image as the model sees it; ``cosine`` is the
    similarity of the pooled cell with the concept (-1 to 1).
    """

    image: Source
    box: tuple[int, int, int, int]
    cosine: float


@dataclass(frozen=True)
class Strip(Part):
    """The crops at some places, nearest first, side by side in one picture."""

    spots: tuple[Spot, ...]
    picture: Picture


@dataclass(frozen=True)
class AuditedConcept(Part):
    """One concept of a class.

    Attributes
    ----------
    vector
        Shape (c,): a direction in the layer's channels, non-negative unless its activations are signed.
    share
        Part of the factorised matrix's reconstruction that this concept carries, 0 to 1.
    including, excluding
        Nearest crops over the whole pool, and over images that are not predicted as the class; the
        latter None where there is no such image.
    contribution, stability
        As of `Concept`; None where an audit was made without nulls.
    name, note
        What a user calls it, and noted of it, as kept in the store.
    """

    vector: np.ndarray
    share: float
    including: Strip
    excluding: Strip | None
    contribution: Contribution | None = None
    stability: Stability | None = None
    name: str = field(default="", repr=False)
    note: str = field(default="", repr=False)


@dataclass(frozen=True)
class Finding(ConceptArrays, Record):
    """What an audit found of one class; small, so that a thousand of them can be kept and shown.

    Attributes
    ----------
    names
        Digest of the class names.
    target
        The class; its score is the mean softmax score over the ``n_images`` images.
    n_images, n_predicted
        How many images were factorised, and how many of the pool are predicted as the class.
    completeness
        Of the attribution.
    residual
        Of the factorisation, ``|X - WH| / |X|``; 0 where there was none.
    n_classes
        How many classes are predicted for an image of the pool: so many can be audited.
    concepts
        Largest share first; none where ``problem`` says why.
    prediction_test
        Of both kinds, without the sources' whole images; None where there are no concepts.
    rival
        The class that won where a test failed; None where both passed.
    examples
        Some of the images predicted as the class, small.
    thumbnail
        The best crop of each concept side by side, small; None where there are no concepts.
    problem
        Why the class could not be explained; empty where it could.
    refits
        As of `Explanation`.
    converged
        Whether the factorisation stopped by itself within its iterations.
    """

    model: ModelInfo
    pool: PoolInfo
    names: str
    target: Prediction
    n_images: int
    n_predicted: int
    n_classes: int
    completeness: Completeness
    residual: float
    concepts: tuple[AuditedConcept, ...]
    prediction_test: PredictionTests | None
    rival: Prediction | None
    examples: tuple[ClassImage, ...]
    thumbnail: Picture | None
    problem: str
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    refits: Refits | None = None
    converged: bool = True
    format: int = FORMAT


@dataclass(frozen=True)
class Planes(Record):
    """Hyperplanes of some pairs of classes, kept while an audit needs them.

    ``pairs`` has shape (P, 2), ``weights`` (P, c), ``biases`` (P,); ``apart`` (P,) is the distance of both
    mean cells along each normal; ``training`` and ``held_out`` are one for each pair.
    """

    pairs: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    training: tuple[Separation, ...]
    held_out: tuple[Separation | None, ...]
    apart: np.ndarray | None = None
    format: int = FORMAT


@dataclass(frozen=True)
class Trial(Part):
    """One prediction test in few numbers, see ``PredictionTest``; ``winner`` is the first of its ``top``.

    Its ``nulls`` are those of all classes of the audit, see ``report.audited_nulls``.
    """

    score: float
    predicted: bool
    winner: Prediction
    layout: str
    control: Control | None
    share: float | None = None
    backing: float | None = None
    nulls: tuple[Null, ...] = ()


@dataclass(frozen=True)
class ClassResult(Part):
    """A finding in few numbers; see there. ``file`` is its file's name in the store.

    ``needed`` says of each concept whether the test needs it; empty where that was not measured.
    """

    target: Prediction
    n_images: int
    n_predicted: int
    completeness: Completeness
    residual: float
    including: Trial | None
    excluding: Trial | None
    problem: str
    file: str
    unlabelled: Trial | None = None
    needed: tuple[bool, ...] = ()
    refits: Refits | None = None


@dataclass(frozen=True)
class Audit(Record):
    """All findings of one model, layer, pool, names and settings, in few numbers.

    Attributes
    ----------
    n_classes
        How many classes are predicted for an image of the pool.
    classes
        Those that were audited, by index.
    shifts
        By test, draw and index of the source.
    settings
        Those that a finding depends on; the others do not tell audits apart.
    """

    model: ModelInfo
    pool: PoolInfo
    names: str
    n_classes: int
    classes: tuple[ClassResult, ...]
    shifts: tuple[Shifts, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
