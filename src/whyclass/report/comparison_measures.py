"""What methods are compared by: one row for each measure, with what it says, its source, and what is good."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyclass import intervals
from whyclass.plain_text import clean
from whyclass.records import Comparison, MethodResult
from whyclass.settings import seed_of


@dataclass(frozen=True)
class Measure:
    """A row of ``MEASURES``.

    Attributes
    ----------
    name, title
        In records and tables, and for people.
    better
        ``"high"`` or ``"low"``; empty where it ranks nothing.
    within
        What values can be; None where they have no bounds.
    meaning
        One sentence, with the source where it is the literature's.
    """

    name: str
    title: str
    better: str
    within: tuple[float, float] | None
    meaning: str


SHARE = (0.0, 1.0)

MEASURES: tuple[Measure, ...] = (
    Measure(
        "test_excluding",
        "second test",
        "high",
        SHARE,
        "The class's score for the best crops from images that are not predicted as the class, stitched.",
    ),
    Measure("passed_excluding", "passed", "high", SHARE, "Whether that is predicted as the class."),
    Measure("test_including", "first test", "high", SHARE, "The same with crops from all images."),
    Measure("passed_including", "passed first", "high", SHARE, "Whether that is predicted as the class."),
    Measure(
        "backing",
        "backing",
        "high",
        None,
        "Mean gain of the class's log-odds by each concept's crops among random crops, weighted by share.",
    ),
    Measure("p_random_crops", "p crops", "low", SHARE, "Rank of the score among draws of random crops."),
    Measure("p_random_cells", "p cells", "low", SHARE, "Rank of the backing among sets of random cells."),
    Measure(
        "p_shuffled_scores",
        "p shuffled",
        "low",
        SHARE,
        "Rank of the backing among concepts of shuffled scores.",
    ),
    Measure(
        "necessity",
        "necessity",
        "high",
        (-1.0, 1.0),
        "Mean loss of the class's score where one concept's crop is replaced by random ones.",
    ),
    Measure(
        "sufficiency",
        "sufficiency",
        "high",
        None,
        "Mean gain of the class's log-odds by one concept's crops among random crops.",
    ),
    Measure("needed", "needed", "high", SHARE, "Share of the concepts that the test needs."),
    Measure(
        "stability",
        "stability",
        "high",
        (-1.0, 1.0),
        "Mean cosine of the concepts with those found anew from halves of the images.",
    ),
    Measure("least_stability", "least", "high", (-1.0, 1.0), "The same with each concept's least cosine."),
    Measure("same_tests", "same end", "high", SHARE, "Share of halves whose tests end the same."),
    Measure(
        "redundancy",
        "redundancy",
        "",
        (-1.0, 1.0),
        "Mean cosine of each concept with the nearest other one. Near 1 the concepts say one thing several "
        "times, which is steady; controls can be low, so it is told and decides nothing.",
    ),
    Measure(
        "different_crops",
        "different crops",
        "",
        SHARE,
        "Different cells among the crops of the second test (of the first where there is no second), as a "
        "share of the concepts; decides nothing either.",
    ),
    Measure(
        "carried",
        "carried",
        "",
        None,
        "Share of the class's logit difference from the baseline that the concepts carry, by DeepLift's "
        "multipliers; 1 is all of it.",
    ),
    Measure(
        "carried_everywhere",
        "carried of all",
        "high",
        None,
        "1 - sum |y - y'| / sum |y| over images and classes: the class, its rivals and drawn ones.",
    ),
    Measure(
        "residual", "residual", "low", SHARE, "What the concepts leave of the activations, |A - A'| / |A|."
    ),
    Measure(
        "ice_error",
        "ICE error",
        "low",
        None,
        "|f(A) - f(A')| over |f(A)|, of the class's logit (Zhang et al. 2021, arXiv 2006.15417).",
    ),
    Measure("ice_agreement", "ICE argmax", "high", SHARE, "Share of images whose argmax stays (the same)."),
    Measure(
        "insertion",
        "C-insertion",
        "high",
        SHARE,
        "Area under the class's score while concepts come, by Sobol's total indices (Ghorbani et al. 2019, "
        "arXiv 1902.03129; Fel et al. 2023, arXiv 2211.10154).",
    ),
    Measure(
        "deletion",
        "C-deletion",
        "",
        SHARE,
        "The same while they go, nothing else being there. Low is called good, and nonsense is lowest: it is "
        "told and decides nothing.",
    ),
    Measure(
        "deletion_beside_rest",
        "C-deletion, rest kept",
        "",
        SHARE,
        "The same with what the concepts do not rebuild left in place; decides nothing either.",
    ),
    Measure(
        "surf_mae",
        "SURF MAE",
        "low",
        None,
        "Mean error of all classes' logits by a linear surrogate (arXiv 2504.10833), where only the mean "
        "over cells and a linear layer follow.",
    ),
    Measure("surf_emd", "SURF EMD", "low", SHARE, "Mean distance of the scores, half of sum |p - p'|."),
)
"""In the order of columns; what ranks comes first, what fits comes after."""

BY_NAME = {measure.name: measure for measure in MEASURES}

GROUPS: dict[str, tuple[str, ...]] = {
    "Tests with crops": ("test_excluding", "passed_excluding", "test_including", "backing"),
    "Each concept": ("necessity", "sufficiency"),
    "Whether they come again, and differ": ("stability", "same_tests", "redundancy", "different_crops"),
    "What they rebuild": ("carried", "carried_everywhere"),
    "Measures of the literature": (
        "ice_error",
        "ice_agreement",
        "insertion",
        "deletion",
        "deletion_beside_rest",
        "surf_mae",
        "surf_emd",
    ),
}
"""Measures that a page's tables show, in the order of their rows."""

