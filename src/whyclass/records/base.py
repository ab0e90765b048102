"""Frozen records of what was found. They hold; they compute nothing but their own encoding.

A record is saved as one zip file: ``record.json`` (every plain value), ``arrays.safetensors`` and
the encoded pictures as they are. Nothing is pickled, and the same record always gives the same
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from whyclass import files
from whyclass.errors import RecordError
from whyclass.records import codec
from whyclass.views import VIEWS

FORMAT = 2
"""Version of the saved form; raised by one whenever a saved record changes its meaning."""

SUFFIX = ".whyclass"
"""Of saved records."""


class Record:
    """What every record that is kept can do: save itself, load itself, show itself in a notebook."""

    def save(self, path: str | Path) -> Path:
        """Save as a record (``.whyclass``, to be loaded again) or as a page (``.html``); gives the path.

        Raises
        ------
        RecordError
            If the suffix is another one.
        StoreError
            If the file cannot be written.
        """
        path = Path(path)
        if path.suffix == SUFFIX:
            files.write(path, codec.encode(self))
        elif (view := VIEWS.get(path.suffix.removeprefix("."))) is not None:
            files.write(path, view(self).encode())
        else:
            raise RecordError(f"{path}: a record is saved as {SUFFIX} or .html")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a saved record.

        Raises
        ------
        StoreError
            If the file cannot be read.
        RecordError
            If it is damaged, of another kind, or of another format version.
        """
        try:
            return codec.decode(cls, files.read(Path(path)), FORMAT)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from error

    def _repr_html_(self) -> str:
        return VIEWS["fragment"](self)


@dataclass(frozen=True)
class Picture:
    """An encoded picture for the eye.

    ``data`` holds PNG or JPEG bytes; ``width`` and ``height`` are in pixels.
    """

    data: bytes = field(repr=False)
    width: int
    height: int
    mime: str = "image/png"


@dataclass(frozen=True)
class Prediction:
    """A class with the softmax score (0 to 1) the model gives it; of a segmentation net the largest."""

    index: int
    name: str
    score: float


@dataclass(frozen=True)
class Source:
    """An image of the pool: relative path, content hash, and what the model predicts for it."""

    path: str
    digest: str
    prediction: Prediction


@dataclass(frozen=True)
class ClassImage:
    """One of the images predicted as the class, shown with the concepts' heat maps."""

    image: Source
    picture: Picture


@dataclass(frozen=True)
class Skipped:
    """A file of the pool that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ModelInfo:
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
class PoolInfo:
    """The images: folders as given, number used, content hash over all of them, files skipped."""

    name: str
    size: int
    digest: str
    skipped: tuple[Skipped, ...]
