"""The outline of a segmented class on a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

DARK, OUTLINES = "#101010", ("#ffffff", "#ffd400")
"""Colours of outlines: a wide dark line under a narrow light one is seen on any ground."""


def outlined(picture: Image.Image, inside: np.ndarray, colour: str = OUTLINES[0]) -> Image.Image:
    """A new picture with the border of a region (S, T), bool, drawn in a light colour on a dark line.

    The region is brought to the picture's size; what lies at the picture's own edge has no border.
    """
    mask = Image.fromarray(inside.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
    shown = picture.copy()
    for width, ink in ((5, DARK), (3, colour)):
        grown, shrunk = mask.filter(ImageFilter.MaxFilter(width)), mask.filter(ImageFilter.MinFilter(width))
        shown.paste(ink, mask=ImageChops.difference(grown, shrunk))
    return shown
