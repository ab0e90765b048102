"""Patterns, tables and archives -> names, labels and a way to read each image; no pool is known here."""

from __future__ import annotations

import csv
import glob
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whyclass.errors import DataError
from whyclass.models import pictures
from whyclass.pool.dataset_rows import (
    IMAGE_NAMES,
    LABEL_NAMES,
    PATH_NAMES,
    Row,
    apart,
    decoded,
    file_of,
    label_of,
    named,
    unpacked,
)

TABLES = (".csv", ".tsv", ".parquet")
ARCHIVES = (".tar",)
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


@dataclass(frozen=True)
class Given:
    """Images that can be read in any order.

    Attributes
    ----------
    name
        For people.
    read
        From a position to the image: a path, a picture, an array or a tensor.
    names
        Of each image, unlike each other.
    labels
        What each is labelled as; None where that is not known.
    """

    name: str
    read: Callable[[int], Any] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    labels: tuple[str | None, ...] = field(repr=False)


def is_glob(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a pattern, and no file or folder bears that very name."""
    return glob.has_magic(os.fspath(path)) and not os.path.lexists(path)


def expanded(given: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], bool]:
    """Paths with those that fit patterns in their place, and whether it is one path that is no pattern."""
    found = [matching(one) if is_glob(one) else [Path(one)] for one in given]
    return [path for several in found for path in several], len(given) == 1 and not is_glob(given[0])


def matching(pattern: str | os.PathLike[str]) -> list[Path]:
    """Files and folders that fit a pattern, in order; ``**`` is any number of folders.

    Raises
    ------
    DataError
        If there are none.
    """
    found = sorted(glob.glob(os.fspath(pattern), recursive=True))
    if not found:
        raise DataError(f"nothing fits {pattern}; give a pattern of images, such as 'photos/**/*.jpg'")
    return [Path(one) for one in found]


def is_special(path: Path) -> bool:
    """Whether a file is a table or an archive; a packed one is refused: images are read in any order."""
    name = path.name.lower()
    if not path.is_file():
        return False
    if name.endswith(PACKED):
        raise DataError(
            f"{path} is packed, and images are read in any order; unpack it to a folder or a plain .tar"
        )
    return path.suffix.lower() in (*TABLES, *ARCHIVES)


def special(path: Path) -> Given:
    """The images of a table or an archive.

    Raises
    ------
    DataError
        If it cannot be read, or holds no image.
    """
    try:
        found = _archive(path) if path.suffix.lower() in ARCHIVES else _table(path)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not found.names:
        raise DataError(f"{path} holds no image")
    return found


def _table(path: Path) -> Given:
    """A row for each image: its file, relative to the table, or its bytes; and its label."""
    rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    if not rows:
        raise DataError(f"{path} has no rows")
    column = named(rows[0], (*IMAGE_NAMES, *PATH_NAMES))
    if column is None:
        raise DataError(
            f"{path} has the columns {', '.join(map(str, rows[0]))}; needed is one of files, called one of "
            f"{', '.join((*IMAGE_NAMES[:2], *PATH_NAMES[:-2]))}, and their label may be under one of "
            f"{', '.join(LABEL_NAMES)}"
        )
    base = path.resolve().parent

    def read(position: int) -> Any:
        image = unpacked(rows[position][column])
        return base / image if isinstance(image, str) else image

    files = [row[column] if isinstance(row[column], str) else file_of(row) for row in rows]
    labels = tuple(_text(label_of(row)) for row in rows)
    return Given(str(path), read, apart(files, len(rows)), labels)


def _csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))


def _parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path} needs the pyarrow library: pip install 'whyclass[parquet]'") from error
    return list(parquet.read_table(path).to_pylist())


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _archive(path: Path) -> Given:
    """A tar file as WebDataset writes it: what shares a name up to its first dot is one sample."""
    found: list[tuple[str, int, int]] = []
    beside: dict[str, str] = {}
    with tarfile.open(path, "r:") as archive:
        for member in filter(tarfile.TarInfo.isfile, archive):
            stem, ending = _split(member.name)
            if f".{ending.rpartition('.')[2]}" in PICTURES:
                found.append((member.name, member.offset_data, member.size))
            elif ending in BESIDE and member.size < LONGEST and (data := archive.extractfile(member)):
                told = _beside(ending, data.read())
                beside |= {} if told is None else {stem: told}
    folders = {Path(name).parent.name for name, _, _ in found}

    def read(position: int) -> Any:
        _, start, size = found[position]
        with pictures.open_regular(path) as file:
            file.seek(start)
            return decoded(file.read(size))

    def called(name: str) -> str | None:
        own = Path(name).parent.name if len(folders) > 1 else ""
        return beside.get(_split(name)[0], own) or None

    names = tuple(name for name, _, _ in found)
    return Given(str(path), read, names, tuple(called(name) for name in names))


BESIDE, LONGEST = ("cls", "label", "json"), 1 << 20
"""Endings of files of an archive that hold the label of the picture of their name, and bytes at most."""

PICTURES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Endings of the pictures of an archive."""


def _split(name: str) -> tuple[str, str]:
    """What comes before the first dot of the file, and after it, in small letters."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return folder + slash + stem, ending.lower()


def _beside(ending: str, data: bytes) -> str | None:
    """The label in a file beside a picture."""
    text = data.decode("utf-8", errors="replace").strip()
    if ending != "json":
        return text or None
    try:
        held = json.loads(text)
    except ValueError:
        return None
    return _text(label_of(held)) if isinstance(held, Mapping) else _text(held)
