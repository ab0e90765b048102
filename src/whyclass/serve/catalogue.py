"""What a store holds, in the few facts that the explorer lists: read once, and again where a file changed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from whyclass.errors import RecordError, StoreError
from whyclass.naming import key_of_concept
from whyclass.records import (
    Contrast,
    Explanation,
    Finding,
    ModelInfo,
    Picture,
    PoolInfo,
    Prediction,
    PredictionTests,
    Record,
    codec,
)
from whyclass.report import standings, verdict
from whyclass.settings import OF_NO_FINDING
from whyclass.store import Store, key_in, key_of

KINDS: dict[str, type[Record]] = {
    "findings": Finding,
    "explanations": Explanation,
    "contrasts": Contrast,
}
"""Folders of a store that hold answers about classes, and the records in them."""


@dataclass(frozen=True)
class Pictured:
    """A picture within a record of the store; ``part`` (i, n) is the i-th of n pieces side by side."""

    kind: str
    key: str
    blob: str
    size: tuple[int, int]
    part: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class ListedConcept:
    """A concept of a class: number from 1, direction (c,) as float16, and its best crop."""

    number: int
    key: str
    share: float
    vector: np.ndarray = field(repr=False)
    best: Pictured | None


@dataclass(frozen=True)
class Listed:
    """What is listed of a class from one record of it.

    ``p`` is the rank p-value of its test without the class's images, None where there is none.
    """

    kind: str
    key: str
    group: str
    target: Prediction
    n_images: int
    level: standings.Standing
    label: str
    including: float | None
    excluding: float | None
    p: float | None
    rival: Prediction | None
    problem: str
    concepts: tuple[ListedConcept, ...]
    thumbnails: tuple[Pictured, ...]
    q: float | None = None


@dataclass(frozen=True)
class ListedContrast:
    """A contrast of two classes."""

    key: str
    group: str
    a: Prediction
    b: Prediction


@dataclass(frozen=True)
class Facts:
    """What tells the groups of a store apart: one is of one model, layer, pool and settings."""

    group: str
    model: ModelInfo
    pool: PoolInfo


@dataclass(frozen=True)
class Group:
    """All that a store holds of one model, layer, pool and settings."""

    facts: Facts
    classes: tuple[Listed, ...]
    contrasts: tuple[ListedContrast, ...]

    def listed(self, index: int) -> Listed | None:
        """What is listed of a class."""
        return next((one for one in self.classes if one.target.index == index), None)


def group_of(model: ModelInfo, pool: str, settings: dict[str, Any], versions: dict[str, str]) -> str:
    """Short hash of what an answer is of; ``pool`` is its content hash."""
    kept = {name: value for name, value in settings.items() if name not in OF_NO_FINDING}
    return key_of(model=codec.to_json(model), pool=pool, settings=kept, versions=versions)


class Catalogue:
    """Lists of a store's records, which follow its files."""

    def __init__(self, store: Store, tell: Callable[[str], None] = lambda line: None) -> None:
        self.store, self._tell = store, tell
        self._seen: dict[Path, tuple[tuple[int, int], Any]] = {}
        self._groups: dict[str, Group] = {}
        self._lock = threading.Lock()

    def groups(self) -> dict[str, Group]:
        """By group's hash, that of most classes first."""
        with self._lock:
            if self._refreshed():
                self._groups = _grouped([made for _, made in self._seen.values() if made is not None])
            return self._groups

    def _refreshed(self) -> bool:
        """Read what is new; whether anything was."""
        now = {file: stamp for kind in KINDS for file, stamp in _stamps(self.store.folder / kind)}
        gone = [file for file in self._seen if file not in now]
        for file in gone:
            del self._seen[file]
        new = [file for file, stamp in now.items() if self._seen.get(file, (None,))[0] != stamp]
        for file in new:
            self._seen[file] = (now[file], self._read(file))
        return bool(gone or new)

    def _read(self, file: Path) -> Any:
        try:
            found = KINDS[file.parent.name].load(file, (key_in(file), ""))
            return LISTED[type(found)](file, found)
        except (RecordError, StoreError) as error:
            self._tell(f"left out, since {error}")
            return None


