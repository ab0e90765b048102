"""Concepts judged against the planted truth: which parts were found, which were invented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whyclass.errors import SettingsError
from whyclass.planted import world
from whyclass.planted.parts import PARTS
from whyclass.records import Crop, Explanation, Spot

SHOWN = 0.25
"""A crop shows a part when the part covers so much of it."""

DRAWS = 1000
"""Draws of each control."""

QUANTILE = 0.975
"""Of the control, which a finding has to exceed."""


Truth = Mapping[str, Mapping[str, np.ndarray]]
"""Masks (height, width), bool, by path in the pool and name of the part."""


@dataclass(frozen=True)
class Finding:
    """Whether an explanation of a class points to a part.

    Attributes
    ----------
    part
        Name of the part.
    planted
        Whether the part belongs to the class, as its own or as its shortcut.
    concept
        Position in ``Explanation.concepts`` of the concept that points to it best.
    overlap, overlap_control
        Share of the concept's heat on the part, 0 to 1, and what it has to exceed.
    crops, crops_control
        How many of the concept's nearest crops show the part, and what it has to exceed.
    found
        Whether both exceed their control.
    """

    part: str
    planted: bool
    concept: int
    overlap: float
    overlap_control: float
    crops: int
    crops_control: float
    found: bool


def judge(explanation: Explanation, truth: Truth, seed: int = 0) -> tuple[Finding, ...]:
    """Compare an explanation of a planted class with the truth, part by part.

    Parameters
    ----------
    explanation
        Of a planted class; at least two of its images must be kept with heat maps.
    truth
        Masks of every image of the pool.
    seed
        Of the controls.

    Returns
    -------
    tuple of Finding
        One for each part in `whyclass.planted.parts.PARTS`, in that order. A part that the pictures do not
        show has no heat on it and cannot be found.

    Raises
    ------
    SettingsError
        If fewer than two images are kept.
    """
    if len(explanation.images) < 2:
        raise SettingsError(
            f"the explanation keeps {len(explanation.images)} images with heat maps, and two or more are "
            "needed to compare; explain with settings that have examples=12"
        )
    heat = np.stack([[found.values for found in concept.heat_maps] for concept in explanation.concepts])
    paths = [image.image.path for image in explanation.images]
    crops = [concept.including for concept in explanation.concepts]
    return judge_shown(Shown(explanation.target.index, paths, heat, crops), truth, seed)


@dataclass(frozen=True)
class Shown:
    """What is judged of a class's concepts, whoever found them.

    ``heat`` (k, n, h, w) lies on the pictures of these ``paths``; ``crops`` are each concept's nearest.
    """

    target: int
    paths: Sequence[str]
    heat: np.ndarray
    crops: Sequence[Sequence[Crop | Spot]]


def judge_shown(shown: Shown, truth: Truth, seed: int = 0) -> tuple[Finding, ...]:
    """As `judge`."""
    heat, pictures = shown.heat, [truth[path] for path in shown.paths]
    needs = world.CLASSES[shown.target].needs
    findings = []
    for number, part in enumerate(PARTS):
        rng = np.random.default_rng([seed, shown.target, number])
        masks = np.stack([_cells(picture.get(part.name), heat.shape[2:]) for picture in pictures])
        on_part = overlap(heat, masks), heat_control(heat, masks, rng)
        showing = _showing(part.name, shown.crops, truth, rng)
        findings.append(_finding(part.name, part.name in needs, on_part, showing))
    return tuple(findings)


def overlap(heat: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share (k,) of each concept's heat (k, n, h, w) inside the masks (n, h, w), all pictures together."""
    total = heat.sum((1, 2, 3))
    inside = np.einsum("knhw,nhw->k", heat, masks.astype(heat.dtype))
    shares: np.ndarray = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
    return shares


def heat_control(heat: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> float:
    """What the best concept's `overlap` has to exceed: the same with every mask on another picture."""
    total = np.maximum(heat.sum((1, 2, 3)), np.finfo(float).tiny)
    pairs = np.einsum("knhw,mhw->knm", heat, masks.astype(heat.dtype)) / total[:, None, None]
    best = [pairs[:, order, np.roll(order, 1)].sum(1).max() for order in _orders(len(masks), rng)]
    return float(np.quantile(best, QUANTILE))


def _orders(n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random orders; each picture takes the mask of the one before it, so none keeps its own."""
    return (rng.permutation(n) for _ in range(DRAWS))


def _finding(
    part: str, planted: bool, heat: tuple[np.ndarray, float], crops: tuple[np.ndarray, float]
) -> Finding:
    """Of the concepts that exceed both controls, or else of all, the one with most heat on the part."""
    exceeds = (heat[0] > heat[1]) & (crops[0] > crops[1])
    best = max(range(len(exceeds)), key=lambda concept: (exceeds[concept], heat[0][concept]))
    return Finding(
        part=part,
        planted=planted,
        concept=best,
        overlap=float(heat[0][best]),
        overlap_control=heat[1],
        crops=int(crops[0][best]),
        crops_control=crops[1],
        found=bool(exceeds[best]),
    )


def _cells(mask: np.ndarray | None, grid: tuple[int, ...]) -> np.ndarray:
    """The cells that a part touches (h, w), bool; none where it is not in the picture."""
    if mask is None:
        return np.zeros(grid, dtype=bool)
    rows, columns = (size // cells for size, cells in zip(mask.shape, grid, strict=True))
    return np.asarray(mask.reshape(grid[0], rows, grid[1], columns).any((1, 3)))


def _showing(
    part: str, crops: Sequence[Sequence[Crop | Spot]], truth: Truth, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """How many of each concept's crops show the part, and what the best has to exceed."""
    first = crops[0]
    side = first[0].box[2] - first[0].box[0]
    shown = {path: _shown(masks[part], side) for path, masks in truth.items() if part in masks}
    counts = [sum(_shows(crop, shown) for crop in nearest) for nearest in crops]
    chance = sum(float(cells.mean()) for cells in shown.values()) / len(truth)
    draws = rng.binomial(len(first), chance, (DRAWS, len(crops)))
    return np.array(counts), float(np.quantile(draws.max(1), QUANTILE))


def _shown(mask: np.ndarray, side: int) -> np.ndarray:
    """Which crops of a picture, cut into squares, show the part (rows, columns), bool."""
    grid = world.SIZE // side
    return np.asarray(mask.reshape(grid, side, grid, side).mean((1, 3)) >= SHOWN)


def _shows(crop: Crop | Spot, shown: Mapping[str, np.ndarray]) -> bool:
    left, top, right, bottom = crop.box
    cells = shown.get(crop.image.path)
    return cells is not None and bool(cells[top // (bottom - top), left // (right - left)])
