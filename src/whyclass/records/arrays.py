"""Concepts of a record as arrays of numpy: stacked from what each of them holds, nothing computed."""

from __future__ import annotations

from typing import Any

import numpy as np


class ConceptArrays:
    """What everything that has ``concepts`` gives as arrays."""

    concepts: Any

    @property
    def vectors(self) -> np.ndarray:
        """Directions in the layer's channels: shape (k, c), float32, rows of length 1, in the order told.

        Non-negative unless the layer's activations are signed.
        """
        return np.stack([concept.vector for concept in self.concepts])

    @property
    def shares(self) -> np.ndarray:
        """What each concept carries of the factorisation's reconstruction: shape (k,), 0 to 1."""
        return np.array([concept.share for concept in self.concepts], np.float64)


class HeatMapArrays(ConceptArrays):
    """What everything gives besides whose concepts have heat maps on several images."""

    @property
    def heat_maps(self) -> np.ndarray:
        """Where concepts are active: shape (k, n, h, w), float32, for each concept one of each image.

        In cells of the layer, 0 to 1 relative to the concept's largest value over the images factorised.
        """
        return np.stack([np.stack([heat.values for heat in one.heat_maps]) for one in self.concepts])


class ImageArrays(ConceptArrays):
    """What one class in one image gives."""

    @property
    def heat_maps(self) -> np.ndarray:
        """Where concepts are: shape (k, h, w), float32, relative to the largest in the class's own images."""
        return np.stack([concept.heat_map.values for concept in self.concepts])

    @property
    def contributions(self) -> np.ndarray:
        """What concepts count for the class's logit in each cell: shape (k, h, w), float32, in logits."""
        return np.stack([concept.contributions for concept in self.concepts])

    @property
    def amounts(self) -> np.ndarray:
        """How much of each concept the image holds: shape (k,), sums of embeddings over its cells."""
        return np.array([concept.amount for concept in self.concepts], np.float64)
