"""DeepLift's rule for steps, whose own gradient is zero: the quotient of the two ends' differences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from whyclass.attribution.deeplift_rules.elementwise import Ends

STEPS = (
    *("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "hardshrink", "threshold", "frac"),
    *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
)
"""Elementwise functions that jump."""


def quotient(ends: Ends, *_: Any, **__: Any) -> Tensor:
    """``(f(x) - f(b)) / (x - b)``, and 0 where both are equal."""
    f, x, b, y_b = ends
    return torch.where(x == b, 0.0, (f(x) - y_b) / (x - b))
