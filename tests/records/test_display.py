"""Records in a line, compared, hashed, and shown in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
import html
import io
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from helpers import comparisons, contrasts, explanations, image_explanations, layer_choices, model_comparisons
from helpers.explanations import HOSTILE
from whyclass import records
from whyclass.records import codec
from whyclass.report import audits_in_store

LONGEST = 600
"""Characters: a few lines of a terminal."""


@cache
def made() -> dict[str, records.Record]:
    """Every made-up record, by kind and case."""
    found: dict[str, records.Record] = {}
    for case in explanations.CASES:
        found[f"Explanation, {case}"] = explanations.explanation(case)
    for case in image_explanations.CASES:
        found[f"ImageExplanation, {case}"] = image_explanations.image_explanation(case)
    for case in model_comparisons.CASES:
        found[f"ModelComparison, {case}"] = model_comparisons.comparison(case)
    for case in ("passed", "bare", "hostile"):
        found[f"SpuriousFeatures, {case}"] = image_explanations.spurious(case)
    for case in contrasts.CASES:
        found[f"Contrast, {case}"] = contrasts.contrast(case)
        found[f"InsertionTest, {case}"] = contrasts.insertion_test(case)
        found[f"Pairs, {case}"] = pairs(case)
        found[f"Audit, {case}"] = audit(case)
    for case in ("both", "hostile"):
        found[f"Comparison, {case}"] = comparisons.comparison(case)
        found[f"MethodResult, {case}"] = comparisons.comparison(case).classes[0].results[2]
    alike = [layer_choices.candidate(f"layer{k}", side, 0.5) for k, side in enumerate((16, 32, 64))]
    found["LayerChoice"] = layer_choices.choice(alike, 1)
    found["LayerChoice, hostile"] = layer_choices.choice(
        [layer_choices.candidate(HOSTILE, 16, 0.5)], 0, HOSTILE, HOSTILE
    )
    found |= {type(one).__name__: one for one in (finding(), shifts(), *for_programs())}
    return found


def pairs(case: str) -> records.Pairs:
    """Both directions of a contrast."""
    one = contrasts.contrast(case)
    targets = tuple(side.explanation.target for side in (one.a, one.b))
    held = one.hyperplane.held_out
    tests = tuple(
        records.PairShift(one.hyperplane.training, held, contrasts.sweep(case, *order))
        for order in (targets, targets[::-1])
    )
    return records.Pairs(one.model, one.pool, targets, tests, one.settings, one.versions)


def finding(case: str = "both") -> records.Finding:
    """What an audit would have found of an explanation's class."""
    one = explanations.explanation(case)
    same = (
        "model pool target n_images n_predicted completeness prediction_test rival warnings settings versions"
    )
    shared = {name: getattr(one, name) for name in same.split()}
    strip = records.Strip((), one.images[0].picture)
    concepts = tuple(records.AuditedConcept(c.vector, c.share, strip, None) for c in one.concepts)
    return records.Finding(
        **shared,
        names="ab",
        n_classes=10,
        residual=0.4,
        concepts=concepts,
        examples=(),
        thumbnail=None,
        problem="",
    )


def shifts(case: str = "passed") -> records.Shifts:
    """A test from one class towards another."""
    one = contrasts.contrast(case)
    target, source = one.a.explanation.target, one.b.explanation.target
    pair = records.AuditedPair(
        target,
        (0,),
        records.Moved(0.8, 0.7, 0.9, 20.0, target, True, 49),
        records.ShiftControl((0.1, 0.2), 4, 0.01),
        one.hyperplane.training,
        None,
    )
    return records.Shifts(
        one.model, one.pool, "ab", "shift", source, 49, "a draw", "g", 1, (pair,), one.settings, one.versions
    )


def audit(case: str) -> records.Audit:
    """Of one class, and a test of a pair."""
    one = finding("hostile" if case == "hostile" else "both")
    moved = shifts("hostile" if case == "hostile" else "passed")
    tested = () if case == "bare" else (audits_in_store.result(one, "a.whyclass"),)
    moves = () if case == "bare" else (moved,)
    return records.Audit(one.model, one.pool, "ab", 10, tested, moves, one.settings, one.versions)


