"""The command that lists layers and chooses one, and ``--layer auto``."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.planted_world import model_arguments, quick_arguments, whyclass
from whyclass.planted import world
from whyclass.study import layer_candidates


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """The options of a model, a pool and a store, without a layer."""
    place = tmp_path_factory.mktemp("world")
    pool, model = world.write_pool(place / "pool", 3), model_arguments(place / "model")
    at = model.index("--layer")
    del model[at : at + 2]
    return [*model, "--images", str(pool), "--store", str(place / "store"), *quick_arguments(), "--quiet"]


CHOICE = ("--layers", "stage2,stage3", "--classes", "hawk,bee", "--concepts", "3,6")


def test_a_choice_is_printed_as_a_table_with_its_page(given):
    ran = whyclass("layers", "--choose", *given, *CHOICE)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[1:4] for line in ran.out.splitlines()[-4:]] == [
        ["stage2", "8", "3"],
        ["stage2", "8", "6"],
        ["stage3", "16", "3"],
        ["stage3", "16", "6"],
    ]
    assert sum(line.endswith("chosen") for line in ran.out.splitlines()) == 1
    found = whyclass("layers", *given, *CHOICE, "--choose", "--json")
    assert len(found.json["candidates"]) == 4
    assert found.json["settings"]["copies"] == 2
    page = Path(found.json["page"])
    assert page.parent.name == "pages"
    assert str(page) in ran.out
    assert "<svg" in page.read_text(encoding="utf-8")


def test_a_number_of_classes_is_drawn_and_the_model_may_be_an_argument(given):
    model = given[given.index("--model") + 1]
    rest = [text for text in given if text not in ("--model", model)]
    ran = whyclass("layers", model, "--choose", *rest, "--layers", "stage3", "--classes", "2", "--json")
    assert len(ran.json["candidates"][0]["classes"]) == 2


def test_one_index_is_told_from_a_count_by_a_comma(given):
    ran = whyclass("layers", "--choose", *given, "--layers", "stage3", "--classes", "1,", "--json")
    assert [one["target"]["name"] for one in ran.json["candidates"][0]["classes"]] == ["hawk"]
    shown = " ".join(whyclass("layers", "--help").out.replace("│", " ").split())
    assert "a comma makes it an index: 207," in shown


def test_auto_takes_the_choice_and_tells_it(given, monkeypatch):
    monkeypatch.setattr(
        layer_candidates, "candidates", lambda model, infos: [i for i in infos if i.name == "stage3"]
    )
    ran = whyclass("explain", "--layer", "auto", *given, "--class", "hawk", "--json")
    assert ran.code == 0
    assert ran.json["layer"] == ran.json["choice"]["layer"]
    assert ran.json["choice"]["why"].startswith("of 1 candidate ")
    assert Path(ran.json["choice"]["page"]).is_file()
    loud = [text for text in given if text != "--quiet"]
    again = whyclass("explain", "--layer", "auto", *loud, "--class", "hawk", "--json")
    assert f"note: layer {ran.json['layer']} was chosen: of 1 candidate" in again.message
    assert f"how the layer was chosen: {ran.json['choice']['page']}" in again.message
    assert "index" not in again.json["seconds"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--choose",), 2, "Missing argument 'MODEL'"),
        (("net.py:net", "--choose"), 2, "--choose needs --images and --store"),
        (("net.py:net", "--choose", "--store", "x"), 2, "--choose needs --images."),
        (("net.py:net", "--classes", "3"), 2, "--classes is for --choose"),
        (("net.py:net", "--images", "x"), 2, "--images is for --choose"),
        (("net.py:net", "--set", "images=6"), 2, "--set is for --choose"),
        (("net.py:net", "--preset", "fast"), 2, "--preset is for --choose"),
        (("net.py:net", "--weights", "x"), 2, "--weights is for --choose"),
        (("net.py:net", "--class-names", "x"), 2, "--class-names is for --choose"),
        (("net.py:net", "--seed", "1"), 2, "--seed is for --choose"),
        (("net.py:net", "--device", "cpu"), 2, "--device is for --choose"),
        (("net.py:net", "--model", "net.py:net"), 2, "MODEL is given twice"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = whyclass("layers", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--layers", "stage9"), "no layer 'stage9'"),
        (("--concepts", "three"), "needed are numbers such as 3,6,9"),
        (("--classes", "0"), "needed is 1 or more"),
        (("--classes", "hwak"), "Did you mean 1 (hawk)?"),
    ],
)
def test_what_cannot_be_chosen_is_an_error(given, tmp_path, changes, message):
    ran = whyclass("layers", "--choose", *given, "--store", tmp_path / "store", *changes)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.message


def test_the_list_takes_the_model_as_an_option_too(given):
    model = given[given.index("--model") + 1]
    one = whyclass("layers", model, "--crop", "96", "--json")
    assert whyclass("layers", "--model", model, "--crop", "96", "--json").json == one.json


def test_no_layers_name_is_cut_off_however_narrow_the_terminal():
    ran = whyclass("layers", "torchvision:lraspp_mobilenet_v3_large", "--crop", 64)
    assert ran.code == 0
    assert "backbone.15.block.2.activation" in ran.out
