"""Interventions on what the model sees: shifted activations, masked cells, pasted patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass.grid import Box
from whyclass.models.split import Split
from whyclass.models.tasks import scores_of

SHIFTED_BYTES = 128 << 20
"""Activations that are shifted and finished together."""


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
            scores = np.concatenate(
                [scores_of(split.head(x[part], theirs[part]), split.link) for part in parts]
            )
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
