"""From a file or picture to an upright picture of 8 bits, within a budget of memory.

Only a header is read until it is known what decoding costs. Grey stays grey until the picture is small:
resizing works on each channel by itself, and a quarter of the bytes is held.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from io import BufferedReader
from typing import Any

import numpy as np
from PIL import Image

from whyclass.models import dicom

LARGEST = 1_000_000_000
"""Pixels above which a file is reported and skipped, whatever they would cost."""

BUDGET = 2 << 30
"""Bytes that all threads together may hold of pictures that are being decoded; one needs no more alone."""

BY_MODE = {"1": (1, 1), "L": (1, 0), "I;16": (2, 1), "I": (4, 1), "P": (1, 4), "LA": (4, 1), "RGB": (4, 0)}
"""Bytes that Pillow holds for a pixel of a mode, and for one of the 8-bit picture that is made of it."""

BY_FORMAT = {"WEBP": 8, "AVIF": 12, "JPEG2000": 16, "GIF": 1, "TIFF": 1, "ICO": 4}
"""Bytes for a pixel that a format's decoder holds besides."""

PROGRESSIVE = 8
"""Bytes for a pixel that the decoder of progressive JPEG holds besides: coefficients of four channels."""

LARGE = 32 << 20
"""A part of so many bytes is given back to the system when it is free."""

DRAFTED = 50_000_000
"""Pixels from which on a JPEG is decoded at a fraction of its size."""

FINE = 2048
"""Both sides of what such a fraction leaves are at least so long, and twice the model's resizing."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF's orientation tag."""

ORIENTATION = 0x0112

WINDOW = "whyclass window"
"""Under which a picture's information says by what values a DICOM file is shown."""

REFUSED = frozenset({"EPS"})
"""Formats that are not opened whatever a file is called: decoding these starts another program."""

ODD = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}
"""What may bear a picture's name and be no file: reading it may never end."""

_BAND = 1 << 22
"""Pixels of more than 8 bits that are scaled at a time."""

_PILLOW = re.compile(r"PIL\.")

_VIA = {"RGBa": "RGBA", "La": "LA"}
"""Modes that Pillow turns into RGB only by way of another."""


@cache
def _trim() -> Callable[[int], int] | None:
    """What makes the C library give freed memory back, where it has that."""
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):
        return None


def _given_back() -> None:
    # glibc keeps what a thread freed for that thread: each would hold a picture that is long gone
    if (trim := _trim()) is not None:
        trim(0)


class Budget:
    """Bytes that all threads share: each waits until its part is free.

    Attributes
    ----------
    size
        Of all parts together.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._used = 0
        self._changed = threading.Condition()
        self._alone: int | None = None

    @contextmanager
    def of(self, cost: int) -> Iterator[None]:
        """Hold a part, no larger than the budget."""
        if self._alone == threading.get_ident():
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._used + cost <= self.size)
            self._used += cost
        try:
            yield
        finally:
            if cost > LARGE:
                _given_back()
            with self._changed:
                self._used -= cost
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold all of it; parts that this thread asks for meanwhile are of that."""
        with self.of(self.size):
            self._alone = threading.get_ident()
            try:
                yield
            finally:
                self._alone = None


budget = Budget(BUDGET)


class _Lifted:
    """Pillow's guard against huge pictures, which counts pixels: lifted while any thread decodes."""

    def __init__(self) -> None:
        self._lock, self._within, self._limit = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                Image.MAX_IMAGE_PIXELS = self._limit


lifted = _Lifted()


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading.

    Raises
    ------
    OSError
        If it cannot be opened, or is a pipe, a device or the like: opening such may never return.
    """
    _check_regular(os.stat(path).st_mode)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_regular(os.fstat(file.fileno()).st_mode)  # it may have been replaced in between
    except OSError:
        file.close()
        raise
    return file


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in ODD.items() if test(mode)), "something else")
        raise OSError(22, f"{kind}, no file")


def opened(file: BufferedReader, least: int = FINE) -> Image.Image:
    """A picture of which only the header is read; a huge JPEG will be decoded at a fraction of its size.

    Parameters
    ----------
    least
        So many pixels must both sides keep.

    Raises
    ------
    ValueError
        If it has more than ``LARGEST`` pixels.
    """
    quieten()
    if dicom.is_dicom(file):
        found, told = dicom.picture(file)
        found.info[WINDOW] = told
        return found
    with lifted:
        image = Image.open(file, formats=_formats())
    pixels = image.width * image.height
    if pixels > LARGEST:
        raise ValueError(f"{image.width} x {image.height} pixels are more than the limit of {LARGEST:,}")
    if image.format in ("JPEG", "MPO") and pixels > DRAFTED:
        image.draft("RGB", (least, least))
    return image


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in REFUSED]


def quieten() -> None:
    """Keep Pillow's remarks on odd files, such as "Corrupt EXIF data", from standard error."""
    # never restored: to restore filters while other threads run brings back what is no longer meant
    if ("ignore", None, UserWarning, _PILLOW, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=_PILLOW.pattern)


