"""Places of the pool as crops and whole images, encoded for records."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from PIL import Image
from torch import Tensor

from whyclass.models.preprocessing import Sample
from whyclass.models.tasks import class_map
from whyclass.pool.nearest_crops import Place
from whyclass.records import ClassImage, Crop, Picture
from whyclass.study.class_outlines import OUTLINES, outlined
from whyclass.study.context import Context


def encode(picture: Image.Image, lossless: bool = True, quality: int = 90) -> Picture:
    """A picture as PNG, or as JPEG where small files matter more than exact pixels."""
    out = io.BytesIO()
    if lossless:
        picture.save(out, "PNG", optimize=True)
    else:
        picture.save(out, "JPEG", quality=quality)
    return Picture(out.getvalue(), picture.width, picture.height, "image/png" if lossless else "image/jpeg")


def decode(picture: Picture) -> Image.Image:
    """The pixels of an encoded picture, RGB."""
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


STRIP_QUALITY = 80
"""Of JPEG: an audit keeps a dozen strips of each of a thousand classes."""


def piece(context: Context, place: Place, tensor: Tensor) -> Tensor:
    """The crop at a place of an image (C, S, T)."""
    left, top, right, bottom = place.box(context.crops, (tensor.shape[1], tensor.shape[2]))
    return tensor[:, top:bottom, left:right]


class Pictures:
    """Crops and whole images of a pool, each image read once.

    Where images are segmented, the classes to ``outline`` are outlined on whole images.
    """

    def __init__(
        self,
        context: Context,
        outline: Sequence[int],
        samples: Mapping[int, Sample] | None = None,
    ) -> None:
        self.context, self.index = context, context.index
        self._outline = tuple(outline) if context.task.dense else ()
        self._samples = dict(samples or {})
        self._wholes: dict[int, ClassImage] = {}

    def of(self, context: Context) -> Pictures:
        """The same images in another context, such as one that cuts other crops."""
        return Pictures(context, self._outline, self._samples)

    def whole(self, position: int) -> ClassImage:
        """A whole image, as the model sees it."""
        if position not in self._wholes:
            picture = encode(self._shown(position), lossless=False)
            self._wholes[position] = ClassImage(self.context.source(position), picture)
        return self._wholes[position]

    def crop(self, place: Place) -> Crop:
        """The crop at a place."""
        sample = self.sample(place.position)
        box = place.box(self.context.crops, (sample.tensor.shape[1], sample.tensor.shape[2]))
        return Crop(self.context.source(place.position), box, place.cosine, encode(sample.picture.crop(box)))

    def small(self, position: int, side: int) -> ClassImage:
        """A whole image, its longer side at most ``side`` pixels."""
        picture = self._shown(position)
        picture.thumbnail((side, side))
        return ClassImage(self.context.source(position), encode(picture, lossless=False))

    def strip(self, places: Sequence[Place], side: int | None = None) -> Picture:
        """The crops at some places side by side, each at most ``side`` pixels high."""
        pieces = []
        for place in places:
            picture = self.context.picture(place.position)
            piece = picture.crop(place.box(self.context.crops, (picture.height, picture.width)))
            if side is not None:
                piece.thumbnail((piece.width, side))
            pieces.append(piece)
        row = Image.new("RGB", (sum(piece.width for piece in pieces), max(piece.height for piece in pieces)))
        for left, piece in zip(accumulate((p.width for p in pieces), initial=0), pieces, strict=False):
            row.paste(piece, (left, 0))
        return encode(row, lossless=False, quality=STRIP_QUALITY)

    def _shown(self, position: int) -> Image.Image:
        """A whole image as a new picture; of a segmentation net with classes outlined."""
        sample = self.sample(position)
        shown = sample.picture.copy()
        if not self._outline:
            return shown
        with torch.no_grad():
            output = self.context.split.whole(sample.tensor[None].to(self.context.split.example))
        for target, colour in zip(self._outline, OUTLINES, strict=False):
            shown = outlined(
                shown, class_map(output, target, self.context.split.link)[0].cpu().numpy(), colour
            )
        return shown

    def sample(self, position: int) -> Sample:
        """An image of the pool."""
        if position not in self._samples:
            self._samples[position] = self.context.read([position])[0]
        return self._samples[position]
