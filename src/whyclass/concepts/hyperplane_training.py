"""Why A and not B: a hyperplane between the cells of two classes, for many pairs at once (paper, 5.1).

Notation
--------
``X (m, c)``
    cells of one class: the clean activations where its attribution is strong; ``x`` one of them.
``w (c)``, ``b``
    hyperplane of a pair; ``z = w.x + b`` above zero speaks for A, below zero for B.
``W (Q, c)``
    hyperplanes of ``Q`` pairs; ``k`` of them have a class in common.
``R (k, m)``
    derivative of the pairs' losses by ``z`` at one class's cells: ``(sigmoid(z) - y) / (m_A + m_B)``.

One pair alone is two matrix-vector products an epoch and waits for memory. All pairs with a class in
common share its ``X``, so in lock-step they are two matrix products, ``W X^T`` and ``R X``, and the work is
bound by arithmetic: ``4 (m_A + m_B) c`` operations a pair and epoch. Products between the cells
themselves would replace ``c`` by ``m`` in every epoch, but making them costs ``2 m_A m_B c`` for each
pair: with 1,000 cells more than the hundred epochs together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whyclass.concepts.hyperplanes import Accuracy, Cells, Hyperplanes, apart
from whyclass.concepts.planes import FOLDS, PLANES, Row, Side, Solved, problem
from whyclass.errors import AttributionError, ClassError, SettingsError

PADDING = 16
"""Channels of room between cells: rows a power of two of bytes apart compete for the same cache lines."""


@dataclass(frozen=True)
class Fitting:
    """How hyperplanes are fitted, and where.

    Attributes
    ----------
    seed
        Decides starts, held-out images and folds.
    epochs, lr
        Rounds of gradient descent, and their learning rate.
    held_out
        Share of each class's images, at least one, that the second fit leaves out; 0 does without it.
    budget_bytes
        Memory to work in, beside the cells and the result: pairs that need more are fitted in turns.
    device
        Where the fit runs.
    plane
        A row of `planes.PLANES`.
    strength
        Of a penalty, as a part of the cells' variance; None where each pair's is chosen.
    """

    seed: int = 0
    epochs: int = 100
    lr: float = 0.01
    held_out: float = 0.2
    budget_bytes: int = 2 << 30
    device: str | torch.device = "cpu"
    plane: str = "paper"
    strength: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        for name, value, least in (("seed", self.seed, 0), ("epochs", self.epochs, 1)):
            if not isinstance(value, int) or value < least:
                raise SettingsError(f"{name} is {value!r}; needed is an int of at least {least}")
        if self.plane not in PLANES:
            raise SettingsError(f"plane is {self.plane!r}; choose one of {', '.join(PLANES)}")
        if not 0 < self.lr < float("inf"):
            raise SettingsError(f"lr is {self.lr!r}; needed is a finite number above 0")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out!r}; needed is a share from 0 to below 1")


DEFAULT = Fitting()
"""The paper's descent (5.1.1), on the processor."""


