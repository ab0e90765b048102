"""Records as plain objects for programs: what ``--json`` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from whyclass.records import (
    Audit,
    Comparison,
    Concept,
    Contrast,
    Crop,
    Drawn,
    Explanation,
    ImageExplanation,
    Insertion,
    InsertionTest,
    LayerChoice,
    ModelComparison,
    Pairs,
    Prediction,
    PredictionTest,
    PredictionTests,
    Record,
    Separation,
    Side,
    Source,
    SpuriousFeatures,
    Sweep,
    codec,
)
from whyclass.records.base import fitting
from whyclass.report import (
    comparison_text,
    image_text,
    layer_choice_text,
    model_comparison_text,
    pairs_table,
    paper_tables,
    pool_text,
)
from whyclass.report.contrast_verdict import outcomes
from whyclass.report.contrast_verdict import verdict as contrast_verdict
from whyclass.report.standings import standing
from whyclass.report.verdict import verdict


def as_object(found: Record) -> dict[str, Any]:
    """What ``--json`` prints of a record."""
    with fitting(found):
        return KINDS[type(found)](found)


def of_explanation(found: Explanation) -> dict[str, Any]:
    """An explanation: tests with their controls, concepts with their crops, verdict."""
    return {
        "class": {"index": found.target.index, "name": found.target.name},
        "model": found.model.name,
        "task": found.model.task,
        "layer": found.model.layer,
        "n_images": found.n_images,
        "n_predicted": found.n_predicted,
        "pool": pool_text.as_object(found.pool),
        "skipped": codec.to_json(found.pool.skipped),
        "completeness": codec.to_json(found.completeness),
        "concepts": _concepts(found.concepts),
        "prediction_test": tests(found.prediction_test),
        **_drawn_tests(found),
        "rival": codec.to_json(found.rival),
        "verdict": codec.to_json(verdict(found)),
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def of_contrast(found: Contrast) -> dict[str, Any]:
    """A contrast: the hyperplane, and for each of the two directions its concepts and tests."""
    a, b = found.a, found.b
    plane = found.hyperplane
    return {
        "class": _named(a.explanation.target),
        "against": _named(b.explanation.target),
        "model": found.model.name,
        "task": found.model.task,
        "layer": found.model.layer,
        "pool": pool_text.as_object(found.pool),
        "contrast_by": found.settings.get("contrast_by", "plane"),
        "hyperplane": {
            "plane": found.settings.get("plane", "paper"),
            "strength": plane.strength,
            "bias": plane.bias,
            "training": _separation(plane.training),
            "held_out": _separation(plane.held_out) if plane.held_out else None,
            "trust": codec.to_json(plane.trust),
        },
        **_side(a),
        "mirrored": _side(b),
        "alone": {side.explanation.target.name: tests(side.explanation.prediction_test) for side in (a, b)},
        "verdict": codec.to_json(contrast_verdict(found)),
        "tests": outcomes(found),
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def of_insertion(found: InsertionTest) -> dict[str, Any]:
    """An insertion test."""
    return {
        "class": _named(found.target),
        "against": _named(found.source),
        "model": found.model.name,
        "pool": pool_text.as_object(found.pool),
        "insertion": _insertion(found.insertion),
        "settings": found.settings,
        "versions": found.versions,
    }


def of_pairs(found: Pairs) -> dict[str, Any]:
    """All pairs, and the table over them."""
    return {
        "model": found.model.name,
        "layer": found.model.layer,
        "pool": pool_text.as_object(found.pool),
        "table": codec.to_json(pairs_table.table(found)),
        "pairs": [
            {
                "class": _named(pair.shifting.target),
                "against": _named(pair.shifting.source),
                "training": _separation(pair.training),
                "held_out": _separation(pair.held_out) if pair.held_out else None,
                "shifting": _sweep(pair.shifting),
            }
            for pair in found.pairs
        ],
        "settings": found.settings,
        "versions": found.versions,
    }


def audits_as_object(found: Sequence[Audit]) -> dict[str, Any]:
    """The tables over some audits, and every class's numbers."""
    return {
        "tables": [codec.to_json(table) for table in paper_tables.made(found)],
        "audits": [of_audit(audit) for audit in found],
    }


def of_audit(found: Audit) -> dict[str, Any]:
    """Every class of an audit in numbers."""
    return {
        "model": found.model.name,
        "layer": found.model.layer,
        "pool": pool_text.as_object(found.pool),
        "skipped": codec.to_json(found.pool.skipped),
        "n_classes": found.n_classes,
        "classes": [codec.to_json(one) | {"result": standing(one)} for one in found.classes],
        "shifts": [
            {"against": _named(shift.source), "n": shift.n, "pairs": codec.to_json(shift.pairs)}
            for shift in found.shifts
        ],
        "settings": found.settings,
        "versions": found.versions,
    }


