"""Why does the model predict this for one image: the concepts in it, what each counts, and tests of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whyclass.records.arrays import ImageArrays
from whyclass.records.base import FORMAT, ModelInfo, Part, Picture, PoolInfo, Prediction, Record, Source
from whyclass.records.explanation import Crop, HeatMap


@dataclass(frozen=True)
class ConceptBasis(Record):
    """A class's concepts as they are looked for in other images; kept in a store.

    Attributes
    ----------
    target
        The class; its score is the mean softmax score over the images that its concepts were found in.
    vectors
        Shape (k, c), float32, rows of length 1, largest share first.
    shares
        Shape (k,): of the class's explanation.
    typical
        Shape (k, h, w), float32: how much of each concept the cells of a middling image of the class hold
        (that with the median sum), in units of the layer's activations.
    largest
        Shape (k,), float32: most of each concept that any cell of the class's images holds.
    reference
        Shape (c, h, w), float32: the layer's activations of the baseline image.
    crops
        For each concept its nearest crops over the whole pool, nearest first.
    """

    model: ModelInfo
    pool: PoolInfo
    target: Prediction
    vectors: np.ndarray
    shares: np.ndarray
    typical: np.ndarray
    largest: np.ndarray
    reference: np.ndarray
    crops: tuple[tuple[Crop, ...], ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT


@dataclass(frozen=True)
class Fall(Part):
    """How far a class falls when something is taken out of an image, and when something random is.

    Attributes
    ----------
    logit, margin
        Fall of the class's logit, and of its lead over the other class's; in logits, above 0 where it falls.
    predicted
        What the model says afterwards.
    random, highest
        Mean and largest fall of the logit when something random of the same energy, or of the same number of
        cells, is taken out.
    p
        Share of these, with the concept itself among them, that make it fall as far: rank p-value.
    n
        How many random ones.
    cells
        How many cells of the layer were changed.
    """

    logit: float
    margin: float
    predicted: Prediction
    random: float
    highest: float
    p: float
    n: int
    cells: int


@dataclass(frozen=True)
class ImageConcept(Part):
    """One of a class's concepts in one image.

    Attributes
    ----------
    number
        Its number on the page of the class's explanation, from 0.
    vector
        Shape (c,): its direction in the layer's channels.
    share
        Of the class's explanation.
    amount, typical
        How much of it the image holds: the sum of its non-negative least-squares embedding over the cells,
        in units of the layer's activations; and how much a middling image of the class holds.
    contribution
        What it counts for the class's logit, in logits (`ImageSide`).
    margin
        What it counts for the lead of the first class over the other, in logits; positive speaks for the
        first, whichever side the concept is of. None where there is no other class.
    heat_map
        Where it is: the embedding of each cell, divided by the largest that a cell of the class's own images
        has; may exceed 1.
    contributions
        Shape (h, w), float32: what it counts for the class's logit in each cell; they add up to
        ``contribution``.
    crops
        Its nearest crops over the pool, nearest first.
    removed
        How far the class falls when the concept is taken out of the activations, against random directions
        of the same energy; None where that was not tested.
    blanked
        How far it falls when the pixels under the cells that hold it are blanked, against as many other
        cells; None where that was not tested.
    """

    number: int
    vector: np.ndarray
    share: float
    amount: float
    typical: float
    contribution: float
    margin: float | None
    heat_map: HeatMap
    contributions: np.ndarray
    crops: tuple[Crop, ...]
    removed: Fall | None = None
    blanked: Fall | None = None


@dataclass(frozen=True)
class ImageSide(ImageArrays, Part):
    """One class as an image shows it.

    The attribution of the class's logit is, in each channel of each cell, a multiplier times the difference
    of its activation from the baseline image's. A concept's contribution is the same multiplier times its
    part of the activation, ``W H``, summed over channels and cells. So, to within ``missed``::

        logit - baseline = sum of contributions + rest

    Attributes
    ----------
    target
        The class, with its score for the image.
    logit, baseline
        Of the class, for the image and for the baseline image.
    concepts
        All of its concepts, in the order of its explanation.
    rest
        What no concept explains: the part of the activations that their sum leaves over, and the baseline's.
    missed
        ``logit - baseline`` less the sum of the attribution: 0 where that is complete.
    residual
        ``|A - WH| / |A|`` over the image's cells, Frobenius norm, 0 to 1.
    """

    target: Prediction
    logit: float
    baseline: float
    concepts: tuple[ImageConcept, ...]
    rest: float
    missed: float
    residual: float


@dataclass(frozen=True)
class Swap(Part):
    """The smallest set of concepts whose removal or addition makes the model say another class.

    Attributes
    ----------
    said, wanted
        The class that the model says of the image, and the one that it is to say; with their scores.
    removed
        Numbers, from 0, of concepts of the class said that are taken out of the image's activations.
    added
        Numbers of concepts of the class wanted that are put in: as much as a middling image of that class
        holds, where that holds it.
    predicted
        What the model says of the changed activations.
    found
        Whether that is the class wanted; if not, all concepts were moved, and the set is what came nearest.
    exact
        Whether every smaller set was tried, so that none is smaller.
    tried
        How many sets were.
    random
        Share of ``n`` draws, in which each concept of the set has its channels in another order and the same
        energy, that make the model say the other class as well.
    """

    said: Prediction
    wanted: Prediction
    removed: tuple[int, ...]
    added: tuple[int, ...]
    predicted: Prediction
    found: bool
    exact: bool
    tried: int
    random: float
    n: int


@dataclass(frozen=True)
class ImageExplanation(Record):
    """Which concepts of a class are in an image, where, and what each counts for the prediction.

    Attributes
    ----------
    image
        Path or name, content hash, prediction and label; ``score`` is that of the class explained.
    picture
        As the model sees it.
    top
        The five highest classes, highest first.
    target, against
        The class that was asked for, and another one in contrast to it; the latter None where no image of
        the pool is predicted as any other class.
    mistaken
        Whether the image is known to be labelled as another class than the model predicts.
    swap
        What would have to go, and what to come, for the model to say the other of both classes; None where it
        says neither, or that was not asked.
    """

    model: ModelInfo
    pool: PoolInfo
    image: Source
    picture: Picture
    top: tuple[Prediction, ...]
    target: ImageSide
    against: ImageSide | None
    mistaken: bool
    swap: Swap | None
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
