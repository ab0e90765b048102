"""Many non-negative factorisations side by side, on one device.

The rounds are those of scikit-learn's coordinate descent, which `whyclass.concepts.nmf` runs one by one on
processors: one coordinate after the other, the rows of each together. Starts are drawn in the same way, from
other random numbers. ``python benchmarks/nmf_together.py`` compares both on random matrices.

Notation
--------
``X (V, m, c)``
    ``V`` matrices, shorter ones filled up with rows of zeros, which stay out of everything.
``W (V, S, k, m)``, ``H (V, S, k, c)``
    embeddings and concepts of ``S`` starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from whyclass.settings import Settings

LOOK = 10
"""Rounds between looks at how little a round still changes."""

TINY = 1e-30


def concepts(matrices: Sequence[Tensor], settings: Settings) -> list[np.ndarray]:
    """Concepts (k, c) of each matrix (m, c), of length 1, largest share first; those that are empty left out.

    Of the starts that which reconstructs best counts.
    """
    V, c = len(matrices), matrices[0].shape[1]
    X = matrices[0].new_zeros(V, max(map(len, matrices)), c)
    for own, matrix in zip(X, matrices, strict=True):
        own[: len(matrix)] = matrix / matrix.max().clamp_min(TINY)
    begun = [_begun(matrix / matrix.max().clamp_min(TINY), settings) for matrix in matrices]
    W = X.new_zeros(V, settings.starts, settings.concepts, X.shape[1])
    H = torch.stack([start for _, start in begun])
    for own, (start, _) in zip(W, begun, strict=True):
        own[:, :, : start.shape[-1]] = start
    _descend(X, W, H, settings)
    best = _errors(X, W, H).argmin(1)
    found = []
    for number, start in enumerate(best.tolist()):
        w, h = W[number, start].double(), H[number, start].double()
        length, mass = h.norm(dim=1), w.sum(1) * h.sum(1)
        order = [k for k in mass.argsort(descending=True).tolist() if mass[k] > 0 and length[k] > 0]
        found.append((h[order] / length[order, None]).float().cpu().numpy())
    return found


def _descend(X: Tensor, W: Tensor, H: Tensor, settings: Settings) -> None:
    """Rounds until each start changes little enough; those of a matrix that is done rest."""
    left, first = torch.arange(len(X), device=X.device), None
    x, w, h = X, W.clone(), H.clone()
    for number in range(settings.iterations):
        look = not number or number % LOOK == LOOK - 1
        change = _round(w, _products(h, x, 2), _gram(h), look) + _round(h, _products(w, x, 1), _gram(w), look)
        first = change if first is None else first
        if not look or not number:
            continue
        going = (change > settings.tolerance * first).any(1)
        if bool(going.all()):
            continue
        W[left], H[left] = w, h
        left, first = left[going], first[going]
        if not len(left):
            return
        x, w, h = X[left], W[left].contiguous(), H[left].contiguous()
    W[left], H[left] = w, h


def _products(of: Tensor, x: Tensor, dim: int) -> Tensor:
    """Of concepts (V, S, k, c) with cells, or of embeddings (V, S, k, m) with channels."""
    V, S, k, _ = of.shape
    found = torch.bmm(of.reshape(V, S * k, -1), x.transpose(1, 2) if dim == 2 else x)
    return found.view(V, S, k, -1)


def _gram(of: Tensor) -> Tensor:
    return of @ of.transpose(2, 3)


def _round(own: Tensor, products: Tensor, gram: Tensor, look: bool) -> Tensor:
    """Each coordinate of ``own`` (V, S, k, n) to its optimum; how far they were from it, (V, S), if asked."""
    far = own.new_zeros(own.shape[:2])
    for k in range(own.shape[2]):
        slope = (gram[:, :, k : k + 1] @ own)[:, :, 0] - products[:, :, k]
        mine, curve = own[:, :, k], gram[:, :, k, k, None].clamp_min(TINY)
        if look:
            far += torch.where(mine == 0, slope.clamp_max(0), slope).abs().sum(2)
        mine.sub_(slope / curve).clamp_min_(0)
    return far


def _errors(X: Tensor, W: Tensor, H: Tensor) -> Tensor:
    """Squared (V, S), but for what all starts share."""
    return ((_gram(W) * _gram(H)).sum((2, 3)) - 2 * (_products(H, X, 2) * W).sum((2, 3))).double()


def _begun(X: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Starts of one matrix (m, c): embeddings (S, k, m) and concepts (S, k, c)."""
    k, average = settings.concepts, X.mean()
    W, H = [], []
    if k <= min(X.shape):
        w, h = _singular(X, k, average)
        W.append(w)
        H.append(h)
    for start in range(len(W), settings.starts):
        generator = torch.Generator().manual_seed(1000 * settings.seed + start)
        scale = (average / k).sqrt()
        H.append(torch.randn(k, X.shape[1], generator=generator).abs().to(X) * scale)
        W.append(torch.randn(k, len(X), generator=generator).abs().to(X) * scale)
    return torch.stack(W), torch.stack(H)


def _singular(X: Tensor, k: int, average: Tensor) -> tuple[Tensor, Tensor]:
    """NNDSVDa (Boutsidis and Gallopoulos 2008): positive parts of singular vectors, zeros to the average."""
    torch.manual_seed(0)
    U, s, V = torch.svd_lowrank(X, k + 10, niter=4)
    W, H = X.new_zeros(k, len(X)), X.new_zeros(k, X.shape[1])
    for one in range(k):
        u, v = U[:, one], V[:, one]
        parts = [(u.clamp_min(0), v.clamp_min(0)), ((-u).clamp_min(0), (-v).clamp_min(0))]
        a, b = max(parts, key=lambda part: float(part[0].norm() * part[1].norm()))
        size = (s[one] * a.norm() * b.norm()).sqrt()
        W[one], H[one] = size * a / a.norm().clamp_min(TINY), size * b / b.norm().clamp_min(TINY)
    return W.where(W > 1e-6, average), H.where(H > 1e-6, average)


def main() -> None:
    """Both solvers on matrices that have six parts and noise: least cosine of the concepts, errors."""
    from whyclass.concepts import nmf

    settings = Settings(starts=3)
    rng = np.random.default_rng(0)
    for m in (300, 500):
        parts = rng.gamma(0.3, 1, (6, 200))
        plain = (rng.gamma(0.3, 1, (m, 6)) @ parts + rng.gamma(0.3, 0.3, (m, 200))).astype(np.float32)
        theirs = nmf.factorise(plain.T.reshape(1, 200, m, 1), np.ones((1, m, 1), np.float32), settings)
        ours = concepts([torch.from_numpy(plain), torch.from_numpy(plain[: m // 2])], settings)[0]
        print(m, "least cosine", (ours @ theirs.concepts.T).max(1).min())


if __name__ == "__main__":
    main()