SHORT = tuple(itertools.chain.from_iterable(GROUPS.values()))


@dataclass(frozen=True)
class Mean:
    """A measure's mean over ``n`` classes, and its 95 % interval where there are three or more."""

    n: int
    value: float
    low: float | None
    high: float | None


def mean_of(values: np.ndarray, measure: Measure) -> Mean:
    """Mean and interval of one measure's values (n,) over classes.

    What has no bounds is taken to have the least and the largest value seen.
    """
    within = measure.within or (float(values.min()), float(values.max()))
    drawn = np.random.default_rng(seed_of("interval", 0, measure.name))
    ends = intervals.interval(values, drawn, within)
    low, high = (None, None) if ends is None else (float(ends[0]), float(ends[1]))
    return Mean(len(values), float(values.mean()), low, high)


def numbers_of(result: MethodResult) -> dict[str, float]:
    """A result's measures, with those that follow from its concepts."""
    return result.measures | dict(_variety(result))


def redundancy(V: np.ndarray) -> float:
    """Mean over two or more rows (k, c) of length 1 of the cosine with the nearest other."""
    cosines = V.astype(np.float64) @ V.T
    np.fill_diagonal(cosines, -np.inf)
    return float(cosines.max(1).mean())


def _variety(result: MethodResult) -> Iterable[tuple[str, float]]:
    """How much the concepts differ, where there are several, and their best crops."""
    vectors = [concept.shown.vector for concept in result.concepts]
    if len(vectors) > 1:
        yield "redundancy", redundancy(np.stack(vectors))
    tests = result.prediction_test
    test = tests and (tests.excluding or tests.including)
    if vectors and test and test.distinct is not None:
        yield "different_crops", test.distinct / len(vectors)


def results_of(found: Comparison) -> Iterable[MethodResult]:
    """Every result, class by class."""
    return (result for one in found.classes for result in one.results)


def present(found: Comparison) -> list[Measure]:
    """The measures that any result has."""
    names = {name for one in results_of(found) for name in numbers_of(one)}
    return [measure for measure in MEASURES if measure.name in names]


def means(found: Comparison) -> dict[str, dict[str, Mean]]:
    """By method and measure, the mean over the classes that have it."""
    numbers = {
        method: [numbers_of(one) for one in results_of(found) if one.method == method]
        for method in found.methods
    }
    return {
        method: {
            measure.name: mean_of(np.array(values), measure)
            for measure in MEASURES
            if (values := [own[measure.name] for own in every if measure.name in own])
        }
        for method, every in numbers.items()
    }


def best(found: Comparison) -> dict[str, tuple[str, ...]]:
    """By measure that ranks, the methods with the best mean: several where they are equal."""
    told, winners = means(found), {}
    for measure in present(found):
        own = {method: row[measure.name].value for method, row in told.items() if measure.name in row}
        if measure.better and own:
            top = (max if measure.better == "high" else min)(own.values())
            winners[measure.name] = tuple(method for method, value in own.items() if abs(value - top) < TIE)
    return winners


TIE = 1e-6
"""Means that differ by less are equal."""


def columns(found: Comparison) -> dict[str, list[Any]]:
    """One list for each column, one entry for each class and method: what a frame is made of."""
    rows = [_row(found, result) for result in results_of(found)]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _row(found: Comparison, result: MethodResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": clean(found.model.name),
        "layer": clean(found.model.layer),
        "class_index": result.target.index,
        "class_name": clean(result.target.name),
        "method": clean(result.method),
        "concepts": len(result.concepts),
        "problem": clean(result.problem),
    }
    numbers = numbers_of(result)
    return row | {measure.name: numbers.get(measure.name) for measure in MEASURES}
