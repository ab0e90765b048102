"""Two models in words, as a page, in a notebook and for programs."""

from __future__ import annotations

import json

import pytest

from helpers.explanations import HOSTILE
from helpers.model_comparisons import CASES, comparison
from helpers.parsed_pages import Parsed
from whyclass.report import json_objects, model_comparison_text, summary
from whyclass.report.page import fragment, page


@pytest.mark.parametrize("make", [page, fragment])
@pytest.mark.parametrize("case", CASES)
def test_every_case_makes_whole_html_in_which_names_do_nothing(make, case):
    html = make(comparison(case))
    parsed = Parsed(html)
    assert parsed.open == []
    assert not parsed.named("script")
    assert HOSTILE not in html
    assert "<script>alert" not in html


def test_the_page_says_what_stayed_went_and_came():
    words = " ".join(" ".join(Parsed(page(comparison())).texts).split())
    assert "Of 3,925 images in both pools 17 (0.4%) are called something else." in words
    assert "right about 91% of the 3,925 that are labelled, the second about 93%" in words
    assert "Three concepts in both, 3 went, 2 came (similarity of at least 0.55)." in words
    assert words.count(" went ") >= 3
    assert "0.20, the model says" in words
    apart = " ".join(" ".join(Parsed(page(comparison("apart"))).texts).split())
    assert "No image is in both pools" in apart
    assert "Could not be compared: no cell has a positive attribution" in apart


def test_rows_of_concepts_name_each_once():
    (one,) = comparison().classes
    rows = model_comparison_text.concept_rows(one)
    assert [row.what for row in rows] == ["in both"] * 3 + ["went"] * 3 + ["came"] * 2
    assert sorted(row.number for row in rows if row.number is not None) == list(range(6))
    assert sorted(row.other for row in rows if row.other is not None) == list(range(5))


@pytest.mark.parametrize("case", CASES)
def test_summary_and_object_hold_what_matters(case):
    found = comparison(case)
    labels = [label for label, _ in summary.rows(found)]
    assert {"First", "Second", "Predictions", "Matching", "Class"} <= set(labels)
    told = json.loads(json.dumps(json_objects.as_object(found), allow_nan=False))
    assert told["classes"][0]["went"] == ([] if case == "apart" else [3, 4, 5])
    assert told["predictions"]["changed"] == found.predictions.changed
