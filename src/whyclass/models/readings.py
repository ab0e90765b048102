"""What is read off a model's output: logits of classes, of two sides, of several at once, of a number.

Everything behind knows logits (n, K) and scores alone. A row of `KINDS` says how they come of what the model
gives, so that a new kind of model, such as a detector's box, is one more row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whyclass.errors import ModelError, SettingsError
from whyclass.models.code_digest import digest_of
from whyclass.models.outputs import LINKS

VALUES = "values"
"""In place of a link, while it is not known yet what counts as high and low."""

PROBABILITIES = {
    "softmax": "The model gives probabilities (softmax), not logits. Their logarithm is what is attributed; "
    "the score told is the model's own probability.",
    "sigmoid": "The model gives probabilities (a sigmoid for each class), not logits. Their logit is what is "
    "attributed; the score told is the model's own probability, and those of all classes need not add to 1.",
}
"""What a reader must know of a model that gives probabilities, by `Reading.link`."""

QUARTILES = (0.25, 0.75)
"""Of the pool's images this share counts as low, and all above that as high."""

SIDES = ("high", "low")
"""Of a number, in this order."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How a model's output is read.

    Attributes
    ----------
    kind
        A row of ``KINDS``: ``"softmax"``, ``"binary"``, ``"multilabel"``, ``"regression"``, ``"embedding"``
        or ``"callable"``.
    matrix
        Of an embedding (n, d): what each class looks like there, (K, d), such as the embeddings of texts.
    scale
        Logits are so many times the product of embedding and class; 100 is CLIP's.
    normalise
        Whether both are made unit vectors first, so that the product is their cosine.
    function
        From the model's output, or the logits in it where libraries keep them under that name, to one number
        for each image (n,).
    cuts
        Of a number: below the first it is low, above the second high. The default are the quartiles of the
        pool's images.

    Raises
    ------
    SettingsError
        If there is no such kind, or what it needs is missing or wrong.
    """

    kind: str = "softmax"
    matrix: Any = field(default=None, repr=False)
    scale: float = 100.0
    normalise: bool = True
    function: Callable[[Any], Tensor] | None = field(default=None, repr=False)
    cuts: tuple[float, float] | None = None
    link: str = field(default="", repr=False)
    _ends: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what lacks a part, before a model is run."""
        if self.kind not in KINDS:
            raise SettingsError(
                f"task is {self.kind!r}; choose one of {', '.join(KINDS)}, or give a function"
            )
        if self.kind == "embedding":
            object.__setattr__(self, "matrix", _matrix(self.matrix))
            if not math.isfinite(self.scale) or self.scale <= 0:
                raise SettingsError(f"scale is {self.scale}; needed is a number above 0")
        if (self.kind == "callable") != (self.function is not None):
            raise SettingsError("a function belongs to the task 'callable', and that task needs one")
        cut = self.cuts
        if cut is not None and not (len(cut) == 2 and all(map(math.isfinite, cut)) and cut[0] <= cut[1]):
            raise SettingsError(f"cuts are {cut}; needed are two numbers, the lower one first")

    @property
    def row(self) -> Kind:
        """The row of ``KINDS``."""
        return KINDS[self.kind]

    @property
    def scores(self) -> str:
        """From logits to scores, as `Task.link`."""
        if self.row.scores == VALUES:
            return VALUES if self._ends is None else "sigmoid"
        return self.link if self.kind == "softmax" else self.row.scores

    @property
    def told(self) -> list[str]:
        """What a reader of results must know."""
        said = [PROBABILITIES[self.link]] if self.link else []
        if self.link == "sigmoid" and self.kind == "softmax":
            said.append(
                "An image counts for its best class alone; the task 'multilabel' lets it show several."
            )
        if self.row.told:
            said.append(self.row.told)
        if self._ends is not None and len(self._ends) == 1:
            low, high, _ = self._ends[0].tolist()
            said.append(f"Here low is below {low:.4g}, and high above {high:.4g}.")
        return said

    def __call__(self, output: Any) -> Tensor:
        """Logits (n, K), or of a map (n, K, S, T), of what the model gives."""
        return self.row.read(self, output)

    def names(self, given: tuple[str, ...], classes: int) -> tuple[str, ...]:
        """Names of the classes, by what the user calls the model's outputs."""
        if self.row.scores == VALUES and len(given) in (0, classes // 2):
            if not given and classes == 2:
                return SIDES
            outputs = given or tuple(f"output {k}" for k in range(classes // 2))
            return tuple(f"{name} {side}" for name in outputs for side in SIDES)
        if self.kind == "binary" and len(given) == 1:
            return (f"not {given[0]}", given[0])
        return given

    def cut_at(self, values: np.ndarray) -> Reading:
        """With what counts as high and low, by the values (N, K) of a pool's images."""
        ends = np.quantile(values[:, ::2], QUARTILES, axis=0).T  # (D, 2)
        if self.cuts is not None:
            ends = np.broadcast_to(np.array(self.cuts, float), ends.shape)
        spread = ends[:, 1] - ends[:, 0]
        wide = np.where(spread > 0, spread, values[:, ::2].std(0))
        if not (wide > 0).all():
            raise ModelError(
                "the model gives the same number for every image of the pool, so none is high or low; give "
                "images that differ, or cuts of your own"
            )
        return replace(self, _ends=torch.tensor(np.column_stack([ends, wide]), dtype=torch.float64))

    def sides(self, values: Tensor) -> Tensor:
        """Logits (n, 2D) of the values of both sides (n, 2D): 0 at the cut, 1 a quartile range beyond it."""
        if self._ends is None:
            return values
        low, high, wide = self._ends.to(values.device, values.dtype).T
        offset = torch.stack([-high, low], 1).flatten()
        return (values + offset) / wide.repeat_interleave(2)

    @property
    def facts(self) -> str:
        """What results depend on, in a line that two readings share only where they are the same."""
        if self.kind == "softmax":
            return self.link
        parts = [self.kind, self.link]
        if self.kind == "embedding":
            parts += [f"{self.scale:g} {self.normalise}", digest_of(self.matrix)]
        if self.function is not None:
            parts.append(digest_of(self.function))
        if self.cuts is not None:
            parts.append(f"{self.cuts}")
        return " ".join(parts)


@dataclass(frozen=True)
class Kind:
    """A way to read an output.

    Attributes
    ----------
    name
        For people.
    read
        From reading and output to logits.
    scores
        From logits to scores, as `Task.link`.
    several
        Whether an image may count for several classes, or for none: those whose score exceeds one half.
    noticed
        Whether probabilities are noticed and turned back to logits first.
    told
        What a reader of results must know.
    """

    name: str
    read: Callable[[Reading, Any], Tensor]
    scores: str = ""
    several: bool = False
    noticed: bool = True
    told: str = ""


def reading_of(task: Any) -> Reading:
    """What a user says of the output: a reading, the name of a kind, a function, or nothing.

    Raises
    ------
    SettingsError
        If it is none of these.
    """
    if task is None:
        return Reading()
    if isinstance(task, Reading):
        return task
    if isinstance(task, str):
        return Reading(task)
    if callable(task):
        return Reading("callable", function=task)
    raise SettingsError(
        f"task came as {type(task).__name__}; needed is one of {', '.join(KINDS)}, or a function"
    )


def _classes(reading: Reading, output: Any) -> Tensor:
    return LINKS[reading.link](output)


def _binary(reading: Reading, output: Any) -> Tensor:
    """Two sides, whose softmax is the sigmoid of their difference."""
    found = LINKS[reading.link](_tensor(output))
    found = found[:, None] if found.dim() == 1 else found
    if found.dim() not in (2, 4) or found.shape[1] not in (1, 2):
        raise ModelError(
            f"the model's output is {tuple(found.shape)}; the task 'binary' needs one logit for each "
            "image, or two"
        )
    half = (found if found.shape[1] == 1 else found[:, 1:] - found[:, :1]) / 2
    return torch.cat([-half, half], 1)


def _several(reading: Reading, output: Any) -> Tensor:
    found = _tensor(output)
    if found.dim() != 2 or found.shape[1] < 2:
        raise ModelError(
            f"the model's output is {tuple(found.shape)}; the task 'multilabel' needs logits (n, classes) "
            "of 2 "
            "classes or more; for one, choose 'binary'"
        )
    if reading.link == "softmax":
        raise ModelError(
            "the model ends in a softmax, which lets only one class be in an image; the task 'multilabel' "
            "needs "
            "logits or sigmoids"
        )
    return LINKS[reading.link](found)


def _numbers(reading: Reading, output: Any) -> Tensor:
    """Both sides of each number: high and low of the first, then of the second."""
    found = _tensor(output)
    found = found[:, None] if found.dim() == 1 else found
    if found.dim() != 2:
        raise ModelError(
            f"the model's output is {tuple(found.shape)}; the task 'regression' needs numbers (n,) or (n, "
            "targets)"
        )
    return reading.sides(torch.stack([found, -found], 2).flatten(1))


def _embedded(reading: Reading, output: Any) -> Tensor:
    found, matrix = _tensor(output), reading.matrix
    if found.dim() != 2 or found.shape[1] != matrix.shape[1]:
        raise ModelError(
            f"the model's output is {tuple(found.shape)} and the class matrix {tuple(matrix.shape)}; "
            "needed is an "
            "embedding (n, d) and a matrix (classes, d)"
        )
    matrix = matrix.to(found)
    if reading.normalise:
        # products and a root, each of which has a rule
        found = found / (found * found).sum(1, keepdim=True).clamp(min=1e-24).sqrt()
        matrix = matrix / matrix.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return found @ (reading.scale * matrix.T)


def _called(reading: Reading, output: Any) -> Tensor:
    assert reading.function is not None
    try:
        found: Any = reading.function(output)
    except Exception as error:  # somebody's function may raise anything: that is the answer
        raise ModelError(
            f"the task's function failed on the model's output: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Tensor) or found.dim() != 1 or not found.is_floating_point():
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"the task's function gave {given}; needed is one number for each image, a tensor (n,)"
        )
    return _numbers(reading, found)


def _tensor(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the model's output is no tensor but a {type(output).__name__}; as task give a function from "
            "it to one "
            "number for each image"
        )
    return output


_BOTH_SIDES = (
    "A score is the sigmoid of how far the number lies beyond what counts as high, or as low, in units of "
    "the range between the two; an image counts for a side where that exceeds one half."
)

KINDS: dict[str, Kind] = {
    "softmax": Kind("classification", _classes),
    "binary": Kind(
        "binary classification",
        _binary,
        told="The model decides between two classes. What is attributed is the logit of one against the "
        "other, half "
        "of it to each side; the score is its sigmoid.",
    ),
    "multilabel": Kind(
        "multi-label classification",
        _several,
        "sigmoid",
        several=True,
        told="The model says of each class by itself whether it is in the image (multi-label). A score is "
        "the "
        "sigmoid of the class's logit, an image counts for every class whose score exceeds one half, and "
        "scores "
        "need not add to 1.",
    ),
    "regression": Kind(
        "regression",
        _numbers,
        VALUES,
        several=True,
        noticed=False,
        told="The model gives numbers, and each is explained as two sides, high and low: above the upper "
        "and below "
        f"the lower quartile over the pool, unless cuts were given. {_BOTH_SIDES}",
    ),
    "embedding": Kind(
        "zero-shot classification",
        _embedded,
        noticed=False,
        told="The model gives an embedding; a class's logit is its product with the class's row of a "
        "matrix that "
        "was given, and the score their softmax.",
    ),
    "callable": Kind(
        "a number of the user's own",
        _called,
        VALUES,
        several=True,
        noticed=False,
        told="A function of the user's makes one number of the model's output, explained as two sides, "
        "high and "
        "low: above the upper and below the lower quartile over the pool, unless cuts were given. "
        f"{_BOTH_SIDES}",
    ),
}
"""Kinds of output by name."""


def _matrix(given: Any) -> Tensor:
    found = torch.as_tensor(given).detach().cpu().float() if given is not None else torch.empty(0)
    if found.dim() != 2 or len(found) < 2 or not found.isfinite().all():
        raise SettingsError(
            f"the class matrix is {tuple(found.shape)}; the task 'embedding' needs finite numbers "
            "(classes, d), of 2 "
            "classes or more"
        )
    return found.contiguous()
