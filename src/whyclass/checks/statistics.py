"""Intervals and random directions."""

from __future__ import annotations

import numpy as np

DRAWS = 1000
"""Of the bootstrap."""


def interval(values: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean of values (..., n) over the last axis, by bootstrap."""
    n = values.shape[-1]
    counts = generator.multinomial(n, np.full(n, 1 / n), DRAWS) / n
    low, high = np.quantile(values @ counts.T, (0.025, 0.975), axis=-1)
    return low, high


def random_directions(w: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` directions (count, c) of the length of ``w`` (c,), drawn evenly from the sphere."""
    drawn = generator.standard_normal((count, len(w)))
    scaled = drawn * np.linalg.norm(w) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return scaled.astype(np.float32)
