"""What is told of single pictures of the planted world, judged against the truth.

Fresh pictures are explained, and each part of each is left out of the picture itself. A concept belongs to
a part where most of what it counts, over other pictures of the class, lies in cells that see the part. The
contributions of a part's concepts are what is *told* of it, and the fall of the class's logit when the
picture is drawn without it is what is *so*. The control tells the same of directions of nonsense, each in a
concept's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from whyclass.planted import nets, world
from whyclass.planted.world import PlantedPicture
from whyclass.records import ConceptBasis
from whyclass.settings import seed_of
from whyclass.study.context import Context
from whyclass.study.image_concepts import Held, held, images_at
from whyclass.study.image_tests import permuted
from whyclass.study.study import Study

STRIDE, FIELD = 8, 29
"""Pixels between cells of `world.LAYER`, and of those that each sees."""

SEES = 0.02
"""A cell sees a part that covers so much of what it sees, and more of it than any other part."""

MOST = 0.5
"""A concept belongs to a part where more than this part of what it counts lies in the part's cells."""

FIRST, JUDGING = 8_000_000, 9_000_000
"""Seeds of the pictures that are explained, and of those that concepts are judged by; no pool has them."""

DRAWS = 10
"""Of directions of nonsense in each concept's place."""

JUDGED = 12
"""Pictures of each class that concepts are judged by."""


class Told(NamedTuple):
    """How what is told agrees with what is so.

    Attributes
    ----------
    pictures
        How many were explained.
    first
        Share of them whose concept of the largest contribution belongs to a part that is there.
    parts
        How many parts were left out, one at a time, of all pictures.
    rank
        Spearman's rank correlation, over parts and pictures, of the told contributions and the falls.
    random
        The same of nonsense, mean of ``DRAWS``.
    """

    pictures: int
    first: float
    parts: int
    rank: float
    random: float


class Shortcut(NamedTuple):
    """Pictures of the class without the shortcut, with it added, that the model takes for its twin.

    ``named`` is the share whose concept that counts most for the twin against their class belongs to the
    shortcut; ``removed`` that whose smallest swap, back to their class, takes a concept of the shortcut out.
    """

    pictures: int
    named: float
    removed: float


@dataclass(frozen=True)
class _Class:
    """A planted class, its concepts, and the part that each belongs to; None for no part."""

    context: Context = field(repr=False)
    index: int
    basis: ConceptBasis = field(repr=False)
    parts: tuple[str | None, ...]


def trial(study: Study, pictures: int = 100) -> Told:
    """Explain fresh pictures of all classes that have parts, in turn, and leave out each of their parts."""
    classes = [k for k, planted in enumerate(world.CLASSES) if planted.parts]
    first, so, told = [], [], []
    for turn, index in enumerate(classes):
        one, count = _judged(study, index), len(range(turn, pictures, len(classes)))
        drawn = [world.planted_picture(index, FIRST + 1000 * index + i) for i in range(count)]
        sums = [_sums(one, basis, drawn) for basis in (one.basis, *_nonsense(one.basis))]
        best = [one.parts[int(k)] for k in sums[0].argmax(1)]
        first += [part in picture.masks for part, picture in zip(best, drawn, strict=True)]
        so.append(_falls(one, drawn))
        told.append(np.concatenate([_of_parts(one, sums, i, picture) for i, picture in enumerate(drawn)]))
    falls, columns = np.concatenate(so), np.concatenate(told).T
    ranks = [float(spearmanr(column, falls).statistic) for column in columns]
    return Told(len(first), float(np.mean(first)), len(falls), ranks[0], float(np.mean(ranks[1:])))


def _falls(one: _Class, drawn: Sequence[PlantedPicture]) -> np.ndarray:
    """How far the logit falls without each part of each picture in turn."""
    whole, found = _logits(one, drawn), []
    for i, picture in enumerate(drawn):
        seed = FIRST + 1000 * one.index + i
        without = [world.planted_picture(one.index, seed, leave_out=[part]) for part in picture.masks]
        found.append(whole[i] - _logits(one, without))
    return np.concatenate(found)


