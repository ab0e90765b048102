"""Noisy copies of images: whose generator draws them, and that they are drawn while others are attributed.

An image's noise depends on the seed and its content alone, so it gets the same copies whatever is attributed
beside it. A processor draws slower than a card computes; where a card computes, its own counter-based
generator draws, unless settings say otherwise: the same bytes for the same seed on every card of its kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from whyclass.settings import Settings, seed_of

T = TypeVar("T")

AHEAD = 8
"""Images whose noise is drawn at a time while a device other than the processor computes."""

PROCESSOR = torch.device("cpu")


def drawn_on(device: torch.device, settings: Settings) -> torch.device:
    """What draws the noise of copies that a device computes with."""
    return device if device.type == "cuda" and settings.noise_on == "device" else PROCESSOR


def normal(shape: tuple[int, ...], kind: str, what: str, settings: Settings, on: torch.device) -> Tensor:
    """Normal noise of a kind, of deviation ``noise``; the seed and ``what`` it is for decide it."""
    generator = torch.Generator(on).manual_seed(seed_of(kind, settings.seed, what))
    return torch.randn(shape, generator=generator, device=on).mul_(settings.noise)


def noisy_copies(image: Tensor, digest: str, settings: Settings, on: torch.device = PROCESSOR) -> Tensor:
    """``m`` copies (m, C, S, T) of an image with normal noise in normalised space (SmoothGrad)."""
    m, image = int(settings.copies), image.to(on, non_blocking=True)
    if settings.noise == 0:
        return image.expand(m, *image.shape)
    return normal((m, *image.shape), "noise", digest, settings, on).add_(image)


def opposite_copies(
    image: Tensor, digest: str, pairs: Iterable[int], settings: Settings, on: torch.device = PROCESSOR
) -> Tensor:
    """Copies (2 P, C, S, T) of an image, each pair with noise and the same noise taken off.

    A pair's noise depends on its number and the image's content alone.
    """
    made, image = [], image.to(on, non_blocking=True)
    for pair in pairs:
        noise = normal(tuple(image.shape), "opposite noise", f"{digest} {pair}", settings, on)
        made += [image + noise, image - noise]
    return torch.stack(made)


def with_copies(
    images: Iterable[tuple[Tensor, str]], settings: Settings, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each image with its noisy copies; the same ones whether they are drawn ahead or not."""
    on = drawn_on(device, settings)
    copies = ((image, partial(noisy_copies, image, digest, settings, on)) for image, digest in images)
    return drawn_ahead(copies, device, on)


def drawn_ahead(
    draws: Iterable[tuple[T, Callable[[], Tensor]]], device: torch.device, on: torch.device
) -> Iterator[tuple[T, Tensor]]:
    """Each thing with what is drawn for it: by threads meanwhile, where another device computes."""
    if device.type == on.type:
        for one, draw in draws:
            yield one, draw()
        return
    waiting = deque[tuple[T, Future[Tensor]]]()
    with ThreadPoolExecutor(AHEAD) as threads:
        for one, draw in draws:
            waiting.append((one, threads.submit(draw)))
            if len(waiting) > AHEAD:
                first, drawn = waiting.popleft()
                yield first, drawn.result()
        for first, drawn in waiting:
            yield first, drawn.result()
