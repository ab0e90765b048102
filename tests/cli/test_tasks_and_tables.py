"""Tasks, tables and patterns on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.colours import single
from helpers.planted_world import quick_arguments, whyclass

FACTORY = """
import sys
sys.path.insert(0, {tests!r})
from helpers.colours import Colours

def one():
    return Colours(((30.0, 0.0, -30.0),), (-1.0,))

def three():
    return Colours()

def margin(output):
    return output[:, 0] - output[:, 1]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(FACTORY.format(tests=str(Path(__file__).parents[1])))
    rows = ["file,label"]
    for number, (image, label) in enumerate(single(9)):
        image.save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'not red' if label else 'red'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    (tmp_path / "names.json").write_text('{"0": "red", "1": "green", "2": "blue"}')
    np.save(tmp_path / "classes.npy", np.eye(3)[:2] + 0.1)
    return tmp_path


def explained(place: Path, factory: str, target: str, images: str, *more: str):
    return whyclass(
        *("explain", "--model", f"{place / 'own.py'}:{factory}", "--layer", "features", "--quiet", "--json"),
        *(
            "--images",
            place / images,
            "--store",
            place / "store",
            "--resize",
            "32",
            "--crop",
            "32",
            "--mean",
            "0",
            "--std",
            "1",
        ),
        *("--class", target, *quick_arguments(), "--set", "concepts=2", *more),
    )


def test_a_task_and_a_table_are_taken(place):
    (place / "one.txt").write_text("red")
    ran = explained(
        place, "one", "red", "table.csv", "--task", "binary", "--class-names", str(place / "one.txt")
    )
    assert ran.code == 0, ran.err
    assert ran.json["class"]["name"] == "red"
    assert ran.json["task"] == "binary classification"
    assert ran.json["n_predicted"] == 3


def test_a_function_of_a_file_and_a_pattern_are_taken(place):
    ran = explained(place, "three", "high", "*.png", "--task", f"{place / 'own.py'}:margin")
    assert ran.code == 0, ran.err
    assert ran.json["class"]["name"] == "high"


def test_names_by_index_are_taken(place):
    ran = explained(place, "three", "blue", "table.csv", "--class-names", str(place / "names.json"))
    assert ran.code == 0, ran.err
    assert ran.json["class"] == {"index": 2, "name": "blue"}


def test_a_matrix_of_a_file_is_taken(place):
    ran = explained(place, "three", "0", "*.png", "--task", f"embedding:{place / 'classes.npy'}")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "zero-shot classification"


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("many", "choose one of softmax, binary, multilabel, regression, embedding:FILE"),
        ("embedding:nothing.npy", "cannot be read as a class matrix"),
        ("own.py:nothing", "there is no file own.py"),
        ("binary", "needs one logit for each image, or two"),
    ],
)
def test_a_wrong_task_is_refused_in_one_line(place, task, reason):
    ran = explained(place, "three", "0", "*.png", "--task", task)
    assert ran.code in (1, 2)
    assert reason in ran.message
    assert "Traceback" not in ran.err
