"""Why class A and not B: what a contrast of two classes found."""

from __future__ import annotations

from dataclasses import dataclass
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
from whyclass.records.explanation import Completeness, Concept, Explanation, PredictionTest, PredictionTests
from whyclass.records.shifting_and_masking import Separation, Sweep


@dataclass(frozen=True)
class Evidence(Record):
    """What the explanation of a class and all its contrasts rest on; kept in a store.

    Attributes
    ----------
    target
        Index of the class.
    images
        Content hashes of the images predicted as the class that were attributed.
    scores
        Shape (n, h, w), zero or above: what the images' cells are weighted with.
    missed, changes
        By how much the attribution of each noisy copy misses the change of the logit, and that change,
        without sign, shape (n, m).
    vectors, image
        Cells that speak for the class, shape (m, c), clean and unscaled, and which of the images each
        is of, shape (m,) (paper, 5.1.1).
    unruled
        Operations of the model that have no rule, where much is missed.
    """

    target: int
    images: tuple[str, ...]
    scores: np.ndarray
    missed: np.ndarray
    changes: np.ndarray
    vectors: np.ndarray
    image: np.ndarray
    unruled: tuple[str, ...] = ()
    format: int = FORMAT


@dataclass(frozen=True)
class EvidenceAgainst(Record):
    """What speaks in the images of a class for it against another; kept in a store.

    Attributes
    ----------
    target, against
        Indexes of both classes.
    images
        Content hashes of the images predicted as the class that were attributed.
    scores, signed
        Shape (n, h, w): what the images' cells are weighted with, zero or above, and the attribution's mean
        over channels, negatives kept.
    missed, changes, unruled
        As of `Evidence`, for the difference of both classes' logits.
    """

    target: int
    against: int
    images: tuple[str, ...]
    scores: np.ndarray
    signed: np.ndarray
    missed: np.ndarray
    changes: np.ndarray
    unruled: tuple[str, ...] = ()
    format: int = FORMAT


@dataclass(frozen=True)
class Agreement(Part):
    """Cosines of a normal to those of ``n`` other fits: their median and the least."""

    n: int
    median: float
    least: float


@dataclass(frozen=True)
class Permutations(Part):
    """Accuracy on images not seen against ``n`` fits that were told at random which image is of which class.

    Attributes
    ----------
    balanced
        Balanced accuracy of the fit without these images, on their cells.
    highest
        The largest of the others' on the same cells.
    p
        ``(1 + those at least as accurate) / (n + 1)``.
    """

    n: int
    balanced: float
    highest: float
    p: float


@dataclass(frozen=True)
class PlaneTrust(Part):
    """What is known of a hyperplane before it is believed.

    Attributes
    ----------
    start
        Cosine of the normal to the random start that it was fitted from; None of a fit without one.
    starts, bootstraps
        Agreement with fits from other starts, and from others still to resampled images of each class; None
        where none were asked for.
    permutations
        None where none were asked for, or no image could be held out.
    """

    start: float | None
    starts: Agreement | None
    bootstraps: Agreement | None
    permutations: Permutations | None


@dataclass(frozen=True)
class Hyperplane(Part):
    """``z = w.x + b``: above zero a cell ``x`` speaks for A, below for B (paper, 5.1.1).

    ``normal`` is ``w``, shape (c,), not normalised; ``training`` is measured on the cells it was fitted
    to, ``held_out`` by a second fit on images that this one did not see, or None where that was not
    possible. ``trust`` is None in records from before it was measured. ``apart`` is the distance between both
    classes' mean cells along the normal, None in records from before; ``strength`` is that of the penalty, as
    a part of the cells' variance, where there is one.
    """

    normal: np.ndarray
    bias: float
    training: Separation
    held_out: Separation | None
    trust: PlaneTrust | None = None
    apart: float | None = None
    strength: float | None = None


@dataclass(frozen=True)
class MeanScores(Part):
    """Mean softmax scores of the class sought and of the images' own class, and what that calls the images.

    ``share`` is, of a segmentation net, the mean of the class sought over maps and images.
    """

    target: float
    source: float
    winner: Prediction
    share: float | None = None


