"""Places of the pool as crops, whole images and test images, for records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from . import checks, crops, data
from .classes import name_of
from .crops import Place
from .data import Pool, Preprocessing, Sample
from .errors import DataError
from .index import Index
from .records import ClassImage, Control, Crop, Prediction, PredictionTest, Source
from .settings import Settings, seed_of
from .split import Split, run

BOUNDS: tuple[tuple[float, Any], ...] = ((0.025, "lower"), (0.975, "higher"))
"""Quantiles of the control, rounded outwards to a draw: of twenty the least and the largest."""


@dataclass(frozen=True)
class Scene:
    """What pictures are made from: the cut model, the pool and its index, names and settings."""

    split: Split
    pool: Pool
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = field(repr=False)
    index: Index
    settings: Settings

    def prediction(self, index: int, score: float) -> Prediction:
        """A class with its score."""
        return Prediction(index, name_of(index, self.class_names), score)

    def read(
        self, positions: Iterable[int], advance: Callable[[int], None] = lambda done: None
    ) -> list[Sample]:
        """Images of the pool; one that the index could read and that is now broken is a ``DataError``."""
        samples = []
        for position, sample in data.samples(self.pool, positions, self.preprocessing):
            if isinstance(sample, DataError):
                raise DataError(f"an image that was read before cannot be read now: {sample}")
            if self.pool.changed(position):
                path = self.pool.items[position].path
                raise DataError(f"{path} changed while the study was open; make a new study of the images")
            samples.append(sample)
            advance(1)
        return samples


class Pictures:
    """Crops, whole images and test images of a scene, each image read once."""

    def __init__(self, scene: Scene, samples: Mapping[int, Sample] | None = None) -> None:
        self.scene, self.index = scene, scene.index
        self._samples = dict(samples or {})
        self._wholes: dict[int, ClassImage] = {}

    def prediction_test(
        self, target: int, places: list[Place], mask: np.ndarray, purpose: str
    ) -> PredictionTest:
        """The prediction test of a class (paper, 4.3) from each concept's best place.

        Parameters
        ----------
        mask
            Images (N,) the places were searched in; the control draws from the same.
        purpose
            Name of the test; it seeds the control.
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
            control=self._control(target, len(places), mask, purpose),
        )

    def whole(self, position: int) -> ClassImage:
        """A whole image, as the model sees it."""
        if position not in self._wholes:
            picture = data.encode(self._sample(position).picture, lossless=False)
            self._wholes[position] = ClassImage(self._source(position), picture)
        return self._wholes[position]

    def crop(self, place: Place) -> Crop:
        """The crop at a place."""
        sample = self._sample(place.position)
        box = place.box(self.index.grid, (sample.tensor.shape[1], sample.tensor.shape[2]))
        return Crop(self._source(place.position), box, place.cosine, data.encode(sample.picture.crop(box)))

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

    def _source(self, position: int) -> Source:
        item = self.index.items[position]
        index = int(self.index.predicted[position])
        score = float(self.index.scores(np.array([position]))[0, index])
        return Source(item.path, item.digest, self.scene.prediction(index, score))
