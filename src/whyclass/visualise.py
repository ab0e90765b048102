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
from itertools import chain
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Preprocessing
from .errors import LayerError, ModelError, SettingsError
from .fuse import Trunk
from .index import pooled_cells
from .settings import seed_of
from .split import Split, evaluating

Objective = Callable[[Tensor], Tensor]
"""From activations (n, c, h, w) to what is to be large, (n,)."""

Advance = Callable[[int], None]

RECIPE = 1
"""Raised whenever pictures come out otherwise: what is kept of them is kept under it."""

POWER = 2.0
"""Of the cosine in the objective: how much the direction counts against the length."""

BEGIN = 0.1
"""Part of the steps in which the length counts: after a ReLU a direction has to be there before it can be
told from others. From then on the best cells' cosine alone is drawn up, since long activations are bought
with colours at the ends of their range."""

SHARPNESS = 32.0
"""Power of the mean over cells of that cosine: nearly the largest, which is what is told, and yet cells that
come close are drawn up too, so that a part may stand in several places."""

STILL = (0.4, 0.75)
"""Between these parts of the steps the moves become smaller, from all to none: first the large forms, then
what is seen where nothing moves."""

LAST = 0.5
"""From this part of the steps on they become shorter, down to nothing at the end."""

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


@dataclass(frozen=True)
class Drawn:
    """Pictures that were optimised.

    Attributes
    ----------
    images
        Shape (n, C, S, T), normalised: what the model is given.
    values
        What `direction` gives at the end, (n,), without moves.
    cosines
        Of each picture's best pooled cell with its direction, (n,), as crops have it.
    steps
        How many steps each picture made.
    problems
        For each picture, empty, or why it stopped early; it is then that of its last good step.
    """

    images: Tensor = field(repr=False)
    values: Tensor
    cosines: Tensor
    steps: tuple[int, ...]
    problems: tuple[str, ...]


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


def direction(vectors: Tensor, power: float = POWER, clipped: bool = False) -> Objective:
    """``dot(x, H) cos(x, H)^power`` of each cell, averaged over cells; one direction (c,) for each picture.

    Concept vectors, hyperplane normals and, as unit vectors, channels are directions (method, section 4).
    Cells are judged one by one, since the mean of cells may point where none of them does. ``clipped``
    directions know only positive activations, and so only the positive part of cells is judged by them.
    """
    unit = F.normalize(vectors, dim=1)

    def objective(x: Tensor) -> Tensor:
        if x.shape[1] != unit.shape[1]:
            raise LayerError(
                f"the direction has {unit.shape[1]} channels and the layer {x.shape[1]}; draw it at the "
                "layer it was found at"
            )
        x = x.clamp(min=0) if clipped else x
        dot = torch.einsum("nchw,nc->nhw", x, unit.to(x))
        length = x.square().sum(1).add(1e-12).sqrt()
        return (dot * (dot / length).clamp(min=0.1).pow(power)).mean((1, 2))

    return objective


