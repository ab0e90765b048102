"""A pool of images: folders, a dataset or a list -> images with an identity, in a fixed order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from whyclass.addresses import is_url
from whyclass.errors import DataError
from whyclass.models.preprocessing import Preprocessing, Sample, sample_of, sample_of_pixels
from whyclass.pool import dataset_rows, files_of, known_remote, loaders, reading, sources
from whyclass.pool.items import Item, printable
from whyclass.pool.value_ranges import ValueRanges

WORKERS = max(2, min(8, os.cpu_count() or 2))
"""Threads that decode ahead: a card waits for fewer."""

AHEAD = 256 << 20
"""Bytes of images that wait, decoded, to be asked for."""


@dataclass(frozen=True)
class Pool:
    """Images that are there to be read, in a fixed order.

    Attributes
    ----------
    name
        What the user gave, for people.
    items
        Identities in order.
    read
        From a position to the image: a picture of any size, or a tensor ready for the model.
    kept
        From a position to the pixels (S, T, C) that the model sees, where all images were decoded before;
        it raises ``DataError`` for one that could not be.
    meaning
        From a label to a class's name or index, where the user said so.
    ranges
        What these were found to hold.
    left_out
        Files of the folders that do not count as images: by ending how many, the most first.
    known
        Of files behind addresses, what need not be read to hash them again.
    """

    name: str
    items: tuple[Item, ...]
    read: Callable[[int], Any] = field(repr=False)
    kept: Callable[[int], np.ndarray] | None = field(repr=False, default=None)
    meaning: Mapping[str, str | int] = field(repr=False, default_factory=dict)
    ranges: ValueRanges | None = field(repr=False, default=None)
    left_out: tuple[tuple[str, int], ...] = ()
    known: known_remote.Known = field(repr=False, default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash over all identities, in order."""
        found = hashlib.blake2b(digest_size=16)
        for number, item in enumerate(self.items):
            line = f"{item.digest} {item.path}"
            found.update((f"\n{line}" if number else line).encode(errors="surrogateescape"))
        return found.hexdigest()

    def sample(self, position: int, preprocessing: Preprocessing) -> Sample:
        """The image at a position.

        Raises
        ------
        DataError
            If it is broken, changed, or cannot be read now: names it and says why.
        """
        item = self.items[position]
        if self.kept is not None:
            return sample_of_pixels(self.kept(position), preprocessing)

        def made(image: Any) -> Sample:
            return sample_of(image, preprocessing)

        return reading.sample_of_given(lambda: self.read(position), item.path, item.digest, made)


def pool(images: Any, store: str | Path | None = None) -> Pool:
    """A pool from folders, files, a dataset, a loader, or a list.

    Parameters
    ----------
    images
        A folder or several, searched with their subfolders, also by their addresses for fsspec, such as
        ``s3://bucket/photos``; a pattern of files such as ``photos/**/*.jpg``; a
        table of files with labels (CSV, TSV, Parquet) or a tar file as WebDataset writes it, or several;
        or a sequence (a map-style dataset counts) of pictures, paths, uint8 arrays (H, W, C), or float
        tensors (C, S, T) that are already normalised. Of pairs, such as (image, label), the first part is
        taken, and the second is the label where it is a number or a string; of dicts what is called
        ``image`` and ``label``. A dataset's ``classes`` name the numbers, and its ``targets`` stand for
        labels that come in no pair. A ``DataLoader`` gives its dataset, in that one's order; what can be
        gone through only once is, and held. Pictures and paths give one or three channels; a model of
        other numbers needs arrays or tensors.

    store
        In whose folder hashes of files behind addresses may be kept; read, not written.

    Raises
    ------
    DataError
        If a folder is missing or unreadable, or there is no image.
    """
    if isinstance(images, Pool):
        return images
    if isinstance(images, (str, os.PathLike)):
        return _from_paths([images], store)
    if isinstance(images, Sequence) and images and all(isinstance(i, (str, os.PathLike)) for i in images):
        return _from_paths(list(images), store)
    if isinstance(images, Mapping):
        raise DataError(
            f"images came as a mapping of {', '.join(map(str, images))[:200]}; choose one of them"
        )
    images = loaders.behind(images)
    if loaders.is_mapped(images):
        return _from_sequence(images)
    if hasattr(images, "__iter__"):
        return _from_once(images)
    raise DataError(
        f"images came as {type(images).__name__}; needed is a folder, several folders, a dataset, a loader "
        "or a list of images"
    )


def _from_paths(given: Sequence[str | os.PathLike[str]], store: str | Path | None) -> Pool:
    """Of folders, files, patterns, tables and archives; or of addresses."""
    if urls := list(filter(is_url, given)):
        return _from_urls(urls, len(given), known_remote.kept(store))
    paths, single = sources.expanded(given)
    tables = [path for path in paths if sources.is_special(path)]
    if tables and len(tables) < len(paths):
        raise DataError(
            f"{tables[0]} holds images, and other paths were given beside it; give one kind alone"
        )
    if tables:
        return _from_given([sources.special(path) for path in tables])
    if single or not all(path.is_file() for path in paths):
        return _listed(", ".join(map(str, paths)), files_of.of_folders(paths))
    return _listed(str(given[0]) if len(given) == 1 else f"{len(paths)} files", files_of.of_files(paths))


