"""Which layer to explain a model at: what the prediction test says of several, and the one chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whyclass.records.audit import ClassResult
from whyclass.records.base import FORMAT, ModelInfo, Part, PoolInfo, Record


@dataclass(frozen=True)
class Average(Part):
    """One prediction test over ``n`` classes; a class that could not be explained counts as 0.

    Attributes
    ----------
    score, low, high
        Mean softmax score of the class, and the 95 % interval of it over classes, None of fewer than three.
    error
        Standard error of ``score``.
    predicted, predicted_low, predicted_high
        Share of classes that are the argmax, and Wilson's 95 % interval.
    control, control_predicted
        What random crops reach: mean score, and share of draws that are predicted as the class; None
        where none were drawn.
    above
        Whether the intervals of ``score`` and ``predicted`` both lie above what random crops reach; None
        where none were drawn, or where there is no interval.
    """

    n: int
    score: float
    low: float | None
    high: float | None
    error: float
    predicted: float
    predicted_low: float
    predicted_high: float
    control: float | None
    control_predicted: float | None
    above: bool | None


@dataclass(frozen=True)
class Candidate(Part):
    """A layer with a number of concepts.

    Attributes
    ----------
    layer, shape
        Module path and output shape (c, h, w).
    crop
        (height, width) of its crops in pixels.
    concepts
        How many each class has.
    including, excluding
        The test over all images, and over those not predicted as the class; the latter None where no
        class leaves such an image.
    classes
        Each class's own result, in the order of their indexes; the same classes for all candidates.
    """

    layer: str
    shape: tuple[int, int, int]
    crop: tuple[int, int]
    concepts: int
    including: Average
    excluding: Average | None
    classes: tuple[ClassResult, ...]


@dataclass(frozen=True)
class ChosenScore(Part):
    """The score of what ``n`` classes chose, which is mostly too high of them.

    Attributes
    ----------
    score
        Mean score of the decisive test, less ``optimism``.
    low, high
        Its 95 % interval over classes, which holds whichever candidate is chosen: those of all candidates
        hold together.
    optimism
        How much more those resampled classes say that choose than all (bootstrap through the choice).
    """

    n: int
    score: float
    low: float
    high: float
    optimism: float


@dataclass(frozen=True)
class LayerChoice(Record):
    """The layer chosen of several, with what the choice rests on.

    Attributes
    ----------
    model
        The model, at the chosen layer.
    pool
        All images; ``sample`` of them were searched for crops.
    names
        Digest of the class names.
    candidates
        By size of crop, depth and number of concepts.
    chosen
        One of them.
    why
        The rule that chose it, with its numbers.
    settings
        Those of the test, at the cost that the choice was made at; ``concepts`` is the chosen number.
    score
        The chosen one's score as it is after a choice; None where too few classes were tested for one, and in
        records from before it was kept.
    """

    model: ModelInfo
    pool: PoolInfo
    sample: int
    names: str
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    why: str
    warnings: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]
    format: int = FORMAT
    score: ChosenScore | None = None
