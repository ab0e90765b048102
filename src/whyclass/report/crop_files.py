"""The crops of a record as files of pictures: their names and their bytes."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from whyclass.errors import RecordError
from whyclass.records import (
    Concept,
    Contrast,
    Crop,
    Explanation,
    Finding,
    ImageExplanation,
    Prediction,
    Record,
    SpuriousFeatures,
)
from whyclass.report.image_text import sides
from whyclass.store import safe_name

Files = Iterator[tuple[str, bytes]]


def crop_files(found: Record) -> list[tuple[str, bytes]]:
    """Relative path and bytes of each crop.

    Raises
    ------
    RecordError
        If a record of its kind holds none.
    """
    if type(found) not in FILES:
        raise RecordError(f"a {type(found).__name__} holds no crops that could be saved")
    return list(FILES[type(found)](found))


def _explanation(found: Explanation) -> Files:
    yield from _concepts(found.target, found.concepts)


def _contrast(found: Contrast) -> Files:
    for side in (found.a, found.b):
        yield from _concepts(side.explanation.target, side.concepts)


def _image(found: ImageExplanation) -> Files:
    for side in sides(found):
        for concept in side.concepts:
            yield from _named(side.target, concept.number, "nearest", concept.crops)


def _spurious(found: SpuriousFeatures) -> Files:
    for feature in found.features:
        yield from _named(feature.target, feature.number, "without", feature.crops)


def _finding(found: Finding) -> Files:
    for number, concept in enumerate(found.concepts):
        for name, strip in (("including", concept.including), ("excluding", concept.excluding)):
            if strip is not None:
                yield (
                    f"{_place(found.target, number)}/{name}{_ending(strip.picture.mime)}",
                    strip.picture.data,
                )


def _concepts(target: Prediction, concepts: Iterable[Concept]) -> Files:
    for number, concept in enumerate(concepts):
        for name in ("including", "excluding", "unlabelled"):
            yield from _named(target, number, name, getattr(concept, name))


def _named(target: Prediction, number: int, name: str, crops: Iterable[Crop]) -> Files:
    for rank, crop in enumerate(crops, 1):
        file = f"{name}-{rank:02d}-{crop.cosine:.2f}{_ending(crop.picture.mime)}"
        yield f"{_place(target, number)}/{file}", crop.picture.data


def _place(target: Prediction, number: int) -> str:
    """The index keeps classes apart whose names are the same, or hold no letter that a file may."""
    return f"{target.index}-{safe_name(target.name, 'class')}/concept-{number + 1}"


def _ending(mime: str) -> str:
    return mimetypes.guess_extension(mime) or ".bin"


FILES: dict[type[Record], Callable[[Any], Files]] = {
    Explanation: _explanation,
    Contrast: _contrast,
    ImageExplanation: _image,
    SpuriousFeatures: _spurious,
    Finding: _finding,
}
"""Crops of each kind of record."""
