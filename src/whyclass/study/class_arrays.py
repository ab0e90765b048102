"""What a class's explanation rests on, as arrays; and how much of concepts any images hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from whyclass.concepts import nnls
from whyclass.errors import SettingsError
from whyclass.records import ConceptBasis
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.concept_basis import seen
from whyclass.study.context import Context
from whyclass.study.given_images import Given

BLOCK = 128
"""Images whose activations are in memory at a time."""


@dataclass(frozen=True)
class ClassArrays:
    """A class's images, scores and concepts, as arrays of numpy.

    Attributes
    ----------
    paths
        The ``n`` images that were factorised, in the order of the arrays.
    scores
        Attribution of each cell: shape (n, h, w), float32, 0 or above, in logits per channel.
    vectors
        The concepts: shape (k, c), float32, rows of length 1, largest share first.
    shares
        Part of the reconstruction that each carries: shape (k,), sums to 1.
    embeddings
        How much of each concept the cells times their scores hold: shape (n, h, w, k), float32, in units of
        the largest entry that was factorised. ``(activations * scores) ~ embeddings @ vectors``.
    """

    paths: tuple[str, ...]
    scores: np.ndarray = field(repr=False)
    vectors: np.ndarray = field(repr=False)
    shares: np.ndarray = field(repr=False)
    embeddings: np.ndarray = field(repr=False)


def arrays_of(own: ClassEvidence) -> ClassArrays:
    """The arrays of a class."""
    items, factors = own.context.index.items, own.factors
    return ClassArrays(
        tuple(items[int(position)].path for position in own.chosen),
        own.evidence.scores,
        factors.concepts,
        np.asarray(factors.shares),
        factors.embeddings,
    )


POOLED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda held: np.asarray(held.mean((1, 2))),
    "max": lambda held: np.asarray(held.max((1, 2))),
}
"""From embeddings (n, h, w, k) to one number for each image and concept (n, k)."""


def check_pooled(pooled: str) -> None:
    """Refuse what is no row of ``POOLED``."""
    if pooled not in POOLED:
        raise SettingsError(f"pooled is {pooled!r}; choose one of {', '.join(POOLED)}")


def projected(
    context: Context, images: Sequence[Given], bases: Sequence[ConceptBasis], pooled: str
) -> np.ndarray:
    """How much of each concept images hold, shape (n, k of all bases together), float32."""
    found = []
    with context.progress.step("images", len(images)) as advance:
        for start in range(0, len(images), BLOCK):
            block = images[start : start + BLOCK]
            cells = seen(context, context.activations(torch.stack([one.sample.tensor for one in block])))
            # each class's by itself: concepts of one class explain its cells, not those of others'
            held = [POOLED[pooled](nnls.maps(cells, basis.vectors)) for basis in bases]
            found.append(np.concatenate(held, 1))
            advance(len(block))
    return np.concatenate(found).astype(np.float32)
