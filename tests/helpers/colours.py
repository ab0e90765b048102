"""A world of coloured squares, and nets made by hand that know how much of each colour a picture shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from helpers.planted_world import quick
from whyclass import Preprocessing, Study

SIDE = 32
NAMES = ("red", "green", "blue")
AS_IS = Preprocessing(None, (SIDE, SIDE), (0.0,) * 3, (1.0,) * 3)
LAYER = "features"


def picture(colours: Sequence[int], seed: int) -> Image.Image:
    """A grey picture with a square of 12 x 12 pixels of each colour, in quarters of their own."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 140, (SIDE, SIDE, 1)).repeat(3, 2)
    for colour, quarter in zip(colours, rng.permutation(4), strict=False):
        top, left = (16 * (quarter // 2) + rng.integers(0, 5), 16 * (quarter % 2) + rng.integers(0, 5))
        pixels[top : top + 12, left : left + 12] = 40
        pixels[top : top + 12, left : left + 12, colour] = 200 + rng.integers(0, 40)
    return Image.fromarray(pixels.astype(np.uint8))


def single(n: int = 18) -> list[tuple[Image.Image, int]]:
    """Pictures of one colour each, and which, in turn."""
    return [(picture([k % 3], k), k % 3) for k in range(n)]


def colour_mean(crop: Any) -> np.ndarray:
    """Mean red, green and blue of an encoded picture."""
    import io

    data = crop if isinstance(crop, bytes) else crop.data
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3).mean(0)


class Colours(nn.Module):
    """Features: by how much a pixel is redder, greener, bluer than its other channels; then a linear head.

    Parameters
    ----------
    head
        Weights (outputs, 3) of what is shown of each colour.
    end
        What is done to the output.
    """

    def __init__(
        self,
        head: Any = ((60.0, 0.0, 0.0), (0.0, 60.0, 0.0), (0.0, 0.0, 60.0)),
        bias: Any = None,
        end: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AvgPool2d(2))
        self.fc = nn.Linear(3, len(head))
        self.end = end
        with torch.no_grad():
            self.features[0].weight.copy_((1.5 * torch.eye(3) - 0.5).view(3, 3, 1, 1))
            self.features[0].bias.fill_(-0.1)
            self.fc.weight.copy_(torch.tensor(head))
            self.fc.bias.copy_(torch.zeros(len(head)) if bias is None else torch.tensor(bias))
        self.eval()

    def forward(self, images: Tensor) -> Any:
        found = self.fc(self.features(images).mean((2, 3)))
        return found if self.end is None else self.end(found)


def study(model: nn.Module, images: Any, store: Path | None = None, **given: Any) -> Study:
    """A study with quick settings and two concepts."""
    given = {"class_names": NAMES, "preprocessing": AS_IS, "progress": False} | given
    return Study(model, LAYER, images, store, quick(concepts=2), **given)
