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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass.errors import LayerError, ModelError, SettingsError
from whyclass.models.fast_trunk import Trunk
from whyclass.models.preprocessing import Preprocessing
from whyclass.models.split import Split
from whyclass.pool.indexing_pass import pooled_cells
from whyclass.settings import seed_of
from whyclass.visualise.parametrisations import Space, moved, normalised

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
    first, walk = direction(vectors, power, clipped), trunk or split.trunk
    task = _Task(split, walk, vectors, space, preprocessing, first, pool, clipped)
    begun = task.begun(seed)
    return _told(task, steps, *_climbed(task, begun, steps, seed, advance))


def _told(task: _Task, steps: int, last: Tensor, good: Tensor, stopped: dict[int, int]) -> Drawn:
    """The pictures of ``last``, or of ``good`` in rows whose last step is not finite."""
    with torch.no_grad():
        found = task.result(last)
        if not (sound := _finite(*found)).all():  # the last step was made and not judged
            stopped = dict.fromkeys(_rows(~sound), steps) | stopped
            last[~sound] = good[~sound]
            found = task.result(last)
            _refuse(_finite(*found))
    images, values, cosines = (part.cpu() for part in found)
    made = tuple(stopped.get(row, steps) for row in range(len(images)))
    problems = tuple(
        f"stopped at step {made[row]} of {steps}, where the objective is not finite" if row in stopped else ""
        for row in range(len(images))
    )
    return Drawn(images, values, cosines, made, problems)


@dataclass(frozen=True)
class _Task:
    """What is drawn, and how what is drawn is judged."""

    split: Split
    walk: Trunk
    vectors: Tensor
    space: Space
    preprocessing: Preprocessing
    first: Objective
    pool: int
    clipped: bool

    def begun(self, seed: int) -> Tensor:
        """Where each picture begins: at the best of the space's candidates."""
        found, values = list[Tensor](), list[Tensor]()
        rows = range(len(self.vectors))
        for candidate in range(self.space.candidates):
            names = [f"{row} {candidate}" if candidate else str(row) for row in rows]
            z = self.space.start([seed_of("picture", seed, name) for name in names])
            if len(z) != len(rows):
                raise SettingsError(
                    f"images to begin from: {len(z)}; directions: {len(rows)}; give one image for each "
                    "direction, or none"
                )
            found.append(z.to(self.split.example.device))
            if self.space.candidates > 1:
                with torch.no_grad():
                    values.append(self.first(self.walk(self._input(self.space.pixels(found[-1])))))
        if not values:
            return found[0]
        worth = torch.stack(values)
        best = torch.where(worth.isfinite(), worth, -torch.inf).argmax(0)
        return torch.stack(found)[best, torch.arange(len(rows), device=best.device)]

    def values(self, z: Tensor, part: float, moves: Sequence[torch.Generator]) -> Tensor:
        """What is drawn up, (n,), where this part of the steps is made."""
        strength = min(1.0, max(0.0, (STILL[1] - part) / (STILL[1] - STILL[0])))
        x = self.walk(self._input(moved(self.space.pixels(z), moves, strength)))
        objective = self.first if part < BEGIN else towards(self.vectors, self.pool, self.clipped)
        return objective(x) - self.space.cost(z)

    def result(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, values and cosines by the model's own trunk."""
        images = normalised(self.space.pixels(z), self.preprocessing)
        x = self.split.trunk(images)
        return images, self.first(x), best_cosines(x, self.vectors, self.pool, self.clipped)

    def _input(self, pixels: Tensor) -> Tensor:
        return normalised(pixels, self.preprocessing).contiguous(memory_format=torch.channels_last)


def _climbed(
    task: _Task, begun: Tensor, steps: int, seed: int, advance: Advance
) -> tuple[Tensor, Tensor, dict[int, int]]:
    """``z`` after the steps, that of each row's last step that was judged, and at which step rows stopped."""
    rows = range(len(begun))
    z, good, stopped = begun.clone().requires_grad_(), begun.clone(), dict[int, int]()
    optimiser = torch.optim.Adam([z], task.space.rate)
    moves = [torch.Generator().manual_seed(seed_of("moves", seed, str(row))) for row in rows]
    going = torch.ones(len(begun), dtype=torch.bool, device=begun.device)
    for step in range(steps):
        part = step / steps
        optimiser.param_groups[0]["lr"] = task.space.rate * min(1.0, (1 - part) / (1 - LAST))
        with torch.enable_grad():
            values = task.values(z, part, moves)
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
    return torch.where(going.view(-1, *[1] * (z.ndim - 1)), z.detach(), good), good, stopped


def _check_directions(vectors: Tensor) -> None:
    if vectors.ndim != 2 or not len(vectors) or not vectors.any(1).all():
        raise LayerError(
            f"directions came with shape {tuple(vectors.shape)}; needed are rows (n, channels), one or more "
            "and none of them zero; give vector[None] for a single one"
        )


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
