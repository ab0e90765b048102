"""What is known of an explanation's worth: what its concepts do, nulls, refits."""

from __future__ import annotations

from dataclasses import dataclass

from whyclass.records.base import Part


@dataclass(frozen=True)
class Contribution(Part):
    """What one concept does for the prediction test without the class's images.

    Attributes
    ----------
    necessity
        The class's score with all crops, less its mean with the concept's crop replaced by random ones.
    kept
        Share of those replacements that are still predicted as the class.
    sufficiency
        Gain of the class's log-odds by one of the concept's crops among random crops, against random crops
        alone: mean over its nearest crops and the fillings.
    p
        Share of directions of nonsense, with this concept among them, whose crops gain as much; nonsense are
        the concepts with their channels in another order.
    needed
        Whether the test needs the concept: without its crop most fillings are not predicted as the class, or
        its crops gain what few of nonsense do.
    n
        Directions of nonsense that it is compared with.
    """

    necessity: float
    kept: float
    sufficiency: float
    p: float
    needed: bool
    n: int


@dataclass(frozen=True)
class Stability(Part):
    """How a concept comes out when it is found anew from halves of the class's images.

    ``least`` and ``mean`` are over refits: the cosine with the concept that is matched with it. ``same_crop``
    is the share of refits in which that has the same best crop; ``n`` counts the refits.
    """

    least: float
    mean: float
    same_crop: float
    n: int


@dataclass(frozen=True)
class Null(Part):
    """What explanations of nothing, made by the same steps, reach in a prediction test.

    Attributes
    ----------
    kind
        ``"random crops"``; ``"random cells"``: crops nearest to random cells of the class's own images;
        ``"shuffled scores"``: the concepts of scores shuffled within each image.
    n
        How many.
    mean, predicted
        The class's mean score for their crops, and the share of them that is predicted as it.
    highest
        Of what is compared: the score of random crops, the ``backing`` of the others.
    p
        Share of them, with the explanation itself among them, that reach the explanation: rank p-value
        ``(1 + reached) / (n + 1)``. Random cells and shuffled scores are compared by damped gains (a gain of
        ``g`` counts as ``log(1 + g)``), over the classes of an audit by ``reached``.
    q
        The same over the classes of an audit, by Benjamini and Hochberg; None elsewhere.
    reached
        The backing of each; none for random crops.
    """

    kind: str
    n: int
    mean: float
    predicted: float
    highest: float
    p: float
    q: float | None = None
    reached: tuple[float, ...] = ()


@dataclass(frozen=True)
class Refits(Part):
    """Explanations of the same class from halves of its images.

    ``n`` counts them; ``same`` is the share whose two prediction tests end as the explanation's own did;
    ``images`` is how many images a half has.
    """

    n: int
    same: float
    images: int
