"""Two more networks of the planted world: tokens with GELU, and a U-Net that segments.

``scripts/train_forms.py`` trains them and writes ``tests/data``. Both stand on the first two stages of the
planted convolutional net as it was trained; they learn all else themselves, among it every layer that is
explained. That spares most of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from whyclass import Settings, Study
from whyclass.models.described import Loaded
from whyclass.planted import judgement, nets, world

DATA = Path(__file__).parents[1] / "data"
OUTPUTS = len(world.CLASSES)


class Stem(nn.Module):
    """The first two stages of the planted convolutional net: maps (24, 48, 48) and (48, 24, 24)."""

    def __init__(self) -> None:
        super().__init__()
        net = nets.PlantedNet()
        self.stage1, self.stage2 = net.stage1, net.stage2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        half = self.stage1(images)
        return half, self.stage2(half)


class Block(nn.Module):
    """Attention and a GELU MLP, each behind a layer norm and added to what came."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))


class PlantedViT(nn.Module):
    """12 x 12 tokens and a class token through blocks of attention and GELU; the class token decides.

    A hybrid: the tokens come from convolutions and not from a linear map of each 8 x 8 patch, so that each
    sees 29 x 29 pixels, about one part, before attention mixes them.
    """

    def __init__(self, dim: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.stem = Stem()
        self.cells = nn.Conv2d(48, dim, 3, 2, 1)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (world.SIZE // 8) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, OUTPUTS)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 9) of images (n, 3, 96, 96)."""
        cells = self.cells(self.stem(images)[1]).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(cells), -1, -1), cells], 1) + self.places
        return self.head(self.norm(self.blocks(tokens)[:, 0]))


class PlantedUNet(nn.Module):
    """Down to 6 x 6 cells that see most of the picture, up again, each time beside what went down.

    A part counts for a class only where all parts of the class are there, so the label of a pixel hangs on
    what lies far away. Logits are found at half the resolution and interpolated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem()
        self.down12 = nn.Sequential(*_convolution(48, 64, stride=2), *_convolution(64, 64, kernel=1))
        self.down6 = nn.Sequential(
            *_convolution(64, 96, stride=2), *_convolution(96, 96), *_convolution(96, 96)
        )
        self.up12 = nn.Sequential(*_convolution(96 + 64, 64))
        self.up24 = nn.Sequential(*_convolution(64 + 48, 32))
        self.up48 = nn.Sequential(*_convolution(32 + 24, 24))
        self.head = nn.Conv2d(24, OUTPUTS, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 9, 96, 96) of images (n, 3, 96, 96)."""
        half, quarter = self.stem(images)
        eighth = self.down12(quarter)
        cells = self.up12(_beside(self.down6(eighth), eighth))
        cells = self.up48(_beside(self.up24(_beside(cells, quarter)), half))
        return functional.interpolate(self.head(cells), scale_factor=2.0, mode="bilinear")


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _beside(coarse: Tensor, fine: Tensor) -> Tensor:
    """What came up, at twice the resolution, and what goes across."""
    return torch.cat([functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], 1)


@dataclass(frozen=True)
class Planted:
    """A form of network that has learnt the planted world: how it is built, and the layer to explain."""

    name: str
    build: Callable[[], nn.Module]
    layer: str

    @property
    def weights(self) -> Path:
        return DATA / f"{self.name}.safetensors"

    def trained(self) -> Loaded:
        """The network with the weights of the repository."""
        net = self.build()
        net.load_state_dict(load_file(self.weights))  # copies into float32
        return self._loaded(net)

    def untrained(self, seed: int = 0) -> Loaded:
        """The network with random weights, its batch norms calibrated on scenes of every class."""
        torch.manual_seed(seed)
        net = self.build()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all that is seen
        with torch.no_grad():
            net.train()(
                nets.as_input(world.planted_picture(i % OUTPUTS, 10_000_000 + i).image for i in range(72))
            )
        return self._loaded(net)

    def _loaded(self, net: nn.Module) -> Loaded:
        names = tuple(planted.name for planted in world.CLASSES)
        return Loaded(self.name, net.eval(), world.PREPROCESSING, names)


# The ViT is explained early, since its class token goes around the layer: a jester whose cells have lost the
# triangle after two blocks keeps nine tenths of its logit, because the class token has seen it by then.
FORMS = {
    "vit": Planted("vit", PlantedViT, "blocks.0"),
    "unet": Planted("unet", PlantedUNet, "down12"),
    "unet-decoder": Planted("unet", PlantedUNet, "up12"),
}
"""On the way down a U-Net's cells stand for parts; on the way up they know of the whole picture."""


def judged(
    form: Planted, pool: Path, classes: Iterable[str], settings: Settings, *, trained: bool = True
) -> dict[str, tuple[judgement.Finding, ...]]:
    """Explain classes at the form's layer, and compare with the truth.

    A net that was not trained predicts one class for nearly every picture, and the method explains a class
    by the pictures predicted as it. So that nothing but the weights differs, an untrained net is asked about
    the pictures that the trained one predicts as the class.
    """
    study = Study(form.trained(), form.layer, pool, settings=settings)
    if not trained:
        index, study = study.index(), Study(form.untrained(), form.layer, pool, settings=settings)
        study._index = replace(study.index(), outputs=index.outputs)
    truth = {item.path: world.pool_picture(item.path, settings.seed).masks for item in study.pool.items}
    return {name: judgement.judge(study.explain(name), truth, settings.seed) for name in classes}
