"""Hyperplanes between the cells of two classes: what they are, how well they fit, which side a cell is on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from whyclass.errors import AttributionError, ClassError, SettingsError

CUT = 0.25
"""A cell is taken where its score exceeds this part of its image's largest (paper, 5.1.1)."""

NEAR = 0.05
"""A balanced accuracy of at most one half and this much is called chance."""


@dataclass(frozen=True)
class Cells:
    """Cells of one class.

    ``vectors`` has shape (m, c), float32: activations as they are, not scaled. ``image`` has shape (m,):
    which of the class's images each came from.
    """

    vectors: np.ndarray = field(repr=False)
    image: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Accuracy:
    """How well the hyperplanes of P pairs tell two classes' cells apart. A cell with z = 0 counts as wrong.

    Attributes
    ----------
    plain
        Share of all cells on their class's side, shape (P,). NaN where nothing could be measured;
        ``cells`` and ``images`` are then 0.
    balanced
        Mean of the two classes' own shares, shape (P,): one half for a hyperplane that has all cells
        on one side, whatever the classes' sizes.
    chance
        What naming the larger class for every cell gives of ``plain``, shape (P,).
    cells, images
        Counted for A and for B, shape (P, 2).
    """

    plain: np.ndarray = field(repr=False)
    balanced: np.ndarray = field(repr=False)
    chance: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    images: np.ndarray = field(repr=False)

    @property
    def at_chance(self) -> np.ndarray:
        """Mask (P,) of the pairs told apart no better than by chance; False where not measured."""
        return np.asarray(self.balanced <= 0.5 + NEAR)


@dataclass(frozen=True)
class Hyperplanes:
    """Hyperplanes of P pairs of classes.

    Attributes
    ----------
    pairs
        A and B of each, shape (P, 2).
    weights, biases
        ``w`` and ``b``, shapes (P, c) and (P,), float32; ``w`` points towards A, and is not normalised.
    training
        Accuracy on the cells that the hyperplanes were fitted to.
    held_out
        Accuracy of a second fit, to part of the images of each class, on the cells of the others. Not
        measured for a class with fewer than two images.
    strengths
        Of the penalty that each was fitted with, shape (P,), as a part of the cells' variance; None of
        hyperplanes without one.
    apart
        Distance between the mean cells of A and B along each unit normal, shape (P,).
    """

    pairs: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    biases: np.ndarray = field(repr=False)
    training: Accuracy = field(repr=False)
    held_out: Accuracy = field(repr=False)
    apart: np.ndarray = field(repr=False)
    strengths: np.ndarray | None = field(repr=False, default=None)


def select_cells(activations: np.ndarray, scores: np.ndarray, cut: float = CUT) -> Cells:
    """The cells of a class that its hyperplanes are fitted to (paper, 5.1.1).

    Parameters
    ----------
    activations
        Shape (n, c, h, w), clean; read image by image, so that a memory-mapped file stays on disk.
    scores
        Shape (n, h, w): mean attribution over channels. The sign matters only in that an image whose
        largest score is not above zero gives no cell.
    cut
        From 0 to below 1: a cell's score must exceed this part of its image's largest.

    Returns
    -------
    Cells
        Image by image, row by row; none at all where no image has a positive score.

    Raises
    ------
    SettingsError
        If the shapes do not belong together, or ``cut`` is out of range.
    AttributionError
        If a score, or the activation of a chosen cell, is not finite.
    """
    if not 0 <= cut < 1:
        raise SettingsError(f"cut is {cut!r}; needed is a part from 0 to below 1")
    if activations.ndim != 4 or scores.shape != (len(activations), *activations.shape[2:]):
        raise SettingsError(
            f"activations {activations.shape} and scores {scores.shape} do not belong together; "
            "needed are (n, c, h, w) and (n, h, w)"
        )
    if not np.isfinite(scores).all():
        raise AttributionError("a score is not finite; does the model hold NaN?")
    vectors = [np.empty((0, activations.shape[1]), np.float32)]
    image = [np.empty(0, np.int64)]
    for i, score in enumerate(scores):
        chosen = score > cut * score.max()  # never, where the largest is not above zero
        if chosen.any():
            vectors.append(np.asarray(activations[i][:, chosen].T, np.float32))
            image.append(np.full(len(vectors[-1]), i))
    found = Cells(np.concatenate(vectors), np.concatenate(image))
    if not np.isfinite(found.vectors).all():
        raise AttributionError("an activation is not finite; does the model hold NaN?")
    return found


def between(planes: Hyperplanes, a: int, b: int) -> tuple[np.ndarray, float]:
    """``w`` (c,) and ``b`` of A against B, from the hyperplane of A and B or from that of B and A.

    Raises
    ------
    ClassError
        If neither was fitted.
    """
    for sign, pair in ((1, (a, b)), (-1, (b, a))):
        rows = np.flatnonzero((planes.pairs == pair).all(1))
        if len(rows):
            return sign * planes.weights[rows[0]], sign * float(planes.biases[rows[0]])
    raise ClassError(f"there is no hyperplane between classes {a} and {b}; fit one first")


LEAST_APART = 0.01
"""Of the whole distance between two mean cells: along a normal it counts as no less, so that steps have a
length."""


def apart(w: np.ndarray, between: np.ndarray) -> float:
    """Distance of two mean cells along ``w`` (c,), from the difference ``between`` (c,) of both."""
    w, between = w.astype(np.float64), between.astype(np.float64)
    whole, length = float(np.linalg.norm(between)), float(np.linalg.norm(w))
    along = abs(float(w @ between)) / length if length else 0.0
    return max(along, LEAST_APART * whole) or 1.0


def signed_distance(activations: np.ndarray, w: np.ndarray, b: float) -> np.ndarray:
    """``z = w.x + b``, shape (n, h, w), of each cell of activations (n, c, h, w); above zero it speaks for A.

    Raises
    ------
    SettingsError
        If ``w`` does not have the activations' channels.
    """
    if activations.ndim != 4 or w.shape != activations.shape[1:2]:
        raise SettingsError(
            f"activations {activations.shape} and w {w.shape} do not belong together; "
            "needed are (n, c, h, w) and (c,)"
        )
    n, c, *side = activations.shape
    z = w @ activations.reshape(n, c, -1) + b
    return np.asarray(z.reshape(n, *side), np.float32)


def against(activations: np.ndarray, w: np.ndarray, b: float) -> np.ndarray:
    """Score ``max(w.x + b, 0)``, shape (n, h, w), of each cell of activations (n, c, h, w) (paper, 5.1.2).

    With these scores on A's images `whyclass.concepts.nmf.factorise` gives the concepts of A against B.
    All are zero where no cell lies on A's side.
    """
    return np.maximum(signed_distance(activations, w, b), 0)
