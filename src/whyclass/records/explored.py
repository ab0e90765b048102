"""What the explorer keeps in a store besides the answers to questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whyclass.records.base import FORMAT, Part, Picture, Record


@dataclass(frozen=True)
class Uploaded(Record):
    """A picture that a user brought, as the model sees it; ``name`` is what its file was called."""

    name: str
    picture: Picture
    format: int = FORMAT


@dataclass(frozen=True)
class Group(Part):
    """Concepts that a user takes for the same thing: a name, and their keys (`naming.key_of_concept`)."""

    name: str
    concepts: tuple[str, ...]


@dataclass(frozen=True)
class Groups(Record):
    """All groups that users named in a store."""

    groups: tuple[Group, ...]
    format: int = FORMAT


@dataclass(frozen=True)
class Label(Record):
    """What a user calls a concept, and what they note of it."""

    name: str
    note: str
    format: int = FORMAT


@dataclass(frozen=True)
class ConceptMap(Record):
    """Concepts of several classes in two dimensions, near each other where their directions are.

    Attributes
    ----------
    keys
        Of the concepts (`naming.key_of_concept`).
    points
        Shape (n, 2), each from 0 to 1.
    """

    keys: tuple[str, ...]
    points: np.ndarray
    format: int = FORMAT
