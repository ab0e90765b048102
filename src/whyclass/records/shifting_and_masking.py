"""What the shifting and masking tests found: along a hyperplane's normal and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from whyclass.records.base import FORMAT, ModelInfo, Part, PoolInfo, Prediction, Record


@dataclass(frozen=True)
class Moved(Part):
    """How far a target's score in the images of a source can be moved along one direction or its like.

    ``highest`` is the largest mean score over the steps, ``at`` the step, ``winner`` what the images are
    called there by their mean scores; ``low`` and ``high`` are the 95 % interval of ``highest`` over images,
    whichever step it is at, or None of fewer than three images.
    ``swapped`` says that the winner is the target, and was not at the first step; ``n`` counts the images,
    and ``share`` is, of a segmentation net, the target's mean over maps and images. ``first`` is the first
    step at which the target wins, None where it never does. Records from before these four hold None.
    """

    highest: float
    low: float | None
    high: float | None
    at: float
    winner: Prediction
    swapped: bool | None = None
    n: int | None = None
    share: float | None = None
    first: float | None = None


@dataclass(frozen=True)
class ShiftControl(Part):
    """What the same test gives along other directions.

    ``random`` holds the highest mean score of the target along each random direction of the normal's
    length, on ``images`` images each; ``reversed`` the highest against the normal, on all images.
    """

    random: tuple[float, ...]
    images: int
    reversed: float


@dataclass(frozen=True)
class AuditedPair(Part):
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
        Of the shifting test; measured for one pair of each source, drawn by its hash, None for the others.
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
class Separation(Part):
    """How well a hyperplane tells the cells of A and B apart.

    Attributes
    ----------
    plain, balanced
        Share of all cells on their class's side, and the mean of the two classes' own shares.
    chance
        What naming the larger class for every cell gives of ``plain``.
    at_chance
        Whether ``balanced`` is no better than chance.
    cells, images
        Counted for A and for B.
    """

    plain: float
    balanced: float
    chance: float
    at_chance: bool
    cells: tuple[int, int]
    images: tuple[int, int]


@dataclass(frozen=True)
class Step(Part):
    """Mean scores at one step of a test, over its images.

    ``at`` is the step; ``target`` the mean softmax score of the class sought, with ``low`` and ``high``
    its 95 % interval over images, or None of fewer than three; ``source`` that of the class the images are
    predicted as; ``winner`` what images are called by the mean scores. ``share`` is, of a segmentation net,
    the mean of the class sought over maps and images. ``n`` is how many images it was measured on, where they
    are not all: a masking test that is narrowed drops shares that fall behind.
    """

    at: float
    target: float
    low: float | None
    high: float | None
    source: float
    winner: Prediction
    share: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Directions(Part):
    """What other directions of the same length reach in the same test.

    Attributes
    ----------
    n, images
        So many directions, each tried on so many images.
    mean, low, high
        Of the target's mean score, over directions, at each step: mean, least and largest.
    highest
        For each direction, its largest mean score of the target over the steps.
    swapped
        Share of the directions along which the target wins, at each step; None in records from before it
        was kept.
    at
        Numbers of the steps that ``mean``, ``low``, ``high`` and ``swapped`` are of; None where of all.
    followed
        Of a masking test that is narrowed, how many of the directions came near the target's highest score
        and were tried at all steps on all their images, of which their ``highest`` is; None of a whole one.
    """

    n: int
    images: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    highest: tuple[float, ...]
    swapped: tuple[float, ...] | None = None
    at: tuple[int, ...] | None = None
    followed: int | None = None


@dataclass(frozen=True)
class Sweep(Part):
    """A shifting or a masking test: from images predicted as ``source`` towards ``target``.

    Attributes
    ----------
    target, source
        The classes, with their mean scores on the untouched images.
    n
        Images.
    steps
        Shifting: multiples of the unit, or of the normal, added to every cell. Masking: share of all cells,
        those furthest on the source's side, whose pixels are blanked.
    best
        The step of the target's highest mean score.
    swapped
        Whether the target is the class of the highest mean score at that step, and the step is not the
        first one.
    random
        Random directions of the normal's length; None where no control was asked for.
    reversed
        The normal, reversed.
    low, high
        95 % interval of the target's highest mean score over images, whichever step it is at; None of fewer
        than three images, and in records from before it was kept.
    unit
        Of shifting: length of one step, the distance between both classes' mean cells along the normal; None
        where a step is the normal as it is.
    first
        The first step at which the target wins; None where it never does, or does without a step.
    """

    target: Prediction
    source: Prediction
    n: int
    steps: tuple[Step, ...]
    best: int
    swapped: bool
    random: Directions | None
    reversed: Directions
    low: float | None = None
    high: float | None = None
    unit: float | None = None
    first: int | None = None


@dataclass(frozen=True)
class SourceShifts(Record):
    """The shifting tests from the images of one class towards others, kept while a table of pairs is made."""

    tests: tuple[Sweep, ...]
    format: int = FORMAT
