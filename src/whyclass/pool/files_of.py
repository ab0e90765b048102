"""The files of a pool: found below folders, hashed, and read, with few bytes for each."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whyclass import store
from whyclass.errors import DataError
from whyclass.models import dicom
from whyclass.pool import pages, reading
from whyclass.pool.items import Item, printable

_COMMON = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXTENSIONS = frozenset((*_COMMON, *dicom.ENDINGS, ".avif", ".jp2", ".pbm", ".pgm", ".ppm"))
"""Files of a folder that count as images."""

NO_ENDING = "without an ending"

KINDS = 12
"""Endings of files that are no images which are told apart."""

TOGETHER, WAITING = 64, 64
"""Files that a thread hashes in turn, and how many such parcels wait: a million at once take gigabytes."""


@dataclass(frozen=True)
class Reader:
    """From a position in the pool to the file, or to a page of one that holds several.

    Attributes
    ----------
    base
        The folder that all files lie in.
    places
        Paths below it, by position.
    numbers
        Of the pages, by position.
    """

    base: str
    places: tuple[str, ...] = field(repr=False)
    numbers: Mapping[int, int] = field(repr=False)

    def __call__(self, position: int) -> Any:
        """The image, as a path or decoded."""
        place = Path(self.base, self.places[position])
        number = self.numbers.get(position)
        return place if number is None else pages.page(place, number)


@dataclass(frozen=True)
class Listing:
    """Images of files: their identities, how they are read, and how many files are none, by ending."""

    items: tuple[Item, ...] = field(repr=False)
    read: Reader
    left_out: tuple[tuple[str, int], ...] = ()


def of_folders(folders: Sequence[Path]) -> Listing:
    """All images below folders.

    Raises
    ------
    DataError
        If a folder is missing or unreadable, or holds no image.
    """
    if missing := [folder for folder in folders if not folder.exists()]:
        raise DataError(f"there is no folder or file {missing[0]}; give a folder that holds images")
    if files := [folder for folder in folders if not folder.is_dir()]:
        raise DataError(f"{files[0]} is a file; give the folder that holds the images")
    resolved = [str(folder.resolve()) for folder in folders]
    base = os.path.commonpath(resolved)
    start, left_out = len(os.path.join(base, "")), set[str]()
    found = {path[start:] for folder in resolved for path in _walk(folder, left_out)}
    endings = _endings(left_out)
    if not found:
        kinds, others = " ".join(sorted(EXTENSIONS)), ", ".join(f"{n:,} {ending}" for ending, n in endings)
        besides = f"; there are {others}" if others else ""
        where = ", ".join(map(str, folders))
        raise DataError(f"no image in {where}; looked for {kinds}, with subfolders{besides}")
    return _hashed(base, sorted(found, key=_posix), endings)


def of_files(paths: Sequence[Path]) -> Listing:
    """Files, in their order."""
    resolved = [str(path.resolve()) for path in paths]
    base = os.path.commonpath([os.path.dirname(path) for path in resolved])
    start = len(os.path.join(base, ""))
    return _hashed(base, [path[start:] for path in resolved])


def _hashed(base: str, places: Sequence[str], left_out: tuple[tuple[str, int], ...] = ()) -> Listing:
    """The pictures in files, nearly always one in each, with the digests of their contents."""
    items, read, numbers = list[Item](), list[str](), dict[int, int]()

    def pictures(start: int) -> list[list[Item]]:
        return [_pictures(base, place) for place in places[start : start + TOGETHER]]

    with ThreadPoolExecutor(4) as threads:
        for first in range(0, len(places), TOGETHER * WAITING):
            starts = range(first, min(first + TOGETHER * WAITING, len(places)), TOGETHER)
            every = (found for parcel in threads.map(pictures, starts) for found in parcel)
            for place, found in zip(places[first:], every, strict=False):
                if len(found) > 1:
                    numbers |= {len(items) + number: number for number in range(len(found))}
                items += found
                # one string for both, where it is one
                read += [found[0].path if found[0].path == place else place] * len(found)
    return Listing(tuple(items), Reader(base, tuple(read), numbers), left_out)


def _pictures(base: str, name: str) -> list[Item]:
    place = Path(base, name)
    path, label, several = printable(_posix(name)), printable(place.parent.name) or None, pages.count(place)
    label = label and sys.intern(label)
    if several == 1:
        return [Item(path, reading.file_digest(place), label)]
    digests = [reading.content_digest(lambda n=n: pages.page(place, n)) for n in range(several)]  # type: ignore[misc]
    return [Item(f"{path}#{number}", digest, label) for number, digest in enumerate(digests, 1)]


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _walk(folder: str, left_out: set[str]) -> Iterator[str]:
    """Image files below a folder, links followed once each; an unreadable folder is an error.

    A store within it, and what a run put there, are no part of the pool. Other files are ``left_out``.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"cannot read folder {error.filename}: {error.strerror}") from error

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        passed = real in seen or store.MARK in files
        folders[:] = [] if passed else sorted(f for f in folders if not f.startswith("."))
        if passed:
            continue
        seen.add(real)
        for file in sorted(files):
            if file.startswith("."):
                continue
            if os.path.splitext(file)[1].lower() in EXTENSIONS:
                yield os.path.join(place, file)
            else:
                left_out.add(os.path.join(real, file))


def _endings(left_out: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """How many files there are of each ending, the most first; of rare ones together."""
    counts = Counter(printable(Path(path).suffix.lower()) or NO_ENDING for path in left_out)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(n for _, n in ordered[KINDS:])
    return (*ordered[:KINDS], *([("of other endings", rest)] if rest else []))
