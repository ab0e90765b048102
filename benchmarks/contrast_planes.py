"""Every way to lay a plane, on the same cells and steps: accuracy, stability, shifting and its controls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from contrast_pools import Pair, Tried

from whyclass.checks import statistics
from whyclass.concepts.hyperplane_training import Fitting, hyperplanes
from whyclass.concepts.hyperplanes import Cells
from whyclass.concepts.planes import PLANES
from whyclass.models.tasks import scores_of
from whyclass.study import sweeps
from whyclass.study.contrast_tests import Attempt

RANDOM, OTHERS, ON = 20, 5, 4
"""Random directions and other pairs' directions at the step of each test, each on so many images."""

Row = dict[str, Any]


def rows(tried: Tried, pairs: Sequence[Pair], images: int) -> Iterator[tuple[Pair, list[Row]]]:
    """Of ordered pairs, planes of all fitted together."""
    laid = {name: hyperplanes(tried.cells, pairs, _fitting(tried, name)) for name in PLANES}
    halves = {name: _halves(tried, pairs, name) for name in PLANES}
    others = unit_normals(tried, tried.pairs)
    for number, (a, b) in enumerate(pairs):
        source, found = tried.own(b), []
        only = np.arange(images) if images < len(source.chosen) else None
        drawn = drawn_of(others, (a, b))
        for name, planes in laid.items():
            started = time.perf_counter()
            way = planes.weights[number], float(planes.biases[number]), float(planes.apart[number])
            attempt = Attempt(source, a, *way, only=only)
            moved, _ = sweeps.best_shift(attempt, False)
            at = moved.at if moved.first is None else moved.first
            found.append(
                {
                    "variant": name,
                    "training": float(planes.training.balanced[number]),
                    "held_out": float(planes.held_out.balanced[number]),
                    "halves": halves[name][number],
                    "default": float(attempt.before[:, a].mean()),
                    "shifted": moved.highest,
                    "at": moved.at,
                    "swapped": bool(moved.swapped),
                    "first": moved.first,
                    "unit": way[2],
                    "n": attempt.n,
                    **controls(attempt, at, drawn),
                    "seconds": time.perf_counter() - started,
                }
            )
        yield (a, b), found


def _fitting(tried: Tried, name: str, held_out: float = 0.2) -> Fitting:
    return Fitting(plane=name, held_out=held_out, device=tried.device, budget_bytes=4 << 30)


def _halves(tried: Tried, pairs: Sequence[Pair], name: str) -> list[float]:
    """Cosine of the normals of two fits to disjoint halves of the images, of each pair."""
    normals = []
    for half in (0, 1):
        part = {k: _half(tried.own(k).cells, k, half) for k in {k for pair in pairs for k in pair}}
        found = hyperplanes(part, pairs, _fitting(tried, name, 0.0)).weights.astype(np.float64)
        normals.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    return [float(one) for one in (normals[0] * normals[1]).sum(1)]


def _half(own: Cells, k: int, half: int) -> Cells:
    images = np.random.default_rng(k).permutation(np.unique(own.image))[half::2]
    kept = np.isin(own.image, images)
    return Cells(own.vectors[kept], own.image[kept])


def unit_normals(tried: Tried, pairs: Sequence[Pair]) -> dict[Pair, np.ndarray]:
    """Of all pairs' balanced planes."""
    found = hyperplanes(tried.cells, pairs, _fitting(tried, "balanced", 0.0)).weights
    return {pair: w / np.linalg.norm(w) for pair, w in zip(pairs, found, strict=True)}


def drawn_of(others: Mapping[Pair, np.ndarray], pair: Pair) -> np.ndarray:
    """Some of the normals of pairs that have no class in common with one, (n, c)."""
    able = [w for other, w in others.items() if not set(other) & set(pair)]
    generator = np.random.default_rng(pair)
    return np.array([able[i] for i in generator.permutation(len(able))[:OTHERS]])


def controls(attempt: Attempt, at: float, others: np.ndarray) -> Row:
    """Random directions, other pairs' and the reversed one, of the same length, at one step.

    Shares that swap, and mean scores.
    """
    generator, length = attempt.generator("random directions"), np.linalg.norm(attempt.step)
    random = statistics.random_directions(attempt.step, RANDOM, generator)
    told: Row = {}
    for name, directions in (
        ("random", np.asarray(random)),
        ("others", length * others),
        ("reversed", -attempt.step[None]),
    ):
        if not len(directions):
            continue
        scores = _moved(attempt, directions, at)
        told[f"{name} swaps"] = float((scores.argmax(1) == attempt.target).mean())
        told[f"{name} score"] = float(scores[:, attempt.target].mean())
        told[f"{name} highest"] = float(scores[:, attempt.target].max())
    return told


def _moved(attempt: Attempt, directions: np.ndarray, at: float) -> np.ndarray:
    """Mean scores (D, C) of a few images moved along each of some directions (D, c), all as one batch."""
    split, few = attempt.context.split, min(ON, attempt.n)
    rows = np.arange(len(directions) * few) % attempt.n
    w = torch.from_numpy(np.repeat(directions, few, 0).astype(np.float32)).to(split.example)
    x = torch.from_numpy(attempt.activations[rows]).to(split.example)
    with torch.no_grad():
        x = x.add_(w[:, :, None, None], alpha=at)
        output = split.head(x if split.signed else x.relu_(), attempt.images[rows].to(split.example))
    return scores_of(output, split.link).reshape(len(directions), few, -1).mean(1)
