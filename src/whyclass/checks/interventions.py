"""Tests of an explanation that ask the model: of stitched crops, shifted activations, changed images.

Notation
--------
``x (c)``
    a cell; ``w (c)``, ``b`` a hyperplane; ``z = w.x + b``.
``S``
    steps of a test. ``C`` numbers that scores hold for each image (`whyclass.tasks`).
    Images have 3 channels, or as many as the model takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass.errors import ModelError
from whyclass.grid import Box, mosaic_shape
from whyclass.models.split import Split
from whyclass.models.tasks import scores_of

SHIFTED_BYTES = 128 << 20
"""Activations that are shifted and finished together."""

DRAWS = 1000
"""Of the bootstrap."""

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


def mosaic(crops: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Crops (3, u, v) as a near-square grid resized to ``size``; empty places repeat the first crops."""
    rows, columns = mosaic_shape(len(crops))
    filled = [crops[i % len(crops)] for i in range(rows * columns)]
    lines = [torch.cat(filled[r * columns : (r + 1) * columns], 2) for r in range(rows)]
    grid = torch.cat(lines, 1)[None]
    return F.interpolate(grid, size=size, mode="bilinear", antialias=True, align_corners=False)[0]


LAYOUTS: dict[str, Callable[[Sequence[Tensor], tuple[int, int]], Tensor]] = {
    "stacked": stack,
    "mosaic": mosaic,
}
"""How crops become one test image, by name."""


def stitch(model: Model, crops: Sequence[Tensor], size: tuple[int, int], layout: str = "auto") -> Stitched:
    """Feed the concepts' best crops back to the model as one image.

    Parameters
    ----------
    crops
        One for each concept, (3, u, v), normalised, all of one size.
    size
        (S, T) of the model's input, for the mosaic.
    layout
        ``"stacked"``, ``"mosaic"``, or ``"auto"``: stacked unless the model cannot take that size.

    Raises
    ------
    ModelError
        If the model takes the image in none of the layouts asked for.
    """
    names = list(LAYOUTS) if layout == "auto" else [layout]
    for name in names:
        image = LAYOUTS[name](crops, size)
        try:
            scores = scores_of_images(model, image[None])[0]
        except ModelError:
            if name == names[-1]:
                raise
            continue
        return Stitched(image, scores, name)
    raise AssertionError("a layout was tried or an error raised")


def scores_of_images(model: Model, images: Tensor) -> np.ndarray:
    """Scores (n, C), float64, of images (n, 3, S, T)."""
    with torch.no_grad():
        scores = scores_of(model(images))
    if not np.isfinite(scores).all():
        raise ModelError(f"the model's output for an image of {tuple(images.shape[2:])} pixels is not finite")
    return np.asarray(scores)


def shift(
    split: Split, activations: np.ndarray, images: Tensor, w: np.ndarray, steps: Sequence[float]
) -> np.ndarray:
    """Scores (S, n, C) after every cell became ``relu(x + t w)``, for each step ``t`` (paper, 5.2.1).

    Where the layer's activations are signed, cells become ``x + t w``.

    All steps of an image are finished as one batch; the part of the model before the layer is not run.

    Parameters
    ----------
    activations
        Shape (n, c, h, w), clean.
    images
        Shape (n, 3, S, T): theirs, which a layer with a bypass needs.
    w
        Shape (c,), not normalised.
    """
    n, *shape = activations.shape
    t = torch.tensor(steps, dtype=torch.float32).to(split.example)[:, None, None, None, None]
    normal = torch.from_numpy(w).to(split.example)[:, None, None]
    rows = max(1, SHIFTED_BYTES // (4 * len(steps) * int(np.prod(shape))))
    found = []
    with torch.no_grad():
        for start in range(0, n, rows):
            block = torch.from_numpy(activations[start : start + rows]).to(split.example)
            x = block + t * normal
            x = x if split.signed else x.relu_()
            x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            theirs = images[start : start + rows].to(split.example)
            theirs = theirs.repeat(len(steps), 1, 1, 1) if split.bypassed else theirs
            few = split.together(len(x))
            parts = [slice(at, at + few) for at in range(0, len(x), few)]
            # where nothing bypasses the layer the head looks at no image
            scores = np.concatenate([scores_of(split.head(x[part], theirs[part])) for part in parts])
            found.append(scores.reshape(len(steps), len(block), -1))
    return np.concatenate(found, 1)


def lowest(z: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Masks (S, n, h, w) of the given shares of all cells (n, h, w), those of the lowest ``z`` first.

    Cells of all images are ranked together (paper, appendix C); of equal ones the earlier comes first.
    """
    rank = np.empty(z.size, np.int64)
    rank[np.argsort(z, axis=None, kind="stable")] = np.arange(z.size)
    counts = np.array([round(share * z.size) for share in shares])
    return np.asarray(rank.reshape(z.shape) < counts[:, None, None, None])


def mask(images: Tensor, masks: np.ndarray, fill: Tensor) -> Tensor:
    """Images (n, 3, S, T) with the pixels under masked cells (n, h, w) replaced by ``fill`` (1, 3, 1, 1)."""
    cells = torch.from_numpy(masks).float()[:, None]
    pixels = F.interpolate(cells, size=images.shape[2:], mode="nearest").bool()
    return torch.where(pixels, fill, images)


def paste(images: Tensor, patch: Tensor, box: Box) -> Tensor:
    """Images (n, 3, S, T) with a patch (3, u, v), or one value a channel (3, 1, 1), in a box."""
    left, top, right, bottom = box
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = patch
    return pasted


def interval(values: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean of values (..., n) over the last axis, by bootstrap."""
    n = values.shape[-1]
    counts = generator.multinomial(n, np.full(n, 1 / n), DRAWS) / n
    low, high = np.quantile(values @ counts.T, (0.025, 0.975), axis=-1)
    return low, high


def random_directions(w: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` directions (count, c) of the length of ``w`` (c,), drawn evenly from the sphere."""
    drawn = generator.standard_normal((count, len(w)))
    scaled = drawn * np.linalg.norm(w) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return scaled.astype(np.float32)
