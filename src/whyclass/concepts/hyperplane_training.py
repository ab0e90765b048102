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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whyclass.concepts.hyperplanes import Accuracy, Cells, Hyperplanes
from whyclass.errors import AttributionError, ClassError, SettingsError

PADDING = 16
"""Channels of room between cells: rows a power of two of bytes apart compete for the same cache lines."""


@dataclass(frozen=True)
class Fitting:
    """How hyperplanes are fitted, and where.

    Attributes
    ----------
    seed
        Decides starts and held-out images.
    epochs, lr
        Rounds of gradient descent, and their learning rate.
    held_out
        Share of each class's images, at least one, that the second fit leaves out; 0 does without it.
    budget_bytes
        Memory to work in, beside the cells and the result: pairs that need more are fitted in turns.
    device
        Where the descent runs.
    """

    seed: int = 0
    epochs: int = 100
    lr: float = 0.01
    held_out: float = 0.2
    budget_bytes: int = 2 << 30
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        for name, value, least in (("seed", self.seed, 0), ("epochs", self.epochs, 1)):
            if not isinstance(value, int) or value < least:
                raise SettingsError(f"{name} is {value!r}; needed is an int of at least {least}")
        if not 0 < self.lr < float("inf"):
            raise SettingsError(f"lr is {self.lr!r}; needed is a finite number above 0")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out!r}; needed is a share from 0 to below 1")


DEFAULT = Fitting()
"""The paper's descent (5.1.1), on the processor."""


def hyperplanes(
    cells: Mapping[int, Cells], pairs: Sequence[tuple[int, int]], fitting: Fitting = DEFAULT
) -> Hyperplanes:
    """Fit a hyperplane between the cells of A and B for every pair (A, B) (paper, 5.1.1).

    One linear layer with bias and sigmoid, mean binary cross entropy with A as 1, all cells at once,
    plain gradient descent from PyTorch's default start. A pair's start depends on the seed and its two
    classes alone, and a class's held-out images on the seed and the class alone; so what is
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
    weights, biases = np.empty((len(asked), c), np.float32), np.empty(len(asked), np.float32)
    hits = np.empty((2, len(asked), 2))  # of the cells fitted to, and of those held out
    for rows in _turns(ordered, classes, c, fitting.budget_bytes):
        fitted, row = np.unique(ordered[rows], axis=0, return_inverse=True)
        row = row.reshape(-1)  # numpy 2.0 gives it two dimensions
        X = {k: _load(cells[k], classes[k], fitting.device) for k in np.unique(fitted).tolist()}
        W, b, found = _fit(fitted, X, X, fitting)
        weights[rows] = sign[rows, None] * W[row]
        del W  # its place is needed for the second fit
        biases[rows], hits[0, rows] = sign[rows] * b[row], found[row]
        hits[1, rows] = _fit_part(fitted, X, classes, fitting)[row]
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise SettingsError(f"the descent with lr {fitting.lr} does not stay finite; choose a smaller one")
    hits[:, mirrored] = hits[:, mirrored, ::-1]
    training = _accuracy(asked, hits[0], {k: (own.cells, own.images) for k, own in classes.items()})
    held = _accuracy(asked, hits[1], {k: (own.cells - own.kept, own.held) for k, own in classes.items()})
    return Hyperplanes(asked, weights, biases, training, held)


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
    """A class before its cells are loaded: the order to load them in, ``kept`` rows of training first."""

    order: np.ndarray
    kept: int
    channels: int
    images: int
    held: int

    @property
    def cells(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class _Side:
    """One class and the ``k`` pairs that it is in.

    ``rows`` (k,) are theirs in ``W``, and ``slots`` (k,) among the gradients' parts, first all A's and
    then all B's; ``y`` (k, 1) is 1 where the class is A and 0 where it is B; ``share`` (k, 1) is
    ``1 / (m_A + m_B)``.
    """

    X: Tensor
    rows: Tensor
    slots: Tensor
    y: Tensor
    share: Tensor


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
    return _Class(order, int((~out).sum()), own.vectors.shape[1], len(images), len(held))


def _channels(classes: Mapping[int, _Class]) -> int:
    found = {own.channels: k for k, own in classes.items()}
    if len(found) > 1:
        (c, a), (d, b), *_ = found.items()
        raise SettingsError(f"class {a} has {c} channels and class {b} {d}; all must be of one layer")
    return next(iter(found))


def _turns(pairs: np.ndarray, classes: Mapping[int, _Class], c: int, budget: int) -> Iterator[np.ndarray]:
    """Rows of ``pairs`` (P, 2) to fit together: halved by class until each part fits the budget."""
    waiting = [np.arange(len(pairs))]
    while waiting:
        rows = waiting.pop()
        need = _bytes(pairs[rows], classes, c)
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


def _bytes(pairs: np.ndarray, classes: Mapping[int, _Class], c: int) -> int:
    """Memory to fit pairs together: cells, ``W``, both parts of its gradient, a step of each thread."""
    found, partners = np.unique(pairs, return_counts=True)
    sizes = [classes[k].cells for k in found.tolist()]
    step = 2 * int(partners.max()) * (c + max(sizes)) * torch.get_num_threads()
    return 4 * (sum(sizes) * (c + PADDING) + 3 * len(pairs) * c + step)


def _load(cells: Cells, own: _Class, device: str | torch.device) -> Tensor:
    X = torch.empty(own.cells, own.channels + PADDING)[:, : own.channels]
    X.copy_(torch.from_numpy(np.asarray(cells.vectors, np.float32)[own.order]))
    if not torch.stack(X.aminmax()).isfinite().all():
        raise AttributionError("an activation is not finite; does the model hold NaN?")
    return X.to(device)


def _fit(
    pairs: np.ndarray, train: Mapping[int, Tensor], test: Mapping[int, Tensor], fitting: Fitting
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``W`` (Q, c) and ``b`` (Q,) fitted to ``train``, and how many cells of ``test`` are right (Q, 2)."""
    W, b = _descend(_sides(pairs, train), *_starts(pairs, train, fitting.seed), fitting)
    hits = np.empty((len(pairs), 2))
    for side in _sides(pairs, test):
        z = torch.addmm(b[side.rows, None], W[side.rows], side.X.T)
        right = torch.where(side.y > 0, z > 0, z < 0).sum(1)
        hits[side.rows.cpu(), (side.y[:, 0] == 0).long().cpu()] = right.cpu()
    return W.cpu().numpy(), b.cpu().numpy(), hits