def _from_urls(urls: Sequence[str], given: int, known: known_remote.Known) -> Pool:
    if len(urls) < given:
        raise DataError(f"{urls[0]} is an address, and paths were given beside it; give one kind alone")
    files = len(urls) > 1 and all(map(files_of.is_image, urls))
    return _listed(f"{len(urls)} files" if files else ", ".join(urls), files_of.of_urls(urls, known))


def _listed(name: str, found: files_of.Listing) -> Pool:
    return Pool(name, found.items, found.read, left_out=found.left_out, known=found.known)


def _from_given(parts: Sequence[sources.Given]) -> Pool:
    """Of tables or archives, one after the other."""
    places = [(part, position) for part in parts for position in range(len(part.names))]

    def read(position: int) -> Any:
        part, own = places[position]
        return part.read(own)

    with ThreadPoolExecutor(4) as threads:
        digests = list(threads.map(lambda p: reading.content_digest(lambda: read(p)), range(len(places))))
    files = [f"{part.name}/{part.names[own]}" if len(parts) > 1 else part.names[own] for part, own in places]
    labels = (part.labels[own] for part, own in places)
    items = tuple(
        Item(printable(file), digest, None if label is None else printable(label))
        for file, digest, label in zip(files, digests, labels, strict=True)
    )
    return Pool(", ".join(part.name for part in parts), items, read)


def _from_once(images: Any) -> Pool:
    """Of what can be gone through only once."""
    held, labels, files, name = loaders.read_once(images)
    if not held:
        raise DataError(f"{name.partition(' of ')[0]} gave no image")
    names = dataset_rows.apart(files, len(held))
    items = tuple(
        Item(printable(path), reading.content_digest(lambda one=image: one), _label(label, images))  # type: ignore[misc]
        for path, image, label in zip(names, held, labels, strict=True)
    )
    return Pool(name, items, lambda position: held[position])


def samples(
    source: Pool, positions: Sequence[int], preprocessing: Preprocessing, workers: int = WORKERS
) -> Iterator[tuple[int, Sample | DataError]]:
    """Each image with its position, in order, decoded ahead by ``workers`` threads; a broken one as error.

    Raises
    ------
    DataError
        If an image changed, or cannot be read for a reason that may pass.
    """
    height, width = preprocessing.crop
    most = max(workers, min(16 * workers, AHEAD // (height * width * preprocessing.channels * 8)))

    def load(position: int) -> Sample | DataError:
        try:
            return source.sample(position, preprocessing)
        except DataError as error:
            if reading.stops(error):
                raise
            return error

    if len(positions) == 1:  # a thread takes longer to begin than a decoded image to be read
        yield positions[0], load(positions[0])
        return
    queue: list[tuple[int, Future[Sample | DataError]]] = []
    rest = iter(positions)
    with ThreadPoolExecutor(workers) as threads:
        try:
            while True:
                ahead = islice(rest, max(0, most - len(queue)))
                queue += [(p, threads.submit(load, p)) for p in ahead]
                if not queue:
                    return
                position, future = queue.pop(0)
                yield position, future.result()
        finally:
            for _, future in queue:
                future.cancel()


def _from_sequence(images: Any) -> Pool:
    if len(images) == 0:
        raise DataError("the list of images is empty")

    def read(position: int) -> Any:
        return dataset_rows.image_of(images[position])

    labels = _labels_beside(images)
    known = dataset_rows.files_in(images)
    files: list[str | None] = [None] * len(images) if known is None else [*known]

    def first(position: int) -> Any:
        row = images[position]
        if isinstance(row, (tuple, list, Mapping)):
            labels[position] = _label(dataset_rows.label_of(row), images)
        files[position] = files[position] or dataset_rows.file_of(row)
        return dataset_rows.image_of(row)

    digests = [reading.content_digest(lambda p=p: first(p)) for p in range(len(images))]  # type: ignore[misc]
    names = dataset_rows.apart(files, len(images))
    items = tuple(
        Item(printable(name), digest, labels.get(position))
        for position, (name, digest) in enumerate(zip(names, digests, strict=True))
    )
    return Pool(f"{type(images).__name__} of {len(images)} images", items, read)


def _labels_beside(images: Any) -> dict[int, str | None]:
    """Labels that a dataset keeps apart from its images, by position."""
    targets: Any = getattr(images, "targets", None)
    if not hasattr(targets, "__len__") or len(targets) != len(images):
        return {}
    return {position: _label(target, images) for position, target in enumerate(targets)}


def _label(value: Any, images: Any) -> str | None:
    """A label as text; a number by its name where the dataset, or the one that it is a part of, names it."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return None
    names = dataset_rows.names_in(images)
    named = names is not None and 0 <= value < len(names)
    return names[int(value)] if names is not None and named else str(int(value))
