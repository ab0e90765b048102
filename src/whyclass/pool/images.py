"""A pool of images: folders, a dataset or a list -> images with an identity, in a fixed order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from whyclass.errors import DataError
from whyclass.models.preprocessing import (
    Preprocessing,
    Sample,
    reason_of,
    sample_of,
    sample_of_pixels,
    upright_rgb,
)

_COMMON = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXTENSIONS = frozenset((*_COMMON, ".avif", ".jp2", ".pbm", ".pgm", ".ppm"))
"""Files of a folder that count as images."""

WORKERS = max(2, min(8, os.cpu_count() or 2))
"""Threads that decode ahead: a card waits for fewer."""


@dataclass(frozen=True)
class Item:
    """Identity of an image: its path relative to the pool, and a hash of its content.

    ``label`` is what it is labelled as, of files the name of their folder; it is no part of the identity.
    """

    path: str
    digest: str
    label: str | None = None


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
    files
        Whether the images are files, which others may change meanwhile.
    kept
        From a position to the pixels (S, T, C) that the model sees, where all images were decoded before;
        it raises ``DataError`` for one that could not be.
    meaning
        From a label to a class's name or index, where the user said so.
    """

    name: str
    items: tuple[Item, ...]
    read: Callable[[int], Any] = field(repr=False)
    files: bool = False
    kept: Callable[[int], np.ndarray] | None = field(repr=False, default=None)
    meaning: Mapping[str, str | int] = field(repr=False, default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash over all identities, in order."""
        lines = "\n".join(f"{item.digest} {item.path}" for item in self.items)
        return hashlib.blake2b(lines.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def changed(self, position: int) -> bool:
        """Whether the image at a position is no longer the one that was hashed and, if so, decoded."""
        return self.kept is None and _content_digest(self.read, position) != self.items[position].digest

    def sample(self, position: int, preprocessing: Preprocessing) -> Sample:
        """The image at a position.

        Raises
        ------
        DataError
            If it is broken: names it and says why.
        """
        path = self.items[position].path
        if self.kept is not None:
            return sample_of_pixels(self.kept(position), preprocessing)
        try:
            return sample_of(self.read(position), preprocessing)
        except MemoryError as error:
            raise DataError(f"{path}: too large for the memory of this machine") from error
        except Exception as error:  # decoders, and somebody's dataset, raise anything for a broken image
            raise DataError(f"{path}: {reason_of(error)}") from error


def pool(images: Any) -> Pool:
    """A pool from folders, a ``torch`` dataset, or a list.

    Parameters
    ----------
    images
        A folder or several, searched with their subfolders; or a sequence (a map-style dataset
        counts) of pictures, paths, uint8 arrays (H, W, C), or float tensors (C, S, T) that are
        already normalised. Of pairs, such as (image, label), the first part is taken, and the second
        is the label where it is a number or a string; a dataset's ``classes`` name the numbers, and its
        ``targets`` stand for labels that come in no pair. Pictures and paths give one or three channels; a
        model of other numbers needs arrays or tensors.

    Raises
    ------
    DataError
        If a folder is missing or unreadable, or there is no image.
    """
    if isinstance(images, Pool):
        return images
    if isinstance(images, (str, os.PathLike)):
        return _from_folders([Path(images)])
    if isinstance(images, Sequence) and images and all(isinstance(i, (str, os.PathLike)) for i in images):
        paths = [Path(image) for image in images]
        return _from_files(paths) if all(path.is_file() for path in paths) else _from_folders(paths)
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        return _from_sequence(images)
    raise DataError(
        f"images came as {type(images).__name__}; needed is a folder, several folders, a map-style dataset "
        "or a list of images"
    )


def samples(
    source: Pool, positions: Iterable[int], preprocessing: Preprocessing, workers: int = WORKERS
) -> Iterator[tuple[int, Sample | DataError]]:
    """Each image with its position, in order, decoded ahead by ``workers`` threads; a broken one as error."""

    def load(position: int) -> Sample | DataError:
        try:
            return source.sample(position, preprocessing)
        except DataError as error:
            return error

    queue: list[tuple[int, Future[Sample | DataError]]] = []
    rest = iter(positions)
    with ThreadPoolExecutor(workers) as threads:
        try:
            while True:
                queue += [
                    (p, threads.submit(load, p)) for p in islice(rest, max(0, 16 * workers - len(queue)))
                ]
                if not queue:
                    return
                position, future = queue.pop(0)
                yield position, future.result()
        finally:
            for _, future in queue:
                future.cancel()


def _from_folders(folders: list[Path]) -> Pool:
    if missing := [folder for folder in folders if not folder.exists()]:
        raise DataError(f"there is no folder or file {missing[0]}; give a folder that holds images")
    if files := [folder for folder in folders if not folder.is_dir()]:
        raise DataError(f"{files[0]} is a file; give the folder that holds the images")
    resolved = [folder.resolve() for folder in folders]
    base = Path(os.path.commonpath(resolved))
    found = {path: path.relative_to(base).as_posix() for folder in resolved for path in _walk(folder)}
    if not found:
        kinds = " ".join(sorted(EXTENSIONS))
        raise DataError(f"no image in {', '.join(map(str, folders))}; looked for {kinds}, with subfolders")
    return _of_files(", ".join(map(str, folders)), sorted(found.items(), key=lambda entry: entry[1]))


def _from_files(paths: list[Path]) -> Pool:
    base = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    return _of_files(
        f"{len(paths)} files", [(p.resolve(), p.resolve().relative_to(base).as_posix()) for p in paths]
    )


def _of_files(name: str, files: list[tuple[Path, str]]) -> Pool:
    with ThreadPoolExecutor(4) as threads:
        digests = list(threads.map(lambda entry: _file_digest(entry[0]), files))
    items = tuple(
        Item(_printable(path), digest, _printable(place.parent.name) or None)
        for (place, path), digest in zip(files, digests, strict=True)
    )
    places = [place for place, _ in files]
    return Pool(name, items, lambda position: places[position], files=True)


def _from_sequence(images: Any) -> Pool:
    if len(images) == 0:
        raise DataError("the list of images is empty")

    def read(position: int) -> Any:
        image = images[position]
        return image[0] if isinstance(image, (tuple, list)) else image

    labels = _labels_beside(images)

    def first(position: int) -> Any:
        image = images[position]
        if not isinstance(image, (tuple, list)):
            return image
        labels[position] = _label(image[1], images) if len(image) > 1 else None
        return image[0]

    width = len(str(len(images) - 1))
    digests = (_content_digest(first, position) for position in range(len(images)))
    found = [(f"{position:0{width}d}", digest) for position, digest in enumerate(digests)]
    items = tuple(Item(*one, labels.get(position)) for position, one in enumerate(found))
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
        return _printable(value)
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return None
    names: Any = getattr(images, "classes", getattr(getattr(images, "dataset", None), "classes", None))
    named = isinstance(names, (list, tuple)) and 0 <= value < len(names)
    return str(names[value]) if named else str(int(value))


def _walk(folder: Path) -> Iterator[Path]:
    """Image files below a folder, links followed once each; an unreadable folder is an error."""

    def fail(error: OSError) -> None:
        raise DataError(f"cannot read folder {error.filename}: {error.strerror}") from error

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in EXTENSIONS:
                yield Path(place, file)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:  # reported when it is to be decoded, like any other broken file
        return f"unreadable-{error.errno}"


def _content_digest(read: Callable[[int], Any], position: int) -> str:
    try:
        image = read(position)
        if isinstance(image, (str, os.PathLike)):
            return _file_digest(Path(image))
        if isinstance(image, Tensor):
            image = image.detach().float().cpu().numpy() if image.is_floating_point() else image.cpu().numpy()
        array = np.ascontiguousarray(upright_rgb(image) if isinstance(image, Image.Image) else image)
    except Exception as error:  # reported when it is to be used, like any other broken image
        return f"unreadable-{type(error).__name__}"
    head = f"{array.dtype} {array.shape} ".encode()
    return hashlib.blake2b(head + array.tobytes(), digest_size=16).hexdigest()


def _printable(path: str) -> str:
    """File names that are no Unicode keep a readable, reversible form."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
