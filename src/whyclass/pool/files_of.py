"""The files of a pool: found below folders, hashed, and read, with few bytes for each."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from whyclass import store
from whyclass.errors import DataError
from whyclass.models import dicom
from whyclass.pool import known_remote, pages, reading, remote
from whyclass.pool.items import Item, printable

_COMMON = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXTENSIONS = frozenset((*_COMMON, *dicom.ENDINGS, ".avif", ".jp2", ".pbm", ".pgm", ".ppm"))
"""Files of a folder that count as images."""

NO_ENDING = "without an ending"

KINDS = 12
"""Endings of files that are no images which are told apart."""

OTHERS = (".csv", ".tsv", ".parquet", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zip")
"""Ends of addresses that name a table or an archive."""

TOGETHER, WAITING = 64, 64
"""Files that a thread hashes in turn, and how many such parcels wait: a million at once take gigabytes."""


NOTHING: Mapping[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class LocalFolder:
    """The folder that all files of a pool lie in."""

    path: str

    def file(self, place: str) -> Path:
        """A file by its path below the folder."""
        return Path(self.path, place)

    def plain(self, place: str) -> str:
        """A path below the folder as it is on all systems."""
        return place.replace(os.sep, "/")

    def label(self, place: str) -> str:
        """The name of the folder that a file lies in."""
        return self.file(place).parent.name


Folder = LocalFolder | remote.RemoteFolder


@dataclass(frozen=True)
class Reader:
    """From a position in the pool to the file, or to a page of one that holds several.

    Attributes
    ----------
    folder
        The one that all files lie in.
    places
        Paths below it, by position.
    numbers
        Of the pages, by position.
    """

    folder: Folder
    places: tuple[str, ...] = field(repr=False)
    numbers: Mapping[int, int] = field(repr=False)

    def __call__(self, position: int) -> Any:
        """The image, as a path or decoded."""
        place = self.folder.file(self.places[position])
        number = self.numbers.get(position)
        return place if number is None else pages.page(place, number)


@dataclass(frozen=True)
class Listing:
    """Images of files: their identities, how they are read, and how many files are none, by ending."""

    items: tuple[Item, ...] = field(repr=False)
    read: Reader
    left_out: tuple[tuple[str, int], ...] = ()
    known: known_remote.Known = field(default_factory=dict, repr=False)


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
    folder = LocalFolder(base)
    _check_some(found, ", ".join(map(str, folders)), endings)
    return replace(_hashed(folder, sorted(found, key=folder.plain)), left_out=endings)


def of_urls(urls: Sequence[str], known: known_remote.Known) -> Listing:
    """Images below addresses, or those that several addresses or a pattern name; what is known is not read.

    Raises
    ------
    DataError
        If there is none, it cannot be reached, or what reads it is not installed.
    """
    if any(map(remote.is_pattern, urls)):
        if len(urls) > 1:
            raise DataError(f"{urls[0]} came with others; a pattern of addresses is given alone")
        return _far(remote.matching(urls[0]), known)
    if len(urls) > 1 and all(map(is_image, urls)):
        return _far(remote.of_files(urls), known)
    if files := [url for url in urls if is_image(url) or url.lower().endswith(OTHERS)]:
        raise DataError(
            f"{files[0]} is a file; give the folder that holds the images, and copy a table or an archive to "
            "this machine"
        )
    found = remote.of_folders(urls)
    left_out = set[str]()
    places = list(_sifted(found, left_out))
    endings = _endings(left_out)
    _check_some(places, ", ".join(urls), endings)
    ordered = tuple(sorted(places, key=found.folder.plain))
    return replace(_far(replace(found, places=ordered), known), left_out=endings)


def _far(found: remote.Listed, known: known_remote.Known) -> Listing:
    """Listed files, read where their content is not known."""
    paths = {place: found.folder.file(place).path for place in found.places}
    there = {
        place: told[1:]
        for place, path in paths.items()
        if (told := known.get(path)) and told[0] == found.marks.get(place)
    }
    read = _hashed(found.folder, found.places, there)
    digests = dict[str, tuple[str, ...]]()
    for position, item in enumerate(read.items):
        place = read.read.places[position]
        digests[place] = (*digests.get(place, ()), item.digest)
    now = {
        paths[place]: (found.marks[place], *mine)
        for place, mine in digests.items()
        if place in found.marks and not any(map(reading.is_reason, mine))
    }
    return replace(read, known=now)


def _sifted(found: remote.Listed, left_out: set[str]) -> Iterator[str]:
    """Those of listed files that a walk through local folders finds."""
    stores = {place.rpartition("/")[0] for place in found.places if place.rpartition("/")[2] == store.MARK}
    for place in found.places:
        above = place.split("/")[:-1]
        within = {"/".join(above[:depth]) for depth in range(len(above) + 1)}
        if any(part.startswith(".") for part in place.split("/")) or within & stores:
            continue
        if is_image(place):
            yield place
        else:
            left_out.add(place)


def is_image(path: str) -> bool:
    """Whether a file counts as an image, by the end of its name."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS


def _check_some(found: Iterable[str], where: str, endings: tuple[tuple[str, int], ...]) -> None:
    if not found:
        kinds, others = " ".join(sorted(EXTENSIONS)), ", ".join(f"{n:,} {ending}" for ending, n in endings)
        besides = f"; there are {others}" if others else ""
        raise DataError(f"no image in {where}; looked for {kinds}, with subfolders{besides}")


def of_files(paths: Sequence[Path]) -> Listing:
    """Files, in their order."""
    resolved = [str(path.resolve()) for path in paths]
    base = os.path.commonpath([os.path.dirname(path) for path in resolved])
    start = len(os.path.join(base, ""))
    return _hashed(LocalFolder(base), [path[start:] for path in resolved])


def _hashed(folder: Folder, places: Sequence[str], known: Mapping[str, tuple[str, ...]] = NOTHING) -> Listing:
    """The pictures in files, nearly always one in each, with the digests of their contents."""
    items, read, numbers = list[Item](), list[str](), dict[int, int]()

    def pictures(start: int) -> list[list[Item]]:
        return [_pictures(folder, place, known.get(place)) for place in places[start : start + together]]

    far = isinstance(folder, remote.RemoteFolder)
    together = 1 if far else TOGETHER  # where each takes its time, none waits for another
    with ThreadPoolExecutor(remote.THREADS if far else 4) as threads:
        for first in range(0, len(places), together * WAITING):
            starts = range(first, min(first + together * WAITING, len(places)), together)
            every = (found for parcel in threads.map(pictures, starts) for found in parcel)
            for place, found in zip(places[first:], every, strict=False):
                if len(found) > 1:
                    numbers |= {len(items) + number: number for number in range(len(found))}
                items += found
                # one string for both, where it is one
                read += [found[0].path if found[0].path == place else place] * len(found)
    return Listing(tuple(items), Reader(folder, tuple(read), numbers))


def _pictures(folder: Folder, name: str, known: tuple[str, ...] | None) -> list[Item]:
    path, label = printable(folder.plain(name)), printable(folder.label(name)) or None
    label = label and sys.intern(label)
    digests = known or _digests(folder.file(name))
    if len(digests) == 1:
        return [Item(path, digests[0], label)]
    return [Item(f"{path}#{number}", digest, label) for number, digest in enumerate(digests, 1)]


def _digests(place: Path | remote.RemoteFile) -> Sequence[str]:
    """Of a file's content, or of each page of one that holds several."""
    if (several := pages.count(place)) == 1:
        return [reading.file_digest(place)]
    return [reading.content_digest(lambda n=n: pages.page(place, n)) for n in range(several)]  # type: ignore[misc]


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
            if is_image(file):
                yield os.path.join(place, file)
            else:
                left_out.add(os.path.join(real, file))


def _endings(left_out: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """How many files there are of each ending, the most first; of rare ones together."""
    counts = Counter(printable(Path(path).suffix.lower()) or NO_ENDING for path in left_out)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(n for _, n in ordered[KINDS:])
    return (*ordered[:KINDS], *([("of other endings", rest)] if rest else []))
