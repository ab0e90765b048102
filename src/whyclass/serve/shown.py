"""Records as the explorer's templates take them: pictures by address instead of within the page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, pass_context
from jinja2.runtime import Context as Scope

from whyclass import naming
from whyclass.errors import RecordError, StoreError
from whyclass.records import (
    AuditedConcept,
    ClassImage,
    Concept,
    Contrast,
    Explanation,
    Finding,
    ImageExplanation,
    InsertionTest,
    Picture,
    Record,
    Source,
    Strip,
    Uploaded,
)
from whyclass.report import page, page_pictures, site, standings, verdict
from whyclass.serve.catalogue import Pictured, blob_of, pictured
from whyclass.store import Store, key_in

KINDS: dict[str, type[Record]] = {
    "findings": Finding,
    "explanations": Explanation,
    "contrasts": Contrast,
    "insertions": InsertionTest,
    "images": ImageExplanation,
    "uploads": Uploaded,
}
"""Folders of a store whose records hold pictures that a page may show."""

KEPT = 6
"""Records that stay in memory: an explanation has some megabytes."""


@dataclass(frozen=True)
class Cut:
    """A crop on a page: where its picture is, what it was cut from, and how near it is."""

    shown: Pictured
    image: Source
    box: tuple[int, int, int, int]
    cosine: float


@dataclass(frozen=True)
class ShownConcept:
    """A concept of a class on a page; ``found`` is its part of the record."""

    number: int
    key: str
    found: Concept | AuditedConcept
    including: tuple[Cut, ...]
    excluding: tuple[Cut, ...]

    @property
    def title(self) -> str:
        """Its name, or else its number."""
        return self.found.name or f"Concept {self.number}"


@dataclass(frozen=True)
class ShownClass:
    """A class on a page.

    ``e`` is the explanation, or a finding in that form; None where the class could not be explained.
    """

    kind: str
    key: str
    found: Explanation | Finding
    e: Explanation | None
    judged: verdict.Verdict | None
    level: standings.Standing
    label: str
    line: str
    concepts: tuple[ShownConcept, ...]
    examples: tuple[ClassImage, ...]


class Records:
    """Records of a store, the last few of which stay in memory."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: OrderedDict[tuple[str, str, int], Record] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, kind: str, key: str) -> Record:
        """A record.

        Raises
        ------
        StoreError, RecordError
            If there is no such record, or it is damaged.
        """
        file = self.store.record(kind, key)
        try:
            stamp = file.stat().st_mtime_ns
        except OSError as error:
            raise StoreError("the store holds no such result any more") from error
        with self._lock:
            if (kind, key, stamp) in self._kept:
                self._kept.move_to_end((kind, key, stamp))
                return self._kept[kind, key, stamp]
        found = KINDS[kind].load(file, (key_in(file), ""))
        with self._lock:
            self._kept[kind, key, stamp] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def shown_class(self, kind: str, key: str) -> ShownClass:
        """A class as a page shows it, with the names that users gave."""
        found = self.load(kind, key)
        if not isinstance(found, (Explanation, Finding)):
            raise RecordError("this is no result of a class")
        file, found = self.store.record(kind, key), naming.with_names(self.store, found)
        if isinstance(found, Explanation):
            judged = verdict.verdict(found)
            said = (judged.level, verdict.LABELS[judged.level])
            return ShownClass(
                *(kind, key, found, found, judged, *said, verdict.one_line(found.prediction_test)),
                tuple(_concept(file, n, one) for n, one in enumerate(found.concepts, 1)),
                found.images,
            )
        level = standings.standing(found)
        alone = site.explanation(found) if found.prediction_test else None
        return ShownClass(
            kind,
            key,
            found,
            alone,
            verdict.verdict(alone) if alone else None,
            level,
            standings.label(found),
            verdict.one_line(found.prediction_test),
            tuple(_audited(file, n, one) for n, one in enumerate(found.concepts, 1)),
            found.examples,
        )


def _concept(file: Path, number: int, found: Concept) -> ShownConcept:
    cuts = [
        tuple(Cut(pictured(file, one.picture), one.image, one.box, one.cosine) for one in crops)
        for crops in (found.including, found.excluding)
    ]
    return ShownConcept(number, naming.key_of_concept(found.vector), found, cuts[0], cuts[1])


def _audited(file: Path, number: int, found: AuditedConcept) -> ShownConcept:
    key = naming.key_of_concept(found.vector)
    return ShownConcept(number, key, found, _cuts(file, found.including), _cuts(file, found.excluding))


def _cuts(file: Path, strip: Strip | None) -> tuple[Cut, ...]:
    """Each piece of a strip, all of which are of one width."""
    spots = strip.spots if strip else ()
    return tuple(
        Cut(pictured(file, strip.picture, (i, len(spots))), spot.image, spot.box, spot.cosine)
        for i, spot in enumerate(spots)
        if strip
    )


# ---------------------------------------------------------------- templates


def address(shown: Pictured) -> str:
    """Where a browser finds a picture of a record."""
    return f"/blob/{shown.kind}/{shown.key}/{shown.blob}"


@pass_context
def _uri(scope: Scope, picture: Picture) -> str:
    """Where a browser finds a picture of the record that a template shows."""
    page_pictures.uri(picture)  # refuses what no page shows
    return f"/blob/{scope['kept_as'][0]}/{scope['kept_as'][1]}/{blob_of(picture)}"


@cache
def environment() -> Environment:
    """The pages' templates under the explorer's frame; whatever is inserted is escaped as there."""
    theirs = page.environment()
    mine = theirs.overlay(loader=ChoiceLoader([PackageLoader("whyclass.serve"), theirs.loader]))  # type: ignore[list-item]
    mine.filters = {**theirs.filters, "uri": _uri, "address": address}
    mine.globals = {**theirs.globals}
    return mine


def rendered(template: str, values: dict[str, Any]) -> str:
    """A page of the explorer."""
    given = {"backgrounds": [], "links": (), "kept_as": ("", "")} | values
    return environment().get_template(template).render(given)
