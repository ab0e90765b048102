"""What a dataset's rows hold, by the names that people use, and what it keeps beside them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from whyclass.errors import DataError
from whyclass.models import pictures

IMAGE_NAMES = (
    "image",
    "img",
    "pixel_values",
    "pixels",
    "picture",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "tif",
    "tiff",
)
"""Under which rows that are dicts keep the image, the first that is there is taken."""

LABEL_NAMES = ("label", "labels", "class", "cls", "target", "category", "fine_label", "y")
"""Under which they keep the label."""

PATH_NAMES = (
    "file_name",
    "filename",
    "file",
    "filepath",
    "image_path",
    "img_path",
    "path",
    "__key__",
    "image_id",
)
"""Under which they, and tables, keep the file."""

Row = Mapping[str, Any]


def image_of(row: Any) -> Any:
    """The image of a row: of a pair the first part, of a dict what is called so.

    Raises
    ------
    DataError
        If a dict has nothing that is called like an image.
    """
    if isinstance(row, Mapping):
        name = named(row, IMAGE_NAMES) or _pathlike(row)
        if name is None:
            raise DataError(
                f"a row holds {', '.join(map(str, row))}; needed is an image under one of "
                f"{', '.join(IMAGE_NAMES)}"
            )
        return unpacked(row[name])
    return row[0] if isinstance(row, (tuple, list)) and row else row


def label_of(row: Any) -> Any:
    """What a row is labelled as, as it came; None where it says nothing."""
    if isinstance(row, Mapping):
        name = named(row, LABEL_NAMES)
        return None if name is None else row[name]
    return row[1] if isinstance(row, (tuple, list)) and len(row) > 1 else None


def file_of(row: Any) -> str | None:
    """The file that a row says it comes from."""
    if not isinstance(row, Mapping):
        return None
    name, image = named(row, PATH_NAMES), row.get(named(row, IMAGE_NAMES) or "")
    inner = image.get("path") if isinstance(image, Mapping) else getattr(image, "filename", None)
    found = row[name] if name is not None else inner
    return str(found) if isinstance(found, (str, os.PathLike)) and str(found) else None


def named(row: Row, names: Iterable[str]) -> str | None:
    """The key of a row that is the first of some names, in small or capital letters."""
    plain = {str(key).lower(): key for key in row}
    return next((plain[name] for name in names if name in plain), None)


def _pathlike(row: Row) -> str | None:
    return named(row, [name for name in PATH_NAMES if name not in ("__key__", "image_id")])


def unpacked(image: Any) -> Any:
    """A picture of encoded bytes, also as tables of Hugging Face hold them; anything else as it is."""
    if isinstance(image, Mapping) and ("bytes" in image or "path" in image):
        image = image.get("bytes") or image.get("path")
    return decoded(image) if isinstance(image, (bytes, bytearray)) else image


def decoded(data: bytes | bytearray) -> Image.Image:
    """The picture in a file's bytes."""
    return pictures.opened(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]


def names_in(images: Any) -> Sequence[str] | None:
    """Names of classes by number that a dataset, or the one that it is a part of, keeps."""
    for one in (images, getattr(images, "dataset", None)):
        names: Any = getattr(one, "classes", None)
        features: Any = getattr(one, "features", None)
        if names is None and isinstance(features, Mapping):
            names = getattr(features.get(named(features, LABEL_NAMES) or ""), "names", None)
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return names
    return None


FILE_LISTS = (
    "samples",
    "imgs",
    "_samples",
    "_images",
    "_image_files",
    "image_files",
    "images",
    "files",
    "filenames",
)
"""Attributes under which torchvision's datasets, and many others, keep the file of each image."""


def files_in(images: Any) -> list[str] | None:
    """The file of each image of a dataset or of a part of one; None where it keeps none."""
    parent, indices = getattr(images, "dataset", None), getattr(images, "indices", None)
    if parent is not None and indices is not None and (whole := files_in(parent)) is not None:
        return [whole[int(position)] for position in indices]
    if (stored := _stored_paths(images)) is not None:
        return stored
    held = (_files(getattr(images, name, None), len(images)) for name in FILE_LISTS)
    return next((files for files in held if files is not None), None)


def _stored_paths(images: Any) -> list[str] | None:
    """Paths beside the encoded images of a Hugging Face dataset, without decoding any."""
    features, form = getattr(images, "features", None), getattr(images, "with_format", None)
    column = named(features, IMAGE_NAMES) if isinstance(features, Mapping) else None
    if column is None or form is None or type(features[column]).__name__ != "Image":  # type: ignore[index]
        return None
    table = form("arrow")
    blocks = (table[start : start + BLOCK][column] for start in range(0, len(images), BLOCK))
    found = [row for block in blocks for row in block.combine_chunks().field("path").to_pylist()]
    return found if all(found) else None


BLOCK = 1000
"""Rows whose paths are read at a time: their images' bytes come with them."""


def _files(held: Any, count: int) -> list[str] | None:
    """Files, where a list of so many holds them, alone or first of each tuple."""
    if not isinstance(held, (list, tuple)) or len(held) != count:
        return None
    files = [one[0] if isinstance(one, (tuple, list)) and one else one for one in held]
    return (
        [os.fspath(one) for one in files] if all(isinstance(f, (str, os.PathLike)) for f in files) else None
    )


def apart(files: Sequence[str | None], count: int) -> tuple[str, ...]:
    """Names of images that are unlike each other: files below their common folder; else their numbers too."""
    width = len(str(max(count - 1, 0)))
    numbers = [f"{position:0{width}d}" for position in range(count)]
    short = _below(files)
    if len(set(short)) == count and "" not in short:
        return tuple(short)
    return tuple(f"{number} {name}".rstrip() for number, name in zip(numbers, short, strict=True))


def _below(files: Sequence[str | None]) -> list[str]:
    """Files below the folder that all share, where all are known by a whole path; "" for one that is not."""
    plain = [Path(file).as_posix() if file else "" for file in files]
    if not plain or not all(map(os.path.isabs, plain)):
        return plain
    base = os.path.commonpath([os.path.dirname(name) for name in plain])
    return [os.path.relpath(name, base) for name in plain]
