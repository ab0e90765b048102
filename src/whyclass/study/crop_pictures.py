"""Places of the pool as crops, whole images and test images, for records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

from whyclass.checks import interventions
from whyclass.models.split import run
from whyclass.models.tasks import class_map
from whyclass.pool import images as pool_images
from whyclass.pool import nearest_crops
from whyclass.pool.images import Sample
from whyclass.pool.nearest_crops import Place
from whyclass.records import ClassImage, Control, Crop, Picture, PredictionTest
from whyclass.settings import seed_of
from whyclass.study.context import Scene

BOUNDS: tuple[tuple[float, Any], ...] = ((0.025, "lower"), (0.975, "higher"))
"""Quantiles of the control, rounded outwards to a draw: of twenty the least and the largest."""

DARK, OUTLINES = "#101010", ("#ffffff", "#ffd400")
"""Colours of outlines: a wide dark line under a narrow light one is seen on any ground."""

STRIP_QUALITY = 80
"""Of JPEG: an audit keeps a dozen strips of each of a thousand classes."""

Reader = Callable[[int], Sample]
"""From a position in the pool to the image."""


class Controls:
    """What random crops reach in the prediction test, for any class of a scene.

    All classes share the draws, so each stitched image passes the model once, whatever the number of
    classes: one image gives the scores of all of them. Where a class's own images are left out, only
    a draw that holds one of them has to be made anew.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._scores: dict[tuple[Place, ...], np.ndarray] = {}

    def of(self, target: int, count: int, mask: np.ndarray, read: Reader) -> Control | None:
        """The class's scores for ``count`` stitched random crops of the images of a mask (N,)."""
        settings = self._scene.settings
        if not settings.controls:
            return None
        scores = np.stack([self._draw(draw, count, mask, read) for draw in range(settings.controls)])
        low, high = (float(np.quantile(scores[:, target], q, method=way)) for q, way in BOUNDS)
        return Control(
            n=settings.controls,
            mean=float(scores[:, target].mean()),
            low=low,
            high=high,
            predicted=float(self._scene.task.counts(scores, target).mean()),
        )

    def _draw(self, draw: int, count: int, mask: np.ndarray, read: Reader) -> np.ndarray:
        index, seed = self._scene.index, self._scene.settings.seed
        generator = np.random.default_rng(seed_of("control", seed, str(draw)))
        places = nearest_crops.random_places(index.usable, mask, index.cells.shape[1], count, generator)
        if places not in self._scores:
            self._scores[places] = stitched(self._scene, places, read).scores
        return self._scores[places]


def stitched(scene: Scene, places: Sequence[Place], read: Reader) -> interventions.Stitched:
    """The crops at some places as one test image, and what the model says of it."""
    return stitched_pieces(scene, [piece(scene, place, read(place.position).tensor) for place in places])


def stitched_pieces(scene: Scene, pieces: Sequence[Tensor]) -> interventions.Stitched:
    """Pieces (C, u, v) as one test image, and what the model says of it."""

    def model(images: Tensor) -> Tensor:
        return run(scene.split.model, images.to(scene.split.example.device))

    return interventions.stitch(model, pieces, scene.preprocessing.crop, scene.settings.layout)


def piece(scene: Scene, place: Place, tensor: Tensor) -> Tensor:
    """The crop at a place of an image (C, S, T)."""
    left, top, right, bottom = place.box(scene.index.grid, (tensor.shape[1], tensor.shape[2]))
    return tensor[:, top:bottom, left:right]


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


