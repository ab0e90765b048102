"""Images that somebody gives, in the pool or not: read, named, and looked up among the pool's labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whyclass.errors import DataError
from whyclass.models.class_labels import UNKNOWN, classes_of
from whyclass.models.preprocessing import Preprocessing, Sample, sample_of
from whyclass.plain_text import clean
from whyclass.pool import reading
from whyclass.pool.items import Item
from whyclass.study.context import Context


@dataclass(frozen=True)
class Given:
    """An image as it was given.

    Attributes
    ----------
    item
        Its name, a digest of its content, and of a file the name of its folder.
    sample
        As the model and the eye see it.
    """

    item: Item
    sample: Sample = field(repr=False)


def given(images: Iterable[Any], preprocessing: Preprocessing) -> list[Given]:
    """Images of any kind that a pool may hold: paths, pictures, uint8 arrays or normalised float tensors.

    Raises
    ------
    DataError
        If there is none, or one cannot be read: names it and says why.
    """
    found = [_one(image, number, preprocessing) for number, image in enumerate(images)]
    if not found:
        raise DataError("no image came; give one or more")
    return found


def _one(image: Any, number: int, preprocessing: Preprocessing) -> Given:
    name, label = f"image {number + 1}", None
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        if path.is_dir():
            raise DataError(f"{path} is a folder; give the files in it")
        name, label = clean(str(path)), clean(path.absolute().parent.name) or None
    digest = reading.content_digest(lambda: image)
    sample = reading.sample_of_given(lambda: image, name, digest, lambda one: sample_of(one, preprocessing))
    return Given(Item(name, digest, label), sample)


def labelled(context: Context, one: Given, predicted: int) -> int:
    """The class that an image is labelled as: by the pool where it is there, else by its folder; or -1.

    The folder tells only where folders tell the pool's images apart by classes too.
    """
    places = (p for p, item in enumerate(context.index.items) if item.digest == one.item.digest)
    if (position := next(places, None)) is not None:
        return int(context.labels[position])
    names, meaning = context.loaded.class_names, context.pool.meaning
    said = classes_of([one.item.label], np.array([predicted]), names, context.task.classes, meaning)
    return int(said[0]) if one.item.label is not None else UNKNOWN
