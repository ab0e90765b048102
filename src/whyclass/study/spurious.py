"""Which concepts of a class raise its score in images that are not of the class?

The images are those whose cells are nearest to the concept. What the concept does there is seen by taking it
out of their activations, against random directions of the same energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from whyclass.checks.statistics import log_odds, rank_p
from whyclass.concepts import nnls
from whyclass.pool.nearest_crops import Place, Query
from whyclass.records import ConceptBasis, SpuriousFeature, SpuriousFeatures
from whyclass.settings import plain, seed_of
from whyclass.study import searching
from whyclass.study.concept_basis import CROPS, seen
from whyclass.study.context import Context
from whyclass.study.crop_pictures import Pictures
from whyclass.study.image_concepts import finished
from whyclass.study.image_tests import less, less_as_much, part, permuted

IMAGES, DRAWS = 8, 19
"""Images that each concept is taken out of, and random directions, at most."""

SEARCHED = 8
"""Places that are searched for each of these images: several may lie in one."""

UNLABELLED = (
    "The pool's labels are of no class of the model: an image is taken to be without a class where the model "
    "predicts another, and a shortcut that it always follows stays unseen."
)


def spurious(
    context: Context, classes: Sequence[int], basis: Callable[[int], ConceptBasis]
) -> SpuriousFeatures:
    """The table over some classes."""
    labelled = bool((context.labels >= 0).any())
    found: list[SpuriousFeature] = []
    with context.progress.step("spurious features", len(classes)) as advance:
        for target in classes:
            found += _of_class(context, basis(target), _without(context, target))
            advance(1)
    return SpuriousFeatures(
        model=context.model_info(),
        pool=context.pool_info(),
        features=tuple(sorted(found, key=lambda one: (-one.raised, one.target.index, one.number))),
        labelled=labelled,
        draws=min(DRAWS, context.settings.controls),
        warnings=(*context.warnings, *([] if labelled else [UNLABELLED])),
        settings=plain(context.settings),
        versions=context.versions,
    )


def _without(context: Context, target: int) -> np.ndarray:
    """Mask (N,) of the images without a class: by their labels, or by predictions where these are unknown."""
    known = context.labels >= 0
    other = np.where(known, context.labels != target, ~context.index.counting(target))
    return np.asarray(context.index.usable & other)


def _of_class(context: Context, basis: ConceptBasis, mask: np.ndarray) -> list[SpuriousFeature]:
    query = Query(basis.vectors, {"without": mask}, context.clipped)
    (places,) = searching.nearest(context, [query], SEARCHED * IMAGES)
    chosen = [_distinct(nearest) for nearest in places["without"]]
    pictures = Pictures(context, [basis.target.index])
    return [_feature(context, basis, k, chosen[k], pictures) for k in range(len(chosen)) if chosen[k]]


def _distinct(nearest: Sequence[Place]) -> list[Place]:
    """The nearest place of each image, of the first few."""
    first: dict[int, Place] = {}
    for place in nearest:
        first.setdefault(place.position, place)
    return list(first.values())[:IMAGES]


def _feature(
    context: Context, basis: ConceptBasis, k: int, places: Sequence[Place], pictures: Pictures
) -> SpuriousFeature:
    target, signed = basis.target.index, context.split.signed
    images = torch.stack([pictures.sample(place.position).tensor for place in places])
    activations = context.activations(images)
    held = nnls.maps(seen(context, activations), basis.vectors)[..., k]
    n = min(DRAWS, context.settings.controls)
    generator = np.random.default_rng(seed_of("spurious", context.settings.seed, f"{target} {k}"))
    directions = permuted(basis.vectors[k], n, generator) if n else ()
    before, after, random = [], [], []
    for i in range(len(places)):
        A = torch.from_numpy(activations[i]).to(context.split.example)
        clean = less(A, part(held[i], basis.vectors[k]).to(A), signed)
        energy = float((A - clean).norm())
        others = [less_as_much(A, part(held[i], one).to(A), energy, signed) for one in directions]
        _, scores = finished(context, torch.stack([A, clean, *others]), images[i : i + 1])
        before.append(scores[0])
        after.append(scores[1])
        random.append(scores[0, target] - scores[2:, target])
    whole, taken, null = np.stack(before), np.stack(after), np.stack(random).mean(0)
    raised, task = float((whole - taken)[:, target].mean()), context.task
    return SpuriousFeature(
        target=context.prediction(target, whole[:, target].mean()),
        number=k,
        raised=raised,
        log_odds=float((log_odds(whole[:, target]) - log_odds(taken[:, target])).mean()),
        random=float(null.mean()) if n else 0.0,
        p=rank_p(raised, null),
        predicted=float(task.counts(whole, target).mean()),
        without=float(task.counts(taken, target).mean()),
        n=len(places),
        crops=tuple(pictures.crop(place) for place in places[:CROPS]),
    )
