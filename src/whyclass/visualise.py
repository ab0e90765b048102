"""Pictures by optimisation: what a direction of a layer would itself draw (paper, appendix B).

Notation
--------
``n``
    pictures, optimised together: one for each direction and start.
``x (n, c, h, w)``
    their activations; ``H (n, c)`` the directions, one for each picture.
``z``
    what is optimised: a spectrum, or a point in a decoder's latent space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Preprocessing
from .errors import LayerError, ModelError
from .index import pooled_cells
from .settings import seed_of
from .split import Split, run

Objective = Callable[[Tensor], Tensor]
"""From activations (n, c, h, w) to what is to be large, (n,)."""

Advance = Callable[[int], None]

POWER = 2.0
"""Of the cosine in the objective: how much the direction counts against the length."""

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
"""Root of the covariance of red, green and blue in photographs (Olah et al. 2017, the code beside it)."""

RATE = {"fourier": 0.05, "generator": 0.05}
"""Step of Adam."""

NOISE = 0.1
"""Of a spectrum to begin with: pixels then spread by a tenth. With less, half of a layer's channels may be
silent after its ReLU, and what is silent has no gradient."""

JITTER, DEGREES, SCALES = 0.06, 8.0, (0.9, 1.1)
"""Between steps a picture is moved by up to this part of its side, turned, and scaled: what survives is no
pattern of single pixels."""

PADDING = 0.07
"""Margin of a picture, as a part of its side, of grey that is seen where it is moved."""

PRIOR = 0.02
"""Weight of the squared length of ``z`` in a decoder's latent space: that of a normal distribution."""

SLACK = 0.02
"""By how much a decoder's pixels may leave 0..1: they are cut there."""


@dataclass(frozen=True)
class Drawn:
    """Pictures that were optimised.

    Attributes
    ----------
    images
        Shape (n, C, S, T), normalised: what the model is given.
    values
        The objective at the end, (n,), without transformations.
    cosines
        Of each picture's best pooled cell with its direction, (n,), as crops have it.
    steps
        How many steps were made.
    problem
        Empty, or why it stopped early; the pictures are those of the last good step.
    """

    images: Tensor = field(repr=False)
    values: Tensor
    cosines: Tensor
    steps: int
    problem: str = ""


class Space(Protocol):
    """What pictures are made from, and what is optimised."""

    rate: float

    def start(self, seeds: Sequence[int]) -> Tensor:
        """Points ``z`` to begin at, one for each seed."""

    def pixels(self, z: Tensor) -> Tensor:
        """Pixels (n, C, S, T), 0 to 1."""

    def cost(self, z: Tensor) -> Tensor:
        """What is taken off the objective, (n,)."""


def direction(vectors: Tensor, power: float = POWER) -> Objective:
    """``dot(x, H) cos(x, H)^power`` of each cell, averaged over cells; one direction (c,) for each picture.

    Concept vectors, hyperplane normals and, as unit vectors, channels are directions (method, section 4).
    Cells are judged one by one, since the mean of cells may point where none of them does.
    """
    unit = F.normalize(vectors, dim=1)

    def objective(x: Tensor) -> Tensor:
        if x.shape[1] != unit.shape[1]:
            raise LayerError(
                f"the direction has {unit.shape[1]} channels and the layer {x.shape[1]}; draw it at the "
                "layer it was found at"
            )
        dot = torch.einsum("nchw,nc->nhw", x, unit.to(x))
        length = x.square().sum(1).add(1e-12).sqrt()
        return (dot * (dot / length).clamp(min=0.1).pow(power)).mean((1, 2))

    return objective


def channel(number: int, channels: int) -> Tensor:
    """The direction (c,) of one channel of ``channels``."""
    if not 0 <= number < channels:
        raise LayerError(f"there is no channel {number}; the layer has channels 0 to {channels - 1}")
    return F.one_hot(torch.tensor(number), channels).float()


