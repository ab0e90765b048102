"""Train the autoencoder of the planted world and write its weights into the package.

Ten minutes on two cores: ``python scripts/train_decoder.py``. Prints how far fresh scenes come back, and with
``--show`` draws some, what comes back of them, and what random ``z`` decode to.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import save_image
from train_world import TEST_SEED, TRAIN_SEED, descend, save, scenes

from whyclass.planted import nets, world

WEIGHTS = Path(world.__file__).parent / "decoder.safetensors"

PRIOR = 0.001
"""Weight of the divergence of ``z`` from a normal distribution."""

PARTS = 8
"""How much a pixel of a part counts: they are few, and a smear of the ground would be close already."""

RATE, SIZE = 4e-3, 32


def covered(scene: world.PlantedPicture) -> np.ndarray:
    """Where parts are, (96, 96)."""
    return np.any([np.zeros((world.SIZE, world.SIZE), bool), *scene.masks.values()], 0)


def known(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """``n`` scenes of each class, uint8 (m, 3, 96, 96), and where their parts are, (m, 1, 96, 96)."""
    images, masks = scenes(n, seed, covered)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), masks[:, None]


def distance(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted difference of pixels and of edges, without which parts are blurred."""
    off = found - wanted
    each = (off, off.diff(dim=3), off.diff(dim=2))
    return torch.stack([(x.abs() * weight[..., : x.shape[2], : x.shape[3]]).mean() for x in each]).sum()


def train(images: Tensor, masks: Tensor, epochs: int, seed: int) -> nets.PlantedDecoder:
    """A variational autoencoder: AdamW with one learning-rate cycle, half of the batches mirrored."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net = nets.PlantedDecoder().to(memory_format=torch.channels_last)

    def losses() -> Iterator[tuple[Tensor, int]]:
        for chosen in torch.randperm(len(images), generator=rng).split(SIZE):
            x = (images[chosen].float() / 255).contiguous(memory_format=torch.channels_last)
            weight = 1 + (PARTS - 1) * masks[chosen].float()
            if torch.rand((), generator=rng) < 0.5:
                x, weight = x.flip(3), weight.flip(3)
            mean, log_variance = net.spread(x)
            z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=rng)
            divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
            yield distance(net.decode(z), x, weight) + PRIOR * divergence, len(x)

    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.01)
    descend(optimiser, losses, epochs, -(-len(images) // SIZE))
    return net.eval()


@torch.no_grad()
def report(net: nets.PlantedDecoder, n: int, show: Path | None) -> None:
    """Print how far fresh scenes come back; draw some."""
    images = known(n, TEST_SEED)[0] / 255
    found = torch.cat([net(net.encode(block)) for block in images.split(100)])
    print(f"mean difference of {len(images)} fresh scenes: {(found - images).abs().mean():.4f}")
    if show:
        some = slice(0, None, len(images) // 10)
        random = torch.randn(len(images[some]), *net.latent, generator=torch.Generator().manual_seed(0))
        save_image(torch.cat([images[some], found[some], net(random)]), show, nrow=len(random))


def main() -> None:
    """Train, save as float16, and report on the saved weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500, help="training scenes of each class")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--show", type=Path, help="a picture of what it does")
    options = parser.parse_args()
    net = train(*known(options.n, TRAIN_SEED), options.epochs, options.seed)
    save(net, options.out)
    report(net, 20, options.show)


if __name__ == "__main__":
    main()
