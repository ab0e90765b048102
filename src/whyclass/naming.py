"""What users call concepts, kept in a store beside the results and shown wherever these are.

A concept is known by its direction: the same one has one name in an explanation, in an audit and on the map.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from whyclass.errors import RecordError, SettingsError, StoreError
from whyclass.plain_text import clean
from whyclass.records import (
    AuditedConcept,
    Concept,
    Contrast,
    Explanation,
    Finding,
    Group,
    Groups,
    Label,
    Side,
)
from whyclass.store import Store, key_in

LABELS, GROUPS, ALL = "labels", "groups", "all"
"""Folders of the store, and the one record of groups."""

LONGEST_NAME, LONGEST_NOTE, MOST_GROUPS, MOST_MEMBERS = 80, 4000, 500, 5000
"""Characters of a name and of a note, groups of a store, and concepts of a group."""

Named = TypeVar("Named", Explanation, Contrast, Finding, Explanation | Finding, Explanation | Contrast)
Directed = TypeVar("Directed", Concept, AuditedConcept, Concept | AuditedConcept)


def key_of_concept(vector: np.ndarray) -> str:
    """Short hash of a concept's direction (c,)."""
    values = np.ascontiguousarray(vector, dtype="<f4")
    return hashlib.blake2b(values.tobytes(), digest_size=10).hexdigest()


def label(store: Store, key: str) -> Label:
    """What a concept is called; empty where it has no name."""
    file = store.record(LABELS, key)
    try:
        return Label.load(file, (key_in(file),)) if file.exists() else Label("", "")
    except (RecordError, StoreError):  # what is damaged can be written anew
        return Label("", "")


def keep_label(store: Store, key: str, name: str, note: str) -> Label:
    """Call a concept so; both empty take its name away.

    Raises
    ------
    SettingsError
        If either is too long.
    StoreError
        If the store cannot be written.
    """
    name, note = clean(name).strip(), note.strip()
    if len(name) > LONGEST_NAME or len(note) > LONGEST_NOTE:
        raise SettingsError(
            f"the name has {len(name)} characters and the note {len(note)}; needed are at most "
            f"{LONGEST_NAME} and {LONGEST_NOTE}"
        )
    made = Label(name, note)
    if name or note:
        store.keep(made, store.record(LABELS, key))
    else:
        store.drop(LABELS, key)
    return made


def groups(store: Store) -> tuple[Group, ...]:
    """The groups of concepts that users named."""
    file = store.record(GROUPS, ALL)
    try:
        return Groups.load(file, (key_in(file),)).groups if file.exists() else ()
    except (RecordError, StoreError):
        return ()


def keep_group(store: Store, name: str, concepts: tuple[str, ...]) -> None:
    """Name a group of concepts; none take the group away.

    Raises
    ------
    SettingsError
        If the name is empty or too long, or there are too many.
    """
    name, others = clean(name).strip(), [one for one in groups(store) if one.name != clean(name).strip()]
    if not 0 < len(name) <= LONGEST_NAME or len(concepts) > MOST_MEMBERS or len(others) >= MOST_GROUPS:
        raise SettingsError(
            f"a group needs a name of 1 to {LONGEST_NAME} characters and at most {MOST_MEMBERS} concepts; "
            f"a store has at most {MOST_GROUPS} groups"
        )
    mine = [Group(name, tuple(dict.fromkeys(concepts)))] if concepts else []
    store.keep(Groups((*others, *mine)), store.record(GROUPS, ALL))


def with_names(store: Store, found: Named) -> Named:
    """A record with the names that its concepts have in a store."""
    if not any((store.folder / LABELS).glob("*")):
        return found
    changes: dict[str, Any] = (
        {"a": _side(store, found.a), "b": _side(store, found.b)}
        if isinstance(found, Contrast)
        else {"concepts": tuple(_named(store, one) for one in found.concepts)}
    )
    return replace(found, **changes)


def _side(store: Store, side: Side) -> Side:
    return replace(
        side,
        concepts=tuple(_named(store, one) for one in side.concepts),
        explanation=with_names(store, side.explanation),
    )


def _named(store: Store, concept: Directed) -> Directed:
    found = label(store, key_of_concept(concept.vector))
    return replace(concept, name=found.name, note=found.note)
