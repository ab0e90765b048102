"""What changed between two models, or between two pools of one: predictions, and each class's concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whyclass.records.audit import Strip, Trial
from whyclass.records.base import FORMAT, ModelInfo, Part, Picture, PoolInfo, Prediction, Record, Source


@dataclass(frozen=True)
class Move(Part):
    """How many of the images in both pools the first model calls one class, and the second another."""

    index: int
    name: str
    other_index: int
    other_name: str
    n: int


@dataclass(frozen=True)
class ChangedImage(Part):
    """An image that the models call different things: as the first and as the second sees it; small."""

    image: Source
    after: Prediction
    picture: Picture


@dataclass(frozen=True)
class Predictions(Part):
    """What both models call the images that are in both pools.

    Attributes
    ----------
    n, changed
        How many there are, and how many are called different things.
    moves
        From which class to which, the most frequent first.
    images
        Some of them, from where the second model is surest.
    labelled
        How many are labelled as a class; ``right`` and ``other_right`` are the shares of them that the first
        and the second model call that, None where there is no such image.
    """

    n: int
    changed: int
    moves: tuple[Move, ...]
    images: tuple[ChangedImage, ...]
    labelled: int
    right: float | None
    other_right: float | None


@dataclass(frozen=True)
class ConceptOfModel(Part):
    """One concept of a class in one of the models: its number, from 0, its share, and its nearest crops."""

    number: int
    share: float
    crops: Strip


@dataclass(frozen=True)
class Match(Part):
    """A concept of the first model and one of the second that are the same as far as the measure tells."""

    number: int
    other: int
    similarity: float


@dataclass(frozen=True)
class ClassComparison(Part):
    """One class in both models.

    Attributes
    ----------
    index, name
        The class.
    n, others
        How many images of its pool the first model, and the second, predicts as it.
    concepts, other_concepts
        Of the first model and of the second; none where ``problem`` says why.
    matches
        Pairs of them, the most similar first; what is in none of them went, or came.
    threshold
        Least similarity of a match: above what nonsense reaches.
    including, excluding, other_including, other_excluding
        The prediction tests of both models, with and without the class's images.
    problem
        Why the class could not be explained in one of them; empty where it could.
    """

    index: int
    name: str
    n: int
    others: int
    concepts: tuple[ConceptOfModel, ...]
    other_concepts: tuple[ConceptOfModel, ...]
    matches: tuple[Match, ...]
    threshold: float
    including: Trial | None
    excluding: Trial | None
    other_including: Trial | None
    other_excluding: Trial | None
    problem: str

    @property
    def went(self) -> tuple[int, ...]:
        """Numbers of the first model's concepts that the second has none like."""
        kept = {match.number for match in self.matches}
        return tuple(one.number for one in self.concepts if one.number not in kept)

    @property
    def came(self) -> tuple[int, ...]:
        """Numbers of the second model's concepts that the first has none like."""
        kept = {match.other for match in self.matches}
        return tuple(one.number for one in self.other_concepts if one.number not in kept)


@dataclass(frozen=True)
class ModelComparison(Record):
    """Two models over their pools.

    Attributes
    ----------
    model, pool, other_model, other_pool
        The first and the second.
    predictions
        Of the images that are in both pools.
    measure
        How concepts are matched: ``"cosine"`` of directions where channels correspond, ``"co-activation"``
        over the cells of the images in both pools otherwise: Pearson's correlation.
    channels
        Median correlation of equally numbered channels over these images; None where it was not needed or
        could not be measured.
    classes
        Those that were asked about, by index.
    gone, new
        Names of classes that images of the first pool count for and none of the second, and the reverse.
    """

    model: ModelInfo
    pool: PoolInfo
    other_model: ModelInfo
    other_pool: PoolInfo
    predictions: Predictions
    measure: str
    channels: float | None
    classes: tuple[ClassComparison, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    other_settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
