"""The command that compares methods."""

import numpy as np
import pytest

from helpers.planted_world import model_arguments, quick_arguments, whyclass
from whyclass.planted import world


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    pool = world.write_pool(folder / "pool", 6, 0)
    return [
        "compare",
        *model_arguments(folder / "model"),
        *quick_arguments(),
        *("--images", str(pool), "--store", str(folder / "store")),
    ]


def test_it_prints_one_object_and_writes_page_and_table(arguments, tmp_path):
    np.savez(tmp_path / "mine.npz", np.eye(64)[:9])
    methods = f"whyclass,pca,permuted,file:{tmp_path / 'mine.npz'}"
    ran = whyclass(
        *arguments,
        *("--class", "snail", "--class", "owl", "--methods", methods, "--json"),
        *("--page", tmp_path / "page", "--table", tmp_path / "numbers.csv"),
    )
    assert ran.code == 0, ran.err
    assert [one["class"]["name"] for one in ran.json["classes"]] == ["snail", "owl"]
    assert ran.json["methods"] == methods.split(",")
    assert ran.json["page"] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert len((tmp_path / "numbers.csv").read_text().splitlines()) == 9


def test_it_tells_a_summary(arguments):
    ran = whyclass(*arguments, "--class", "snail", "--methods", "pca")
    assert ran.code == 0, ran.err
    assert "second test" in ran.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--methods", "nmf"), "there is no method 'nmf'"),
        (("--methods", "pca", "--table", "x.xlsx"), "needed is a file .parquet or .csv"),
        (("--methods", "file:none.npz"), "there is no such file"),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments, more, said):
    ran = whyclass(*arguments, "--class", "snail", *more)
    assert ran.code == 1
    assert said in ran.message
