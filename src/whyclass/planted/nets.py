"""Small networks that have learnt the planted world: a classifier and an autoencoder."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from whyclass.planted.world import CLASSES, PREPROCESSING, SIZE

Net = TypeVar("Net", bound=nn.Module)


class PlantedNet(nn.Module):
    """Eight convolutions, then the mean over the picture: works at any size of 16 pixels or more.

    ``stage3`` ends in ReLU at an eighth of the resolution and sees 29 x 29 pixels, about one part;
    ``stage4`` combines what stands at one place; the linear layer asks whether a class's parts are
    all there.
    """

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        self.stage1 = nn.Sequential(*_block(3, 24, 5, 2), *_block(24, 24, 3, 1))
        self.stage2 = nn.Sequential(*_block(24, 48, 3, 2), *_block(48, 48, 3, 1))
        self.stage3 = nn.Sequential(*_block(48, 64, 3, 2), *_block(64, 64, 1, 1))
        self.stage4 = nn.Sequential(*_block(64, 96, 1, 1), *_block(96, 96, 1, 1))
        self.head = nn.Linear(96, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 9) of normalised images (n, 3, height, width)."""
        cells = self.stage4(self.stage3(self.stage2(self.stage1(images))))
        logits: Tensor = self.head(cells.mean(dim=(2, 3)))
        return logits


def planted_net() -> PlantedNet:
    """The network that has learnt the planted world, in evaluation mode.

    Its weights come with the package; ``scripts/train_world.py`` makes them anew.
    """
    return _learnt(PlantedNet(), "net")


class PlantedDecoder(nn.Module):
    """An autoencoder of pictures: a latent space whose pictures look like the planted world.

    ``z`` is a map of 6 x 6 cells, each of which sees, and draws, about one part. Cells of parts lie about as
    far out as draws of a normal distribution, cells of the ground closer in.
    """

    REACH = 3
    """How much further the parts lie than where training put the mean cell."""

    latent = (16, SIZE // 16, SIZE // 16)

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        widths, z = (3, 16, 32, 48, 64), self.latent[0]
        down = [_block(i, o, 5 if i == 3 else 3, 2) for i, o in pairwise(widths)]
        self.encoder = nn.Sequential(*chain(*down), nn.Conv2d(widths[-1], 2 * z, 1))
        up = [(nn.Upsample(scale_factor=2), *_block(i, o, 3, 1)) for i, o in pairwise((64, 56, 40, 24, 16))]
        self.decoder = nn.Sequential(*_block(z, 64, 3, 1), *chain(*up), nn.Conv2d(16, 3, 3, 1, 1))

    def spread(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of ``z`` (n, 16, 6, 6) of pixels (n, 3, 96, 96), 0 to 1."""
        mean, log_variance = self.encoder(pixels).chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)

    def encode(self, pixels: Tensor) -> Tensor:
        """``z`` (n, 16, 6, 6) of pixels (n, 3, 96, 96), 0 to 1."""
        return self.spread(pixels)[0] / self.REACH

    def forward(self, z: Tensor) -> Tensor:
        """Pixels (n, 3, 96, 96), 0 to 1, of ``z``."""
        return self.decode(self.REACH * z)

    def decode(self, spread: Tensor) -> Tensor:
        """Pixels of what `spread` gives."""
        pixels: Tensor = self.decoder(spread).sigmoid()
        return pixels


def planted_decoder() -> PlantedDecoder:
    """The autoencoder that has learnt the planted world, in evaluation mode.

    Its weights come with the package; ``scripts/train_decoder.py`` makes them anew.
    """
    return _learnt(PlantedDecoder(), "decoder")


def as_input(images: Iterable[np.ndarray]) -> Tensor:
    """Pictures (height, width, 3), uint8, as `planted_net` takes them: (n, 3, height, width)."""
    return torch.stack([PREPROCESSING.tensor(image) for image in images])


def _learnt(net: Net, name: str) -> Net:
    """The network with the weights of that name, in evaluation mode."""
    weights = load(resources.files("whyclass").joinpath("planted", f"{name}.safetensors").read_bytes())
    net.load_state_dict(weights)  # copies into float32
    return net.eval()


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
