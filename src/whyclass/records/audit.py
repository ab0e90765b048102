"""Every class of a model: what an audit found of one class, and the table over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whyclass.records.base import FORMAT, ClassImage, ModelInfo, Picture, PoolInfo, Prediction, Record, Source
from whyclass.records.contrast import Separation
from whyclass.records.explanation import Completeness, Control, PredictionTests


@dataclass(frozen=True)
class Spot:
    """A place in a pool image that lies close to a concept.

    ``box`` is (left, top, right, bottom) in pixels of the image as the model sees it; ``cosine`` is the
    similarity of the pooled cell with the concept (-1 to 1).
    """

    image: Source
    box: tuple[int, int, int, int]
    cosine: float


@dataclass(frozen=True)
class Strip:
    """The crops at some places, nearest first, side by side in one picture."""

    spots: tuple[Spot, ...]
    picture: Picture


@dataclass(frozen=True)
class AuditedConcept:
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
    """

    vector: np.ndarray = field(repr=False)
    share: float
    including: Strip
    excluding: Strip | None


@dataclass(frozen=True)
class Finding(Record):
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
    format: int = FORMAT


@dataclass(frozen=True)
class Moved:
    """How far a target's score in the images of a source can be moved along one direction or its like.

    ``highest`` is the largest mean score over the steps, ``at`` the step, ``winner`` what the images are
    called there by their mean scores; ``low`` and ``high`` are the 95 % interval of ``highest`` over images.
    ``swapped`` says that the winner is the target, and was not at the first step; ``n`` counts the images,
    and ``share`` is, of a segmentation net, the target's mean over maps and images. Records from before these
    three were kept hold None.
    """

    highest: float
    low: float
    high: float
    at: float
    winner: Prediction
    swapped: bool | None = None
    n: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class ShiftControl:
    """What the same test gives along other directions.

    ``random`` holds the highest mean score of the target along each random direction of the normal's
    length, on ``images`` images each; ``reversed`` the highest against the normal, on all images.
    """

    random: tuple[float, ...]
    images: int
    reversed: float


@dataclass(frozen=True)
class AuditedPair:
    """A target sought in the images of a source.

    Attributes
    ----------
    target
        The class that is sought; its score is its mean score in the unchanged images (*default*).
    runs
        Numbers of the runs in which the target was drawn.
    moved
        The test's best step.
    control
        Of the shifting test; measured for the first pair of each source, None for the others.
    training, held_out
        How well the hyperplane tells the two apart; the latter None where nothing could be held out.
    """

    target: Prediction
    runs: tuple[int, ...]
    moved: Moved
    control: ShiftControl | None
    training: Separation
    held_out: Separation | None


@dataclass(frozen=True)
class Shifts(Record):
    """One test from the images of one source towards several targets (paper, table 3).

    Attributes
    ----------
    names
        Digest of the class names.
    test
        ``"shift"`` or ``"mask"``.
    source
        The class; its score is its mean over the ``n`` images.
    draw
        The draw of targets that this is part of, in words.
    group
        The same for all sources of one draw.
    runs
        How often targets were drawn.
    """

    model: ModelInfo
    pool: PoolInfo
    names: str
    test: str
    source: Prediction
    n: int
    draw: str
    group: str
    runs: int
    pairs: tuple[AuditedPair, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Planes(Record):
    """Hyperplanes of some pairs of classes, kept while an audit needs them.

    ``pairs`` has shape (P, 2), ``weights`` (P, c), ``biases`` (P,); ``training`` and ``held_out`` one
    for each pair.
    """

    pairs: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    biases: np.ndarray = field(repr=False)
    training: tuple[Separation, ...]
    held_out: tuple[Separation | None, ...]
    format: int = FORMAT


@dataclass(frozen=True)
class Trial:
    """One prediction test in few numbers, see ``PredictionTest``; ``winner`` is the first of its ``top``."""

    score: float
    predicted: bool
    winner: Prediction
    layout: str
    control: Control | None
    share: float | None = None


@dataclass(frozen=True)
class ClassResult:
    """A finding in few numbers; see there. ``file`` is its file's name in the store."""

    target: Prediction
    n_images: int
    n_predicted: int
    completeness: Completeness
    residual: float
    including: Trial | None
    excluding: Trial | None
    problem: str
    file: str


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
