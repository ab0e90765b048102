"""Which parts of the planted world a picture shows, by a network that knows nothing of the planted one.

It is trained on the masks of the parts alone, from random weights, by ``scripts/train_detector.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from whyclass.planted.parts import PARTS

WEIGHTS = Path(__file__).parents[1] / "data" / "detector.safetensors"

STRIDE = 4
"""Of its map in pixels."""

CELLS = 6
"""A part is shown where so many cells of the map say so: a sixth of most parts, a third of the sticker."""


class Detector(nn.Module):
    """Logits (n, 1 + parts, height / 4, width / 4) of pictures (n, 3, height, width), 0 to 1.

    The first one is that of no part.
    """

    def __init__(self) -> None:
        super().__init__()
        plan = [(3, 24, 5, 2, 1), (24, 32, 3, 1, 1), (32, 48, 3, 2, 1), (48, 48, 3, 1, 1), (48, 48, 3, 1, 2)]
        blocks = [
            nn.Sequential(
                nn.Conv2d(i, o, kernel, stride, wide * (kernel // 2), wide, bias=False),
                nn.BatchNorm2d(o),
                nn.SiLU(),
            )
            for i, o, kernel, stride, wide in plan
        ]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Conv2d(48, 1 + len(PARTS), 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(2 * pixels - 1))


def detector() -> Detector:
    """The trained one."""
    net = Detector()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


@torch.no_grad()
def cells(net: Detector, pixels: Tensor) -> Tensor:
    """How many cells (n, parts) show each part, of pictures (n, 3, height, width), 0 to 1."""
    return (net(pixels).softmax(1) > 0.5)[:, 1:].sum((2, 3))


def shown(net: Detector, pixels: Tensor) -> Tensor:
    """Which parts (n, parts), bool, are shown."""
    return cells(net, pixels) >= CELLS