def hyperplanes(
    cells: Mapping[int, Cells], pairs: Sequence[tuple[int, int]], fitting: Fitting = DEFAULT
) -> Hyperplanes:
    """Lay a hyperplane between the cells of A and B for every pair (A, B), as ``fitting.plane`` says.

    The paper's (5.1.1): one linear layer with bias and sigmoid, mean binary cross entropy with A as 1, all
    cells at once, plain gradient descent from PyTorch's default start. A pair's start depends on the seed and
    its two classes alone, and a class's held-out images on the seed and the class alone; so what is
    fitted together changes a result only by the rounding of float32 sums. B against A is A against B
    with the sign changed, exactly, and costs nothing more.

    Parameters
    ----------
    cells
        By class; of any mapping, such as one that reads a class from disk when it is asked for.
    pairs
        Ordered pairs (A, B), in any order.

    Raises
    ------
    ClassError
        If a class is paired with itself, unknown, or has no cell.
    SettingsError
        If there is no pair, the classes' cells do not have the same channels, a single pair needs more
        than the budget, or the descent does not stay finite.
    AttributionError
        If an activation is not finite.
    """
    asked = _check_pairs(pairs)
    classes = {k: _survey(k, cells, fitting) for k in np.unique(asked).tolist()}
    c = _channels(classes)
    ordered, mirrored = np.sort(asked, 1), asked[:, 0] > asked[:, 1]
    sign = np.where(mirrored, -1, 1).astype(np.float32)
    normals, biases = np.empty((len(asked), c), np.float32), np.empty(len(asked), np.float32)
    strengths, distances = np.full(len(asked), np.nan), np.empty(len(asked))
    hits = np.empty((2, len(asked), 2))  # of the cells fitted to, and of those held out
    for rows in _turns(ordered, classes, c, fitting):
        fitted, row = np.unique(ordered[rows], axis=0, return_inverse=True)
        row = row.reshape(-1)  # numpy 2.0 gives it two dimensions
        X = {k: _load(cells[k], classes[k], fitting.device) for k in np.unique(fitted).tolist()}
        found, right = _fit(fitted, X, X, fitting)
        normals[rows] = sign[rows, None] * found.W.cpu().numpy()[row]
        biases[rows], hits[0, rows] = sign[rows] * found.b.cpu().numpy()[row], right[row]
        _check_finite(normals[rows], biases[rows], fitting)
        middle = {k: own.X.mean(0).cpu().numpy() for k, own in X.items()}
        for one in rows.tolist():
            a, b = ordered[one].tolist()
            distances[one] = apart(normals[one], middle[a] - middle[b])
        if found.strength is not None:
            strengths[rows] = found.strength.cpu().numpy()[row]
        del found  # its place is needed for the second fit
        hits[1, rows] = _fit_part(fitted, X, classes, fitting)[row]
    hits[:, mirrored] = hits[:, mirrored, ::-1]
    training = _accuracy(asked, hits[0], {k: (own.cells, own.images) for k, own in classes.items()})
    held = _accuracy(asked, hits[1], {k: (own.cells - own.kept, own.held) for k, own in classes.items()})
    chosen = None if np.isnan(strengths).all() else strengths
    return Hyperplanes(asked, normals, biases, training, held, distances, chosen)


def _check_finite(normals: np.ndarray, biases: np.ndarray, fitting: Fitting) -> None:
    if not (np.isfinite(normals).all() and np.isfinite(biases).all()):
        raise SettingsError(f"the descent with lr {fitting.lr} does not stay finite; choose a smaller one")


def start_seed(seed: int, a: int, b: int) -> int:
    """What seeds PyTorch's default start of the pair of classes, whichever of them is A."""
    text = f"{seed} {min(a, b)} {max(a, b)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def start(seed: int, a: int, b: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's default start of a pair, for the class of the lower number: ``w`` (c,) and ``b``."""
    generator = torch.Generator().manual_seed(start_seed(seed, a, b))
    w, bias, bound = torch.empty(channels), torch.empty(1), channels**-0.5
    w.uniform_(-bound, bound, generator=generator)
    bias.uniform_(-bound, bound, generator=generator)
    return w.numpy(), bias.numpy()[0]


def hold_out(images: np.ndarray, k: int, seed: int, share: float) -> np.ndarray:
    """Those of the ``images`` that class ``k`` holds out: at least one, never all, none of a lone one."""
    count = min(max(1, round(share * len(images))), len(images) - 1) if share else 0
    return np.random.default_rng((seed, k)).permutation(images)[:count]


@dataclass(frozen=True)
class _Class:
    """A class before its cells are loaded: the order to load them in, ``kept`` rows of training first.

    ``lot`` (m,) is drawn for the image of each cell.
    """

    order: np.ndarray
    lot: np.ndarray
    kept: int
    channels: int
    images: int
    held: int

    @property
    def cells(self) -> int:
        return len(self.order)