def cost(image: Image.Image, resize: Callable[[tuple[int, int]], tuple[int, int]]) -> int:
    """Bytes that are held at most while a picture is decoded, turned and resized.

    Parameters
    ----------
    resize
        From (width, height) to the resized.

    Raises
    ------
    ValueError
        If they are more than the budget.
    """
    (width, height), (wide, high) = image.size, resize(image.size)
    held, made = BY_MODE.get("I;16" if image.mode.startswith("I;16") else image.mode, (4, 4))
    each = held + 2 * made if made else 2 * held  # to turn a picture makes another
    total = width * height * (each + BY_FORMAT.get(image.format or "", 0))
    if image.format in ("JPEG", "MPO") and "progressive" in image.info:
        scale = (getattr(image, "decoderconfig", None) or (1,))[0]
        total += width * height * scale**2 * PROGRESSIVE
    if (wide, high) != (width, height):
        total += 4 * wide * (height + high)  # Pillow resizes rows first, and then columns
    if total > budget.size:
        raise ValueError(
            f"{width:,} x {height:,} pixels ({image.mode}) take {total / 1e9:,.1f} GB to decode and "
            f"resize, and at most {budget.size / 1e9:,.1f} GB are spent; make it smaller"
        )
    return total


@dataclass(frozen=True)
class Upright:
    """The first frame of a picture, upright, of 8 bits: grey ("L") or RGB.

    ``peak`` is the highest value as a share of the range, where the picture holds more than 8 bits.
    """

    picture: Image.Image
    peak: float | None = None


def upright(image: Image.Image) -> Upright:
    """The first frame, upright, of 8 bits.

    Raises
    ------
    ValueError
        If its pixels have no agreed range.
    """
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no agreed range; convert it to 8 or 16 bits")
    if 0 in image.size:
        raise ValueError("it has no pixels")
    bits = _bits(image)
    quieten()
    with lifted:
        with suppress(EOFError):
            image.seek(0)
        image.load()
        turn = _turn(image)
        if image.mode.startswith("I"):
            found = _scaled(image, bits)
        else:
            picture = _eight(image)
            found = Upright(picture, _highest(picture) if bits > 8 else None)
        # turning left to right is number 0
        return found if turn is None else replace(found, picture=found.picture.transpose(turn))


def _eight(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if way := _VIA.get(image.mode):
        image = image.convert(way)
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _highest(picture: Image.Image) -> float:
    extrema = picture.getextrema()
    highest = [high for _, high in extrema] if isinstance(extrema[0], tuple) else [extrema[1]]
    return float(max(highest)) / 255


def _bits(image: Image.Image) -> int:
    """Of a channel in the file, as its decoder was told; of a picture in memory by its mode."""
    told = re.search(r"(?<!BGR);(\d+)", " ".join(str(tile[3]) for tile in getattr(image, "tile", ())))
    return int(told[1]) if told else 16 if image.mode.startswith("I") else 8


def _scaled(image: Image.Image, bits: int) -> Upright:
    """8 bits of 12 or 16; a band at a time, since one pass over all would hold four times as much."""
    top = 4095 if bits == 12 else 65535
    out = np.empty((image.height, image.width), np.uint8)
    low = high = 0
    step = max(1, _BAND // image.width)
    for start in range(0, image.height, step):
        band = np.asarray(image.crop((0, start, image.width, min(start + step, image.height))))
        low, high = min(low, int(band.min())), max(high, int(band.max()))
        out[start : start + step] = band >> (4 if bits == 12 else 8)
    if low < 0 or high > top:
        raise ValueError(
            f"pixels from {low} to {high} have no agreed range beyond 0 to {top}; convert it to 8 or 16 bits"
        )
    return Upright(Image.fromarray(out), high / top)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What the orientation tag asks for; whatever else the metadata holds is not looked at."""
    for find in (lambda: image.getexif()[ORIENTATION], lambda: _stored(image.info["exif"])):
        try:
            value: Any = find()
            value = value[0] if isinstance(value, (tuple, bytes)) else value
            return TURNS.get(int(value))
        except Exception:  # Pillow raises nearly anything for odd metadata, and a picture needs none
            continue
    return None


def _stored(exif: bytes) -> int:
    """The orientation in an EXIF block, found without its other entries: Pillow stops at one cut off."""
    data = exif.removeprefix(b"Exif\0\0")
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entries = (struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * n) for n in range(count))
    return next(value for tag, _, _, value in entries if tag == ORIENTATION)
