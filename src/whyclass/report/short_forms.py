"""A kept record in one line: what ``repr`` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from whyclass.records import (
    Audit,
    Comparison,
    Contrast,
    Explanation,
    Finding,
    ImageExplanation,
    InsertionTest,
    LayerChoice,
    MethodResult,
    ModelComparison,
    Pairs,
    Part,
    PredictionTests,
    Record,
    Shifts,
    SpuriousFeatures,
    Sweep,
)
from whyclass.records.base import short
from whyclass.report import image_text, model_comparison_text
from whyclass.report.words import clean, count, score


def line(found: Record) -> str:
    """The record in one line, safe to print; one without a line of its own with its fields, told shortly."""
    tell = LINES.get(type(found))
    return Part.__repr__(found) if tell is None else f"<{type(found).__name__} {tell(found)}>"


def _explanation(found: Explanation) -> str:
    return (
        f"of {_model(found, found.target.name)}: {_number(len(found.concepts), 'concept')}, {_tests(found)}"
    )


def _finding(found: Finding) -> str:
    told = (
        f"{_number(len(found.concepts), 'concept')}, {_tests(found)}"
        if found.prediction_test
        else _cut(found.problem)
    )
    return f"of {_model(found, found.target.name)}: {told}"


def _contrast(found: Contrast) -> str:
    names = [short(side.explanation.target.name) for side in (found.a, found.b)]
    held_out = found.hyperplane.held_out
    told = [
        f"{len(found.a.concepts)} / {len(found.b.concepts)} concepts",
        f"shifting {_highest(found.a.shifting)} / {_highest(found.b.shifting)}",
        "held-out accuracy " + (score(held_out.balanced) if held_out else "not measured"),
    ]
    return f"of {' and '.join(names)} ({_at(found)}): {', '.join(told)}"


def _insertion(found: InsertionTest) -> str:
    one = found.insertion
    return (
        f"of {short(one.origin)} ({_at(found)}): {short(found.target.name)} {score(one.original.target)} → "
        f"{score(one.pasted.target)} in {count(one.n)} images of {short(found.source.name)}"
    )


def _pairs(found: Pairs) -> str:
    swapped = sum(pair.shifting.swapped for pair in found.pairs)
    return (
        f"of {len(found.classes)} classes ({_at(found)}): {_number(len(found.pairs), 'pair')}, "
        f"{count(swapped)} swapped by shifting"
    )


def _choice(found: LayerChoice) -> str:
    one, of = found.chosen, _number(len(found.candidates), "candidate")
    return f"({_cut(found.model.name)}): {_cut(one.layer)} with {_number(one.concepts, 'concept')}, of {of}"


def _audit(found: Audit) -> str:
    without = [one.excluding for one in found.classes if one.excluding]
    passed = sum(test.predicted for test in without)
    told = [
        f"{count(len(found.classes))} of {count(found.n_classes)} classes",
        f"{count(passed)} of {count(len(without))} predicted again without their images",
    ]
    if found.shifts:
        told.append(f"{_number(sum(len(shift.pairs) for shift in found.shifts), 'pair')} tested")
    return f"({_at(found)}): {', '.join(told)}"


def _shifts(found: Shifts) -> str:
    name = short(found.source.name)
    return f"from {name} ({_at(found)}): test {short(found.test)} of {_number(len(found.pairs), 'pair')}"


def _comparison(found: Comparison) -> str:
    told = [_number(len(found.methods), "method"), _classes(len(found.classes))]
    return f"of {' on '.join(told)} ({_at(found)})"


def _classes(n: int) -> str:
    return f"{count(n)} {'class' if n == 1 else 'classes'}"


def _method(found: MethodResult) -> str:
    tests = _tests(found) if found.prediction_test else _cut(found.problem)
    return f"of {_cut(found.method)} on {short(found.target.name)}: {tests}"


def _spurious(found: SpuriousFeatures) -> str:
    told = f"({_at(found)}): {_number(len(found.features), 'concept')}"
    if not found.features:
        return told
    first = found.features[0]
    return f"{told}, first {short(first.target.name)} concept {first.number + 1}, {first.raised:+.2f}"


LINES: dict[type[Record], Callable[[Any], str]] = {
    Explanation: _explanation,
    Finding: _finding,
    Contrast: _contrast,
    ImageExplanation: image_text.line,
    ModelComparison: model_comparison_text.line,
    InsertionTest: _insertion,
    Pairs: _pairs,
    LayerChoice: _choice,
    Audit: _audit,
    Comparison: _comparison,
    MethodResult: _method,
    Shifts: _shifts,
    SpuriousFeatures: _spurious,
}
"""What the line of each kind of record says after the kind."""


def _model(found: Explanation | Finding, name: str) -> str:
    return f"{short(name)} ({_at(found)})"


def _at(found: Any) -> str:
    return f"{_cut(found.model.name)}, {_cut(found.model.layer)}"


def _cut(text: str) -> str:
    """A name as ``short`` tells it, without its quotation marks."""
    return clean(short(text)[1:-1])


def _number(value: int, noun: str) -> str:
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def _tests(found: Explanation | Finding | MethodResult) -> str:
    tests: PredictionTests | None = found.prediction_test
    if tests is None:
        return "no prediction test"
    without = score(tests.excluding.score) if tests.excluding else "not run"
    return f"prediction test {score(tests.including.score)} / {without} without its images"


def _highest(sweep: Sweep | None) -> str:
    return score(sweep.steps[sweep.best].target) if sweep else "not run"
