"""What a class's explanation is compared with, before any of it is searched in the pool."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from whyclass.records.base import FORMAT, Part, Record


@dataclass(frozen=True)
class NullSet(Part):
    """Concepts (k, c) of length 1 that explain nothing, of a kind of `Null`, with their ``shares`` (k,)."""

    kind: str
    concepts: np.ndarray = field(repr=False)
    shares: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class HalfConcepts(Part):
    """Concepts (k, c) of length 1 that were found from so many ``images``, a half of the class's."""

    concepts: np.ndarray = field(repr=False)
    images: int


@dataclass(frozen=True)
class Comparisons(Record):
    """Sets of concepts that explain nothing, and concepts of halves of the images; kept in a store."""

    sets: tuple[NullSet, ...]
    halves: tuple[HalfConcepts, ...]
    format: int = FORMAT
