"""Pictures that a user brings or points at, as the model sees them, and parts of them as patches."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from PIL import Image

from whyclass.errors import DataError, RecordError, SettingsError, StoreError
from whyclass.models.preprocessing import MODES, Preprocessing, Sample, reason_of, sample_of, sample_of_pixels
from whyclass.plain_text import clean
from whyclass.records import Picture, Uploaded
from whyclass.store import Store, key_in
from whyclass.study import crop_pictures
from whyclass.study.context import Context, OpenedModel

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened of a browser's upload, whatever the file is called."""

MOST_PIXELS = 64_000_000
"""Of an upload: a few bytes may unpack to any number."""

MOST = 200
"""Uploads that a store keeps; the oldest go."""

FOLDER = "uploads"

KEY = re.compile(r"[0-9a-f]{20}")

GIVEN = re.compile(r"(upload):([0-9a-f]{20})|(pool):(\d{1,9})")
"""How a form names a picture: one that was brought, or one of the pool by its place there."""


def opened(data: bytes) -> Image.Image:
    """The picture in an upload, not decoded yet.

    Raises
    ------
    DataError
        If it is none that can be read, or unpacks to too much.
    """
    try:
        found = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # decoders raise anything for a broken image
        raise DataError(
            f"the picture cannot be read: {reason_of(error)}; bring a JPEG, PNG or WebP"
        ) from error
    if found.width * found.height > MOST_PIXELS:
        raise DataError(
            f"the picture is {found.width:,} x {found.height:,} pixels; at most {MOST_PIXELS:,} are taken"
        )
    return found


def keep(store: Store, data: bytes, name: str, preprocessing: Preprocessing) -> str:
    """Keep an upload as the model sees it; gives its key.

    Raises
    ------
    DataError
        If it is no picture that can be read, or none for this model.
    """
    try:
        picture = sample_of(opened(data), preprocessing).picture
    except DataError:
        raise
    except Exception as error:  # decoders raise anything for a broken image
        raise DataError(f"the picture cannot be read: {reason_of(error)}") from error
    encoded = crop_pictures.encode(picture)
    key = hashlib.blake2b(encoded.data, digest_size=10).hexdigest()
    # only the last part of what a browser calls the file, of either system's paths
    said = clean(PurePath(name.replace("\\", "/")).name)[:80] or "a picture"
    store.keep(Uploaded(said, encoded), store.record(FOLDER, key))
    files = sorted(store.records(FOLDER), key=lambda file: file.stat().st_mtime_ns)
    for file in files[:-MOST]:
        store.drop(FOLDER, file.stem)
    return key


def upload(store: Store, key: str) -> Uploaded:
    """A picture that was brought before.

    Raises
    ------
    DataError
        If it is not there any more.
    """
    file = store.record(FOLDER, key)
    try:
        return Uploaded.load(file, (key_in(file),))
    except (RecordError, StoreError) as error:
        raise DataError("this picture is not in the store any more; bring it again") from error


def picture_of(context: Context, given: str) -> tuple[Image.Image, str]:
    """What a form's name of a picture stands for, as the model sees it, and what it is called.

    Raises
    ------
    DataError
        If there is no such picture.
    """
    match = GIVEN.fullmatch(given)
    if match is None:
        raise DataError("there is no such picture")
    if match[1]:
        found = upload(context.store, match[2])
        return crop_pictures.decode(found.picture), found.name
    position = int(match[4])
    if position >= len(context.pool.items) or not context.index.usable[position]:
        raise DataError(f"the pool has no picture {position}")
    return context.picture(position), context.pool.items[position].path


def sample(picture: Image.Image, preprocessing: Preprocessing) -> Sample:
    """A picture that is as the model sees it already, for the model: not resized again.

    Raises
    ------
    DataError
        If the model takes other than one channel or three.
    """
    mode = MODES.get(preprocessing.channels)
    if mode is None:
        raise DataError(f"the model takes {preprocessing.channels} channels, which no picture has")
    pixels = np.asarray(picture.convert(mode))
    return sample_of_pixels(pixels if pixels.ndim == 3 else pixels[..., None], preprocessing)


def part_of(study: OpenedModel, given: str, box: Sequence[int]) -> tuple[Image.Image, str]:
    """A part of a picture, to be put into others, and where it comes from.

    Parameters
    ----------
    box
        (left, top, right, bottom) in pixels of the picture as the model sees it.

    Raises
    ------
    DataError
        If there is no such picture.
    SettingsError
        If the box does not lie within it.
    """
    picture, name = picture_of(study.context(), given)
    if not (
        len(box) == 4 and 0 <= box[0] < box[2] <= picture.width and 0 <= box[1] < box[3] <= picture.height
    ):
        raise SettingsError(
            f"the box {', '.join(map(str, box))} does not lie within the picture of {picture.width} x "
            f"{picture.height} pixels; draw it again"
        )
    return picture.crop((box[0], box[1], box[2], box[3])), f"{name}: {', '.join(map(str, box))}"


def encoded(picture: Image.Image) -> Picture:
    """For a browser: JPEG, since exact pixels do not matter to the eye."""
    return crop_pictures.encode(picture, lossless=False)
