"""Frozen records of what was found. They hold; they compute nothing but their own encoding and display.

A record is saved as one zip file: ``record.json`` (every plain value), ``arrays.safetensors`` and
the encoded pictures as they are. Nothing is pickled, and the same record always gives the same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from whyclass import files
from whyclass.errors import RecordError
from whyclass.records import codec
from whyclass.views import VIEWS

FORMAT = 3
"""Version of the saved form; raised by one whenever a saved record changes its meaning."""

SUFFIX = ".whyclass"
"""Of saved records."""

LONGEST = 60
"""Characters of a text that are told of a field."""

FEW = 4
"""A tuple of at most so many plain values is told, and a part within another of fewer fields."""


def short(value: Any) -> str:
    """A field's value in a few words, safe to print."""
    told = next((tell for kind, tell in _TOLD.items() if isinstance(value, kind)), repr)(value)
    return told if isinstance(value, Part) or len(told) <= LONGEST * FEW else f"{told[: LONGEST * FEW]}…"


def _text(value: str) -> str:
    return repr(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")


def _array(value: np.ndarray) -> str:
    return f"<{value.dtype} {' × '.join(map(str, value.shape))}>"


def _part(value: Part) -> str:
    return (
        repr(value) if isinstance(value, Record) or len(told(value)) < FEW else f"{type(value).__name__}(…)"
    )


def _several(value: tuple[Any, ...] | list[Any]) -> str:
    if len(value) > FEW or not all(isinstance(one, str | int | float) for one in value):
        return f"<{len(value):,} {type(value[0]).__name__}>"
    return f"({', '.join(map(short, value))}{',' if len(value) == 1 else ''})"


_TOLD: dict[Any, Callable[[Any], str]] = {
    str: _text,
    float: lambda value: f"{value:.4g}",
    bytes: lambda value: f"<{len(value):,} bytes>",
    np.ndarray: _array,
    dict: lambda value: f"<{len(value)} entries>",
    (tuple, list): _several,
}
"""How a value is told, by its type."""


def held(part: Part) -> dict[str, Any]:
    """Fields of a record, or of a part of one, by name."""
    return {one.name: getattr(part, one.name) for one in fields(part)}  # type: ignore[arg-type]


def told(part: Part) -> dict[str, Any]:
    """Those of them that are told: all but what is marked as not to be."""
    return {one.name: getattr(part, one.name) for one in fields(part) if one.repr}  # type: ignore[arg-type]


def _inside(value: Any) -> list[Any] | None:
    """What a part, a dictionary or a tuple holds, in one order; None of anything else."""
    if isinstance(value, Part):
        return list(held(value).values())
    if isinstance(value, dict):
        return [one for name in sorted(value, key=repr) for one in (name, value[name])]
    return list(value) if isinstance(value, tuple | list) else None


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        # 1 equals 1.0; a text, an array or a part equals only its like
        return isinstance(one, int | float) and isinstance(other, int | float) and one == other
    if (mine := _inside(one)) is not None:
        others = _inside(other) or []
        return len(mine) == len(others) and all(map(_equal, mine, others))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    return bool(one == other or (one != one and other != other))  # NaN alone differs from itself


def _hash(value: Any) -> int:
    if isinstance(value, dict):
        return 0  # it may grow
    if (mine := _inside(value)) is not None:
        return hash((type(value), *map(_hash, mine)))
    if isinstance(value, np.ndarray):
        return hash((value.shape, value.dtype))
    return hash(value) if value == value else 0  # NaN is hashed by its place in memory


class Part:
    """What every record and every part of one can do: be told in a line, compared and hashed.

    Two are equal where all their fields are; arrays where shape, type and every value are, and NaN equals
    NaN. Equal ones have equal hashes, which no later change of an array or a dictionary moves.
    """

    def __init_subclass__(cls) -> None:
        """Give every dataclass made of it these three methods, whatever it is decorated with."""
        # in the class's own namespace: there ``dataclass`` leaves them alone, inherited it replaces them
        for name in ("__repr__", "__eq__", "__hash__"):
            setattr(cls, name, cls.__dict__.get(name, getattr(cls, name)))

    def __repr__(self) -> str:
        """Its fields, told shortly."""
        shown = ", ".join(f"{name}={short(value)}" for name, value in told(self).items())
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same kind and all fields are equal."""
        return _equal(self, other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        """Of its kind and its fields; of arrays only the shape and type, of dictionaries nothing."""
        return _hash(self)


_TOLD[Part] = _part


WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, OSError)
"""What values that do not fit together raise where they are told."""


@contextmanager
def fitting(record: Any) -> Iterator[None]:
    """What is told in here of a record whose values do not fit together is a ``RecordError``, not a crash."""
    try:
        yield
    except WRONG as error:
        why = str(error) or type(error).__name__
        raise RecordError(
            f"this {type(record).__name__} cannot be shown, since its values do not fit together: {why[:200]}"
        ) from error


class Record(Part):
    """What every record that is kept can do: save itself, load itself, show itself to people."""

    def save(self, path: str | Path, key: str = "") -> Path:
        """Save as a record (``.whyclass``, to be loaded again) or as a page (``.html``); gives the path.

        A record may hold the ``key`` that it is kept under, as a proof of what it is of.

        Raises
        ------
        RecordError
            If the suffix is another one.
        StoreError
            If the file cannot be written.
        """
        path = Path(path)
        if path.suffix == SUFFIX:
            files.write(path, codec.encode(self, key))
        elif path.suffix == ".html":
            files.write(path, self._shown("html").encode())
        else:
            raise RecordError(f"{path}: a record is saved as {SUFFIX} or .html")
        return path

    @classmethod
    def load(cls, path: str | Path, keys: tuple[str, ...] = ()) -> Self:
        """Load a saved record; with ``keys``, only one that was kept under one of them (empty: under none).

        Raises
        ------
        StoreError
            If the file cannot be read.
        RecordError
            If it is damaged, of another kind, of another format version, or kept under another key.
        """
        try:
            return codec.decode(cls, files.read(Path(path)), FORMAT, keys)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from error

    def to_frame(self) -> Any:
        """What the record's tables and concepts hold, as a ``pandas.DataFrame`` (extra ``pandas``).

        An audit has a row for each class, pairs for each pair, all else for each concept.

        Raises
        ------
        RecordError
            If the record has no table, or pandas is missing.
        """
        return self._shown("frame")

    def plot(self) -> Any:
        """The record as a ``matplotlib.figure.Figure`` for a paper (extra ``plot``), to be saved as you like.

        Lines and text are vectors, and what is compared has one scale.

        Raises
        ------
        RecordError
            If there is no such figure, or matplotlib is missing.
        """
        return self._shown("figure")

    def save_crops(self, folder: str | Path) -> list[Path]:
        """Save every crop of the record as a picture of its own; gives their paths.

        The names hold class, concept, rank and cosine: ``0-owl/concept-1/including-01-0.93.png``.

        Raises
        ------
        RecordError
            If the record holds no crops.
        StoreError
            If they cannot be written.
        """
        saved = []
        for name, data in self._shown("crops"):
            files.write(path := Path(folder) / name, data)
            saved.append(path)
        return saved

    def __repr__(self) -> str:
        """One line."""
        try:
            return str(self._shown("line"))
        except RecordError:
            return f"<{type(self).__name__} that cannot be shown>"

    def _repr_html_(self) -> str:
        return str(self._shown("fragment"))

    def __rich__(self) -> Any:
        """What Rich prints."""
        return self._shown("terminal")

    def _shown(self, view: str) -> Any:
        with fitting(self):
            return VIEWS[view](self)


@dataclass(frozen=True)
class Picture(Part):
    """An encoded picture for the eye.

    ``data`` holds PNG or JPEG bytes; ``width`` and ``height`` are in pixels.
    """

    data: bytes
    width: int
    height: int
    mime: str = "image/png"


@dataclass(frozen=True)
class Prediction(Part):
    """A class with the softmax score (0 to 1) the model gives it; of a segmentation net the largest."""

    index: int
    name: str
    score: float


@dataclass(frozen=True)
class Source(Part):
    """An image of the pool: relative path, content hash, and what the model predicts for it.

    ``label`` is what it is labelled as, of files the name of their folder; None where that tells no images
    apart. ``labelled`` is the name of the class that this is, where it is known to be one. ``score`` is that
    of the class which is explained, where it is told.
    """

    path: str
    digest: str
    prediction: Prediction
    label: str | None = field(default=None, repr=False)
    labelled: str | None = field(default=None, repr=False)
    score: float | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ClassImage(Part):
    """One of the images predicted as the class, shown with the concepts' heat maps."""

    image: Source
    picture: Picture


@dataclass(frozen=True)
class Skipped(Part):
    """A file of the pool that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ModelInfo(Part):
    """What was explained: the model's name, its weights' hash, the layer and its output shape (c, h, w).

    ``task`` is ``"classification"`` or ``"segmentation"``.
    """

    name: str
    weights: str
    layer: str
    shape: tuple[int, int, int]
    preprocessing: str
    task: str = "classification"


@dataclass(frozen=True)
class LeftOut(Part):
    """How many files of the pool's folders do not count as images, for their ending."""

    ending: str
    n: int


@dataclass(frozen=True)
class PoolInfo(Part):
    """The images: folders as given, number used, content hash over all of them, files skipped.

    ``left_out`` counts files that were never looked at; ``warnings`` say what the images' values mean for
    whoever reads a result, such as pictures that use a fraction of their range.
    """

    name: str
    size: int
    digest: str
    skipped: tuple[Skipped, ...]
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolClass(Part):
    """A class that images of the pool count for, and how many do."""

    index: int
    name: str
    n_images: int
