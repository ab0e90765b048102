"""Train the other forms of network of the planted world and write their weights beside the tests.

``PYTHONPATH=tests python scripts/train_forms.py vit`` or ``unet``: some minutes on two cores. Prints
the accuracy on fresh scenes; for the U-Net the intersection over union of each class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from train_world import TEST_SEED, TRAIN_SEED, label, report, save, scenes, train

from helpers.planted_nets import FORMS
from whyclass.planted import nets, world

OTHER = world.class_index("other")


def pixels(scene: world.PlantedPicture) -> np.ndarray:
    """The class on its own parts and shortcut, ``other`` elsewhere and on parts that stray: (96, 96)."""
    found = np.full((world.SIZE, world.SIZE), OTHER, np.uint8)
    for part in world.CLASSES[scene.label].needs:
        found[scene.masks[part]] = scene.label
    return found


def begun(build: Callable[[], nn.Module]) -> nn.Module:
    """The network on the first two stages of the planted one, which stay as they are."""
    net, planted = build(), nets.planted_net()
    for own, learnt in ((net.stem.stage1, planted.stage1), (net.stem.stage2, planted.stage2)):
        own.load_state_dict(learnt.state_dict())
    net.stem.eval().requires_grad_(False)
    return net


@torch.no_grad()
def unions(net: nn.Module, images: np.ndarray, labels: Tensor) -> Tensor:
    """Intersection over union of each class, all pictures together, shape (9,)."""
    counts = torch.zeros(OTHER + 1, OTHER + 1)
    for some in torch.arange(len(labels)).split(100):
        predicted = net(nets.as_input(images[some.numpy()])).argmax(1)
        pairs = labels[some].long() * (OTHER + 1) + predicted
        counts += pairs.flatten().bincount(minlength=counts.numel()).view_as(counts)
    both = counts.diagonal()
    return both / (counts.sum(0) + counts.sum(1) - both)


def report_pixels(net: nn.Module, n: int) -> None:
    """Print the intersection over union on fresh scenes."""
    images, labels = scenes(n, TEST_SEED, pixels)
    found = unions(net, images, labels)
    print(f"mean IoU of the classes with parts on {len(labels)} fresh scenes: {found[:OTHER].mean():.4f}")
    for planted, value in zip(world.CLASSES, found, strict=True):
        print(f"  {planted.name:8} {value:.3f}")


RECIPES = {
    "vit": (label, 5, {"rate": 1e-3, "size": 32}, report),
    "unet": (pixels, 6, {"rate": 4e-3, "size": 32}, report_pixels),
}
"""What each form learns of a scene, epochs, how it is trained, and what is said of it."""


def main() -> None:
    """Train, save as float16, and report on the saved weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("form", choices=RECIPES)
    parser.add_argument("--n", type=int, default=600, help="training scenes of each class")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    form, (target, epochs, recipe, told) = FORMS[options.form], RECIPES[options.form]
    known = scenes(options.n, TRAIN_SEED, target)
    net = train(partial(begun, form.build), *known, options.epochs or epochs, options.seed, **recipe)
    save(net, options.out or form.weights)
    told(net, 100)


if __name__ == "__main__":
    main()
