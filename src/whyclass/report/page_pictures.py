"""Pictures of a record as a page needs them: data URIs, heat overlays, boxes in per cent."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections import Counter
from typing import Literal

import numpy as np
from PIL import Image

from whyclass.errors import RecordError
from whyclass.grid import Box
from whyclass.records import Crop, Explanation, HeatMap, Picture, PredictionTest

MIMES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""What a page shows; nothing that could hold a script or a link."""

HUE = (255, 72, 0)
"""The one hue of every heat map, laid over the picture in grey so that no colour competes."""

OPAQUE = 0.78
"""Opacity where a concept is most active; the picture must still be seen through it."""

NOTHING = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""One see-through pixel: the image element over a picture that the style sheet already holds."""

_ROW, _LOWEST, _WIDEST = 84, 72, 150  # CSS pixels of a crop beside its source
_LEVELS = 48  # steps of opacity: too fine for the eye, and the files halve
_SIDE = 112  # pixels of the longer side of an overlay, about twice what a page shows


def uri(picture: Picture) -> str:
    """The picture as a ``data:`` URI.

    Raises
    ------
    RecordError
        When the picture is of a kind that a page does not show.
    """
    if picture.mime not in MIMES:
        raise RecordError(f"a picture is of type {picture.mime!r}, but only {', '.join(MIMES)} can be shown")
    return _data_uri(picture.data, picture.mime)


def overlay(heat: HeatMap, picture: Picture) -> str:
    """The heat map as a see-through PNG of the picture's proportions, in a ``data:`` URI.

    Cells are joined by bilinear interpolation; opacity is proportional to the value.
    """
    values = np.nan_to_num(np.asarray(heat.values, dtype=np.float32), nan=0.0).clip(0.0, 1.0)
    longer = max(picture.width, picture.height)
    side = max(_SIDE, *values.shape)
    size = (max(1, side * picture.width // longer), max(1, side * picture.height // longer))
    smooth = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    image = Image.fromarray(np.rint(smooth * _LEVELS).clip(0, _LEVELS).astype(np.uint8)).convert("P")
    image.putpalette(HUE * (_LEVELS + 1))
    opacity = bytes(round(255 * OPAQUE * step / _LEVELS) for step in range(_LEVELS + 1))
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=opacity, optimize=True)
    return _data_uri(stream.getvalue(), "image/png")


def box_style(box: Box, picture: Picture) -> str:
    """Place of a box on its picture as CSS lengths in per cent, cut off at the picture's border."""
    left, top, right, bottom = box
    x0, x1 = _share(left, picture.width), _share(right, picture.width)
    y0, y1 = _share(top, picture.height), _share(bottom, picture.height)
    return f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"


def best(
    explanation: Explanation, pool: Literal["including", "excluding", "unlabelled", "neither"]
) -> list[tuple[int, Crop | None]]:
    """The crops that stand for the concepts in a test, with each one's number: its nearest, or several.

    None where a concept has none.
    """
    test: PredictionTest | None = getattr(explanation.prediction_test, pool)
    each = max(1, len(test.sources) // max(1, len(explanation.concepts))) if test else 1
    found: list[tuple[int, Crop | None]] = []
    for number, concept in enumerate(explanation.concepts, 1):
        crops = getattr(concept, pool)[:each]
        found += [(number, crop) for crop in crops] if crops else [(number, None)] * each
    return found


def cells(explanation: Explanation) -> tuple[int, ...]:
    """Height and width of the heat maps in cells of the layer; empty where there are none."""
    heats = (heat for concept in explanation.concepts for heat in concept.heat_maps)
    return next((heat.values.shape for heat in heats), ())


def row_height(test: PredictionTest) -> int:
    """Height in CSS pixels at which a stacked column's crops are shown beside their sources.

    0 when they cannot be shown so: crops in a mosaic, of unequal height, or so wide that a row of
    bearable width would be too low for its source.
    """
    n = len(test.sources)
    if test.layout != "stacked" or n == 0 or test.picture.height % n:
        return 0
    height = min(_ROW, _WIDEST * (test.picture.height // n) // max(1, test.picture.width))
    return height if height >= _LOWEST else 0


def fit(picture: Picture, width: int, height: int) -> tuple[int, int]:
    """Width and height in CSS pixels at which a picture fills a space without losing its proportions."""
    scale = min(width / max(1, picture.width), height / max(1, picture.height))
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def coarse(picture: Picture) -> bool:
    """Whether a picture is so small that its pixels should stay visible when it is enlarged."""
    return min(picture.width, picture.height) < 48


_SHOWN = re.compile(
    r'<img class="(?P<styles>[^"]*)" src="(?P<picture>data:image/[a-z]+;base64,[A-Za-z0-9+/=]+)"'
    r' width="(?P<width>\d+)" height="(?P<height>\d+)" alt='
)


def once(html: str) -> str:
    """A page in which a picture that is shown several times stands only once, in its style sheet.

    A crop's source is shown beside every test whose crops it gave, and is most of what a page weighs.
    """
    times = Counter(shown["picture"] for shown in _SHOWN.finditer(html))
    names = {
        picture: f"wc-p{hashlib.sha256(picture.encode()).hexdigest()[:12]}"
        for picture, n in times.items()
        if n > 1 and len(picture) > 2 * len(NOTHING)
    }
    head, end, rest = html.partition("</style>")
    if not names or not end:
        return html
    rules = "".join(f".{name} {{ background-image: url({picture}); }}\n" for picture, name in names.items())

    def named(shown: re.Match[str]) -> str:
        if shown["picture"] not in names:
            return shown[0]
        styles, width, height = f"{shown['styles']} base".strip(), shown["width"], shown["height"]
        return (
            f'<img class="{styles} {names[shown["picture"]]}" src="{NOTHING}" width="{width}" '
            f'height="{height}" style="aspect-ratio:{width}/{height}" alt='
        )

    return head + rules + end + _SHOWN.sub(named, rest)


def _share(pixels: int, whole: int) -> float:
    return 100.0 * min(max(pixels, 0), whole) / max(whole, 1)


def _data_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
