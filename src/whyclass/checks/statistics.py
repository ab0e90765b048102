"""Random directions."""

from __future__ import annotations

import numpy as np


def random_directions(w: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` directions (count, c) of the length of ``w`` (c,), drawn evenly from the sphere."""
    drawn = generator.standard_normal((count, len(w)))
    scaled = drawn * np.linalg.norm(w) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return scaled.astype(np.float32)
