"""Stitching crops into one test image, and what the model says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass.errors import ModelError
from whyclass.grid import mosaic_shape
from whyclass.models.tasks import scores_of

Model = Callable[[Tensor], Tensor]
"""From images (n, 3, S, T), normalised, to the model's output."""


@dataclass(frozen=True)
class Stitched:
    """A test image and what the model says of it.

    ``image`` is (3, S, T), normalised; ``scores`` are (C,); ``layout`` a row of ``LAYOUTS``.
    """

    image: Tensor = field(repr=False)
    scores: np.ndarray = field(repr=False)
    layout: str


def stack(crops: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Crops (3, u, v) along the height, at native size: (3, len*u, v) (paper, 4.3)."""
    return torch.cat(list(crops), 1)


def grid(crops: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Crops (3, u, v) as a near-square grid at native size; empty places repeat the first crops."""
    rows, columns = mosaic_shape(len(crops))
    filled = [crops[i % len(crops)] for i in range(rows * columns)]
    return torch.cat([torch.cat(filled[r * columns : (r + 1) * columns], 2) for r in range(rows)], 1)


def mosaic(crops: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The same grid resized to ``size``."""
    made = grid(crops, size)[None]
    return F.interpolate(made, size=size, mode="bilinear", antialias=True, align_corners=False)[0]


LAYOUTS: dict[str, Callable[[Sequence[Tensor], tuple[int, int]], Tensor]] = {
    "stacked": stack,
    "grid": grid,
    "mosaic": mosaic,
}
"""How crops become one test image, by name."""

INSTEAD = {"auto": ("stacked", "mosaic"), "grid": ("grid", "mosaic")}
"""Layouts that are tried in turn, as some models take one size alone."""


def stitch(
    model: Model, crops: Sequence[Tensor], size: tuple[int, int], layout: str = "auto", link: str = ""
) -> Stitched:
    """Feed the concepts' best crops back to the model as one image.

    Parameters
    ----------
    crops
        One for each concept, (3, u, v), normalised, all of one size.
    size
        (S, T) of the model's input, for the mosaic.
    layout
        ``"stacked"``, ``"mosaic"``, ``"grid"``, which is a mosaic where the model cannot take that size, or
        ``"auto"``: stacked unless the model cannot take that one.
    link
        What the model's output went through before these logits (`Task.link`).

    Raises
    ------
    ModelError
        If the model takes the image in none of the layouts asked for.
    """
    names = INSTEAD.get(layout, (layout,))
    for name in names:
        image = LAYOUTS[name](crops, size)
        try:
            scores = scores_of_images(model, image[None], link)[0]
        except ModelError:
            if name == names[-1]:
                raise
            continue
        return Stitched(image, scores, name)
    raise AssertionError("a layout was tried or an error raised")


TOGETHER = 8
"""Test images that pass the model together, always so many: what an image gives may depend on how many there
are, to its last bit, but not on which others."""

ON_CARD = 32
"""The same on a card, which fewer leave waiting."""


def scores_of_sets(
    model: Model,
    sets: Sequence[Sequence[Tensor]],
    size: tuple[int, int],
    layout: str,
    link: str = "",
    together: int = TOGETHER,
) -> np.ndarray:
    """Scores (n, C) of the test images of many sets of crops, all of one number and size, in one layout."""
    images = [LAYOUTS[layout](crops, size) for crops in sets]
    found = []
    for start in range(0, len(images), together):
        block = images[start : start + together]
        padded = torch.stack([*block, *[block[-1]] * (together - len(block))])
        found.append(scores_of_images(model, padded, link)[: len(block)])
    return np.concatenate(found)


def scores_of_images(model: Model, images: Tensor, link: str = "") -> np.ndarray:
    """Scores (n, C), float64, of images (n, 3, S, T)."""
    with torch.no_grad():
        scores = scores_of(model(images), link)
    if not np.isfinite(scores).all():
        raise ModelError(f"the model's output for an image of {tuple(images.shape[2:])} pixels is not finite")
    return np.asarray(scores)
