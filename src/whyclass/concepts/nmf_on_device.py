"""Factorisations of `nmf` on a card: many matrices and all their starts at once.

The algorithm is scikit-learn's: coordinate descent over the columns of ``W`` and then over those of ``H``,
from the same starts, until the projected gradient falls to a part of the first round's (Cichocki and Phan
2009; Hsieh and Dhillon 2011 for the rule to stop). One matrix keeps a card waiting for the next order most
of the time, so matrices are filled up with empty rows to one height and taken side by side, each frozen
where it would have stopped alone. Products do not depend on what stands beside them as long as their shape
is the same: there are always equally many, empty ones among them.

Notation
--------
``X (b, m, c)``
    matrices, side by side; ``s`` starts of each.
``W (b, s, k, m)``, ``H (b, s, k, c)``
    embeddings and concepts: ``X ~ W^T H`` for each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whyclass.concepts import nmf
from whyclass.errors import AttributionError
from whyclass.exact_products import exact_products
from whyclass.records import Factors
from whyclass.settings import Settings, seed_of

TOGETHER = 64
"""Starts taken side by side at most."""

SHARE = 8
"""Of a card's memory one part of so many may be of matrices."""

ASKED = 10
"""Rounds between two looks at whether all have converged: each look waits for the card."""

ROUNDS, SPARE = 8, 10
"""Rounds of the subspace iteration that begins the first start, and directions beyond the concepts."""


@dataclass(frozen=True)
class Given:
    """What is to be factorised: activations (n, c, h, w), scores (n, h, w) of their cells, and how.

    Cells without a score above zero are left out; scores of whole images may be zero. ``signed`` says whether
    activations can be negative.
    """

    activations: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    settings: Settings
    signed: bool = False

    @property
    def halved(self) -> bool:
        """Whether positive and negative parts are channels of their own."""
        return self.signed and self.settings.signed == "split"


def factorise_on(device: torch.device, one: Given) -> Factors:
    """Factorise one, on a card or the processor; raises as `nmf.factorise`."""
    if device.type != "cuda":
        return nmf.factorise(one.activations, one.scores, one.settings)
    (found,) = factorise_all([one], device)
    if isinstance(found, AttributionError):
        raise found
    return found


def factorise_all(every: Sequence[Given], device: torch.device) -> list[Factors | AttributionError]:
    """Factorise each as `nmf.factorise` does, on a device; what cannot be factorised gives its error.

    Semi-NMF is left to the processor.
    """
    found: list[Factors | AttributionError | None] = [None] * len(every)
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, one in enumerate(every):
        if one.signed and one.settings.signed == "semi":
            found[number] = tried(one)
        elif not (one.scores > 0).any():
            found[number] = AttributionError(nmf.NOTHING_SPEAKS)
        else:
            alike.setdefault(_kind(one), []).append(number)
    with exact_products(), torch.no_grad():
        for numbers in alike.values():
            for some in _blocks(numbers, every, device):
                for number, made in zip(some, _together([every[i] for i in some], device), strict=True):
                    found[number] = made
    return [one for one in found if one is not None]


def tried(one: Given, threads: int | None = None) -> Factors | AttributionError:
    """`nmf.factorise`, on the processor, or why it cannot be done."""
    try:
        return nmf.factorise(one.activations, one.scores, one.settings, threads)
    except AttributionError as error:
        return error


def _kind(one: Given) -> tuple[object, ...]:
    """What matrices that are taken side by side have in common."""
    s, (_, c, h, w) = one.settings, one.activations.shape
    return (_images(one), c, h, w, one.halved, s.concepts, s.starts, s.iterations, s.tolerance)


def _images(one: Given) -> int:
    """For how many images there are rows: classes of fewer are filled up, so that they stand side by side."""
    return 1 << (len(one.activations) - 1).bit_length()


