"""What is told of two models: sentences of their page, rows of a summary, and the object for ``--json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from whyclass.records import (
    ClassComparison,
    ConceptOfModel,
    ModelComparison,
    Strip,
    Trial,
    codec,
)
from whyclass.records.base import short
from whyclass.report import pool_text
from whyclass.report.words import clean, count, percent, plural, score

MOVES = 10
"""Changes of predictions that are told; a page has all."""

MEASURES = {
    "cosine": "by the cosine of their directions, as channels correspond",
    "co-activation": "by how they are active together over the images in both pools, as channels do not "
    "correspond",
}
"""How concepts were matched, in words."""


@dataclass(frozen=True)
class Row:
    """A concept of either model or of both, as a page shows it: what became of it, and its crops."""

    what: str
    number: int | None
    other: int | None
    similarity: float | None
    crops: Strip | None
    other_crops: Strip | None


def predictions_line(found: ModelComparison) -> str:
    """How many images are called different things, and how many are right."""
    told = found.predictions
    if not told.n:
        return "No image is in both pools, so that no prediction can be compared."
    share = percent(told.changed / told.n)
    changed = (
        f"Of {count(told.n)} images in both pools {count(told.changed)} ({share}) are called something else."
    )
    if told.right is None or told.other_right is None:
        return changed
    return (
        f"{changed} The first model is right about {percent(told.right)} of the {count(told.labelled)} that "
        f"are labelled, the second about {percent(told.other_right)}."
    )


def measure_line(found: ModelComparison) -> str:
    """How concepts were matched."""
    told = f"Concepts were matched {MEASURES[found.measure]}"
    if found.channels is None:
        return f"{told}."
    return f"{told} (equally numbered ones correlate by {score(found.channels)} in the median)."


def kept_line(one: ClassComparison) -> str:
    """How many concepts stayed, went and came."""
    if one.problem:
        return f"could not be compared: {one.problem}"
    went, came = len(one.went), len(one.came)
    return (
        f"{plural(len(one.matches), 'concept')} in both, {went or 'none'} went, {came or 'none'} came "
        f"(similarity of at least {score(one.threshold)})"
    )


def concept_rows(one: ClassComparison) -> list[Row]:
    """A class's concepts: those that both models have, the most similar first, what went, and what came."""
    mine = {concept.number: concept for concept in one.concepts}
    theirs = {concept.number: concept for concept in one.other_concepts}
    both = [
        Row(
            "in both",
            match.number,
            match.other,
            match.similarity,
            _crops(mine, match.number),
            _crops(theirs, match.other),
        )
        for match in one.matches
    ]
    went = [Row("went", number, None, None, _crops(mine, number), None) for number in one.went]
    came = [Row("came", None, number, None, None, _crops(theirs, number)) for number in one.came]
    return [*both, *went, *came]


def _crops(concepts: dict[int, ConceptOfModel], number: int) -> Strip:
    return concepts[number].crops


def trial_line(trial: Trial | None) -> str:
    """A prediction test in few words."""
    if trial is None:
        return "not run"
    said = "" if trial.predicted else f", the model says “{trial.winner.name}”"
    return f"{score(trial.score)}{said}"


def tests(one: ClassComparison) -> list[tuple[str, str, str]]:
    """Each prediction test in the first model and in the second."""
    return [
        ("Crops from the whole pool", trial_line(one.including), trial_line(one.other_including)),
        ("Without the class's images", trial_line(one.excluding), trial_line(one.other_excluding)),
    ]


def titles(found: ModelComparison) -> tuple[str, str]:
    """What the models are called: what tells them apart is said."""
    a, b = found.model, found.other_model
    if (a.name, a.layer) != (b.name, b.layer):
        return f"{a.name}, {a.layer}", f"{b.name}, {b.layer}"
    if a.weights != b.weights:
        return f"{a.name} {a.weights[:8]}", f"{b.name} {b.weights[:8]}"
    return f"{a.name} on {found.pool.name}", f"{b.name} on {found.other_pool.name}"


def rows(found: ModelComparison) -> list[tuple[str, str]]:
    """Label and value of each line of a summary, safe to print."""
    first, second = titles(found)
    told = [
        ("First", f"{first} ({pool_text.size_line(found.pool)})"),
        ("Second", f"{second} ({pool_text.size_line(found.other_pool)})"),
        ("Predictions", predictions_line(found)),
        *(
            ("Changed", f"{one.n} from “{one.name}” to “{one.other_name}”")
            for one in found.predictions.moves[:MOVES]
        ),
        ("Matching", measure_line(found)),
        *(("Class", f"“{one.name}”: {kept_line(one)}; {_tests_line(one)}") for one in found.classes),
        *(("Only first", name) for name in found.gone),
        *(("Only second", name) for name in found.new),
        *(("Warning", warning) for warning in found.warnings),
    ]
    return [(label, clean(value)) for label, value in told]


def _tests_line(one: ClassComparison) -> str:
    pairs = [(one.including, one.other_including), (one.excluding, one.other_excluding)]
    whole, without = (f"{_score(a)} → {_score(b)}" for a, b in pairs)
    return f"prediction test {whole}, without its images {without}"


def _score(trial: Trial | None) -> str:
    return score(trial.score) if trial else "not run"


def line(found: ModelComparison) -> str:
    """Two models in few words, for ``repr``."""
    went, came = (sum(len(part) for part in parts) for parts in _moved(found.classes))
    told = found.predictions
    first, second = (short(clean(name))[1:-1] for name in titles(found))
    classes = f"{count(len(found.classes))} class{'es' * (len(found.classes) != 1)}"
    return (
        f"of {first} and {second}: {count(told.changed)} of {count(told.n)} predictions changed; "
        f"of the concepts of {classes} {went} went, {came} came"
    )


def _moved(classes: Sequence[ClassComparison]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return [one.went for one in classes], [one.came for one in classes]


def as_object(found: ModelComparison) -> dict[str, Any]:
    """Two models for programs."""
    told = found.predictions
    return {
        "first": codec.to_json(found.model) | {"pool": pool_text.as_object(found.pool)},
        "second": codec.to_json(found.other_model) | {"pool": pool_text.as_object(found.other_pool)},
        "predictions": {
            **{name: getattr(told, name) for name in ("n", "changed", "labelled", "right", "other_right")},
            "moves": codec.to_json(told.moves),
            "images": [
                {
                    "image": one.image.path,
                    "first": codec.to_json(one.image.prediction),
                    "second": codec.to_json(one.after),
                    "label": one.image.label,
                }
                for one in told.images
            ],
        },
        "measure": found.measure,
        "channels": found.channels,
        "classes": list(_classes(found.classes)),
        "gone": list(found.gone),
        "new": list(found.new),
        "warnings": list(found.warnings),
        "settings": found.settings,
        "other_settings": found.other_settings,
        "versions": found.versions,
    }


def _classes(classes: Iterable[ClassComparison]) -> Iterable[dict[str, Any]]:
    plain = ("index", "name", "n", "others", "threshold", "problem")
    trials = ("including", "excluding", "other_including", "other_excluding")
    for one in classes:
        yield {
            **{name: getattr(one, name) for name in plain},
            "shares": [concept.share for concept in one.concepts],
            "other_shares": [concept.share for concept in one.other_concepts],
            "matches": codec.to_json(one.matches),
            "went": list(one.went),
            "came": list(one.came),
            **{name: codec.to_json(getattr(one, name)) for name in trials},
        }