class Fourier:
    """A picture as its spectrum, with the colours of photographs made independent (Olah et al. 2017).

    Every frequency is scaled as in photographs, so that a step moves all of them alike; a sigmoid keeps
    pixels within 0..1.
    """

    rate = RATE["fourier"]

    def __init__(self, preprocessing: Preprocessing, images: Tensor | None = None) -> None:
        """``images`` (n, C, S, T), normalised: to begin from, instead of noise."""
        self._channels, self._size = preprocessing.channels, preprocessing.crop
        height, width = self._size
        f = torch.sqrt(torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2)
        self._scale = 1 / f.clamp(min=1 / max(self._size))
        root = torch.tensor(COLOURS) if self._channels == 3 else torch.eye(self._channels)
        self._mix = root / root.norm(dim=0).max()
        self._preprocessing, self._images = preprocessing, images

    def start(self, seeds: Sequence[int]) -> Tensor:
        """Noise, or the spectra of the images."""
        if self._images is not None:
            return self._spectrum(raw(self._images, self._preprocessing))
        shape = (self._channels, *self._scale.shape, 2)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return NOISE * torch.stack(noise)

    def pixels(self, z: Tensor) -> Tensor:
        """Pixels (n, C, S, T), 0 to 1, of spectra (n, C, S, T // 2 + 1, 2)."""
        spectrum = torch.view_as_complex(z.contiguous()) * self._scale.to(z)
        plain = torch.fft.irfft2(spectrum, self._size, norm="ortho")
        return torch.einsum("nchw,dc->ndhw", plain, self._mix.to(z)).sigmoid()

    def cost(self, z: Tensor) -> Tensor:
        """Nothing: the scale of the spectrum is the prior."""
        return z.new_zeros(len(z))

    def _spectrum(self, pixels: Tensor) -> Tensor:
        plain = torch.logit(pixels.clamp(0.01, 0.99))
        plain = torch.einsum("ndhw,cd->nchw", plain, torch.linalg.inv(self._mix))
        return torch.view_as_real(torch.fft.rfft2(plain, norm="ortho") / self._scale)