def for_programs() -> tuple[records.Record, ...]:
    """Records that nobody looks at but by accident."""
    cells, seen = np.zeros((3, 2), np.float32), contrasts.contrast().hyperplane.training
    return (
        records.Evidence(0, (HOSTILE, "b"), cells, cells, cells, cells, cells[:, 0]),
        records.EvidenceAgainst(0, 1, (HOSTILE, "b"), cells, cells, cells, cells),
        records.Factors(cells, cells, cells[:, 0], 0.4, True),
        image_explanations.basis(),
        records.Comparisons(
            (records.NullSet("random cells", cells, cells[:, 0]),), (records.HalfConcepts(cells, 3),)
        ),
        records.Planes(cells, cells, cells[:, 0], (seen,) * 3, (None,) * 3),
        records.SourceShifts((contrasts.contrast().a.shifting,)),
        records.Label(HOSTILE, HOSTILE),
        records.Groups((records.Group(HOSTILE, ("a", "b")),)),
        records.ConceptMap(("a", "b", "c"), cells),
        records.Uploaded(HOSTILE, explanations.explanation().images[0].picture),
    )


def parts(value: Any) -> list[records.Part]:
    """A record and everything in it that has fields."""
    if isinstance(value, records.Part):
        fields = [getattr(value, one.name) for one in dataclasses.fields(value)]
        return [value, *(part for one in fields for part in parts(one))]
    return [part for one in value for part in parts(one)] if isinstance(value, tuple) else []


KINDS = [kind for kind in vars(records).values() if dataclasses.is_dataclass(kind)]
ALL = pytest.mark.parametrize("name", list(made()))


def test_every_kind_of_record_is_among_them():
    met = {type(part) for one in made().values() for part in parts(one)}
    assert set(KINDS) - met == {records.Drawn, records.PoolClass, records.Spot}


# ---------------------------------------------------------------- in a line


@ALL
def test_a_record_and_its_parts_are_told_in_a_few_lines(name):
    for part in parts(made()[name]):
        told = repr(part)
        assert len(told) < LONGEST
        assert told.isprintable()
        assert str(part) == told
        assert type(part).__name__ in told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Explanation, both",
            "<Explanation of 'French horn' (torchvision:resnet50, layer4.2): 6 concepts, "
            "prediction test 1.00 / 0.96 without its images>",
        ),
        (
            "Explanation, alone",
            "<Explanation of 'French horn' (torchvision:resnet50, layer4.2): 6 concepts, "
            "prediction test 1.00 / not run without its images>",
        ),
        (
            "Contrast, passed",
            "<Contrast of 'French horn' and 'cornet' (torchvision:resnet50, layer4.2): 6 / 6 concepts, "
            "shifting 0.80 / 0.20, held-out accuracy 0.91>",
        ),
        (
            "Contrast, bare",
            "<Contrast of 'French horn' and 'cornet' (torchvision:resnet50, layer4.2): 0 / 0 concepts, "
            "shifting not run / not run, held-out accuracy not measured>",
        ),
        (
            "InsertionTest, passed",
            "<InsertionTest of 'person.png' (torchvision:resnet50, layer4.2): 'French horn' 0.01 → 0.60 "
            "in 49 images of 'cornet'>",
        ),
        (
            "Pairs, passed",
            "<Pairs of 2 classes (torchvision:resnet50, layer4.2): 2 pairs, 2 swapped by shifting>",
        ),
        ("Comparison, both", "<Comparison of 3 methods on 1 class (torchvision:resnet50, layer4.2)>"),
        ("MethodResult, both", "<MethodResult of file:a.npz on 'French horn': nothing was found>"),
        ("LayerChoice", "<LayerChoice (net.py:net): layer1 with 6 concepts, of 3 candidates>"),
        (
            "Audit, passed",
            "<Audit (torchvision:resnet50, layer4.2): 1 of 10 classes, 1 of 1 predicted again without their "
            "images, 1 pair tested>",
        ),
        (
            "Finding",
            "<Finding of 'French horn' (torchvision:resnet50, layer4.2): 6 concepts, "
            "prediction test 1.00 / 0.96 without its images>",
        ),
        ("Shifts", "<Shifts from 'cornet' (torchvision:resnet50, layer4.2): test 'shift' of 1 pair>"),
        (
            "Factors",
            "Factors(concepts=<float32 3 × 2>, embeddings=<float32 3 × 2>, shares=<float32 3>, residual=0.4, "
            "converged=True, format=3)",
        ),
    ],
)
def test_a_line_says_what_a_record_is(name, expected):
    assert repr(made()[name]) == expected