def _stamps(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for file in folder.glob("*.whyclass"):
        try:
            found = file.stat()
        except OSError:  # gone meanwhile
            continue
        yield file, (found.st_mtime_ns, found.st_size)


def _grouped(made: list[tuple[Facts, Listed | ListedContrast]]) -> dict[str, Group]:
    facts = {one.group: one for one, _ in made}
    found = []
    for group, about in facts.items():
        own = [listed for one, listed in made if one.group == group]
        best: dict[int, Listed] = {}
        for one in own:
            if isinstance(one, Listed) and (one.target.index not in best or one.kind == "explanations"):
                best[one.target.index] = one  # an explanation holds more than an audit's finding
        classes = _with_q(sorted(best.values(), key=lambda one: one.target.index))
        contrasts = tuple(one for one in own if isinstance(one, ListedContrast))
        found.append(Group(about, tuple(classes), contrasts))
    found.sort(key=lambda one: (-len(one.classes), one.facts.group))
    return {one.facts.group: one for one in found}


def _with_q(classes: list[Listed]) -> list[Listed]:
    """Classes with the q-values of their p-values, by Benjamini and Hochberg over all that have one."""
    having = sorted((one.p, number) for number, one in enumerate(classes) if one.p is not None)
    least, q = 1.0, {}
    for rank in range(len(having), 0, -1):
        p, number = having[rank - 1]
        least = min(least, p * len(having) / rank)
        q[number] = least
    return [replace(one, q=q.get(number)) for number, one in enumerate(classes)]


# ---------------------------------------------------------------- of one record


def blob_of(picture: Picture) -> str:
    """What a picture is called within a saved record."""
    return hashlib.blake2b(picture.data, digest_size=12).hexdigest()


def pictured(file: Path, picture: Picture, part: tuple[int, int] = (0, 1)) -> Pictured:
    """Where a picture of a record is."""
    size = (picture.width // part[1], picture.height)
    return Pictured(file.parent.name, file.stem, blob_of(picture), size, part)


def _finding(file: Path, found: Finding) -> tuple[Facts, Listed]:
    tests = found.prediction_test
    strips = [pictured(file, one.including.picture, (0, len(one.including.spots))) for one in found.concepts]
    directions = [(one.vector, one.share) for one in found.concepts]
    level = standings.standing(found)
    thumbnail = (pictured(file, found.thumbnail),) if found.thumbnail else ()
    said = (level, standings.label(found))
    return _listed(file, found, tests, said, (_concepts(directions, strips), thumbnail))


def _explanation(file: Path, found: Explanation) -> tuple[Facts, Listed]:
    level = verdict.verdict(found).level
    best = [pictured(file, one.including[0].picture) if one.including else None for one in found.concepts]
    directions = [(one.vector, one.share) for one in found.concepts]
    concepts = _concepts(directions, best)
    shown = (concepts, tuple(one for one in best if one is not None))
    return _listed(file, found, found.prediction_test, (level, verdict.LABELS[level]), shown)


def _concepts(
    directions: list[tuple[np.ndarray, float]], best: list[Pictured] | list[Pictured | None]
) -> tuple[ListedConcept, ...]:
    return tuple(
        ListedConcept(number, key_of_concept(vector), share, vector.astype(np.float16), shown)
        for number, ((vector, share), shown) in enumerate(zip(directions, best, strict=True), 1)
    )


def _listed(
    file: Path,
    found: Finding | Explanation,
    tests: PredictionTests | None,
    said: tuple[standings.Standing, str],
    shown: tuple[tuple[ListedConcept, ...], tuple[Pictured, ...]],
) -> tuple[Facts, Listed]:
    group = group_of(found.model, found.pool.digest, found.settings, found.versions)
    other = tests.excluding if tests else None
    made = Listed(
        kind=file.parent.name,
        key=file.stem,
        group=group,
        target=found.target,
        n_images=found.n_images,
        level=said[0],
        label=said[1],
        including=tests.including.score if tests else None,
        excluding=other.score if other else None,
        p=other.control.p if other and other.control else None,
        rival=found.rival,
        problem=getattr(found, "problem", ""),
        concepts=shown[0],
        thumbnails=shown[1],
    )
    return Facts(group, found.model, found.pool), made


def _contrast(file: Path, found: Contrast) -> tuple[Facts, ListedContrast]:
    group = group_of(found.model, found.pool.digest, found.settings, found.versions)
    a, b = found.a.explanation.target, found.b.explanation.target
    return Facts(group, found.model, found.pool), ListedContrast(file.stem, group, a, b)


LISTED: dict[type[Record], Callable[..., tuple[Facts, Any]]] = {
    Finding: _finding,
    Explanation: _explanation,
    Contrast: _contrast,
}
"""What is listed of each kind of record."""
