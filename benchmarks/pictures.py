"""Pictures by optimisation: six of 224 pixels in 256 steps, and the speed beside plain forward and backward.

*Plain* is the trunk of the model, forward and backward to six images that require a gradient, in the faster
of two memory formats, without objective, spectrum, moves or optimiser. It is timed before and after.

    python benchmarks/pictures.py --layer layer4.2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from real_data import resnet50
from torch import Tensor

from whyclass.models.fast_trunk import noisy_precision, smooth_trunk
from whyclass.models.setup import example_of
from whyclass.models.split import split
from whyclass.visualise import optimise, parametrisations

PICTURES = 6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", default="layer4.2")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    loaded = resnet50()
    loaded.model.to(options.device)
    cut = split(loaded.model, options.layer, example_of(loaded))
    trunk = smooth_trunk(cut, noisy_precision(options.precision, cut))
    before = plain(cut.trunk, options.device)
    space = parametrisations.Fourier(loaded.preprocessing)
    vectors = torch.rand(PICTURES, cut.shape[0], generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    optimise.draw(cut, vectors, space, loaded.preprocessing, steps=options.steps, trunk=trunk)
    seconds = time.perf_counter() - started
    after = plain(cut.trunk, options.device)
    ours, theirs = PICTURES * options.steps / seconds, max(before, after)
    print(f"{options.layer}, {options.device}, {options.precision}, {torch.get_num_threads()} threads")
    print(f"{PICTURES} pictures, {options.steps} steps: {seconds:.1f} s, {ours:.2f} images/s")
    print(f"plain forward and backward: {before:.2f} and {after:.2f} images/s; ratio {ours / theirs:.2f}")


def plain(trunk: Callable[[Tensor], Tensor], device: str, rounds: int = 8) -> float:
    """Images a second, in the faster memory format."""
    rates = []
    for form in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(PICTURES, 3, 224, 224, device=device).contiguous(memory_format=form)
        images.requires_grad_()
        seconds = 0.0
        for round_ in range(rounds + 1):
            started = time.perf_counter()
            (grad,) = torch.autograd.grad(trunk(images).mean(), images)
            grad.sum().item()  # waits for the device
            seconds += (time.perf_counter() - started) * (round_ > 0)  # the first one warms up
        rates.append(rounds * PICTURES / seconds)
    return max(rates)


if __name__ == "__main__":
    main()