def towards(vectors: Tensor, pool: int = 2, clipped: bool = False) -> Objective:
    """The cosine of pooled cells with one direction (c,) for each picture, the best cells foremost.

    A power mean over cells, which lies between their mean and the largest.
    """

    def objective(x: Tensor) -> Tensor:
        # below this the power would be lost in float32
        cosines = cell_cosines(x, vectors, pool, clipped).clamp(min=0.1)
        return cosines.pow(SHARPNESS).mean(1).pow(1 / SHARPNESS)

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
        From ``z`` (n, *latent) to pixels (n, C, S, T), 0 to 1, of the model's size. Its attribute ``latent``
        is an int or a shape; ``encode``, where it has one, gives ``z`` of pixels. It may lie on another
        device than the model.
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
    clipped: bool = False,
    trunk: Trunk | None = None,
    advance: Advance = lambda done: None,
) -> Drawn:
    """Optimise a picture for each direction (n, c), all in one batch through the trunk alone.

    The same seed gives the same bytes on a CPU. On CUDA it does not: there the gradient of
    ``F.grid_sample`` is summed in no fixed order, and small differences grow with the steps.

    First `direction` is drawn up, then `towards`; moves and steps become smaller (``BEGIN``, ``STILL``,
    ``LAST``).
    Where a picture's objective is no longer finite it keeps its last good step, and the others go on.

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
    clipped
        Whether only the positive part of activations counts, as for crops (`crops.Query`).
    trunk
        A faster one for the steps, such as `fuse.smooth_trunk` makes. Values and cosines of the finished
        pictures come from the model's own.

    Raises
    ------
    LayerError
        If the directions belong to a layer of another number of channels, or are no rows that point
        anywhere.
    SettingsError
        If the space begins from another number of images than there are directions.
    ModelError
        If the objective of a picture is not finite where it begins.
    """
    _check_directions(vectors)
    device, objective = split.example.device, direction(vectors, power, clipped)
    walk, then = trunk or split.trunk, towards(vectors, pool, clipped)
    z = _begun(walk, objective, space, preprocessing, len(vectors), seed, device).requires_grad_()
    optimiser = torch.optim.Adam([z], space.rate)
    moves = [torch.Generator().manual_seed(seed_of("moves", seed, str(row))) for row in range(len(vectors))]
    good, stopped = z.detach().clone(), dict[int, int]()
    going = torch.ones(len(vectors), dtype=torch.bool, device=device)
    for step in range(steps):
        part = step / steps
        optimiser.param_groups[0]["lr"] = space.rate * min(1.0, (1 - part) / (1 - LAST))
        with torch.enable_grad():
            seen = moved(
                space.pixels(z), moves, min(1.0, max(0.0, (STILL[1] - part) / (STILL[1] - STILL[0])))
            )
            x = walk(normalised(seen, preprocessing).contiguous(memory_format=torch.channels_last))
            values = (objective if part < BEGIN else then)(x) - space.cost(z)
            (z.grad,) = torch.autograd.grad(-values.sum(), z)
        sound = _finite(values, z.grad)
        if step == 0:
            _refuse(sound)
        stopped |= dict.fromkeys(_rows(going & ~sound), step)
        going &= sound
        if not going.any():
            break
        # rows know nothing of each other: one that has stopped moves on unseen
        good[going] = z.detach()[going]
        optimiser.step()
        advance(1)

    def result(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = normalised(space.pixels(z), preprocessing)
        x = split.trunk(images)
        return images, objective(x), best_cosines(x, vectors, pool, clipped)

    with torch.no_grad():
        last = torch.where(going.view(-1, *[1] * (z.ndim - 1)), z, good)
        found = result(last)
        if not (sound := _finite(*found)).all():  # the last step was made and not judged
            stopped |= dict.fromkeys(_rows(going & ~sound), steps)
            last[~sound] = good[~sound]
            found = result(last)
            _refuse(_finite(*found))
    images, values, cosines = (part.cpu() for part in found)
    made = tuple(stopped.get(row, steps) for row in range(len(vectors)))
    problems = tuple(
        f"stopped at step {made[row]} of {steps}, where the objective is not finite" if row in stopped else ""
        for row in range(len(vectors))
    )
    return Drawn(images, values, cosines, made, problems)


def _check_directions(vectors: Tensor) -> None:
    if vectors.ndim != 2 or not len(vectors) or not vectors.any(1).all():
        raise LayerError(
            f"directions came with shape {tuple(vectors.shape)}; needed are rows (n, channels), one or more "
            "and none of them zero; give vector[None] for a single one"
        )


def _begun(
    walk: Trunk,
    objective: Objective,
    space: Space,
    preprocessing: Preprocessing,
    count: int,
    seed: int,
    device: torch.device,
) -> Tensor:
    """Where each of ``count`` pictures begins: at the best of the space's candidates."""
    found: list[Tensor] = []
    values: list[Tensor] = []
    for candidate in range(space.candidates):
        names = [f"{row} {candidate}" if candidate else str(row) for row in range(count)]
        z = space.start([seed_of("picture", seed, name) for name in names]).to(device)
        if len(z) != count:
            raise SettingsError(
                f"images to begin from: {len(z)}; directions: {count}; give one image for each direction, "
                "or none"
            )
        if space.candidates == 1:
            return z
        with torch.no_grad():
            values.append(objective(walk(normalised(space.pixels(z), preprocessing))))
        found.append(z)
    worth = torch.stack(values)
    best = torch.where(worth.isfinite(), worth, -torch.inf).argmax(0)
    return torch.stack(found)[best, torch.arange(count, device=device)]


def _finite(*parts: Tensor) -> Tensor:
    """Which rows (n,) hold only finite numbers in every part (n, ...)."""
    return torch.stack([part.reshape(len(part), -1).isfinite().all(1) for part in parts]).all(0)


def _rows(mask: Tensor) -> list[int]:
    return torch.nonzero(mask).flatten().tolist()


def _refuse(sound: Tensor) -> None:
    if bad := _rows(~sound):
        raise ModelError(
            f"the objective is not finite for directions {', '.join(map(str, bad))} of "
            f"{len(sound)}; does the model, the direction or the decoder hold NaN?"
        )


def best_cosines(x: Tensor, vectors: Tensor, pool: int, clipped: bool = False) -> Tensor:
    """Largest cosine (n,) of a pooled cell of each row with its direction, as crops are compared.

    With ``clipped`` of the cell's positive part alone, as `crops.Query` has it.
    """
    return cell_cosines(x, vectors, pool, clipped).amax(1)


def cell_cosines(x: Tensor, vectors: Tensor, pool: int, clipped: bool = False) -> Tensor:
    """Cosine (n, g) of each pooled cell of each row with its direction."""
    cells = pooled_cells(x, pool)
    cells = F.normalize(cells.clamp(min=0), dim=2) if clipped else cells
    return torch.einsum("ngc,nc->ng", cells, F.normalize(vectors, dim=1).to(cells))


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
