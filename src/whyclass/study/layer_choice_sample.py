"""On which classes and images the layers of a choice are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whyclass.errors import ClassError
from whyclass.pool.images import Pool
from whyclass.settings import seed_of
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context

ENOUGH = 10
"""A class is drawn among those predicted for so many images, where there are that many classes."""


def classes_of(context: Context, count: int) -> list[int]:
    """Classes drawn with the seed among those predicted for ``ENOUGH`` images, else the most predicted.

    Raises
    ------
    ClassError
        If no image of the pool shows anything but a segmentation net's background.
    """
    found = np.array([k for k in context.classes() if k != context.task.background])
    if not found.size:
        raise ClassError(
            "no image of the pool shows a class but the background; needed are images that show others, or "
            "name the classes"
        )
    counts = np.array([context.index.counting(k).sum() for k in found.tolist()])
    enough = found[counts >= ENOUGH].tolist()
    if len(enough) < count:
        return sorted(found[np.argsort(-counts, kind="stable")[:count]].tolist())
    return sorted(sorted(enough, key=lambda k: seed_of("classes", context.settings.seed, str(k)))[:count])


def sample_of(context: Context, classes: Sequence[int], most: int) -> Pool:
    """The images that the classes are explained by, filled up with others drawn with the seed."""
    index, pool = context.index, context.pool
    if len(pool.items) <= most:
        return pool
    own = {int(p) for k in classes for p in evidence_of(context, k).chosen}
    lots = [seed_of("sample", context.settings.seed, item.digest) for item in pool.items]
    others = [p for p in np.argsort(lots, kind="stable").tolist() if index.usable[p] and p not in own]
    kept = sorted([*own, *others[: max(0, most - len(own))]])
    return replace(
        pool,
        name=f"{len(kept)} images of {pool.name}",
        items=tuple(pool.items[p] for p in kept),
        read=lambda position: pool.read(kept[position]),
        kept=None,
        ranges=None,
    )
