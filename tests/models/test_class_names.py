"""From what a user calls a class to its index."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass.errors import ClassError
from whyclass.models.class_names import name_of, resolve, rivals

NAMES = (
    "tench",
    "crane",
    "Great Dane",
    "crane",
    "ice-cream",
    "7",
    "Labrador retriever",
    "golden retriever",
    "sax",
)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (0, 0),
        ("0", 0),
        (" 4 ", 4),
        (np.int64(2), 2),
        ("tench", 0),
        ("TENCH", 0),
        ("great_dane", 2),
        ("greatdane", 2),
        ("Ice cream", 4),
        ("7", 5),  # a class that is called 7
        (7, 7),  # the index 7
    ],
)
def test_a_class_is_found_by_index_or_name(wanted, index):
    assert resolve(wanted, NAMES, len(NAMES)) == index


def test_an_exact_name_wins_over_one_that_differs_in_case():
    assert resolve("Sax", ("sax", "Sax"), 2) == 1


def test_of_few_names_all_are_told_and_of_many_the_first():
    with pytest.raises(
        ClassError, match=r"indexes 0 to 2 are understood: 0 \(owl\), 1 \(hawk\), 2 \(bee\)\.$"
    ):
        resolve("xyzzy", ("owl", "hawk", "bee"), 3)
    many = tuple(f"class of {number}" for number in range(1000))
    with pytest.raises(
        ClassError, match=r"0 to 999 are understood: 0 \(class of 0\), .*\(class of 19\), and so on\.$"
    ):
        resolve("xyzzy", many, 1000)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("crane", r"ambiguous; give the index of one: 1 \(crane\), 3 \(crane\)"),
        ("retriever", r"no class is called.*6 \(Labrador retriever\), 7 \(golden retriever\)"),
        ("tensh", r"Did you mean 0 \(tench\)\?"),
        ("xyzzy", "indexes 0 to 8 are understood"),
        ("", "no class is called ''"),
        (9, "classes 0 to 8"),
        (-1, "classes 0 to 8"),
        ("99", "classes 0 to 8"),
        ("--5", "no class is called"),
        ("²", "no class is called"),
    ],
)
def test_a_class_that_is_not_clear_is_refused_with_candidates(wanted, reason):
    with pytest.raises(ClassError, match=reason):
        resolve(wanted, NAMES, len(NAMES))


def test_without_names_an_index_is_needed():
    assert resolve("3", (), 5) == 3
    with pytest.raises(ClassError, match="names are unknown: give an index from 0 to 4"):
        resolve("tench", (), 5)


def test_names_of_another_number_than_the_classes_are_refused():
    with pytest.raises(ClassError, match="9 class names, and the model has 10 classes"):
        resolve("tench", NAMES, 10)


def test_a_class_without_a_name_is_called_by_its_index():
    assert name_of(2, NAMES) == "Great Dane"
    assert name_of(2, ()) == "class 2"


def test_rivals_are_the_classes_predicted_where_the_target_scores_highest():
    scores = np.array([[0.3, 0.6, 0.1], [0.2, 0.1, 0.7], [0.25, 0.05, 0.7], [0.0, 0.9, 0.1]])
    sentence = rivals(scores[:, 0], scores.argmax(1), ("tench", "crane", "drum"))
    assert sentence == (
        "its highest score in the pool is 0.300; predicted where it scores highest: "
        "crane (2 images), drum (2 images)"
    )
