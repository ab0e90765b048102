"""DICOM files as pictures of 8 bits, by the window that the file itself names; the extra ``dicom``.

Notation
--------
window
    The values that are shown, in the file's own units (Hounsfield for CT): what lies below its lower end is
    black, what lies above its upper end white (DICOM PS3.3, C.11.2.1.2, linear).
"""

from __future__ import annotations

from io import BufferedReader
from typing import Any

import numpy as np
from PIL import Image

MAGIC, PLACE = b"DICM", 128
"""How such files begin, after so many bytes that say nothing."""

ENDINGS = (".dcm", ".dicom")

OF_THE_FILE, WHOLE, TABLE = "window of the file", "lowest to highest value", "table of the file"
"""By what values are shown: the first window of the file; where it names none, all that the image has; or its
own table of shades."""


def is_dicom(file: BufferedReader) -> bool:
    """Whether an open file, which is left at its start, is one."""
    start = file.read(PLACE + len(MAGIC))
    file.seek(0)
    return start[PLACE:] == MAGIC


def frames_of(path: Any) -> int:
    """How many pictures a file holds; one where that cannot be told."""
    try:
        found = _read(path, stop_before_pixels=True).get("NumberOfFrames", 1)
        return max(1, int(found or 1))
    except Exception:  # reported when it is decoded, like any other broken file
        return 1


def picture(file: Any, frame: int = 0) -> tuple[Image.Image, str]:
    """A frame as a picture of 8 bits, grey or RGB, and by what values it is shown.

    Raises
    ------
    ValueError
        If pydicom is missing, or the file holds no picture that it can decode.
    """
    data = _read(file)
    try:
        pixels = np.asarray(data.pixel_array)
    except Exception as error:  # pydicom's decoders raise nearly anything
        raise ValueError(f"its pixels cannot be decoded: {str(error).splitlines()[0]}") from error
    colours = int(data.get("SamplesPerPixel", 1))
    if pixels.ndim == (4 if colours > 1 else 3):
        pixels = pixels[frame]
    if colours > 1:
        return Image.fromarray(_bytes(pixels, 0, 255 if pixels.dtype == np.uint8 else int(pixels.max()))), ""
    values, low, high, told = _window(data, pixels)
    shades = _bytes(values, low, high)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # whose lowest values are white
        shades = 255 - shades
    return Image.fromarray(shades), told


def _read(file: Any, **how: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ValueError("DICOM needs the pydicom library: pip install 'whyclass[dicom]'") from error
    return pydicom.dcmread(file, **how)


def _window(data: Any, pixels: np.ndarray) -> tuple[np.ndarray, float, float, str]:
    """Values, the lowest and highest that are told apart, and whence these come."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = np.asarray(apply_modality_lut(pixels, data), float)
    if data.get("VOILUTSequence"):
        shown = np.asarray(apply_voi_lut(apply_modality_lut(pixels, data), data, prefer_lut=True), float)
        return shown, float(shown.min()), float(shown.max()), TABLE
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 1:
        return values, float(values.min()), float(values.max()), WHOLE
    low = centre - 0.5 - (width - 1) / 2
    return values, low, low + width - 1, f"{OF_THE_FILE} ({centre:g} ± {width / 2:g})"


def _first(value: Any) -> float | None:
    several = not isinstance(value, (str, int, float)) and hasattr(value, "__iter__")
    value = next(iter(value), None) if several else value
    return None if value is None or value == "" else float(value)


def _bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Shades of 8 bits (H, W) or (H, W, 3)."""
    scaled = (np.asarray(values, float) - low) / max(high - low, 1e-9)
    return np.asarray((scaled.clip(0, 1) * 255).round(), np.uint8)