def test_a_part_is_told_with_its_fields():
    concept = explanations.explanation().concepts[0]
    assert repr(concept) == (
        "Concept(vector=<float32 16>, share=0.2222, including=<8 Crop>, excluding=<8 Crop>, "
        "heat_maps=<6 HeatMap>, drawn=None, contribution=Contribution(…), stability=Stability(…))"
    )
    crop = replace(concept.including[0], box=(1, 2, 3, 4), image=records.Source("a", "b", TENCH))
    assert repr(crop) == (
        "Crop(image=Source(path='a', digest='b', prediction=Prediction(index=0, name='tench', score=0.9)), "
        "box=(1, 2, 3, 4), cosine=0.93, picture=Picture(…))"
    )
    assert repr(records.Picture(b"x" * 2000, 3, 4)) == (
        "Picture(data=<2,000 bytes>, width=3, height=4, mime='image/png')"
    )


# ---------------------------------------------------------------- equal or not

TENCH = records.Prediction(0, "tench", 0.9)


@ALL
def test_a_record_equals_what_is_loaded_of_it_and_has_its_hash(name):
    one = made()[name]
    again = codec.decode(type(one), codec.encode(one), records.FORMAT)
    assert one == again
    assert hash(one) == hash(again)
    assert {one: 1}[again] == 1


def changed(one: Any) -> list[Any]:
    """The same value with one thing in it changed, for each thing."""
    if isinstance(one, records.Part):
        names = [field.name for field in dataclasses.fields(one)]
        return [replace(one, **{name: other}) for name in names for other in changed(getattr(one, name))[:3]]
    if isinstance(one, np.ndarray):
        moved = one.copy()
        moved.flat[-1] += 1
        return [moved, one[..., None], one.astype(np.float64)]
    if isinstance(one, tuple):
        deeper = [(other, *one[1:]) for other in changed(one[0])[:1]] if one else []
        return [(*one, 0), one[:-1] or (0,), *deeper]
    if isinstance(one, dict):
        return [one | {"more": 1}, one | dict.fromkeys(one, "other")] if one else [{"more": 1}]
    if isinstance(one, str | bytes):
        return [one + one[:1] + (b"x" if isinstance(one, bytes) else "x")]
    return [not one] if isinstance(one, bool) else [1.5 if one is None else one + 1]


@pytest.mark.parametrize(
    "name", ["Explanation, both", "Contrast, passed", "LayerChoice", "Factors", "Audit, passed"]
)
def test_a_record_with_anything_changed_is_another(name):
    one = made()[name]
    others = changed(one)
    assert len(others) >= len(dataclasses.fields(one))
    assert not [other for other in others if one == other]


def test_nan_equals_nan_and_whole_numbers_equal_whole_numbers():
    nan = np.array([np.nan, 1], np.float32)
    assert records.HeatMap(nan) == records.HeatMap(nan.copy())
    assert records.HeatMap(nan) != records.HeatMap(nan.astype(np.float64))
    assert replace(TENCH, score=float("nan")) == replace(TENCH, score=float("nan"))
    assert hash(replace(TENCH, score=float("nan"))) == hash(replace(TENCH, score=-float("nan")))
    assert replace(TENCH, score=1) == replace(TENCH, score=1.0)
    assert hash(replace(TENCH, score=1)) == hash(replace(TENCH, score=1.0))
    zero = records.HeatMap(np.zeros(2)), records.HeatMap(-np.zeros(2))
    assert (zero[0] == zero[1], hash(zero[0]) == hash(zero[1])) == (True, True)