def _check_pairs(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    asked = np.asarray(pairs)
    shaped = asked.ndim == 2 and asked.shape[1] == 2 and len(asked) and asked.dtype.kind in "iu"
    if not shaped or asked.min() < 0:
        raise SettingsError("pairs are needed: at least one, each of two class numbers from 0 on")
    if (same := np.flatnonzero(asked[:, 0] == asked[:, 1])).size:
        raise ClassError(f"class {asked[same[0], 0]} is paired with itself; choose two classes")
    return asked.astype(np.int64)


def _survey(k: int, cells: Mapping[int, Cells], fitting: Fitting) -> _Class:
    """Draw the images that class ``k`` holds out."""
    if k not in cells:
        raise ClassError(f"there are no cells of class {k}; select them first")
    own = cells[k]
    if own.vectors.ndim != 2 or own.image.shape != own.vectors.shape[:1]:
        raise SettingsError(
            f"cells {own.vectors.shape} and images {own.image.shape} of class {k} do not belong together; "
            "needed are (m, c) and (m,)"
        )
    if not len(own.image):
        raise ClassError(f"class {k} has no cell above the cut: nothing at this layer speaks for it")
    images = np.unique(own.image)
    held = hold_out(images, k, fitting.seed, fitting.held_out)
    out = np.isin(own.image, held)
    order = np.argsort(out, kind="stable")
    lot = np.random.default_rng((fitting.seed, k, FOLDS)).permutation(len(images))
    lot = lot[np.searchsorted(images, own.image)]
    return _Class(order, lot, int((~out).sum()), own.vectors.shape[1], len(images), len(held))


def _channels(classes: Mapping[int, _Class]) -> int:
    found = {own.channels: k for k, own in classes.items()}
    if len(found) > 1:
        (c, a), (d, b), *_ = found.items()
        raise SettingsError(f"class {a} has {c} channels and class {b} {d}; all must be of one layer")
    return next(iter(found))


def _turns(
    pairs: np.ndarray, classes: Mapping[int, _Class], c: int, fitting: Fitting
) -> Iterator[np.ndarray]:
    """Rows of ``pairs`` (P, 2) to fit together: halved by class until each part fits the budget."""
    budget = fitting.budget_bytes
    waiting = [np.arange(len(pairs))]
    while waiting:
        rows = waiting.pop()
        need = _bytes(pairs[rows], classes, c, PLANES[fitting.plane])
        if need <= budget:
            yield rows
            continue
        column = max((0, 1), key=lambda i: len(np.unique(pairs[rows, i])))
        found = np.unique(pairs[rows, column])
        if len(found) == 1:
            a, b = pairs[rows[0]]
            raise SettingsError(
                f"budget_bytes is {budget}; classes {a} and {b} alone need {need}: set budget to "
                f"{need / 2**30:.2g} GiB or more"
            )
        lower = pairs[rows, column] < found[len(found) // 2]
        waiting += [rows[~lower], rows[lower]]


def _bytes(pairs: np.ndarray, classes: Mapping[int, _Class], c: int, row: Row) -> int:
    """Memory to fit pairs together: cells, ``W``, what the way needs besides, a step of each thread."""
    found, partners = np.unique(pairs, return_counts=True)
    sizes = [classes[k].cells for k in found.tolist()]
    step = 2 * int(partners.max()) * (c + max(sizes)) * torch.get_num_threads()
    return 4 * (sum(sizes) * (c + PADDING) + (1 + row.rows) * len(pairs) * c + step)


@dataclass(frozen=True)
class _Loaded:
    """Cells ``X`` (m, c) of a class, the image of each, and that image's lot (m,), which decides its fold."""

    X: Tensor
    image: np.ndarray
    lot: np.ndarray

    def part(self, rows: slice) -> _Loaded:
        """Some of the cells."""
        return _Loaded(self.X[rows], self.image[rows], self.lot[rows])


def _load(cells: Cells, own: _Class, device: str | torch.device) -> _Loaded:
    X = torch.empty(own.cells, own.channels + PADDING)[:, : own.channels]
    X.copy_(torch.from_numpy(np.asarray(cells.vectors, np.float32)[own.order]))
    if not torch.stack(X.aminmax()).isfinite().all():
        raise AttributionError("an activation is not finite; does the model hold NaN?")
    return _Loaded(X.to(device), cells.image[own.order], own.lot[own.order])


def _fit(
    pairs: np.ndarray, train: Mapping[int, _Loaded], test: Mapping[int, _Loaded], fitting: Fitting
) -> tuple[Solved, np.ndarray]:
    """Planes of ``Q`` pairs fitted to ``train``, and how many cells of ``test`` are right (Q, 2)."""
    row = PLANES[fitting.plane]
    starts = _starts(pairs, train, fitting.seed if row.random else None)
    strength = None if fitting.strength is None else torch.full_like(starts[1], fitting.strength)
    with problem(_sides(pairs, train, row.equal), len(pairs), fitting.lr, fitting.epochs, strength) as asked:
        found = row.solve(asked, *starts)
    hits = np.empty((len(pairs), 2))
    for side in _sides(pairs, test, row.equal):
        z = torch.addmm(found.b[side.rows, None], found.W[side.rows], side.X.T)
        right = torch.where(side.y > 0, z > 0, z < 0).sum(1)
        hits[side.rows.cpu(), (side.y[:, 0] == 0).long().cpu()] = right.cpu()
    return found, hits


def _fit_part(
    pairs: np.ndarray, X: Mapping[int, _Loaded], classes: Mapping[int, _Class], fitting: Fitting
) -> np.ndarray:
    """Cells of held-out images that a fit to the other images gets right (Q, 2); NaN for a lone image."""
    hits = np.full((len(pairs), 2), np.nan)
    able = [row for row, (a, b) in enumerate(pairs.tolist()) if classes[a].held and classes[b].held]
    if able:
        train = {k: own.part(slice(classes[k].kept)) for k, own in X.items()}
        test = {k: own.part(slice(classes[k].kept, None)) for k, own in X.items()}
        hits[able] = _fit(pairs[able], train, test, fitting)[1]
    return hits


def _starts(pairs: np.ndarray, X: Mapping[int, _Loaded], seed: int | None) -> tuple[Tensor, Tensor]:
    """``nn.Linear(c, 1)`` as PyTorch begins it, for each pair, drawn on the CPU; without a seed zero."""
    like = X[int(pairs[0, 0])].X
    if seed is None:
        return like.new_zeros(len(pairs), like.shape[1]), like.new_zeros(len(pairs))
    begun = [start(seed, a, b, like.shape[1]) for a, b in pairs.tolist()]
    W, b = (torch.from_numpy(np.stack(part)) for part in zip(*begun, strict=True))
    return W.to(like), b.to(like)


def _sides(pairs: np.ndarray, X: Mapping[int, _Loaded], equal: bool) -> list[Side]:
    """The pairs (Q, 2), A and B, seen from each class in turn."""
    total = np.array([len(X[a].X) + len(X[b].X) for a, b in pairs.tolist()], np.float32)
    sides = []
    for k in np.unique(pairs).tolist():
        rows, column = np.nonzero(pairs == k)
        own = X[k]
        parts = (
            rows,
            column * len(pairs) + rows,
            (column == 0).astype(np.float32)[:, None],
            weights(own.image)[None] / 2 if equal else 1 / total[rows, None],
            folds(own.image, own.lot),
        )
        sides.append(Side(own.X, *(torch.from_numpy(part).to(own.X.device) for part in parts)))
    return sides


def weights(image: np.ndarray) -> np.ndarray:
    """Of cells, by the image (m,) that each is of: every image weighs the same, and all together 1."""
    _, own, count = np.unique(image, return_inverse=True, return_counts=True)
    return np.asarray((1 / count[own.reshape(-1)] / len(count)).astype(np.float32))


def folds(image: np.ndarray, lot: np.ndarray) -> np.ndarray:
    """Which fold each cell is in, by its image (m,): images in the order of their ``lot`` (m,), dealt out.

    A lone image is in none.
    """
    images, first, own = np.unique(image, return_index=True, return_inverse=True)
    if len(images) < 2:
        return np.full(len(image), -1)
    rank = np.argsort(np.argsort(lot[first], kind="stable"), kind="stable")
    return np.asarray(rank[own.reshape(-1)] % FOLDS)


def _accuracy(asked: np.ndarray, hits: np.ndarray, counts: Mapping[int, tuple[int, int]]) -> Accuracy:
    """From the right cells (P, 2), NaN where not measured, and each class's cells and images."""
    table = np.array([[counts[a], counts[b]] for a, b in asked.tolist()], np.int64)
    cells, images = np.where(np.isnan(hits)[:, :, None], 0, table).transpose(2, 0, 1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where not measured
        plain, chance = hits.sum(1) / cells.sum(1), cells.max(1) / cells.sum(1)
        return Accuracy(plain, (hits / cells).mean(1), chance, cells, images)
