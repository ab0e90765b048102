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


def mosaic_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the near-square grid that holds ``n`` crops, at least as high as wide.

    Examples
    --------
    >>> mosaic_shape(6)
    (3, 2)
    """
    columns = max(1, math.isqrt(n))
    return math.ceil(n / columns), columns
