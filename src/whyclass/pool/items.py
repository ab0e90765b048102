"""What an image of a pool is known by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """Identity of an image: its path relative to the pool, and a hash of its content.

    ``label`` is what it is labelled as, of files the name of their folder; it is no part of the identity.
    """

    path: str
    digest: str
    label: str | None = None


def printable(path: str) -> str:
    """File names that are no Unicode keep a readable, reversible form."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
