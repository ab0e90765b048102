"""Where the crops of a test come from, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.explanations import HOSTILE, explanation
from whyclass.records import Prediction, Source
from whyclass.report import page as report_page
from whyclass.report import sources_text

SPRINGER = Prediction(0, "English springer", 0.7)
OTHER = Prediction(1, "Welsh springer", 0.6)


def source(path="n01/a.jpg", label="n01", labelled="English springer", said=OTHER, score=0.25) -> Source:
    return Source(path, "0", said, label, labelled, score)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], ""),
        ([source(label=None, labelled=None, score=None)], ""),
        (
            [source()] * 5 + [source("n02/b.jpg", "n02", "Welsh springer", score=0.5)],
            "5 of 6 sources lie in folder “n01” (English springer). 5 of 6 are labelled “English springer” "
            "and predicted as something else. Score of “English springer” in each source: 0.25, 0.25, 0.25, "
            "0.25, 0.25, 0.50.",
        ),
        ([source(said=SPRINGER, score=None)], "1 of 1 sources lie in folder “n01” (English springer)."),
        ([source("7", "17", None, score=None)], "1 of 1 sources are labelled “17”."),
        (
            [source("hawk/7.png", "hawk", "hawk", score=0.125)],
            "1 of 1 sources lie in folder “hawk”. Score of “English springer” in each source: 0.12.",
        ),
    ],
)
def test_the_sentence(sources, said):
    assert sources_text.line(sources, SPRINGER) == said


def test_the_misclassified_are_counted():
    both = [source(), source(said=SPRINGER), source(labelled="Welsh springer"), source(labelled=None)]
    assert sources_text.mistaken(both, SPRINGER) == 1


def test_the_page_shows_the_third_test_and_whence_and_trusts_no_label():
    made = explanation("both")
    tests = made.prediction_test
    images = [
        replace(shown, image=source(label=HOSTILE, labelled=HOSTILE)) for shown in tests.excluding.sources
    ]
    third = replace(tests.excluding, sources=tuple(images))
    shown = report_page.page(replace(made, prediction_test=replace(tests, unlabelled=third)))
    assert shown.count("Crops only from images neither predicted nor labelled as") == 1
    assert "the third test leaves out those that are labelled so as well" in shown
    assert "6 of 6 sources" in shown
    assert "<script>alert" not in shown
    plain = report_page.page(made)
    assert "neither predicted nor labelled" not in plain
    assert "sources lie in folder" not in plain  # records from before know of no label
