"""Train a U-Net that tells tissues apart in H&E images of lung adenocarcinoma; minutes on a processor.

The folder (WSSS4LUAD with pixel masks) has ``test`` and ``val``, each with ``images`` and ``masks`` of the
same names. Split by image: trained on ``test`` (the larger part), judged on ``val``, which chose nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from net import CLASSES, build
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms import v2

from whyclass.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD

CROP = 128
"""Side of a training crop in pixels, at the images' own scale."""

Pair = tuple[Tensor, Tensor]
COLOURS = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04)
NORMALISE = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)


def read(folder: Path) -> list[Pair]:
    """Images (3, h, w) in 0..1 with their masks (h, w)."""
    files = sorted((folder / "images").iterdir())
    if not files:
        raise SystemExit(f"no image in {folder}/images")
    return [(picture(file), mask(folder / "masks" / file.name)) for file in files]


def picture(file: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255


def mask(file: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(file))).long()


def begin(encoder_weights: Path | None) -> nn.Module:
    """The net before training; its encoder from a torchvision ResNet-50's weights, where given."""
    model = build()
    if encoder_weights is not None:
        state = load_file(encoder_weights)
        model.encoder.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")})
        for early in ("conv1", "bn1", "layer1", "layer2"):  # ImageNet's edges and colours do for tissue too
            getattr(model.encoder, early).requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # a third faster on processor cores


def batch(pairs: list[Pair], size: int, generator: np.random.Generator) -> Pair:
    """Random crops, in proportion to the images' areas; turned, mirrored, stained a little otherwise."""
    areas = np.array([m.numel() for _, m in pairs], dtype=float)
    drawn = [crop(pairs[k], generator) for k in generator.choice(len(pairs), size, p=areas / areas.sum())]
    images = torch.stack([NORMALISE(COLOURS(image)) for image, _ in drawn])
    return images.to(memory_format=torch.channels_last), torch.stack([m for _, m in drawn])


def crop(pair: Pair, generator: np.random.Generator) -> Pair:
    image, tissue = pair
    top, left = (int(generator.integers(side - CROP + 1)) for side in tissue.shape)
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    image, tissue = (t[..., top : top + CROP, left : left + CROP].rot90(turns, (-2, -1)) for t in pair)
    return (image.flip(-1), tissue.flip(-1)) if mirrored else (image, tissue)


def class_weights(pairs: list[Pair]) -> Tensor:
    """Inverse roots of the pixel shares: rare tissue counts for more, without drowning the rest."""
    counts = torch.bincount(torch.cat([m.flatten() for _, m in pairs]), minlength=len(CLASSES))
    weights = (counts / counts.sum()).rsqrt()
    return weights / weights.mean()


def train(model: nn.Module, pairs: list[Pair], steps: int, size: int, seed: int, out: Path) -> None:
    generator = np.random.default_rng(seed)
    loss_of = nn.CrossEntropyLoss(class_weights(pairs))
    rest = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": model.encoder.parameters(), "lr": 1e-4}, {"params": rest, "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [1e-4, 1e-3], total_steps=steps, pct_start=0.1)
    model.train()
    began, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        images, tissues = batch(pairs, size, generator)
        loss = loss_of(model(images), tissues)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % 25 == 0:
            print(
                f"step {step} of {steps}, loss {total / 25:.3f}, {time.monotonic() - began:.0f} s", flush=True
            )
            total = 0.0
        if step % 100 == 0 or step == steps:
            save(model, out)


def save(model: nn.Module, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, out / "unet.safetensors"
    )


@torch.no_grad()
def confusion(model: nn.Module, pairs: list[Pair]) -> Tensor:
    """Pixels by true class (rows) and predicted class (columns), over whole images."""
    model.eval()
    counts = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    for image, tissue in pairs:
        height, width = tissue.shape
        pad = (0, -width % 32, 0, -height % 32)
        padded = nn.functional.pad(NORMALISE(image)[None], pad, mode="reflect")
        predicted = model(padded)[0, :, :height, :width].argmax(0)
        pixels = tissue.flatten() * len(CLASSES) + predicted.flatten()
        counts += torch.bincount(pixels, minlength=len(CLASSES) ** 2).view_as(counts)
    return counts


def scores(counts: Tensor) -> dict[str, float]:
    """Intersection over union by class, its mean, and the share of pixels that are right."""
    right = counts.diag()
    union = counts.sum(0) + counts.sum(1) - right
    by_class = {name: float(iou) for name, iou in zip(CLASSES, right / union, strict=True)}
    return by_class | {
        "mean": sum(by_class.values()) / len(CLASSES),
        "pixels": float(right.sum() / counts.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder with test and val")
    parser.add_argument("--encoder", type=Path, help="safetensors of a torchvision ResNet-50 on ImageNet")
    parser.add_argument("--out", type=Path, default=Path("runs/tissue"))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="1 where others use the processor too")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    model = begin(options.encoder)
    train(model, read(options.data / "test"), options.steps, options.batch, options.seed, options.out)
    counts = confusion(model, read(options.data / "val"))
    found = scores(counts)
    (options.out / "val.json").write_text(
        json.dumps({"scores": found, "confusion": counts.tolist()}, indent=1)
    )
    print("intersection over union on val, by class, and the share of pixels that are right:")
    print("\n".join(f"  {name:18} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
