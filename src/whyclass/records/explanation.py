"""Why does the model predict a class: what an explanation found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whyclass.records.arrays import HeatMapArrays
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
from whyclass.records.worth import Contribution, Null, Refits, Stability

COMPLETENESS_BOUND = 0.01
"""Completeness error above which an attribution does not add up, and the reader is warned."""


@dataclass(frozen=True)
class Crop(Part):
    """A piece of a pool image that lies close to a concept.

    ``box`` is (left, top, right, bottom) in pixels of the image as the model sees it; ``cosine``
    is the similarity of the pooled cell with the concept (-1 to 1).
    """

    image: Source
    box: tuple[int, int, int, int]
    cosine: float
    picture: Picture


@dataclass(frozen=True)
class HeatMap(Part):
    """Where a concept is active on one of the class's images.

    ``values`` has shape (h, w), the cells of the layer, 0 to 1 relative to the concept's largest
    value over all the images that were factorised.
    """

    values: np.ndarray


@dataclass(frozen=True)
class Drawn(Part):
    """What a concept's direction itself would draw: a picture by optimisation (paper, appendix B).

    Attributes
    ----------
    picture
        As the model sees it.
    cosine
        Of its best pooled cell with the concept (-1 to 1), to be compared with the nearest crops'.
    random
        The same of a picture of noise in the same space, not optimised.
    steps
        Of the optimisation.
    problem
        Why that stopped early; empty where it did not.
    """

    picture: Picture
    cosine: float
    random: float
    steps: int
    problem: str = ""


@dataclass(frozen=True)
class Concept(Part):
    """One NMF component of a class.

    Attributes
    ----------
    vector
        Shape (c,): a direction in the layer's channels, non-negative unless its activations are signed.
    share
        Part of the factorised matrix's reconstruction (sum over all entries) that this concept
        carries, 0 to 1; concepts are sorted by it, largest first.
    including
        Nearest crops over the whole pool, nearest first.
    excluding
        Nearest crops over images that are not predicted as the class, nearest first.
    heat_maps
        One for each of ``Explanation.images``, in that order.
    drawn
        What the concept itself would draw; None where no pictures were asked for.
    contribution
        What it does for the test of all concepts; None where that was not asked for.
    stability
        How it comes out from halves of the images; None where that was not asked for.
    unlabelled, neither
        The nearest crop over images neither predicted nor labelled as the class, where any are known to be
        labelled as it; and, of a contrast, over images predicted as neither class.
    name, note
        What a user calls it, and noted of it, as kept in the store.
    """

    vector: np.ndarray
    share: float
    including: tuple[Crop, ...]
    excluding: tuple[Crop, ...]
    heat_maps: tuple[HeatMap, ...]
    drawn: Drawn | None = None
    contribution: Contribution | None = None
    stability: Stability | None = None
    unlabelled: tuple[Crop, ...] = field(default=(), repr=False)
    neither: tuple[Crop, ...] = field(default=(), repr=False)
    name: str = field(default="", repr=False)
    note: str = field(default="", repr=False)


@dataclass(frozen=True)
class Factors(Record):
    """What the factorisation of a class's scored activations gave; kept in a store.

    Attributes
    ----------
    concepts
        ``H``, shape (k, c), float32, rows of length 1, largest share first; signed where the activations
        are. Fewer than asked for where the cells do not span so many.
    embeddings
        ``W`` on the cells, shape (n, h, w, k), float32.
    shares
        Part of the reconstruction's sum that each concept carries, shape (k,), sums to 1.
    residual
        ``|X - WH| / |X|``, Frobenius norm, of the non-negative matrix that was factorised.
    converged
        Whether the tolerance was reached before the last iteration.
    """

    concepts: np.ndarray
    embeddings: np.ndarray
    shares: np.ndarray
    residual: float
    converged: bool
    format: int = FORMAT


@dataclass(frozen=True)
class Control(Part):
    """What random crops of the same pool reach in the same test.

    Over ``n`` draws ``mean`` is the class's mean score, ``low`` and ``high`` its 2.5 % and 97.5 % quantiles
    rounded outwards to a draw (of forty or fewer the least and the largest), and ``predicted`` the share of
    stitched images predicted as the class. ``p`` is the rank p-value of the test's score among the draws,
    ``(1 + reached) / (n + 1)``; None where they were made for another test.
    """

    n: int
    mean: float
    low: float
    high: float
    predicted: float
    p: float | None = None


@dataclass(frozen=True)
class PredictionTest(Part):
    """The concepts' best crops, stitched into one image and fed back to the model.

    Attributes
    ----------
    score
        Softmax score of the class for the stitched image, 0 to 1; of a segmentation net the largest over the
        map.
    predicted
        Whether the class is the argmax; of a segmentation net, whether its softmax exceeds one half
        somewhere.
    top
        The five highest classes, highest first (fewer when the model has fewer); of a segmentation net those
        that cover most first.
    layout
        ``"stacked"``: along the height at native size; ``"grid"``: near-square at native size;
        ``"mosaic"``: a grid resized to the model's input.
    pool
        How many images the crops were drawn from.
    picture
        The stitched image.
    sources
        For each concept, in order, the whole image its best crop came from.
    control
        The same with random crops, or None when it was not run.
    share
        Of a segmentation net, the class's mean softmax score over the map; else None.
    distinct
        How many different cells the crops are of.
    backing
        What the crops do one by one: the gain of the class's log-odds by each among random crops, weighted
        with the concepts' shares; None where it was not measured.
    smallest
        Numbers of the concepts, from 0, of the smallest set whose crops are predicted as the class in 75 % of
        random fillings, as found by taking the most sufficient first; None where none was found.
    again
        The class's scores for test images of the second, third and fourth nearest crops of each concept.
    nulls
        What explanations of nothing reach.
    """

    score: float
    predicted: bool
    top: tuple[Prediction, ...]
    layout: str
    pool: int
    picture: Picture
    sources: tuple[ClassImage, ...]
    control: Control | None
    share: float | None = None
    distinct: int | None = None
    backing: float | None = None
    smallest: tuple[int, ...] | None = None
    again: tuple[float, ...] = ()
    nulls: tuple[Null, ...] = ()


@dataclass(frozen=True)
class PredictionTests(Part):
    """The prediction test over the whole pool, and without images predicted as the class.

    ``excluding`` is None when every image of the pool is predicted as the class. ``unlabelled`` is without
    images that are predicted or labelled as the class; None where no image is known to be labelled as it.
    ``neither`` is, of a contrast, without images that are predicted as either class.
    """

    including: PredictionTest
    excluding: PredictionTest | None
    unlabelled: PredictionTest | None = None
    neither: PredictionTest | None = None


@dataclass(frozen=True)
class Completeness(Part):
    """How exactly the attribution adds up to the change of the logit.

    ``mean`` is the sum of ``|sum(attribution) - (f(x) - f(b))|`` over the ``n`` noisy images that were
    attributed, in parts of that of ``|f(x) - f(b)|``; ``worst`` is the largest ratio of one image.
    ``copies`` is how many of them each image has, None in records from before it was kept.
    """

    n: int
    mean: float
    worst: float
    copies: int | None = None


@dataclass(frozen=True)
class Fit(Part):
    """How well the concepts fit the scored activations.

    ``residual`` is the relative error of the reconstruction (Frobenius norm); ``converged`` whether the
    factorisation stopped by itself within its iterations.
    """

    residual: float
    converged: bool


@dataclass(frozen=True)
class Explanation(HeatMapArrays, Record):
    """Why the model predicts a class: six concepts, their crops, and the test of both.

    Attributes
    ----------
    target
        The class; its score is the mean softmax score over the ``n_images`` images.
    n_images, n_predicted
        How many images were factorised, and how many of the pool are predicted as the class.
    images
        Some of the images predicted as the class, for the heat maps.
    rival
        The class that won where a prediction test failed, the first of the two that did; None where
        both passed.
    completeness
        Of the attribution.
    warnings
        Sentences a reader must see beside the result.
    settings
        Every setting with its value.
    versions
        Libraries with their versions.
    drawn_test
        The prediction test of the concepts' drawn pictures, stitched; None where none were asked for.
    drawn_control
        The same of pictures that as many random directions draw, each a concept with its channels in
        another order; None where no controls were asked for.
    refits
        Whether explanations from halves of the images end the same; None where that was not asked for.
    fit
        How well the concepts fit what was factorised.
    """

    model: ModelInfo
    pool: PoolInfo
    target: Prediction
    n_images: int
    n_predicted: int
    images: tuple[ClassImage, ...]
    concepts: tuple[Concept, ...]
    prediction_test: PredictionTests
    rival: Prediction | None
    completeness: Completeness
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    drawn_test: PredictionTest | None = None
    drawn_control: PredictionTest | None = None
    refits: Refits | None = None
    fit: Fit | None = None
    format: int = FORMAT