class Pictures:
    """Crops, whole images and test images of a scene, each image read once.

    Where images are segmented, the classes to ``outline`` are outlined on whole images.
    """

    def __init__(
        self,
        scene: Scene,
        outline: Sequence[int],
        samples: Mapping[int, Sample] | None = None,
        controls: Controls | None = None,
    ) -> None:
        self.scene, self.index = scene, scene.index
        self._outline = tuple(outline) if scene.task.dense else ()
        self._samples = dict(samples or {})
        self._wholes: dict[int, ClassImage] = {}
        self._controls = controls or Controls(scene)

    def prediction_test(
        self,
        target: int,
        places: list[Place],
        mask: np.ndarray,
        control: Control | None = None,
        lean: bool = False,
    ) -> PredictionTest:
        """The prediction test of a class (paper, 4.3) from each concept's best place.

        Parameters
        ----------
        mask
            Images (N,) the places were searched in; the control draws from the same.
        control
            Of as many crops from the same images, where it is known already.
        lean
            Without the crops' whole images, and the stitched one as JPEG.
        """
        test = stitched(self.scene, places, self.sample)
        sources = () if lean else tuple(self.whole(place.position) for place in places)
        known = control or self._controls.of(target, len(places), mask, self.sample)
        return self.tested(target, test, sources, int(mask.sum()), known, lean)

    def tested(
        self,
        target: int,
        test: interventions.Stitched,
        sources: tuple[ClassImage, ...],
        pool: int,
        control: Control | None,
        lean: bool = False,
    ) -> PredictionTest:
        """The record of a stitched image's test; its pieces come from ``sources`` among ``pool`` images."""
        task = self.scene.task
        top = task.order(test.scores)[:5]
        return PredictionTest(
            score=float(test.scores[target]),
            share=task.share(test.scores, target),
            predicted=bool(task.counts(test.scores, target)),
            top=tuple(self.scene.prediction(int(c), float(test.scores[c])) for c in top),
            layout=test.layout,
            pool=pool,
            picture=pool_images.encode(self.scene.preprocessing.undo(test.image), lossless=not lean),
            sources=sources,
            control=control,
        )

    def whole(self, position: int) -> ClassImage:
        """A whole image, as the model sees it."""
        if position not in self._wholes:
            picture = pool_images.encode(self._shown(position), lossless=False)
            self._wholes[position] = ClassImage(self.scene.source(position), picture)
        return self._wholes[position]

    def crop(self, place: Place) -> Crop:
        """The crop at a place."""
        sample = self.sample(place.position)
        box = place.box(self.index.grid, (sample.tensor.shape[1], sample.tensor.shape[2]))
        return Crop(
            self.scene.source(place.position), box, place.cosine, pool_images.encode(sample.picture.crop(box))
        )

    def small(self, position: int, side: int) -> ClassImage:
        """A whole image, its longer side at most ``side`` pixels."""
        picture = self._shown(position)
        picture.thumbnail((side, side))
        return ClassImage(self.scene.source(position), pool_images.encode(picture, lossless=False))

    def strip(self, places: Sequence[Place], side: int | None = None) -> Picture:
        """The crops at some places side by side, each at most ``side`` pixels high."""
        pieces = []
        for place in places:
            picture = self.scene.picture(place.position)
            piece = picture.crop(place.box(self.index.grid, (picture.height, picture.width)))
            if side is not None:
                piece.thumbnail((piece.width, side))
            pieces.append(piece)
        row = Image.new("RGB", (sum(piece.width for piece in pieces), max(piece.height for piece in pieces)))
        for left, piece in zip(accumulate((p.width for p in pieces), initial=0), pieces, strict=False):
            row.paste(piece, (left, 0))
        return pool_images.encode(row, lossless=False, quality=STRIP_QUALITY)

    def _shown(self, position: int) -> Image.Image:
        """A whole image as a new picture; of a segmentation net with classes outlined."""
        sample = self.sample(position)
        shown = sample.picture.copy()
        if not self._outline:
            return shown
        with torch.no_grad():
            output = run(self.scene.split.model, sample.tensor[None].to(self.scene.split.example))
        for target, colour in zip(self._outline, OUTLINES, strict=False):
            shown = outlined(shown, class_map(output, target)[0].cpu().numpy(), colour)
        return shown

    def sample(self, position: int) -> Sample:
        """An image of the pool."""
        if position not in self._samples:
            self._samples[position] = self.scene.read([position])[0]
        return self._samples[position]