class Generator:
    """A picture as a point in the latent space of a decoder ``z -> pixels`` (Nguyen et al. 2016).

    Parameters
    ----------
    decoder
        From ``z`` (n, *latent) to pixels (n, C, S, T), 0 to 1, of the model's size. Its attribute ``latent``
        is an int or a shape; ``encode``, where it has one, gives ``z`` of pixels.
    images
        Normalised, to begin from by ``encode``, instead of noise.

    Raises
    ------
    ModelError
        If it does not say its latent shape, or gives pixels of another size, channel count or range.
    """

    rate = RATE["generator"]

    def __init__(
        self, decoder: nn.Module, preprocessing: Preprocessing, images: Tensor | None = None
    ) -> None:
        self._decoder, self._preprocessing = decoder, preprocessing
        self._latent = _latent(decoder)
        encode = getattr(decoder, "encode", None)
        self._images = images if callable(encode) else None
        self._check()

    def start(self, seeds: Sequence[int]) -> Tensor:
        """Draws of a normal distribution, or encodings of the images."""
        if self._images is not None:
            with torch.no_grad():
                found: Tensor = self._decoder.encode(raw(self._images, self._preprocessing))  # type: ignore[operator]
            return found.clone()
        drawn = [torch.randn(self._latent, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn)

    def pixels(self, z: Tensor) -> Tensor:
        """Pixels (n, C, S, T), 0 to 1."""
        return run(self._decoder, z).clamp(0, 1)

    def cost(self, z: Tensor) -> Tensor:
        """The prior: squared length of ``z``, by its dimensions."""
        return PRIOR * z.square().flatten(1).mean(1)

    def _check(self) -> None:
        wanted = (self._preprocessing.channels, *self._preprocessing.crop)
        with torch.no_grad():
            pixels = run(self._decoder, self.start([0, 1]) if self._images is None else self.start([]))
        if not isinstance(pixels, Tensor) or tuple(pixels.shape[1:]) != wanted:
            came = tuple(pixels.shape[1:]) if isinstance(pixels, Tensor) else type(pixels).__name__
            raise ModelError(
                f"the decoder gives images of (channels, height, width) {came}; the model takes {wanted}"
            )
        low, high = float(pixels.min()), float(pixels.max())
        if low < -SLACK or high > 1 + SLACK:
            raise ModelError(
                f"the decoder's pixels reach from {low:.2f} to {high:.2f}; needed are 0 to 1, before the "
                "model's normalisation"
            )


def _latent(decoder: nn.Module) -> tuple[int, ...]:
    latent = getattr(decoder, "latent", None)
    shape = (latent,) if isinstance(latent, int) else latent
    if not isinstance(shape, (tuple, list)) or not all(isinstance(side, int) for side in shape):
        raise ModelError("the decoder needs an attribute 'latent': the length or the shape of its z")
    return tuple(shape)


def draw(
    split: Split,
    vectors: Tensor,
    space: Space,
    preprocessing: Preprocessing,
    *,
    steps: int = 256,
    seed: int = 0,
    power: float = POWER,
    pool: int = 2,
    advance: Advance = lambda done: None,
) -> Drawn:
    """Optimise a picture for each direction (n, c), all in one batch through the trunk alone.

    Parameters
    ----------
    vectors
        Concepts, normals or channels at the layer of ``split``; several starts of one are given as rows.
    space
        `Fourier` or `Generator`.
    steps
        Of Adam.
    seed
        Decides starts and transformations; a row's are the same whatever stands beside it.
    pool
        Side of the pooling before cosines are taken, as for crops.

    Raises
    ------
    LayerError
        If the directions belong to a layer of another number of channels.
    ModelError
        If already the first objective is not finite.
    """
    device, objective = split.example.device, direction(vectors, power)
    z = space.start([seed_of("picture", seed, str(row)) for row in range(len(vectors))]).to(device)
    z.requires_grad_()
    optimiser = torch.optim.Adam([z], space.rate)
    moves = [torch.Generator().manual_seed(seed_of("moves", seed, str(row))) for row in range(len(vectors))]
    good, problem, done = z.detach().clone(), "", 0
    for step in range(steps):
        with torch.enable_grad():
            seen = moved(space.pixels(z), moves)
            x = split.trunk(normalised(seen, preprocessing).contiguous(memory_format=torch.channels_last))
            loss = -(objective(x) - space.cost(z)).sum()
            (z.grad,) = torch.autograd.grad(loss, z)
        if not (torch.isfinite(loss) and z.grad.isfinite().all()):
            if step == 0:
                raise ModelError("the objective is not finite at its start; does the model hold NaN?")
            problem = f"stopped at step {step} of {steps}, where the objective is not finite"
            break
        good.copy_(z.detach())
        done = step + 1
        optimiser.step()
        advance(1)
    else:
        good.copy_(z.detach())
    with torch.no_grad():
        images = normalised(space.pixels(good), preprocessing)
        x = split.trunk(images)
        return Drawn(images.cpu(), objective(x).cpu(), best_cosines(x, vectors, pool).cpu(), done, problem)


def best_cosines(x: Tensor, vectors: Tensor, pool: int) -> Tensor:
    """Largest cosine (n,) of a pooled cell of each row with its direction, as crops are compared."""
    cells = pooled_cells(x, pool)
    return torch.einsum("ngc,nc->ng", cells, F.normalize(vectors, dim=1).to(cells)).amax(1)


def moved(pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Each picture (n, C, S, T) jittered, turned and scaled by its own generator; grey is around it."""
    device = pixels.device
    numbers = torch.stack([torch.rand(4, generator=one) for one in generators]).to(device)
    angle = (2 * numbers[:, 0] - 1) * math.radians(DEGREES)
    scale = SCALES[0] + numbers[:, 1] * (SCALES[1] - SCALES[0])
    shift = (2 * numbers[:, 2:] - 1) * 2 * JITTER
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    theta = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(-1, 2, 3)
    margin = [round(PADDING * side) for side in pixels.shape[2:]]
    padded = F.pad(pixels, (margin[1], margin[1], margin[0], margin[0]), value=0.5)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    # the grid runs over the picture; within the padded one it is smaller
    inner = [side / (side + 2 * m) for side, m in zip(pixels.shape[2:], margin, strict=True)]
    grid = grid * grid.new_tensor([inner[1], inner[0]])
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode="border", align_corners=False)


def normalised(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The model's input of pixels (n, C, S, T), 0 to 1."""
    mean, std = (pixels.new_tensor(v).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


def raw(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels, 0 to 1, of normalised images (n, C, S, T)."""
    mean, std = (images.new_tensor(v).view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    return images * std + mean
