"""Files that hold several pictures: TIFF of several pages, DICOM of several frames."""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

from PIL import Image

from whyclass.models import dicom, pictures
from whyclass.pool.remote import RemoteFile

TIFF = (".tif", ".tiff")


def count(path: Path | RemoteFile) -> int:
    """How many pictures a file holds; one where that cannot be told."""
    ending = os.path.splitext(path.name)[1].lower()
    if ending not in (*TIFF, *dicom.ENDINGS):
        return 1
    try:
        with _open(path) as file:
            if ending in dicom.ENDINGS:
                return dicom.frames_of(file)
            return int(getattr(pictures.opened(file), "n_frames", 1))
    except Exception:  # reported when it is decoded, like any other broken file
        return 1


def page(path: str | os.PathLike[str] | RemoteFile, number: int) -> Image.Image:
    """One of them, counted from 0.

    Raises
    ------
    ValueError, OSError
        If it cannot be decoded.
    """
    with _open(path) as file:
        if dicom.is_dicom(file):
            found, told = dicom.picture(file, number)
            found.info[pictures.WINDOW] = told
            return found
        image = pictures.opened(file)
        image.seek(number)
        with pictures.budget.of(pictures.cost(image, lambda size: size)), pictures.lifted:
            return image.copy()


def _open(path: str | os.PathLike[str] | RemoteFile) -> BufferedReader:
    return path.open() if isinstance(path, RemoteFile) else pictures.open_regular(path)