def _blocks(numbers: Sequence[int], every: Sequence[Given], device: torch.device) -> Iterator[Sequence[int]]:
    """As many as are taken side by side."""
    size = _size(every[numbers[0]], device)
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _size(one: Given, device: torch.device) -> int:
    """How many matrices of a kind are taken together, however many there are."""
    size = max(1, TOGETHER // one.settings.starts)
    if device.type != "cuda":
        return size
    each = 4 * _images(one) * one.activations[0].size * (2 if one.halved else 1)
    memory = torch.cuda.get_device_properties(device).total_memory // SHARE
    return int(max(1, min(size, memory // each)))


def _together(some: Sequence[Given], device: torch.device) -> list[Factors | AttributionError]:
    """Factorise matrices of one kind."""
    settings, size = some[0].settings, _size(some[0], device)
    X = _matrices(some, size, device)
    kept = [np.flatnonzero(one.scores.reshape(-1) > 0) for one in some]
    W, H = _begun(X, some, kept)
    W, H, converged = _descended(X, W, H, settings)
    error = _errors(X, W, H)
    return [
        _factors(one, rows, _Best.of(error[i], W[i], H[i], converged[i]), float(X[i].norm()))
        for i, (one, rows) in enumerate(zip(some, kept, strict=True))
    ]


def _matrices(some: Sequence[Given], size: int, device: torch.device) -> Tensor:
    """Cells times their scores, the largest number of each matrix 1; filled up to ``size`` matrices."""
    there: dict[int, Tensor] = {}  # several matrices are of the same activations
    _, c, h, w = some[0].activations.shape
    X = torch.zeros(size, _images(some[0]) * h * w, c * (2 if some[0].halved else 1), device=device)
    for whole, one in zip(X, some, strict=False):
        row = whole[: one.scores.size]
        if id(one.activations) not in there:
            found = torch.from_numpy(np.ascontiguousarray(one.activations)).to(device)
            there[id(one.activations)] = found.flatten(2).transpose(1, 2).reshape(-1, c)
        weights = torch.from_numpy(np.maximum(one.scores, 0).reshape(-1, 1)).to(device)
        scored = there[id(one.activations)] * weights
        if one.halved:
            torch.cat([scored.clamp(min=0), (-scored).clamp(min=0)], 1, out=row)
        else:
            torch.clamp(scored, min=0, out=row)  # `clip`, or nothing to clip
    return X.div_(X.amax((1, 2), keepdim=True).clamp(min=torch.finfo(X.dtype).tiny))


# ---------------------------------------------------------------- starts


def _begun(X: Tensor, some: Sequence[Given], kept: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Where the starts begin: the first of singular vectors, the others at random, as scikit-learn's do."""
    settings = some[0].settings
    k, starts, (size, m, c) = settings.concepts, settings.starts, X.shape
    W = np.zeros((size, starts, k, m), np.float32)
    H = np.zeros((size, starts, k, c), np.float32)
    sums = X.double().sum((1, 2)).cpu().numpy()
    able = [i for i, rows in enumerate(kept) if k <= min(len(rows), c)]
    for i, (one, rows) in enumerate(zip(some, kept, strict=True)):
        mean = sums[i] / (len(rows) * c)
        for start in range(int(i in able), starts):
            W[i, start][:, rows], H[i, start] = _random(len(rows), c, mean, one.settings, start)
    begun = torch.from_numpy(W).to(X), torch.from_numpy(H).to(X)
    if able:
        for whole, firsts in zip(begun, _singular(X, k, [sums[i] for i in able], able, kept), strict=True):
            whole[able, 0] = firsts
    return begun


def _random(m: int, c: int, mean: float, settings: Settings, start: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(seed_of("nmf", settings.seed, str(start)) % 2**32)
    scale = np.sqrt(mean / settings.concepts)
    H = scale * random.standard_normal(size=(settings.concepts, c)).astype(np.float32)
    W = scale * random.standard_normal(size=(m, settings.concepts)).astype(np.float32)
    return np.abs(W).T, np.abs(H)


def _singular(
    X: Tensor, k: int, sums: Sequence[float], able: Sequence[int], kept: Sequence[np.ndarray]
) -> tuple[Tensor, Tensor]:
    """Non-negative parts of the leading singular vectors, zeros filled with the mean (Boutsidis 2008)."""
    values, U, V = _leading(X, k)
    W, H = U.new_zeros(U.shape), V.new_zeros(V.shape)
    for j in range(k):
        u, v = U[:, j], V[:, j]
        if j == 0:
            W[:, 0], H[:, 0] = u.abs(), v.abs()
            continue
        sides = [(side(u), side(v)) for side in (lambda x: x.clamp(min=0), lambda x: (-x).clamp(min=0))]
        lengths = [a.norm(dim=1) * b.norm(dim=1) for a, b in sides]
        mine = (lengths[0] > lengths[1])[:, None]
        a, b = (torch.where(mine, sides[0][i], sides[1][i]) for i in range(2))
        weight = torch.maximum(lengths[0], lengths[1]).sqrt()[:, None]
        W[:, j] = weight * a / a.norm(dim=1, keepdim=True).clamp(min=1e-30)
        H[:, j] = weight * b / b.norm(dim=1, keepdim=True).clamp(min=1e-30)
    W, H = W[able] * values[able, :k, None].sqrt(), H[able] * values[able, :k, None].sqrt()
    W, H = W.float(), H.float()
    for i, (number, total) in enumerate(zip(able, sums, strict=True)):
        rows = torch.from_numpy(kept[number]).to(X.device)
        mean, inside = total / (len(rows) * X.shape[2]), torch.zeros(X.shape[1], dtype=torch.bool)
        inside = inside.to(X.device).index_fill_(0, rows, True)
        W[i] = torch.where((W[i] < 1e-6) & inside, mean, torch.where(W[i] < 1e-6, 0, W[i]))
        H[i] = torch.where(H[i] < 1e-6, mean, H[i])
    return W, H


def _leading(X: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``k`` largest singular values (b, k), and their left (b, k, m) and right (b, k, c) vectors."""
    size, m, c = X.shape
    gram = (X.transpose(1, 2) @ X).double()
    width = min(k + SPARE, c, m)
    begin = np.random.RandomState(0).standard_normal((c, width))
    Q = torch.from_numpy(begin).to(gram).expand(size, -1, -1)
    for _ in range(ROUNDS):
        Q = _orthonormal(gram @ Q)
    values, turns = torch.linalg.eigh(Q.transpose(1, 2) @ gram @ Q)
    order = torch.arange(width - 1, width - 1 - k, -1, device=X.device)
    V = (Q @ turns).transpose(1, 2)[:, order]
    values = values[:, order].clamp(min=0).sqrt()
    U = (X.double() @ V.transpose(1, 2)).transpose(1, 2)
    return values, U / values.clamp(min=1e-30)[..., None], V


def _orthonormal(Y: Tensor) -> Tensor:
    """An orthonormal basis of the columns (b, c, q): Cholesky's factor, twice, which is fast for many."""
    for _ in range(2):
        gram = Y.transpose(1, 2) @ Y
        trace = gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-30)
        eye = torch.eye(Y.shape[2], dtype=Y.dtype, device=Y.device)
        factor = torch.linalg.cholesky(gram + 1e-13 * trace[:, None, None] * eye)
        Y = torch.linalg.solve_triangular(factor, Y.transpose(1, 2), upper=False).transpose(1, 2)
    return Y


# ---------------------------------------------------------------- descent


class _Rounds:
    """Matrices with their factors, and what one round of descent does to them; nothing is made anew in it."""

    def __init__(self, X: Tensor, W: Tensor, H: Tensor, tolerance: float) -> None:
        self.X, self.Xt, self.W, self.H, self.tolerance = X, X.transpose(1, 2), W, H, tolerance
        self.first = W.new_zeros(W.shape[:2])
        self.done = torch.zeros(W.shape[:2], dtype=torch.bool, device=W.device)
        self.begun = torch.zeros((), dtype=torch.bool, device=W.device)

    def round(self) -> None:
        """Descend along each column once; what is done stays as it is."""
        size, starts, k, m = self.W.shape
        W, H = self.W.clone(), self.H.clone()
        product = (self.H.reshape(size, starts * k, -1) @ self.Xt).view(size, starts, k, m)
        violation = _descend(W, H @ H.transpose(2, 3), product)
        product = (W.view(size, starts * k, m) @ self.X).view(size, starts, k, -1)
        violation += _descend(H, W @ W.transpose(2, 3), product)
        frozen = self.done[..., None, None]
        torch.where(frozen, self.W, W, out=self.W)
        torch.where(frozen, self.H, H, out=self.H)
        self.first.copy_(torch.where(self.begun, self.first, violation))
        self.done |= violation <= self.tolerance * self.first
        self.begun.fill_(True)


def _descend(W: Tensor, gram: Tensor, product: Tensor) -> Tensor:
    """Update the rows (b, s, k, m) of a factor in turn; the projected gradient's sum (b, s) before."""
    violation = W.new_zeros(W.shape[:2])
    for j in range(W.shape[2]):
        gradient = (gram[:, :, j : j + 1] @ W).squeeze(2) - product[:, :, j]
        row, curvature = W[:, :, j], gram[:, :, j, j, None]
        projected = torch.where(row == 0, gradient.clamp(max=0), gradient)
        violation += projected.abs().sum(2)
        step = torch.where(curvature == 0, 0, gradient / curvature)
        W[:, :, j] = (row - step).clamp(min=0)
    return violation


def _descended(X: Tensor, W: Tensor, H: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Factors after so many rounds as each takes, and (b, s) whether it converged before the last one."""
    rounds = _Rounds(X, W.contiguous(), H.contiguous(), settings.tolerance)
    again = _replayed(rounds)
    for number in range(1, settings.iterations):  # of the last round scikit-learn does not ask either
        again()
        if number % ASKED == 0 and bool(rounds.done.all()):
            break
    converged = rounds.done.clone()
    again()
    return rounds.W, rounds.H, converged


def _replayed(rounds: _Rounds) -> Callable[[], None]:
    """A round as one order to the card, where it takes such (CUDA graphs); else as it is."""
    if rounds.X.device.type != "cuda":
        return rounds.round
    state = [one.clone() for one in (rounds.W, rounds.H, rounds.first, rounds.done, rounds.begun)]
    aside = torch.cuda.Stream(rounds.X.device)
    aside.wait_stream(torch.cuda.current_stream(rounds.X.device))
    with torch.cuda.stream(aside):  # libraries set themselves up outside a graph
        rounds.round()
    torch.cuda.current_stream(rounds.X.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            rounds.round()
        again: Callable[[], None] = graph.replay
    except RuntimeError:  # an operation that no graph takes
        again = rounds.round
    now = (rounds.W, rounds.H, rounds.first, rounds.done, rounds.begun)
    for one, before in zip(now, state, strict=True):
        one.copy_(before)
    return again


# ---------------------------------------------------------------- what comes of it


def _errors(X: Tensor, W: Tensor, H: Tensor) -> Tensor:
    """Norms (b, s) of what each start leaves."""
    found = [
        [torch.linalg.vector_norm(x - w.T @ h) for w, h in zip(ws, hs, strict=True)]
        for x, ws, hs in zip(X, W, H, strict=True)
    ]
    return torch.stack([torch.stack(one) for one in found])


@dataclass(frozen=True)
class _Best:
    """The best start of a matrix: its error, W (k, m), H (k, c), and whether it converged."""

    error: float
    W: np.ndarray = field(repr=False)
    H: np.ndarray = field(repr=False)
    converged: bool

    @classmethod
    def of(cls, errors: Tensor, W: Tensor, H: Tensor, converged: Tensor) -> _Best:
        """Of several starts; of equally good ones the first."""
        best = int(errors.cpu().numpy().argmin())
        return cls(float(errors[best]), W[best].cpu().numpy(), H[best].cpu().numpy(), bool(converged[best]))


def _factors(one: Given, rows: np.ndarray, best: _Best, length: float) -> Factors | AttributionError:
    residual = best.error / max(length, float(np.finfo(float).tiny))
    W = np.ascontiguousarray(best.W.T[rows])
    try:
        return nmf.as_factors((W, best.H), rows, one.activations.shape, residual, best.converged)
    except AttributionError as error:
        return error
