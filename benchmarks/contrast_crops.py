"""Prediction tests of what speaks for A against B, by what scores the cells and how crops are cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from contrast_pools import Pair, Tried
from torch import Tensor

from whyclass.checks import stitching
from whyclass.concepts.hyperplane_training import Fitting, hyperplanes
from whyclass.concepts.nmf import side_by_side
from whyclass.concepts.nmf_on_device import Given, factorise_all
from whyclass.concepts.nmf_on_device import tried as alone
from whyclass.errors import AttributionError
from whyclass.pool import nearest_crops
from whyclass.pool.nearest_crops import Place
from whyclass.study.contrast_scores import CONTRASTS
from whyclass.study.plane_trust import Plane
from whyclass.study.prediction_test_and_control import asked, masks_of

SCORED = (("paper", "plane"), ("balanced", "plane"), ("balanced", "attribution"), ("balanced", "both"))
"""What cells are scored by beside the class alone; attribution alone knows no plane."""

COUNTS, SIZES = (1, 2), (1, 2, 3)
"""Crops of each concept; their side, in compared cells."""

Row = dict[str, Any]
Sought = tuple[Pair, str, np.ndarray]
"""A pair, a variant, and the variant's concepts (k, c) for A against B."""


def rows(tried: Tried, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, list[Row]]]:
    """Of ordered pairs: all factorised together, searched in one pass, and tested in batches."""
    sought = _sought(tried, pairs)
    masks = {(a, b): masks_of(tried.context, a, [b]) for a, b in pairs}
    queries = [nearest_crops.Query(concepts, masks[pair]) for pair, _, concepts in sought]
    places = nearest_crops.nearest(tried.context.index, queries, max(COUNTS))
    tried.read([one.position for found in places for k in found.values() for near in k for one in near])
    told: dict[Pair, list[Row]] = {pair: [] for pair in pairs}
    for count, size in itertools.product(COUNTS, SIZES):
        asked_for = [
            (number, name, [one for near in found[name] for one in near[:count]])
            for number, found in enumerate(places)
            for name in found
        ]
        scores = _tested(tried, [best for _, _, best in asked_for], size)
        made: dict[int, Row] = {}
        for (number, name, _), test in zip(asked_for, scores, strict=True):
            pair, variant, _ = sought[number]
            own = made.setdefault(number, {"variant": variant, "count": count, "size": size, "predicted": []})
            own[name], own[f"{name}, other"] = float(test[pair[0]]), float(test[pair[1]])
            own["predicted"] += [name] if tried.context.task.counts(test, pair[0]) else []
            own[f"{name} winner"] = int(test.argmax())
        for number, row in made.items():
            told[sought[number][0]].append(row)
    yield from told.items()


def _sought(tried: Tried, pairs: Sequence[Pair]) -> list[Sought]:
    names = dict.fromkeys(plane for plane, _ in SCORED)
    laid = {
        name: hyperplanes(
            tried.cells, pairs, Fitting(plane=name, held_out=0.0, device=tried.device, budget_bytes=4 << 30)
        )
        for name in names
    }
    keys: list[tuple[Pair, str]] = []
    given: list[Given] = []
    for number, (a, b) in enumerate(pairs):
        own = tried.own(a)
        scored = {"alone": own.evidence.scores}
        for name, by in SCORED:
            plane = Plane(laid[name].weights[number], float(laid[name].biases[number]), None)
            variant = by if by == "attribution" else f"{name}, {by}"
            scored[variant] = CONTRASTS[by].scores(own, b, plane)
        for variant, scores in scored.items():
            if (scores > 0).any():
                keys.append(((a, b), variant))
                given.append(Given(own.activations, np.ascontiguousarray(scores), tried.context.settings))
    found = factorise_all(given, tried.device) if tried.device.type == "cuda" else side_by_side(alone, given)
    made = zip(keys, found, strict=True)
    return [(*key, one.concepts) for key, one in made if not isinstance(one, AttributionError)]


def _tested(tried: Tried, sets: Sequence[Sequence[Place]], size: int) -> np.ndarray:
    """Scores (n, C) of the test images of sets of places, those of one number of crops in batches."""
    context = tried.context
    found = np.empty((len(sets), context.task.columns))
    numbers = np.array([len(one) for one in sets])
    for number in np.unique(numbers).tolist():
        mine = np.flatnonzero(numbers == number)
        pieces = [[_piece(tried, place, size) for place in sets[one]] for one in mine.tolist()]
        how = context.preprocessing.crop, "stacked", context.split.link
        found[mine] = stitching.scores_of_sets(asked(context), pieces, *how)
    return found


def _piece(tried: Tried, place: Place, size: int) -> Tensor:
    """The crop at a place, so many times as wide and high around the same middle, moved inside the image."""
    image = tried.pixels[place.position]
    left, top, right, bottom = place.box(tried.context.crops, (image.shape[1], image.shape[2]))
    height, width = min(size * (bottom - top), image.shape[1]), min(size * (right - left), image.shape[2])
    y = min(max(0, (top + bottom - height) // 2), image.shape[1] - height)
    x = min(max(0, (left + right - width) // 2), image.shape[2] - width)
    return image[:, y : y + height, x : x + width]
