"""Segments of images, and what a layer's cells hold within them (ACE)."""

from __future__ import annotations

import numpy as np

from whyclass.errors import SettingsError

RESOLUTIONS = (15, 50, 80)
COMPACTNESS, SIGMA = 20.0, 1.0
OVERLAP = 0.5
"""Ghorbani et al. 2019: superpixels at three resolutions; of two that overlap by more (intersection over
union) the coarser one is kept."""


def segment_weights(picture: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """How each segment of a picture (S, T, 3), 0 to 1, lies on the cells of a grid: (s, h*w), rows sum to 1.

    Raises
    ------
    SettingsError
        If scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise SettingsError(
            "the method ace needs scikit-image: pip install 'whyclass[compare]', or leave it out"
        ) from error
    labels = [
        slic(picture, count, COMPACTNESS, sigma=SIGMA, start_label=0, channel_axis=-1)
        for count in RESOLUTIONS
    ]
    masks = [found == number for found in labels for number in range(found.max() + 1)]
    return _shares(_distinct(np.stack(masks).reshape(len(masks), -1)), picture.shape[:2], grid)


def pooled(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of an image's cells (c, h, w) within each segment: (s, c)."""
    return np.asarray(weights @ activations.reshape(len(activations), -1).T)


def _distinct(masks: np.ndarray) -> np.ndarray:
    """Of masks (s, pixels), those that no earlier one covers by more than ``OVERLAP``."""
    masks = masks[masks.any(1)]
    area = masks.sum(1).astype(float)
    both = masks.astype(np.float32) @ masks.T.astype(np.float32)
    ratio = both / (area[:, None] + area[None, :] - both)
    kept: list[int] = []
    for number in range(len(masks)):
        if not (ratio[number, kept] > OVERLAP).any():
            kept.append(number)
    return masks[kept]


def _shares(masks: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Part of each mask (s, pixels) that lies on each cell (s, h*w)."""
    rows = np.arange(size[0]) * grid[0] // size[0]
    columns = np.arange(size[1]) * grid[1] // size[1]
    cell = (rows[:, None] * grid[1] + columns[None, :]).reshape(-1)
    on_cells = np.stack([np.bincount(cell[mask], minlength=grid[0] * grid[1]) for mask in masks])
    return np.asarray(on_cells / on_cells.sum(1, keepdims=True))