def _fit_part(
    pairs: np.ndarray, X: Mapping[int, Tensor], classes: Mapping[int, _Class], fitting: Fitting
) -> np.ndarray:
    """Cells of held-out images that a fit to the other images gets right (Q, 2); NaN for a lone image."""
    hits = np.full((len(pairs), 2), np.nan)
    able = [row for row, (a, b) in enumerate(pairs.tolist()) if classes[a].held and classes[b].held]
    if able:
        train = {k: own[: classes[k].kept] for k, own in X.items()}
        test = {k: own[classes[k].kept :] for k, own in X.items()}
        hits[able] = _fit(pairs[able], train, test, fitting)[2]
    return hits


def _starts(pairs: np.ndarray, X: Mapping[int, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """``nn.Linear(c, 1)`` as PyTorch begins it, for each pair; drawn on the CPU whatever the device."""
    like = X[int(pairs[0, 0])]
    begun = [start(seed, a, b, like.shape[1]) for a, b in pairs.tolist()]
    W, b = (torch.from_numpy(np.stack(part)) for part in zip(*begun, strict=True))
    return W.to(like), b.to(like)


def _sides(pairs: np.ndarray, X: Mapping[int, Tensor]) -> list[_Side]:
    """The pairs (Q, 2), A and B, seen from each class in turn."""
    total = np.array([len(X[a]) + len(X[b]) for a, b in pairs.tolist()], np.float32)
    sides = []
    for k in np.unique(pairs).tolist():
        rows, column = np.nonzero(pairs == k)
        parts = (
            rows,
            column * len(pairs) + rows,
            (column == 0).astype(np.float32)[:, None],
            1 / total[rows, None],
        )
        sides.append(_Side(X[k], *(torch.from_numpy(part).to(X[k].device) for part in parts)))
    return sides


def _descend(sides: Sequence[_Side], W: Tensor, b: Tensor, fitting: Fitting) -> tuple[Tensor, Tensor]:
    """Gradient descent on all pairs in lock-step, in place."""
    G, g = W.new_empty(2 * len(W), W.shape[1]), b.new_empty(2 * len(b))

    def part(side: _Side) -> None:
        z = torch.addmm(b[side.rows, None], W[side.rows], side.X.T)
        R = torch.addcmul(-side.y * side.share, z.sigmoid_(), side.share)
        G.index_copy_(0, side.slots, R @ side.X)
        g.index_copy_(0, side.slots, R.sum(1))

    with _workers(sides) as each:
        for _ in range(fitting.epochs):
            each(part)
            for values, (of_a, of_b) in ((W, G.chunk(2)), (b, g.chunk(2))):
                values.sub_(of_a, alpha=fitting.lr).sub_(of_b, alpha=fitting.lr)
    return W, b


@contextmanager
def _workers(sides: Sequence[_Side]) -> Iterator[Callable[[Callable[[_Side], None]], object]]:
    """Calls a function for every side. On the CPU each thread has a class of its own.

    The products of one class are too small for several threads, which would wait for each other.
    """
    threads = torch.get_num_threads()
    if sides[0].X.device.type != "cpu" or not 1 < threads <= len(sides):
        yield lambda part: list(map(part, sides))
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda part: list(pool.map(part, sides))
    finally:
        torch.set_num_threads(threads)  # new threads take the last number set by any


def _accuracy(asked: np.ndarray, hits: np.ndarray, counts: Mapping[int, tuple[int, int]]) -> Accuracy:
    """From the right cells (P, 2), NaN where not measured, and each class's cells and images."""
    table = np.array([[counts[a], counts[b]] for a, b in asked.tolist()], np.int64)
    cells, images = np.where(np.isnan(hits)[:, :, None], 0, table).transpose(2, 0, 1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where not measured
        plain, chance = hits.sum(1) / cells.sum(1), cells.max(1) / cells.sum(1)
        return Accuracy(plain, (hits / cells).mean(1), chance, cells, images)