def of_spurious(found: SpuriousFeatures) -> dict[str, Any]:
    """Concepts that raise their class in images without it."""
    return {
        "model": found.model.name,
        "layer": found.model.layer,
        "pool": pool_text.as_object(found.pool),
        "labelled": found.labelled,
        "draws": found.draws,
        "features": [
            codec.to_json(dataclasses.replace(one, crops=())) | {"crops": _crops(one.crops)}
            for one in found.features
        ],
        "warnings": list(found.warnings),
        "settings": found.settings,
        "versions": found.versions,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "own_side": side.own_side,
        "concepts": _concepts(side.concepts),
        "prediction_test": tests(side.prediction_test) if side.prediction_test else None,
        "shifting": _sweep(side.shifting) if side.shifting else None,
        "shifting_unseen": _sweep(side.unseen) if side.unseen else None,
        "masking": _sweep(side.masking) if side.masking else None,
        "insertion": [_insertion(inserted) for inserted in side.insertions],
        **_drawn_tests(side),
    }


def _concepts(concepts: Iterable[Concept]) -> list[dict[str, Any]]:
    return [
        {
            "name": concept.name,
            "note": concept.note,
            "share": concept.share,
            **_worth(concept),
            "drawn": _drawn(concept.drawn) if concept.drawn else None,
            "crops": _crops(concept.including),
            "crops_excluding": _crops(concept.excluding),
            "crops_unlabelled": _crops(concept.unlabelled),
            "crops_neither": _crops(concept.neither),
        }
        for concept in concepts
    ]


def _worth(concept: Concept) -> dict[str, Any]:
    """What a concept does for the test, and whether it comes again; None where that was not measured."""
    done = concept.contribution
    return {
        "necessity": done.necessity if done else None,
        "sufficiency": done.sufficiency if done else None,
        "needed": done.needed if done else None,
        "contribution": codec.to_json(done),
        "stability": codec.to_json(concept.stability),
    }


def _drawn_tests(found: Explanation | Side) -> dict[str, Any]:
    tests = {"drawn_test": found.drawn_test, "drawn_control": found.drawn_control}
    return {name: _test(test) if test else None for name, test in tests.items()}


def _drawn(drawn: Drawn) -> dict[str, Any]:
    return {name: getattr(drawn, name) for name in ("cosine", "random", "steps", "problem")}


def _crops(crops: Iterable[Crop]) -> list[dict[str, Any]]:
    return [
        {
            "image": c.image.path,
            "box": list(c.box),
            "cosine": c.cosine,
            "predicted": c.image.prediction.name,
            "label": c.image.label,
            "labelled": c.image.labelled,
        }
        for c in crops
    ]


def tests(found: PredictionTests) -> dict[str, Any]:
    """The prediction tests with their controls; without images of neither class only of a contrast."""
    named = {name: getattr(found, name) for name in ("including", "excluding", "unlabelled")}
    if found.neither:
        named["neither"] = found.neither
    return {name: _test(test) if test else None for name, test in named.items()}


def _source(source: Source) -> dict[str, Any]:
    return {
        "image": source.path,
        "predicted": _named(source.prediction),
        "label": source.label,
        "labelled": source.labelled,
        "score": source.score,
    }


def _test(test: PredictionTest) -> dict[str, Any]:
    return {
        "score": test.score,
        "share": test.share,
        "predicted": test.predicted,
        "top": [codec.to_json(best) for best in test.top],
        "layout": test.layout,
        "pool": test.pool,
        "control": codec.to_json(test.control),
        "distinct": test.distinct,
        "backing": test.backing,
        "smallest": None if test.smallest is None else list(test.smallest),
        "again": list(test.again),
        "nulls": [codec.to_json(one) for one in test.nulls],
        "sources": [_source(shown.image) for shown in test.sources],
    }


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "n": sweep.n,
        "default": sweep.steps[0].target,
        "highest": sweep.steps[sweep.best].target,
        "low": sweep.low,
        "high": sweep.high,
        "at": sweep.steps[sweep.best].at,
        "swapped": sweep.swapped,
        "unit": sweep.unit,
        "first": None if sweep.first is None else sweep.steps[sweep.first].at,
        "steps": [codec.to_json(step) for step in sweep.steps],
        "controls": {
            "random": codec.to_json(sweep.random),
            "reversed": codec.to_json(sweep.reversed),
        },
    }


def _insertion(found: Insertion) -> dict[str, Any]:
    kept = ("origin", "box", "n", "original", "pasted", "low", "high", "turned", "swapped")
    plain = {name: codec.to_json(getattr(found, name)) for name in kept}
    controls = {name: codec.to_json(getattr(found, name)) for name in ("blank", "theirs", "third")}
    return plain | {"controls": controls}


def _separation(found: Separation) -> dict[str, Any]:
    return dataclasses.asdict(found)


def _named(prediction: Prediction) -> dict[str, Any]:
    return {"index": prediction.index, "name": prediction.name, "score": prediction.score}


KINDS: dict[type[Record], Callable[[Any], dict[str, Any]]] = {
    Explanation: of_explanation,
    Contrast: of_contrast,
    InsertionTest: of_insertion,
    ImageExplanation: image_text.as_object,
    ModelComparison: model_comparison_text.as_object,
    LayerChoice: layer_choice_text.as_object,
    Comparison: comparison_text.as_object,
    Pairs: of_pairs,
    SpuriousFeatures: of_spurious,
    Audit: of_audit,
}
"""How each kind of record becomes an object."""