@dataclass(frozen=True)
class ThirdCrops(Part):
    """What crops of third classes do, inserted at the same place.

    ``n`` crops, each tried on so many ``images``; ``mean``, ``low`` and ``high`` (least and largest) are
    of the target's mean score over crops, ``swapped`` the share of crops at which the target won.
    """

    n: int
    images: int
    mean: float
    low: float
    high: float
    swapped: float


@dataclass(frozen=True)
class Pasted(Part):
    """An image with a patch inserted, and the scores of target and source before and after."""

    image: Source
    picture: Picture
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Insertion(Part):
    """A patch inserted into images predicted as another class (paper, table 4).

    Attributes
    ----------
    patch
        As it was inserted.
    origin
        Where the patch comes from, for people.
    box
        Where it was inserted: (left, top, right, bottom) in pixels of the image as the model sees it.
    n
        Images predicted as the source.
    original, pasted, blank
        Mean scores of the untouched images, with the patch, and with blank pixels in its place.
    low, high
        95 % interval of ``pasted.target`` over images; None of fewer than three.
    turned
        Share of the images whose prediction becomes the target.
    swapped
        Whether the target has the highest mean score with the patch and not without.
    third
        Crops of third classes in its place; None where no control was asked for, or no image is left.
    examples
        Some of the images with the patch.
    theirs
        Mean scores with a crop of the source's own first concept in its place: what covering the place does,
        with nothing of the target in it. None where none was tried.
    """

    patch: Picture
    origin: str
    box: tuple[int, int, int, int]
    n: int
    original: MeanScores
    pasted: MeanScores
    low: float | None
    high: float | None
    turned: float
    swapped: bool
    blank: MeanScores
    third: ThirdCrops | None
    examples: tuple[Pasted, ...]
    theirs: MeanScores | None = None


@dataclass(frozen=True)
class Side(ConceptArrays, Part):
    """One of the two classes, and what speaks for it against the other.

    Attributes
    ----------
    explanation
        Of the class alone.
    concepts
        That speak for it against the other (paper, 5.1.2); none where no cell of its images lies on
        its side of the hyperplane.
    images
        Some of its images, for the concepts' heat maps.
    prediction_test
        Of these concepts; None where there is none.
    own_side
        Share of the cells of its images that lie on its side.
    shifting, masking
        From the other class's images towards it; None where the test was not asked for.
    insertions
        Best crop of each concept, inserted into the other class's images.
    drawn_test, drawn_control
        As of an explanation: of the pictures that these concepts would themselves draw.
    unseen
        The shifting test from those of the other class's images that a second hyperplane has not seen, along
        its normal; None where the test was not asked for, no image could be held out, or in records from
        before it was made.
    completeness
        Of the attribution of the difference of both logits, where that says what speaks for the class.
    """

    explanation: Explanation
    concepts: tuple[Concept, ...]
    images: tuple[ClassImage, ...]
    prediction_test: PredictionTests | None
    own_side: float
    shifting: Sweep | None
    masking: Sweep | None
    insertions: tuple[Insertion, ...]
    drawn_test: PredictionTest | None = None
    drawn_control: PredictionTest | None = None
    unseen: Sweep | None = None
    completeness: Completeness | None = None


@dataclass(frozen=True)
class Contrast(Record):
    """Why the model predicts A and not B, and B and not A.

    Attributes
    ----------
    a, b
        The two classes; the hyperplane speaks for A above zero.
    sources
        The whole images that the nearest crops are cut from, small.
    size
        Height and width in pixels of an image as the model sees it.
    """

    model: ModelInfo
    pool: PoolInfo
    size: tuple[int, int]
    a: Side
    b: Side
    hyperplane: Hyperplane
    sources: tuple[ClassImage, ...]
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class InsertionTest(Record):
    """Does a patch turn images of one class into another? The answer, with its controls."""

    model: ModelInfo
    pool: PoolInfo
    size: tuple[int, int]
    target: Prediction
    source: Prediction
    insertion: Insertion
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class PairShift(Part):
    """One ordered pair of classes of a `Pairs`: its hyperplane's accuracy and its shifting test."""

    training: Separation
    held_out: Separation | None
    shifting: Sweep


@dataclass(frozen=True)
class Pairs(Record):
    """The shifting test of all ordered pairs of some classes (paper, table 3)."""

    model: ModelInfo
    pool: PoolInfo
    classes: tuple[Prediction, ...]
    pairs: tuple[PairShift, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
