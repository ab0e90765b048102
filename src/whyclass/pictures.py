"""Places of the pool as crops, whole images and test images, for records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from . import checks, crops, data
from .crops import Place
from .data import Sample
from .records import ClassImage, Control, Crop, PredictionTest
from .scene import Scene
from .settings import seed_of
from .split import run

BOUNDS: tuple[tuple[float, Any], ...] = ((0.025, "lower"), (0.975, "higher"))
"""Quantiles of the control, rounded outwards to a draw: of twenty the least and the largest."""


class Pictures:
    """Crops, whole images and test images of a scene, each image read once."""

    def __init__(self, scene: Scene, samples: Mapping[int, Sample] | None = None) -> None:
        self.scene, self.index = scene, scene.index
        self._samples = dict(samples or {})
        self._wholes: dict[int, ClassImage] = {}

    def prediction_test(
        self,
        target: int,
        places: list[Place],
        mask: np.ndarray,
        purpose: str,
        control: Control | None = None,
    ) -> PredictionTest:
        """The prediction test of a class (paper, 4.3) from each concept's best place.

        Parameters
        ----------
        mask
            Images (N,) the places were searched in; the control draws from the same.
        purpose
            Name of the test; it seeds the control.
        control
            Of as many crops from the same images, where it is known already.
        """
        stitched = self._stitch(places)
        top = np.argsort(-stitched.scores, kind="stable")[:5]
        return PredictionTest(
            score=float(stitched.scores[target]),
            predicted=bool(stitched.scores.argmax() == target),
            top=tuple(self.scene.prediction(int(c), float(stitched.scores[c])) for c in top),
            layout=stitched.layout,
            pool=int(mask.sum()),
            picture=data.encode(self.scene.preprocessing.undo(stitched.image)),
            sources=tuple(self.whole(place.position) for place in places),
            control=control or self._control(target, len(places), mask, purpose),
        )

    def whole(self, position: int) -> ClassImage:
        """A whole image, as the model sees it."""
        if position not in self._wholes:
            picture = data.encode(self._sample(position).picture, lossless=False)
            self._wholes[position] = ClassImage(self.scene.source(position), picture)
        return self._wholes[position]

    def crop(self, place: Place) -> Crop:
        """The crop at a place."""
        sample = self._sample(place.position)
        box = place.box(self.index.grid, (sample.tensor.shape[1], sample.tensor.shape[2]))
        return Crop(
            self.scene.source(place.position), box, place.cosine, data.encode(sample.picture.crop(box))
        )

    def small(self, position: int, side: int) -> ClassImage:
        """A whole image, its longer side at most ``side`` pixels."""
        picture = self._sample(position).picture.copy()
        picture.thumbnail((side, side))
        return ClassImage(self.scene.source(position), data.encode(picture, lossless=False))

    def _stitch(self, places: list[Place]) -> checks.Stitched:
        split, size = self.scene.split, self.scene.preprocessing.crop
        pieces = [self._piece(place) for place in places]

        def model(images: Tensor) -> Tensor:
            return run(split.model, images.to(split.example.device))

        return checks.stitch(model, pieces, size, self.scene.settings.layout)

    def _control(self, target: int, count: int, mask: np.ndarray, purpose: str) -> Control | None:
        """The class's score for stitched random crops of the same images."""
        settings = self.scene.settings
        if not settings.controls:
            return None
        generator = np.random.default_rng(seed_of(f"control {purpose}", settings.seed, str(target)))
        cells = self.index.cells.shape[1]
        drawn = [crops.random_places(mask, cells, count, generator) for _ in range(settings.controls)]
        scores = np.stack([self._stitch(places).scores for places in drawn])
        low, high = (float(np.quantile(scores[:, target], q, method=way)) for q, way in BOUNDS)
        return Control(
            n=settings.controls,
            mean=float(scores[:, target].mean()),
            low=low,
            high=high,
            predicted=float((scores.argmax(1) == target).mean()),
        )

    def _sample(self, position: int) -> Sample:
        if position not in self._samples:
            self._samples[position] = self.scene.read([position])[0]
        return self._samples[position]

    def _piece(self, place: Place) -> Tensor:
        tensor = self._sample(place.position).tensor
        left, top, right, bottom = place.box(self.index.grid, (tensor.shape[1], tensor.shape[2]))
        return tensor[:, top:bottom, left:right]
