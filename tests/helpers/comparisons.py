"""A made-up comparison of three methods on one class."""

from __future__ import annotations

import numpy as np

from helpers import explanations
from helpers.explanations import HOSTILE
from whyclass import records


def comparison(case: str = "both") -> records.Comparison:
    """Of a made-up explanation's class; in the case ``"hostile"`` every text is."""
    one = explanations.explanation(case)
    bad = case == "hostile"
    strip = records.Strip((), one.images[0].picture)
    concepts = tuple(
        records.ComparedConcept(
            records.AuditedConcept(found.vector, found.share, strip, None),
            np.full((2, 7, 7), 0.5, np.float32),
            0.3,
            0.1,
            found.contribution,
            found.stability,
        )
        for found in one.concepts
    )
    carried = (records.CarriedClass(one.target, 8.0, 6.5),)
    results = (
        records.MethodResult("whyclass", one.target, concepts, one.prediction_test, measures(0.8), carried),
        records.MethodResult("ice", one.target, concepts, one.prediction_test, measures(0.9), carried),
        records.MethodResult(
            f"file:{HOSTILE}" if bad else "file:a.npz",
            one.target,
            (),
            None,
            {},
            problem=HOSTILE if bad else "nothing was found",
        ),
    )
    compared = records.ComparedClass(one.target, one.n_images, one.n_predicted, one.images, results)
    methods = tuple(result.method for result in results)
    return records.Comparison(
        one.model, one.pool, "ab", methods, (compared,), one.warnings, one.settings, one.versions
    )


def measures(value: float) -> dict[str, float]:
    """Some of them, all of one value."""
    return dict.fromkeys(("test_excluding", "stability", "carried", "ice_error", "deletion"), value)
