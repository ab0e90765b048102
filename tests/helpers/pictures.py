"""Pictures for pools that show nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image


def noise(rng: np.random.Generator, width: int = 40, height: int = 30) -> Image.Image:
    """A picture of coarse coloured noise."""
    small = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
