"""What pictures that are optimised are made from: spectra, or points in a decoder's latent space.

``z`` is what is optimised, ``n`` the pictures that are optimised together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whyclass.errors import ModelError
from whyclass.models.forward import evaluating
from whyclass.models.preprocessing import Preprocessing

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
"""Root of the covariance of red, green and blue in photographs (Olah et al. 2017, the code beside it)."""

RATE = {"fourier": 0.05, "generator": 0.1}
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

CANDIDATES = 32
"""Of a decoder's pictures of noise, of which each direction begins from the best: many show nothing that it
answers to, and after a ReLU have no gradient."""

SLACK = 0.02
"""By how much a decoder's pixels may leave 0..1: they are cut there."""


class Space(Protocol):
    """What pictures are made from, and what is optimised."""

    rate: float
    candidates: int

    def start(self, seeds: Sequence[int]) -> Tensor:
        """Points ``z`` to begin at, one for each seed."""

    def pixels(self, z: Tensor) -> Tensor:
        """Pixels (n, C, S, T), 0 to 1."""

    def cost(self, z: Tensor) -> Tensor:
        """What is taken off the objective, (n,)."""


class Fourier:
    """A picture as its spectrum, with the colours of photographs made independent (Olah et al. 2017).

    Every frequency is scaled as in photographs, so that a step moves all of them alike; a sigmoid keeps
    pixels within 0..1.
    """

    rate = RATE["fourier"]
    candidates = 1

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
        From ``z`` of shape ``(n, *latent)`` to pixels (n, C, S, T), 0 to 1, of the model's size. Its
        attribute ``latent`` is an int or a shape; ``encode``, where it has one, gives ``z`` of pixels. It may
        lie on another device than the model.
    images
        Normalised, to begin from by ``encode``, instead of noise.

    Raises
    ------
    ModelError
        If it does not say its latent shape, gives pixels of another size, channel count or range, or has no
        ``encode`` and is to begin from images.
    """

    rate = RATE["generator"]

    def __init__(
        self, decoder: nn.Module, preprocessing: Preprocessing, images: Tensor | None = None
    ) -> None:
        self._decoder, self._preprocessing = decoder, preprocessing
        self._latent = _latent(decoder)
        if images is not None and not callable(getattr(decoder, "encode", None)):
            raise ModelError(
                "the decoder has no method 'encode', which gives the z of the images to begin from; give it "
                "one, or begin without images"
            )
        self._images = images
        self.candidates = CANDIDATES if images is None else 1
        self._check()

    def start(self, seeds: Sequence[int]) -> Tensor:
        """Draws of a normal distribution, or encodings of the images."""
        if self._images is not None:
            return self._encoded(raw(self._images, self._preprocessing))
        drawn = [torch.randn(self._latent, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn)

    def pixels(self, z: Tensor) -> Tensor:
        """Pixels (n, C, S, T), 0 to 1."""
        return self._decoded(z).to(z).clamp(0, 1)

    def cost(self, z: Tensor) -> Tensor:
        """The prior: squared length of ``z``, by its dimensions."""
        return PRIOR * z.square().flatten(1).mean(1)

    def _own(self, tensor: Tensor) -> Tensor:
        """On the decoder's device and in its precision."""
        held = chain(self._decoder.parameters(), self._decoder.buffers())
        return tensor.to(next((one for one in held if one.is_floating_point()), tensor))

    def _decoded(self, z: Tensor) -> Tensor:
        with evaluating(self._decoder):
            pixels: Tensor = self._decoder(self._own(z))
        return pixels

    def _encoded(self, pixels: Tensor) -> Tensor:
        wanted = (len(pixels), *self._latent)
        with torch.no_grad(), evaluating(self._decoder):
            found = self._decoder.encode(self._own(pixels))  # type: ignore[operator]
        if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(
                f"the decoder's encode gives {came}; needed is z of shape {wanted}, the mean alone where it "
                "knows a variance too"
            )
        return found.float()

    def _check(self) -> None:
        wanted = (self._preprocessing.channels, *self._preprocessing.crop)
        z = self.start([0, 1])
        try:
            with torch.no_grad():
                pixels = self._decoded(z)
        except Exception as error:  # somebody's module may raise anything: that is the answer
            raise ModelError(
                f"the decoder fails on z of shape {tuple(z.shape)}: {type(error).__name__}: {error}; does "
                "its attribute 'latent' fit?"
            ) from error
        if not isinstance(pixels, Tensor) or tuple(pixels.shape[1:]) != wanted:
            came = tuple(pixels.shape[1:]) if isinstance(pixels, Tensor) else type(pixels).__name__
            raise ModelError(
                f"the decoder gives images of (channels, height, width) {came}; the model takes {wanted}; "
                "give one of that size, or resize within its forward"
            )
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -SLACK and high <= 1 + SLACK):  # NaN is neither
            raise ModelError(
                f"the decoder's pixels reach from {low:.2f} to {high:.2f}; needed are 0 to 1, before the "
                "model's normalisation"
            )


def _latent(decoder: nn.Module) -> tuple[int, ...]:
    latent = getattr(decoder, "latent", None)
    shape = (latent,) if isinstance(latent, int) else latent
    if not isinstance(shape, (tuple, list)) or not all(isinstance(side, int) for side in shape):
        raise ModelError(
            f"the decoder's attribute 'latent' is {latent!r}; needed is the length or the shape of its z, "
            "such as 128 or (16, 6, 6)"
        )
    return tuple(shape)


def moved(pixels: Tensor, generators: Sequence[torch.Generator], strength: float = 1.0) -> Tensor:
    """Each picture (n, C, S, T) jittered, turned and scaled by its own generator; grey is around it.

    ``strength``, 0 to 1, is how far; at 0 pictures stay as they are.
    """
    if not strength:
        return pixels
    device = pixels.device
    numbers = torch.stack([torch.rand(4, generator=one) for one in generators]).to(device)
    angle = (2 * numbers[:, 0] - 1) * math.radians(DEGREES) * strength
    scale = 1 + (SCALES[0] + numbers[:, 1] * (SCALES[1] - SCALES[0]) - 1) * strength
    shift = (2 * numbers[:, 2:] - 1) * 2 * JITTER * strength
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    aspect = pixels.shape[2] / pixels.shape[3]  # both sides of the grid are 2 long, whatever the picture's
    theta = torch.stack([cos, -sin * aspect, shift[:, 0], sin / aspect, cos, shift[:, 1]], 1).view(-1, 2, 3)
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
