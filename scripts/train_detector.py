"""Train the detector of planted parts that tests judge drawn pictures by, and write its weights beside them.

``PYTHONPATH=tests python scripts/train_detector.py``: some minutes on two cores. Prints, of fresh scenes, how
often a part that is there is shown and one that is not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from train_world import TEST_SEED, TRAIN_SEED, save, scenes, train

from helpers.part_detector import STRIDE, WEIGHTS, Detector, shown
from whyclass.planted import world
from whyclass.planted.parts import PARTS
from whyclass.visualise import parametrisations


def parts(scene: world.PlantedPicture) -> np.ndarray:
    """One plus the number of the part at each cell, 0 where there is none: (24, 24)."""
    found = np.zeros((world.SIZE, world.SIZE), np.uint8)
    for number, part in enumerate(PARTS):
        if part.name in scene.masks:
            found[scene.masks[part.name]] = 1 + number
    return found[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


class Normalised(nn.Module):
    """The detector on pictures as the planted network takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Detector()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(parametrisations.raw(images, world.PREPROCESSING))


def report(net: Detector, n: int) -> None:
    """Print how often a part is shown, of fresh scenes with it and without it."""
    images, labels = scenes(n, TEST_SEED, parts)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    found = torch.cat([shown(net, block) for block in pixels.split(100)])
    for number, part in enumerate(PARTS):
        there = (labels == 1 + number).flatten(1).any(1)
        hits, wrong = found[there, number].float().mean(), found[~there, number].float().mean()
        print(f"{part.name:10} shown in {hits:.3f} of {int(there.sum())} with it, {wrong:.3f} without it")


def main() -> None:
    """Train, save as float16, and report on the saved weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="training scenes of each class")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    known = scenes(options.n, TRAIN_SEED, parts)
    trained = train(Normalised, *known, options.epochs, options.seed, size=32)
    assert isinstance(trained, Normalised)
    save(trained.net, options.out)
    report(trained.net, 100)


if __name__ == "__main__":
    main()
