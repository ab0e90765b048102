"""Log-odds, rank p-values and random directions: what checks are compared with."""

from __future__ import annotations

import numpy as np

LEAST_SCORE = 1e-9
"""Scores closer to 0 or 1 than this have the log-odds of it: float32 tells them apart no further."""

TIE = 1e-6
"""Log-odds that differ by less than this are equal."""


def log_odds(scores: np.ndarray) -> np.ndarray:
    """``log p - log(1 - p)`` of scores from 0 to 1, between about -21 and 21."""
    p = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.asarray(np.log(p) - np.log1p(-p))


def rank_p(value: float, nulls: np.ndarray) -> float:
    """Rank p-value ``(1 + #{null >= value}) / (n + 1)`` of a value among those under a null; ties count."""
    return float(1 + (nulls >= value - TIE).sum()) / (len(nulls) + 1)


def damped(gains: np.ndarray) -> np.ndarray:
    """Gains of log-odds on a scale on which the first counts most: ``sign(g) log(1 + |g|)``.

    A class that is told already is not told more by another ten of log-odds, and of explanations of nothing
    some find one crop of very large gain.
    """
    return np.asarray(np.sign(gains) * np.log1p(np.abs(gains)))


def nonsense(concepts: np.ndarray, seed: int, count: int) -> np.ndarray:
    """``count`` directions (count, c) as sparse and as large as the concepts (k, c), and none of them.

    They are the concepts in turn, each with its channels in an order of its own.
    """
    generator = np.random.default_rng(seed)
    turns = [concepts[i % len(concepts)] for i in range(count)]
    return np.stack([vector[generator.permutation(len(vector))] for vector in turns])


def random_directions(w: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` directions (count, c) of the length of ``w`` (c,), drawn evenly from the sphere."""
    drawn = generator.standard_normal((count, len(w)))
    scaled = drawn * np.linalg.norm(w) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return scaled.astype(np.float32)
