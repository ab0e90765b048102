"""Cells, pixels and boxes: pure arithmetic, no model and no file.

Notation
--------
``p x q``
    the grid of pooled cells of a layer.
``S x T``
    height and width of the image the model sees, in pixels.
``h x w``
    the grid of the layer itself, before pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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


def own_size(layer: tuple[int, int], image: tuple[int, int], pool: int) -> tuple[int, int]:
    """Height and width in pixels of the cells of the layer that a pooled cell is the mean of.

    Examples
    --------
    >>> own_size((7, 7), (224, 224), 2)
    (64, 64)
    """
    down, across = (_window(cells, pool) * side // cells for cells, side in zip(layer, image, strict=True))
    return max(1, down), max(1, across)


def own_box(cell: int, layer: tuple[int, int], image: tuple[int, int], pool: int) -> Box:
    """Box of these cells: from row ``i*pool*S/h`` on, columns likewise, and of one size for all cells."""
    i, j = divmod(cell, pooled_shape(*layer, pool)[1])
    height, width = own_size(layer, image, pool)
    top = i * _window(layer[0], pool) * image[0] // layer[0]
    left = j * _window(layer[1], pool) * image[1] // layer[1]
    return left, top, left + width, top + height


def centred_box(cell: int, layer: tuple[int, int], image: tuple[int, int], pool: int) -> Box:
    """Box of the size of `crop_box` around the middle of `own_box`, moved inside the image."""
    return _around(own_box(cell, layer, image, pool), crop_size(pooled_shape(*layer, pool), image), image)


def enlarged_box(cell: int, crops: Crops, image: tuple[int, int], times: float) -> Box:
    """The same of the size of `enlarged_size`."""
    own = own_box(cell, crops.layer, image, crops.pool)
    return _around(own, enlarged_size(crops.grid, image, times), image)


def enlarged_size(grid: tuple[int, int], image: tuple[int, int], times: float) -> tuple[int, int]:
    """Some times `crop_size`, or all of the image.

    Examples
    --------
    >>> enlarged_size((7, 7), (224, 224), 2)
    (64, 64)
    """
    height, width = crop_size(grid, image)
    return min(round(times * height), image[0]), min(round(times * width), image[1])


def _around(box: Box, size: tuple[int, int], image: tuple[int, int]) -> Box:
    """Box of a size around the middle of another one, moved inside the image."""
    left, top, right, bottom = box
    height, width = size
    x = min(max(0, (left + right - width) // 2), image[1] - width)
    y = min(max(0, (top + bottom - height) // 2), image[0] - height)
    return x, y, x + width, y + height


def _window(cells: int, pool: int) -> int:
    return pool if cells >= pool else 1


@dataclass(frozen=True)
class Crops:
    """Which pixels are cut for the pooled cells of a layer.

    Attributes
    ----------
    layer
        (h, w).
    pool
        Side of the average pooling.
    at
        A row of ``CROPS``.
    """

    layer: tuple[int, int]
    pool: int = 2
    at: str = "centred"

    @property
    def grid(self) -> tuple[int, int]:
        """(p, q)."""
        return pooled_shape(*self.layer, self.pool)

    def size(self, image: tuple[int, int]) -> tuple[int, int]:
        """Height and width of every crop of an image of (height, width) pixels."""
        return CROPS[self.at][0](self, image)

    def box(self, cell: int, image: tuple[int, int]) -> Box:
        """Of a pooled cell, counted row by row."""
        return CROPS[self.at][1](self, cell, image)


Size = Callable[[Crops, tuple[int, int]], tuple[int, int]]
Placed = Callable[[Crops, int, tuple[int, int]], Box]

ENLARGED = {"larger": 1.5, "wide": 2.0}
"""Times the paper's crops."""


def _enlarged(times: float) -> tuple[Size, Placed]:
    return (
        lambda crops, image: enlarged_size(crops.grid, image, times),
        lambda crops, cell, image: enlarged_box(cell, crops, image, times),
    )


CROPS: dict[str, tuple[Size, Placed]] = {
    "paper": (
        lambda crops, image: crop_size(crops.grid, image),
        lambda crops, cell, image: crop_box(cell, crops.grid, image),
    ),
    "cell": (
        lambda crops, image: own_size(crops.layer, image, crops.pool),
        lambda crops, cell, image: own_box(cell, crops.layer, image, crops.pool),
    ),
    "centred": (
        lambda crops, image: crop_size(crops.grid, image),
        lambda crops, cell, image: centred_box(cell, crops.layer, image, crops.pool),
    ),
    **{name: _enlarged(times) for name, times in ENLARGED.items()},
}
"""Where crops are cut: the image divided by the pooled grid (paper, 4.2), the pooled cell's own pixels, the
paper's size around the middle of these, or one and a half or two times as high and wide.

The first three are the same where the pool divides the layer's grid and the grid the image. Where an odd last
row falls away, as of 7 x 7 cells, the paper's crops are larger than what was compared and lie further down
and right.
"""


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
