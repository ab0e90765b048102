"""From what images are labelled as to classes: matched where that is sure, and unknown otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass.errors import ClassError
from whyclass.models.class_labels import classes_of, kappa, read_meaning

NAMES = ("hawk", "crane", "snow owl", "crane")
IMAGENET = ("tench", *(f"class {k}" for k in range(1, 1000)))


def found(labels, predicted=None, names=NAMES, count=4, meaning=None):
    predicted = np.zeros(len(labels), int) if predicted is None else np.array(predicted)
    return classes_of(labels, predicted, names, count, meaning or {}).tolist()


@pytest.mark.parametrize(
    ("label", "index"),
    [
        ("hawk", 0),
        ("Snow_Owl", 2),
        ("crane", -1),  # two classes are called so
        ("val", -1),
        (None, -1),
        ("n01440764", -1),  # a WordNet number says nothing of another model's classes
    ],
)
def test_a_name_is_known_where_it_is_one_classs(label, index):
    assert found([label]) == [index]


@pytest.mark.parametrize("names", [(), IMAGENET])
def test_wordnet_numbers_are_imagenets_classes(names):
    labels = ["n01440764", "n02102040", "n15075141", "n00000000"]
    assert found(labels, names=names, count=1000) == [0, 217, 999, -1]


def test_wordnet_numbers_say_nothing_of_a_thousand_other_classes():
    assert found(["n01440764"], names=tuple(f"part {k}" for k in range(1000)), count=1000) == [-1]


def test_what_the_user_says_goes_before_all_else():
    meaning = {"hawk": "snow owl", "17": 1, "val": "3"}
    assert found(["hawk", "17", "val", "snow owl"], meaning=meaning) == [2, 1, 3, 2]


def test_numbers_are_indexes_only_where_the_model_agrees_with_them():
    labels, alike = ["0", "1", "2", "3"] * 5, [0, 1, 2, 3] * 5
    assert found(labels, alike) == alike
    assert found(labels, [0, 1, 2, 0] * 5) == alike  # not everywhere
    assert found(labels, np.roll(alike, 1)) == [-1] * 20  # such as numbers of patients
    assert found(labels, [2] * 20) == [-1] * 20
    assert found(["0"] * 20, [0] * 20) == [-1] * 20  # one folder tells nothing
    assert found(["7", "0", "1", "-1"], [0, 0, 1, 2]) == [-1, 0, 1, -1]
    assert found(["2012", "2013"], [0, 1]) == [-1, -1]


def test_kappa_is_nought_by_chance_and_one_where_all_agree(rng):
    labels = rng.integers(3, size=3000)
    assert kappa(labels, labels) == 1
    assert abs(kappa(labels, rng.permutation(labels))) < 0.05
    assert kappa(np.array([], int), np.array([], int)) == 0


def test_a_file_of_labels_is_an_object_of_names_and_indexes(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text('{"n01": "hawk", "n02": 3}')
    assert read_meaning(file) == {"n01": "hawk", "n02": 3}
    for wrong in ("[1]", '{"n01": null}', '{"n01": true}', "{", ""):
        file.write_text(wrong)
        with pytest.raises(ClassError, match=r"labels\.json"):
            read_meaning(file)
    with pytest.raises(ClassError, match="cannot read labels"):
        read_meaning(tmp_path / "none.json")
