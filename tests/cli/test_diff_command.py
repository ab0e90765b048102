"""The command that compares two models, and a store that holds both."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from helpers.planted_world import WEIGHTS, leftovers, model_arguments, quick_arguments, whyclass
from whyclass.planted import world

N = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def given(place) -> list[str]:
    pool = world.write_pool(place / "pool", N)
    options = ["--images", str(pool), "--store", str(place / "store"), "--quiet"]
    return [*model_arguments(place / "model"), *options, *quick_arguments()]


@pytest.fixture(scope="module")
def other(place) -> Path:
    """Weights of a model that says something else to snails."""
    state = load_file(WEIGHTS)
    bee, snail = world.class_index("bee"), world.class_index("snail")
    for name in ("head.weight", "head.bias"):
        state[name][[bee, snail]] = state[name][[snail, bee]].clone()
    save_file(state, place / "other.safetensors")
    return place / "other.safetensors"


def test_two_checkpoints_are_compared_in_one_store(given, other, place):
    ran = whyclass("diff", *given, "--other-weights", other, "--class", "bee", "--json")
    assert ran.code == 0
    found = ran.json
    assert found["first"]["weights"] != found["second"]["weights"]
    assert found["predictions"]["changed"] == sum(move["n"] for move in found["predictions"]["moves"])
    assert found["predictions"]["changed"] >= 2 * N - 1
    assert {(move["name"], move["other_name"]) for move in found["predictions"]["moves"]} == {
        ("bee", "snail"),
        ("snail", "bee"),
    }
    assert Path(found["page"]).is_relative_to(place / "store")
    assert "What changed from" in Path(found["page"]).read_text(encoding="utf-8")
    assert len(list((place / "store" / "models").iterdir())) == 1
    assert leftovers(place / "store") == []


def test_tables_of_a_store_tell_all_its_models(given, other, place):
    asked = ["--classes", "bee,owl", "--workers", "1"]
    for more in ([], ["--weights", str(other)]):
        base = list(given)
        if more:
            base[base.index("--weights") + 1] = more[1]
        base[base.index("--layer")] = "--layers"
        assert whyclass("audit", *base, *asked).code == 0
    audits = whyclass("tables", place / "store", "--format", "csv").out
    assert audits.count("factory.py:net") >= 2


def test_the_summary_says_what_came_and_went(given, other):
    words = " ".join(whyclass("diff", *given, "--other-weights", other, "--class", "owl").out.split())
    assert "are called something else" in words
    assert "“owl”: " in words
    assert "Concepts were matched by the cosine" in words


def test_two_pools_of_one_model_are_compared(given, place):
    pool = world.write_pool(place / "second", 2, seed=3)
    found = whyclass("diff", *given, "--other-images", pool, "--class", "owl", "--json").json
    assert found["predictions"]["n"] == 0
    assert found["measure"] == "cosine"
    assert found["first"]["weights"] == found["second"]["weights"]


def test_nothing_to_compare_with_is_one_line(given):
    ran = whyclass("diff", *given)
    assert ran.code == 1
    assert "there is nothing to compare with; give --other-model" in ran.message