def test_the_hash_stays_when_an_array_or_a_dictionary_is_changed():
    one = explanations.explanation()
    before = hash(one)
    one.settings["more"] = 1
    one.concepts[0].vector[0] = 7
    assert hash(one) == before


def test_a_part_equals_no_other_kind():
    assert TENCH != (0, "tench", 0.9)
    assert records.HeatMap(np.zeros(1)) != np.zeros(1).tobytes()
    assert records.PoolClass(0, "tench", 1) != TENCH


def test_a_record_of_somebody_else_is_told_and_compared_too():
    @dataclass(frozen=True)
    class Own(records.Part):
        values: np.ndarray
        facts: dict[str, Any]

    one, same = Own(np.arange(3), {"a": [1, 2]}), Own(np.arange(3), {"a": [1, 2]})
    assert (one == same, one == Own(np.arange(3), {"a": [1, 3]})) == (True, False)
    assert repr(one) == "Own(values=<int64 3>, facts=<1 entries>)"
    assert len({one, same}) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_all_kinds_are_told_compared_and_hashed_by_one_mechanism(kind):
    assert issubclass(kind, records.Part)
    own = {"__repr__": {records.Part.__repr__, records.Record.__repr__}}
    for name in ("__repr__", "__eq__", "__hash__"):
        assert getattr(kind, name) in own.get(name, {getattr(records.Part, name)})


# ---------------------------------------------------------------- shown


@ALL
def test_a_record_shows_itself_in_a_notebook_and_stays_text(name):
    shown = made()[name]._repr_html_()
    assert "<script" not in shown
    assert " onmouseover='alert" not in shown.replace("&#39;", "").replace("&#34;", "")
    assert not set(shown) & set("\x1b\u202e")
    if "hostile" in name:
        assert "&lt;script&gt;" in shown


@pytest.mark.parametrize("name", ["Finding", "Shifts", "Evidence", "Factors", "Planes", "SourceShifts"])
def test_a_record_without_a_page_shows_its_line(name):
    one = made()[name]
    assert html.unescape(one._repr_html_()) == f"<code>{one!r}</code>"


@ALL
@pytest.mark.parametrize("width", [60, 120])
def test_a_record_shows_itself_in_a_terminal_and_stays_text(name, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(made()[name])
    assert max(map(len, out.getvalue().splitlines())) <= width
    assert not set(out.getvalue()) & set("\x1b\u202e\udce9")
    if "hostile" in name:
        assert "<script>" in out.getvalue()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Explanation, both", ["Verdict", "Supported by the tests", "Completeness"]),
        ("Contrast, passed", ["Verdict", "French horn"]),
        ("LayerChoice", ["Layer", "Sample"]),
        ("Audit, passed", ["1 of 10 classes", "Table 1.", "Table 3.", "random crops", "±"]),
        ("Pairs, passed", ["French horn, cornet", "2 pairs", "normal reversed"]),
        ("Finding", ["<Finding of 'French horn'"]),
    ],
)
def test_a_terminal_and_a_notebook_say_what_matters(name, told):
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(made()[name])
    assert [text for text in told if text not in out.getvalue()] == []
    if name.startswith(("Audit", "Pairs")):
        assert [text for text in told if text not in html.unescape(made()[name]._repr_html_())] == []


def test_an_audit_that_has_tested_nothing_says_so():
    assert "No class has been tested yet." in made()["Audit, bare"]._repr_html_()


def test_names_in_brackets_are_no_markup_of_the_terminal():
    one = made()["Explanation, both"]
    out = io.StringIO()
    named = replace(one, target=replace(one.target, name="[red]horn[/red]"))
    Console(file=out, width=200, color_system=None).print(named)
    assert "[red]horn[/red]" in out.getvalue()
