"""Methods that find concepts of a class: each a row of a table, from the same material to directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from whyclass.concepts import other_dictionaries, segments
from whyclass.concepts.nmf import factorise
from whyclass.concepts.reconstruction import Fit, nonnegative, unrestricted
from whyclass.errors import AttributionError, SettingsError
from whyclass.records import Factors
from whyclass.setting_checks import told
from whyclass.settings import Settings
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.own_directions import OwnDirections, read_directions

FILE = "file:"
"""What a method's name begins with that is a file of the user's directions."""

PATCH, STRIDE = 64 / 224, 0.8
"""Side of CRAFT's crops in parts of the image's, and their distance in parts of that (its code)."""


@dataclass(frozen=True)
class Material:
    """What a method finds concepts of: some images of a class.

    Attributes
    ----------
    activations, scores
        (n, c, h, w) of the clean images, and the attribution's (n, h, w).
    settings
        How many concepts, and the seed.
    name
        Of the class and the part of its images: what is drawn at random depends on it.
    concepts
        Gives the class's own concepts, by attribution and NMF.
    crops
        Gives the pooled activations (n, p, c) of p crops of each image.
    segments
        Gives what the cells hold within each segment (s, c) of each image.
    """

    activations: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    settings: Settings
    name: str
    concepts: Callable[[], Factors] = field(repr=False)
    crops: Callable[[], np.ndarray] = field(repr=False)
    segments: Callable[[], list[np.ndarray]] = field(repr=False)

    def part(self, rows: np.ndarray, settings: Settings, name: str) -> Material:
        """The same of some of the images."""
        activations, scores = self.activations[rows], self.scores[rows]
        return Material(
            activations,
            scores,
            settings,
            f"{self.name} {name}",
            lambda: factorise(activations, scores, settings, 1),
            lambda: self.crops()[rows],
            lambda: [self.segments()[row] for row in rows],
        )


Find = Callable[[Material], Factors]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    ``find`` gives unit directions with the method's own embeddings; ``fit`` is how any activations are
    embedded in them for the measures that all methods take. ``digest`` is of a file that it reads.
    """

    name: str
    find: Find = field(repr=False)
    fit: Fit = field(repr=False, default=nonnegative)
    digest: str = ""


def material_of(own: ClassEvidence) -> Material:
    """All images of a class; their crops and segments are made once, where a method asks for them."""

    @cache
    def crops() -> np.ndarray:
        return _crops(own)

    @cache
    def pieces() -> list[np.ndarray]:
        return _segments(own)

    settings, scores = own.context.settings, own.evidence.scores
    return Material(own.activations, scores, settings, str(own.target), lambda: own.factors, crops, pieces)


def _crops(own: ClassEvidence) -> np.ndarray:
    """Mean activations of crops of each image, enlarged to the model's size."""
    found = []
    with own.context.progress.step("crops of CRAFT", len(own.images)) as advance:
        for image in own.images:
            patches = crops_of(image)
            found.append(own.context.activations(patches).mean((2, 3)))
            advance(1)
    return np.stack(found)


def crops_of(image: Tensor) -> Tensor:
    """Square crops of an image (C, S, T) on a grid, each enlarged to the whole image's size (p, C, S, T)."""
    side = max(1, round(PATCH * min(image.shape[1:])))
    found = F.unfold(image[None], side, stride=max(1, int(STRIDE * side)))
    patches = found[0].T.reshape(-1, image.shape[0], side, side)
    return F.interpolate(patches, size=image.shape[1:], mode="bilinear", align_corners=False)


def _segments(own: ClassEvidence) -> list[np.ndarray]:
    found = []
    with own.context.progress.step("segments", len(own.samples)) as advance:
        for sample, activations in zip(own.samples, own.activations, strict=True):
            picture = np.asarray(sample.picture.convert("RGB"), np.float64) / 255
            weights = segments.segment_weights(picture, activations.shape[1:])
            found.append(segments.pooled(activations, weights))
            advance(1)
    return found


def _craft(of: Material) -> Factors:
    pooled = of.crops()
    return other_dictionaries.nmf_of_crops(pooled.reshape(-1, pooled.shape[-1]), of.activations, of.settings)


def _permuted(of: Material) -> Factors:
    return other_dictionaries.permuted(of.concepts().concepts, of.activations, of.settings, of.name)


FOUND: dict[str, tuple[Find, Fit]] = {
    "whyclass": (lambda of: of.concepts(), nonnegative),
    "ice": (lambda of: other_dictionaries.nmf_of_cells(of.activations, of.settings), nonnegative),
    "craft": (_craft, nonnegative),
    "ace": (
        lambda of: other_dictionaries.clusters_of_segments(of.segments(), of.activations, of.settings),
        nonnegative,
    ),
    "kmeans": (lambda of: other_dictionaries.clusters_of_cells(of.activations, of.settings), nonnegative),
    "kmeans-scored": (
        lambda of: other_dictionaries.clusters_of_scored_cells(of.activations, of.scores, of.settings),
        nonnegative,
    ),
    "pca": (lambda of: other_dictionaries.principal_axes(of.activations, of.settings), unrestricted),
    "random-cells": (
        lambda of: other_dictionaries.random_cells(of.activations, of.settings, of.name),
        nonnegative,
    ),
    "permuted": (_permuted, nonnegative),
}
"""How each method finds concepts, and how activations are embedded in them."""


def method_of(name: str, channels: int) -> Method:
    """The method of a name, or the user's own directions from ``file:PATH``.

    Raises
    ------
    SettingsError
        If there is none of that name.
    DataError
        If a file holds no directions of a layer with so many channels.
    """
    if name.startswith(FILE):
        own = read_directions(Path(name.removeprefix(FILE)), channels)
        return Method(name, lambda of: _largest(own, of), digest=own.digest)
    if name not in FOUND:
        raise SettingsError(
            f"there is no method {told(name)}; choose of {', '.join(FOUND)}, or file:PATH of a "
            ".safetensors or .npz matrix"
        )
    return Method(name, *FOUND[name])


def _largest(own: OwnDirections, of: Material) -> Factors:
    return other_dictionaries.largest_of(own.rows, of.activations, of.scores, of.settings)


def found_by(method: Method, of: Material) -> Factors:
    """A method's concepts of some images.

    Raises
    ------
    AttributionError
        If the images have fewer cells than concepts are asked for, or nothing is found.
    """
    n, _, h, w = of.activations.shape
    if of.settings.concepts > n * h * w:
        raise AttributionError(
            f"{of.settings.concepts} directions are asked for and the {n} images have {n * h * w} cells at "
            "this layer; set fewer concepts, or choose an earlier layer"
        )
    found = method.find(of)
    if not np.isfinite(found.concepts).all():
        raise AttributionError(f"{method.name} found directions that are not finite")
    return found
