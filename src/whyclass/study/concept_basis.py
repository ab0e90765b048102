"""A class's concepts made ready to be looked for in images: how much is usual, and what each looks like."""

from __future__ import annotations

import numpy as np

from whyclass.concepts import nnls
from whyclass.pool.nearest_crops import Query
from whyclass.records import ConceptBasis
from whyclass.settings import plain
from whyclass.study import searching
from whyclass.study.class_evidence import ClassEvidence
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures

CROPS = 4
"""Nearest crops that are kept of each concept."""


def basis_of(own: ClassEvidence) -> ConceptBasis:
    """The basis of a class, made from its concepts and its images."""
    context, factors = own.context, own.factors
    held = nnls.maps(seen(context, own.activations), factors.concepts)
    sums = held.sum((1, 2))
    middling = np.argsort(sums, axis=0, kind="stable")[len(sums) // 2]
    typical = np.stack([held[image, :, :, k] for k, image in enumerate(middling)])
    query = Query(factors.concepts, {"including": context.index.usable}, context.clipped)
    with context.progress.step("crops", len(context.index.items)) as advance:
        count = min(CROPS, context.settings.crops)
        (places,) = searching.nearest(context, [query], count, advance)
    pictures = Pictures(context, [own.target])
    return ConceptBasis(
        model=context.model_info(),
        pool=context.pool_info(),
        target=context.prediction(own.target, own.score),
        vectors=factors.concepts,
        shares=np.asarray(factors.shares),
        typical=typical,
        largest=held.max((0, 1, 2)),
        reference=context.activations(context.preprocessing.constant(context.settings.baseline))[0],
        crops=tuple(tuple(pictures.crop(place) for place in nearest) for nearest in places["including"]),
        settings=plain(context.settings),
        versions=context.versions,
    )


def seen(context: Context, activations: np.ndarray) -> np.ndarray:
    """Activations (n, c, h, w) as the concepts know them: the positive part where others are cut."""
    return np.maximum(activations, 0) if context.clipped else activations
