"""From what images are labelled as to classes of the model, where that can be known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from whyclass.errors import ClassError
from whyclass.models.class_names import resolve

UNKNOWN = -1
"""In place of a class."""

FIRST = "tench"
"""ImageNet's first class: by its name its 1,000 classes are known."""

FAIR = 0.2
"""Cohen's kappa of labels and predictions above which numbers are taken for indexes of classes."""


def classes_of(
    labels: Sequence[str | None],
    predicted: np.ndarray,
    names: tuple[str, ...],
    count: int,
    meaning: Mapping[str, str | int],
) -> np.ndarray:
    """The class (N,) that each image is labelled as; ``UNKNOWN`` where its label is none of the model's.

    A label is looked up in ``meaning``, which may give a class's name or index, else among the names, without
    regard to case, spaces, hyphens and underscores, else among the WordNet numbers of ImageNet's classes. A
    number may be the index of a class, or of a patient: it is taken for the former where the labels agree
    with what the images are ``predicted`` (N,) as more than by chance.
    """
    found = {label: _class_of(label, names, count, meaning) for label in set(labels) if label is not None}
    sure = np.array([UNKNOWN if label is None else found[label] for label in labels], int)
    if (sure >= 0).any():
        return sure
    given = np.array([_number(label, count) for label in labels], int)
    known = given >= 0
    return np.where(known, given, UNKNOWN) if kappa(given[known], predicted[known]) > FAIR else sure


def kappa(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Cohen's kappa of two labellings (n,): 0 where they agree by chance alone, 1 where always."""
    if not labels.size:
        return 0.0
    agree = float((labels == predicted).mean())
    chance = sum(float((labels == k).mean() * (predicted == k).mean()) for k in np.unique(labels))
    return (agree - chance) / (1 - chance) if chance < 1 else 0.0


def _class_of(label: str, names: tuple[str, ...], count: int, meaning: Mapping[str, str | int]) -> int:
    wanted = meaning.get(label, label)
    if wanted is label and label not in names and label.strip().removeprefix("-").isdecimal():
        return UNKNOWN
    if wanted is label and label in _wnids() and _is_imagenet(names, count):
        return _wnids()[label]  # ImageNet calls no class so; a thousand names that are none's take seconds
    try:
        return resolve(wanted, names, count)
    except ClassError:
        return UNKNOWN


def _number(label: str | None, count: int) -> int:
    number = int(label) if label is not None and label.strip().isdecimal() else UNKNOWN
    return number if number < count else UNKNOWN


def _is_imagenet(names: tuple[str, ...], count: int) -> bool:
    return count == len(_wnids()) and (not names or names[0].startswith(FIRST))


def read_meaning(path: Path) -> dict[str, str | int]:
    """From labels to names or indexes of classes: a JSON object.

    Raises
    ------
    ClassError
        If the file cannot be read, or holds anything else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ClassError(f"cannot read labels from {path}: {error}") from error
    values = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(value, (str, int)) and not isinstance(value, bool) for value in values):
        raise ClassError(f"{path} must hold a JSON object from labels to names or indexes of classes")
    return dict(found)


@cache
def _wnids() -> dict[str, int]:
    """WordNet numbers of ImageNet's classes, by index."""
    lines = Path(__file__).with_name("imagenet_wnids.txt").read_text(encoding="ascii").split()
    return {wnid: index for index, wnid in enumerate(lines)}
