"""Cells, pixels and boxes: pure arithmetic, no model and no file.

Notation
--------
``p x q``
    the grid of pooled cells of a layer.
``S x T``
    height and width of the image the model sees, in pixels.
"""

from __future__ import annotations

import math

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, right and bottom exclusive."""


def pooled_shape(h: int, w: int, pool: int = 2) -> tuple[int, int]:
    """Grid after ``pool x pool`` average pooling; an odd last row or column falls away.

    A grid smaller than the pool is left as it is, so that 1 x 1 layers still have a cell.
    """
    return (h // pool if h >= pool else h, w // pool if w >= pool else w)


def crop_size(grid: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels of the crop of one pooled cell (paper, section 4.2).

    Examples
    --------
    >>> crop_size((7, 7), (224, 224))
    (32, 32)
    >>> crop_size((3, 3), (224, 224))
    (74, 74)
    """
    return max(1, image[0] // grid[0]), max(1, image[1] // grid[1])


def crop_box(cell: int, grid: tuple[int, int], image: tuple[int, int]) -> Box:
    """Box of a pooled cell, counted row by row: rows ``i*(S//p)`` to ``(i+1)*(S//p)``, columns likewise."""
    i, j = divmod(cell, grid[1])
    height, width = crop_size(grid, image)
    return j * width, i * height, (j + 1) * width, (i + 1) * height


ANCHORS: dict[str, tuple[float, float]] = {
    "top-left": (0, 0),
    "top": (0.5, 0),
    "top-right": (1, 0),
    "left": (0, 0.5),
    "centre": (0.5, 0.5),
    "right": (1, 0.5),
    "bottom-left": (0, 1),
    "bottom": (0.5, 1),
    "bottom-right": (1, 1),
}
"""Places of a patch on an image: part of the free width to its left, and of the free height above it."""


def anchored(patch: tuple[int, int], image: tuple[int, int], at: str) -> Box:
    """Box of a patch of (height, width) on an image of (height, width), at a row of ``ANCHORS``.

    Examples
    --------
    >>> anchored((160, 60), (224, 224), "bottom-right")
    (164, 64, 224, 224)
    """
    across, down = ANCHORS[at]
    left, top = round(across * (image[1] - patch[1])), round(down * (image[0] - patch[0]))
    return left, top, left + patch[1], top + patch[0]


def mosaic_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the near-square grid that holds ``n`` crops, at least as high as wide.

    Examples
    --------
    >>> mosaic_shape(6)
    (3, 2)
    """
    columns = max(1, math.isqrt(n))
    return math.ceil(n / columns), columns
