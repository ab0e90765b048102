"""Which pictures of the planted world are meant, where a test knows what is found in them."""

from __future__ import annotations

import PIL
import pytest

SINCE = (11, 3)
"""Older versions of Pillow draw the planted pictures a little otherwise: other pictures, other findings."""

same_pictures = pytest.mark.skipif(
    tuple(map(int, PIL.__version__.split(".")[:2])) < SINCE,
    reason="older versions of Pillow draw other pictures",
)
