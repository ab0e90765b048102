"""Train the network of the planted world and write its weights into the package.

A few minutes on two cores: ``python scripts/train_world.py``. Prints the accuracy on fresh scenes
and how often the planted shortcut alone decides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from whyclass.planted import nets, world
from whyclass.planted import parts as planted_parts

WEIGHTS = Path(world.__file__).parent / "net.safetensors"
TRAIN_SEED, TEST_SEED = 10_000_000, 20_000_000  # far from the seeds of any pool


def label(scene: world.PlantedPicture) -> int:
    """Index of the scene's class."""
    return scene.label


def scenes(
    n: int, seed: int, target: Callable[[world.PlantedPicture], int | np.ndarray] = label
) -> tuple[np.ndarray, Tensor]:
    """``n`` scenes of each class, and twice as many of ``other``, the class of all near misses.

    All classes share their seeds, so that parts and shortcut are all that tells them apart. Pictures
    (m, 96, 96, 3), and what is to be learnt of each.
    """
    planned = [(index, seed + i) for index in range(len(world.CLASSES)) for i in range(n)]
    planned += [(world.class_index("other"), seed + n + i) for i in range(n)]
    drawn = [world.planted_picture(index, at) for index, at in planned]
    return np.stack([s.image for s in drawn]), torch.from_numpy(np.stack([target(s) for s in drawn]))


def batches(
    images: np.ndarray, labels: Tensor, size: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, half of them mirrored, each picture with its own strength of noise."""
    for chosen in torch.randperm(len(labels), generator=rng).split(size):
        x = nets.as_input(images[chosen.numpy()])
        y = labels[chosen].long()
        if torch.rand((), generator=rng) < 0.5:
            x, y = x.flip(3), (y.flip(2) if y.ndim == 3 else y)
        strength = 0.3 * torch.rand((len(x), 1, 1, 1), generator=rng)
        yield x + strength * torch.randn(x.shape, generator=rng), y


def train(
    build: Callable[[], nn.Module],
    images: np.ndarray,
    labels: Tensor,
    epochs: int,
    seed: int,
    *,
    rate: float = 4e-3,
    size: int = 64,
) -> nn.Module:
    """AdamW with one learning-rate cycle; labels are one for each picture or for each of its pixels."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    net = build().to(memory_format=torch.channels_last)

    def losses() -> Iterator[tuple[Tensor, int]]:
        for x, y in batches(images, labels, size, rng):
            found = net(x.contiguous(memory_format=torch.channels_last))
            yield nn.functional.cross_entropy(found, y), len(y)

    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    descend(optimiser, losses, epochs, -(-len(labels) // size))
    return net.eval()


def descend(
    optimiser: torch.optim.Optimizer,
    losses: Callable[[], Iterator[tuple[Tensor, int]]],
    epochs: int,
    batches: int,
) -> None:
    """One learning-rate cycle over an epoch's batches, each a loss and how many pictures it is of."""
    rate = optimiser.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=epochs * batches)
    for epoch in range(epochs):
        total, seen = 0.0, 0
        for loss, count in losses():
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total, seen = total + loss.item() * count, seen + count
        print(f"epoch {epoch + 1}/{epochs}: loss {total / seen:.4f}", flush=True)


@torch.no_grad()
def predictions(net: nn.Module, images: np.ndarray) -> Tensor:
    """Index of the predicted class for each picture."""
    parts = np.array_split(images, -(-len(images) // 200))
    return torch.cat([net(nets.as_input(part)).argmax(1) for part in parts])


def accuracy(predicted: Tensor, labels: Tensor) -> None:
    """Print how many scenes are right, over all and of each class."""
    right = (predicted == labels).float()
    print(f"accuracy on {len(labels)} fresh scenes: {right.mean():.4f}")
    for index, planted in enumerate(world.CLASSES):
        print(f"  {planted.name:8} {right[labels == index].mean():.3f}")


def report(net: nn.Module, n: int) -> None:
    """Print the accuracy on fresh scenes, and how often the shortcut alone turns one twin into the other."""
    images, labels = scenes(n, TEST_SEED)
    accuracy(predictions(net, images), labels)
    shortcut, plain = map(world.class_index, world.TWINS)
    for part in planted_parts.PARTS:
        if part.name not in world.CLASSES[plain].parts:
            changed = [world.planted_picture(plain, TEST_SEED + i, add=[part.name]).image for i in range(n)]
            turned = (predictions(net, np.stack(changed)) == shortcut).float().mean()
            print(f"with a {part.name} {turned:.3f} of {world.TWINS[1]} become {world.TWINS[0]}")


def save(net: nn.Module, file: Path) -> None:
    """Write the weights as float16, and give the network the weights that were written."""
    weights = {k: _packed(v) for k, v in net.state_dict().items()}
    save_file(weights, file)
    net.load_state_dict(weights)  # what is reported holds for what is saved
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


def _packed(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()


def main() -> None:
    """Train, save as float16, and report on the saved weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="training scenes of each class")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    net = train(nets.PlantedNet, *scenes(options.n, TRAIN_SEED), options.epochs, options.seed)
    save(net, options.out)
    report(net, 100)


if __name__ == "__main__":
    main()
