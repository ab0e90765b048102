"""What a model's output says of its classes: logits for the image, or a map of logits (segmentation).

Notation
--------
``K``
    classes. ``S x T`` pixels of a map of logits (n, K, S, T).
scores (..., K)
    of a classifier: softmax scores, which sum to 1.
scores (..., 2K)
    of a segmentation net: the largest softmax score of each class over the map, and after them their
    means over the map (method's *average maximum prediction*, and the mean beside it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whyclass.errors import ModelError

HALF = 0.5
"""A pixel is of a class where its softmax score exceeds this."""

NOTHING = ("background", "__background__")
"""Names of a class that says that there is nothing."""

Target = Callable[[Any], Tensor]
"""From the model's output to one number for each image (n,)."""


@dataclass(frozen=True)
class Task:
    """What a model does: classify images, or segment them.

    Attributes
    ----------
    classes
        How many there are.
    dense
        Whether every pixel has logits of its own.
    background
        The class of a segmentation net that says that there is nothing: an image is called so only where no
        other class is in it.
    link
        What the model's own output went through, a row of `outputs.LINKS`; empty where that gives logits.
        Otherwise scores are kept instead of logits.
    kind
        What is read off the output, for people (`readings.Kind`).
    several
        Whether an image counts for each class whose score exceeds one half, and not for the best alone.
    """

    classes: int
    dense: bool = False
    background: int | None = None
    link: str = ""
    kind: str = "classification"
    several: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return "segmentation" if self.dense else self.kind

    @property
    def plural(self) -> bool:
        """Whether an image may count for several classes, or for none."""
        return self.dense or self.several

    @property
    def columns(self) -> int:
        """Numbers that scores hold for each image."""
        return 2 * self.classes if self.dense else self.classes

    def from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Scores, float64, from what `summary` gave."""
        return logits.astype(np.float64) if self.dense or self.link else softmax(logits)

    def winner(self, scores: np.ndarray) -> np.ndarray:
        """The class that an image is called, by scores (..., columns).

        The argmax; where images are segmented it is, of the classes whose softmax exceeds one half somewhere,
        the one with the largest mean over the map.
        """
        return np.asarray(self._rank(scores).argmax(-1))

    def order(self, scores: np.ndarray) -> np.ndarray:
        """Classes (K,) by scores (columns,), the winner first."""
        return np.argsort(-self._rank(scores), kind="stable")

    def counts(self, scores: np.ndarray, target: int) -> np.ndarray:
        """Whether images count for a class, by scores (..., columns).

        They are predicted as it; where images are segmented, its softmax exceeds one half somewhere; where an
        image may be of several classes, its score does.
        """
        if self.plural:
            return np.asarray(self.shows(scores)[..., target])
        return np.asarray(self.winner(scores) == target)

    def shows(self, scores: np.ndarray) -> np.ndarray:
        """Whether each class (..., K) is somewhere on the map, or in the image, by scores (..., columns)."""
        return np.asarray(scores[..., : self.classes] > HALF)

    def share(self, scores: np.ndarray, target: int) -> float | None:
        """A class's mean over the map, by scores (columns,); None for a classifier."""
        return float(scores[self.classes + target]) if self.dense else None

    def _rank(self, scores: np.ndarray) -> np.ndarray:
        """What the classes are ranked by, (..., K)."""
        if not self.dense:
            return scores
        rank: np.ndarray = scores[..., self.classes :] + 2 * self.shows(scores)
        if self.background is not None:
            rank[..., self.background] -= 1  # below all others that are there
        return rank


def task_of(output: Any, names: tuple[str, ...] = (), link: str = "") -> Task:
    """The task of a model with such an output; anything but logits or a map of them is a ``ModelError``."""
    checked = _checked(output)
    dense = checked.dim() == 4
    plain = [name.strip().lower() for name in names]
    found = next((plain.index(name) for name in NOTHING if name in plain), None) if dense else None
    return Task(checked.shape[1], dense, found, link)


def class_logits(output: Any) -> Tensor:
    """Logits (n, K) of the output; of a map the mean over it (method, section 3)."""
    checked = _checked(output)
    return checked.mean((2, 3)) if checked.dim() == 4 else checked


def summary(output: Any, link: str = "") -> Tensor:
    """What is kept of logits (n, columns): a classifier's own output, or a segmentation net's scores."""
    checked = _checked(output)
    if checked.dim() == 2:
        return _probabilities(checked, link) if link else checked
    scores = _probabilities(checked, link)
    return torch.cat([scores.amax((2, 3)), scores.mean((2, 3))], 1)


def scores_of(output: Any, link: str = "") -> np.ndarray:
    """Scores (n, columns), float64, of the output."""
    found = summary(output.double(), link) if link else summary(output).double()
    return np.asarray((found.softmax(1) if output.dim() == 2 and not link else found).cpu().numpy())


def class_map(output: Tensor, target: int, link: str = "") -> Tensor:
    """Where a class is, by the output (n, K, S, T) of a segmentation net: (n, S, T), bool."""
    return _probabilities(output, link)[:, target] > HALF


def _probabilities(logits: Tensor, link: str) -> Tensor:
    if link == "values":
        return logits
    return logits.sigmoid() if link == "sigmoid" else logits.softmax(1)


def logit(target: int) -> Target:
    """A class's logit; of a map its mean."""
    return lambda output: class_logits(output)[:, target]


def logit_within(target: int, inside: Tensor) -> Target:
    """The mean of a class's map of logits with all but some pixels (S, T), bool, left out of the sum.

    Of all pixels, not of those: an image that shows a class in a corner then counts less than one that is
    full of it.
    """
    weights = inside / inside.numel()
    return lambda output: (_checked(output)[:, target] * weights).sum((1, 2))


def difference(first: Target, second: Target) -> Target:
    """One target less another: why the one and not the other."""
    return lambda output: first(output) - second(output)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax scores (n, K), float64, of logits (n, K)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _checked(output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() not in (2, 4) or output.shape[1] < 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"the model's output is {shape}; needed are logits (n, classes), or a map of them (n, classes, "
            "height, width), of 2 classes or more; of one logit choose the task 'binary', and of a number "
            "'regression'"
        )
    return output
