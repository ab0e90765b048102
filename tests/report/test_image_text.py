"""One image in words, as a page, in a notebook and for programs."""

from __future__ import annotations

import json

import pytest

from helpers.explanations import HOSTILE
from helpers.image_explanations import CASES, image_explanation
from helpers.parsed_pages import Parsed
from whyclass.report import image_text, json_objects, summary
from whyclass.report.page import fragment, page


def words(html: str) -> str:
    return " ".join(" ".join(Parsed(html).texts).split()).replace("\u00a0", " ")


@pytest.mark.parametrize("make", [page, fragment])
@pytest.mark.parametrize("case", CASES)
def test_every_case_makes_whole_html(make, case):
    parsed = Parsed(make(image_explanation(case)))
    assert parsed.open == []
    assert len(parsed.named("article")) == (6 if case == "alone" else 12)
    assert not parsed.named("script")


@pytest.mark.parametrize("make", [page, fragment])
def test_names_do_nothing(make):
    html = make(image_explanation("hostile"))
    assert HOSTILE not in html
    assert "<script>alert" not in html
    assert "onmouseover='" not in html


def test_the_page_says_what_counts_and_what_would_have_to_change():
    shown = words(page(image_explanation()))
    assert "The model says “French horn” (0.91); the image is labelled “cornet”, so it is mistaken." in shown
    assert "concept 1 counts most: +3.10 of the +8.20 logits between this image and an empty one" in shown
    assert (
        "Without it the logit falls by 2.90 (0.40 on average and at most 1.10 for random ones, n = 10)"
        in shown
    )
    assert (
        "The model says “cornet” (0.71) when concepts 1 and 3 of “French horn” go and concept 2 of “cornet” "
        "comes; no set of two does, of 90 tried."
    ) in shown
    assert "Random directions in their place do it in 5% of 20 draws." in shown
    assert "not in this image" in shown.lower()


def test_what_was_not_asked_is_not_told():
    shown = words(page(image_explanation("untested")))
    assert "Without it" not in shown
    assert "Taken out" not in shown
    assert "Random directions" not in shown
    alone = words(page(image_explanation("alone")))
    assert "against “" not in alone
    assert "labelled" not in alone


def test_a_swap_that_was_not_found_is_said_to_be_none():
    told = image_text.swap_line(image_explanation("not found"))
    assert told.startswith("No set of concepts was found that makes the model say “cornet”")


def test_concepts_come_by_what_they_count_and_keep_their_numbers():
    side = image_explanation().target
    assert [one.number for one in image_text.ordered(side)] == [0, 2, 4, 5, 3, 1]
    assert image_text.logits(-0.4) == "\N{MINUS SIGN}0.40"


def test_sums_add_up_on_the_page():
    for side in image_text.sides(image_explanation()):
        numbers = [float(value.replace("\N{MINUS SIGN}", "-")) for _, value in image_text.sum_lines(side)]
        assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=0.05)


@pytest.mark.parametrize("case", CASES)
def test_summary_and_object_hold_what_matters(case):
    found = image_explanation(case)
    rows = dict(summary.rows(found))
    assert {"Image", "Said", "Concepts", "Model", "Pool"} <= set(rows)
    assert ("To say otherwise" in rows) == (found.swap is not None)
    told = json.loads(json.dumps(json_objects.as_object(found), allow_nan=False))
    assert (told["against"] is None) == (case == "alone")
    assert [one["contribution"] for one in told["class"]["concepts"]] == [3.1, -0.4, 2.0, 0.0, 0.7, 0.2]
    assert len(told["class"]["concepts"][0]["heat_map"]) == 7