def _of_parts(one: _Class, sums: Sequence[np.ndarray], i: int, picture: PlantedPicture) -> np.ndarray:
    """What each of some sets of directions tells of each part of a picture, (parts, sets)."""
    owned = [[k for k, owner in enumerate(one.parts) if owner == part] for part in picture.masks]
    return np.array([[each[i, own].sum() for each in sums] for own in owned])


def shortcut(study: Study, pictures: int = 20) -> Shortcut:
    """Explain pictures of the twin without the shortcut, to which it is added."""
    twin, own = (world.class_index(name) for name in world.TWINS)
    one = _judged(study, twin)
    drawn = [world.planted_picture(own, FIRST + i, add=[world.SHORTCUT]).image for i in range(pictures)]
    found = [
        record
        for record in study.explain_images(drawn, against=own)
        if record.image.prediction.index == twin and record.swap is not None
    ]
    best = [max(record.target.concepts, key=lambda concept: concept.margin or 0.0).number for record in found]
    named = [one.parts[k] == world.SHORTCUT for k in best]
    gone = [
        any(one.parts[k] == world.SHORTCUT for k in record.swap.removed) for record in found if record.swap
    ]
    return Shortcut(len(found), float(np.mean(named)), float(np.mean(gone)))


def _judged(study: Study, index: int) -> _Class:
    """A class with the part that each of its concepts belongs to."""
    basis, context = study.basis(index), study.context()
    drawn = [world.planted_picture(index, JUDGING + 1000 * index + i) for i in range(JUDGED)]
    needs = world.CLASSES[index].needs
    counted = np.maximum(_counted(context, basis, drawn), 0)
    shares = np.zeros((len(needs), counted.shape[-1]))
    for cells, picture in zip(counted, drawn, strict=True):
        seen = areas(picture)
        shares += [(cells * seen[part][..., None]).sum((0, 1)) for part in needs]
    shares /= np.maximum(counted.sum((0, 1, 2)), 1e-12)
    parts = tuple(needs[int(column.argmax())] if column.max() > MOST else None for column in shares.T)
    return _Class(context, index, basis, parts)


def areas(picture: PlantedPicture) -> dict[str, np.ndarray]:
    """For each part of a picture the cells (12, 12), bool, that see it, and more of it than of any other."""
    masks = torch.from_numpy(np.stack(list(picture.masks.values()))).float()[:, None]
    share = F.avg_pool2d(masks, FIELD, STRIDE, FIELD // 2, count_include_pad=False)[:, 0].numpy()
    most = share.argmax(0)
    return {part: (most == i) & (share[i] > SEES) for i, part in enumerate(picture.masks)}


def _counted(context: Context, basis: ConceptBasis, drawn: Sequence[PlantedPicture]) -> np.ndarray:
    """What concepts count for the class in each cell of some pictures, shape (n, h, w, k)."""
    mine: Held = held(images_at(context, _tensors(drawn)), basis)
    return mine.contributions(mine.multipliers)


def _sums(one: _Class, basis: ConceptBasis, drawn: Sequence[PlantedPicture]) -> np.ndarray:
    return np.asarray(_counted(one.context, basis, drawn).sum((1, 2)))


def _nonsense(basis: ConceptBasis) -> list[ConceptBasis]:
    """The concepts with their channels in other orders."""
    generator = np.random.default_rng(seed_of("nonsense of a trial", 0, basis.target.name))
    others = np.stack([permuted(direction, DRAWS, generator) for direction in basis.vectors], 1)
    return [replace(basis, vectors=vectors) for vectors in others]


def _logits(one: _Class, drawn: Sequence[PlantedPicture]) -> np.ndarray:
    return images_at(one.context, _tensors(drawn)).logits[:, one.index]


def _tensors(drawn: Sequence[PlantedPicture]) -> Tensor:
    return nets.as_input([picture.image for picture in drawn])
