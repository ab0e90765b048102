"""Why does the model predict a class: what an explanation found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

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

COMPLETENESS_BOUND = 0.01
"""Mean relative completeness error above which an attribution does not add up, and the reader is warned."""


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
    unlabelled
        The nearest crop over images that are neither predicted nor labelled as the class; none where no image
        is known to be labelled as it.
    """

    vector: np.ndarray
    share: float
    including: tuple[Crop, ...]
    excluding: tuple[Crop, ...]
    heat_maps: tuple[HeatMap, ...]
    drawn: Drawn | None = None
    unlabelled: tuple[Crop, ...] = field(default=(), repr=False)


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

    ``mean`` is the class's mean score, ``low`` and ``high`` its 2.5 % and 97.5 % quantiles and
    ``predicted`` the share of stitched images predicted as the class, over ``n`` draws.
    """

    n: int
    mean: float
    low: float
    high: float
    predicted: float


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
        ``"stacked"``: along the height at native size; ``"mosaic"``: a near-square grid resized
        to the model's input.
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


@dataclass(frozen=True)
class PredictionTests(Part):
    """The prediction test over the whole pool, and without images predicted as the class.

    ``excluding`` is None when every image of the pool is predicted as the class. ``unlabelled`` is without
    images that are predicted or labelled as the class; None where no image is known to be labelled as it.
    """

    including: PredictionTest
    excluding: PredictionTest | None
    unlabelled: PredictionTest | None = None


@dataclass(frozen=True)
class Completeness(Part):
    """How exactly the attribution adds up to the change of the logit.

    ``mean`` and ``worst`` are of ``|sum(attribution) - (f(x) - f(b))| / |f(x) - f(b)|`` over the
    ``n`` noisy images that were attributed.
    """

    n: int
    mean: float
    worst: float


@dataclass(frozen=True)
class Explanation(Record):
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
    format: int = FORMAT
