"""Frozen records of what was found. They hold; they compute nothing but their own encoding.

A record is saved as one zip file: ``record.json`` (every plain value), ``arrays.safetensors`` and
the encoded pictures as they are. Nothing is pickled, and the same record always gives the same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from . import codec, disk
from .errors import RecordError

FORMAT = 1
"""Version of the saved form; raised by one whenever a saved record changes its meaning."""

COMPLETENESS_BOUND = 0.01
"""Mean relative completeness error above which an attribution does not add up, and the reader is warned."""

SUFFIX = ".whyclass"
"""Of saved records."""


VIEWS: dict[str, Callable[[Any], str]] = {}
"""How a record is shown, by name: ``"html"`` a page, ``"fragment"`` a notebook's cell. The report,
which stands above the records, enters its functions here."""


class Record:
    """What every record that is kept can do: save itself, load itself, show itself in a notebook."""

    def save(self, path: str | Path) -> Path:
        """Save as a record (``.whyclass``, to be loaded again) or as a page (``.html``); gives the path.

        Raises
        ------
        RecordError
            If the suffix is another one.
        StoreError
            If the file cannot be written.
        """
        path = Path(path)
        if path.suffix == SUFFIX:
            disk.write(path, codec.encode(self))
        elif (view := VIEWS.get(path.suffix.removeprefix("."))) is not None:
            disk.write(path, view(self).encode())
        else:
            raise RecordError(f"{path}: a record is saved as {SUFFIX} or .html")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a saved record.

        Raises
        ------
        StoreError
            If the file cannot be read.
        RecordError
            If it is damaged, of another kind, or of another format version.
        """
        try:
            return codec.decode(cls, disk.read(Path(path)), FORMAT)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from error

    def _repr_html_(self) -> str:
        return VIEWS["fragment"](self)


@dataclass(frozen=True)
class Picture:
    """An encoded picture for the eye.

    ``data`` holds PNG or JPEG bytes; ``width`` and ``height`` are in pixels.
    """

    data: bytes = field(repr=False)
    width: int
    height: int
    mime: str = "image/png"


@dataclass(frozen=True)
class Prediction:
    """A class with the softmax score (0 to 1) the model gives it."""

    index: int
    name: str
    score: float


@dataclass(frozen=True)
class Source:
    """An image of the pool: relative path, content hash, and what the model predicts for it."""

    path: str
    digest: str
    prediction: Prediction


@dataclass(frozen=True)
class Crop:
    """A piece of a pool image that lies close to a concept.

    ``box`` is (left, top, right, bottom) in pixels of the image as the model sees it; ``cosine``
    is the similarity of the pooled cell with the concept (-1 to 1).
    """

    image: Source
    box: tuple[int, int, int, int]
    cosine: float
    picture: Picture


@dataclass(frozen=True)
class HeatMap:
    """Where a concept is active on one of the class's images.

    ``values`` has shape (h, w), the cells of the layer, 0 to 1 relative to the concept's largest
    value over all the images that were factorised.
    """

    values: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Concept:
    """One NMF component of a class.

    Attributes
    ----------
    vector
        Shape (c,), non-negative: a direction in the layer's channels.
    share
        Part of the factorised matrix's reconstruction (sum over all entries) that this concept
        carries, 0 to 1; concepts are sorted by it, largest first.
    including
        Nearest crops over the whole pool, nearest first.
    excluding
        Nearest crops over images that are not predicted as the class, nearest first.
    heat_maps
        One for each of ``Explanation.images``, in that order.
    """

    vector: np.ndarray = field(repr=False)
    share: float
    including: tuple[Crop, ...]
    excluding: tuple[Crop, ...]
    heat_maps: tuple[HeatMap, ...]


@dataclass(frozen=True)
class ClassImage:
    """One of the images predicted as the class, shown with the concepts' heat maps."""

    image: Source
    picture: Picture


@dataclass(frozen=True)
class Control:
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
class PredictionTest:
    """The concepts' best crops, stitched into one image and fed back to the model.

    Attributes
    ----------
    score
        Softmax score of the class for the stitched image, 0 to 1.
    predicted
        Whether the class is the argmax.
    top
        The five highest classes, highest first (fewer when the model has fewer).
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
    """

    score: float
    predicted: bool
    top: tuple[Prediction, ...]
    layout: str
    pool: int
    picture: Picture
    sources: tuple[ClassImage, ...]
    control: Control | None


@dataclass(frozen=True)
class PredictionTests:
    """The prediction test over the whole pool, and without images predicted as the class.

    ``excluding`` is None when every image of the pool is predicted as the class.
    """

    including: PredictionTest
    excluding: PredictionTest | None


@dataclass(frozen=True)
class Completeness:
    """How exactly the attribution adds up to the change of the logit.

    ``mean`` and ``worst`` are of ``|sum(attribution) - (f(x) - f(b))| / |f(x) - f(b)|`` over the
    ``n`` noisy images that were attributed.
    """

    n: int
    mean: float
    worst: float


@dataclass(frozen=True)
class Skipped:
    """A file of the pool that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ModelInfo:
    """What was explained: the model's name, its weights' hash, the layer and its output shape (c, h, w)."""

    name: str
    weights: str
    layer: str
    shape: tuple[int, int, int]
    preprocessing: str


@dataclass(frozen=True)
class PoolInfo:
    """The images: folders as given, number used, content hash over all of them, files skipped."""

    name: str
    size: int
    digest: str
    skipped: tuple[Skipped, ...]


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
    completeness
        Of the attribution.
    warnings
        Sentences a reader must see beside the result.
    settings
        Every setting with its value.
    versions
        Libraries with their versions.
    """

    model: ModelInfo
    pool: PoolInfo
    target: Prediction
    n_images: int
    n_predicted: int
    images: tuple[ClassImage, ...]
    concepts: tuple[Concept, ...]
    prediction_test: PredictionTests
    completeness: Completeness
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
