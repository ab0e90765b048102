"""The commands that set one class against another."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers.planted_world import leftovers, model_arguments, quick_arguments, whyclass
from whyclass import progress_bars
from whyclass.planted import world

N = 6


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Everything but the command and its own options; one store serves all calls of this file."""
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", N)
    options = ["--images", str(pool), "--store", str(place / "store"), "--quiet"]
    return [*model_arguments(place / "model"), *options, *quick_arguments()]


def pool(given: list[str]) -> Path:
    return Path(given[given.index("--images") + 1])


def ask(command: str, given: list[str], *more: str | Path):
    return whyclass(command, *given, *more)


def test_contrast_prints_one_object_and_makes_a_page(given):
    ran = ask("contrast", given, "--class", "hawk", "--against", "owl", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert (found["class"]["name"], found["against"]["name"]) == ("hawk", "owl")
    assert set(found["hyperplane"]) == {"plane", "strength", "bias", "training", "held_out", "trust"}
    for side in (found, found["mirrored"]):
        for name in ("shifting", "masking"):
            assert len(side[name]["steps"]) >= 10
            assert set(side[name]["steps"][0]) >= {"at", "target", "source", "winner"}
            assert side[name]["n"] == N
            assert side[name]["controls"]["random"]["n"] == 2
            assert isinstance(side[name]["swapped"], bool)
        assert len(side["insertion"]) == len(side["concepts"]) == 6
        assert set(side["prediction_test"]) == {"including", "excluding", "unlabelled", "neither"}
    assert set(found["alone"]) == {"hawk", "owl"}
    page = Path(found["page"])
    assert page.name.startswith("hawk-against-owl-")
    assert "Why “hawk” and not “owl”?" in page.read_text(encoding="utf-8")


def test_the_summary_tells_both_directions(given):
    ran = ask("contrast", given, "--class", "hawk", "--against", "owl")
    words = " ".join(ran.out.split())
    for text in ("“hawk” against “owl”", "Towards hawk shifted:", "Towards owl masked:", "inserted: best"):
        assert text in words
    assert ran.code == 0


def test_a_page_goes_where_it_is_sent(given, tmp_path):
    place = tmp_path / "deep" / "a.html"
    assert ask("contrast", given, "--class", "hawk", "--against", "owl", "--page", place).code == 0
    assert place.is_file()


def test_insert_takes_a_part_of_a_file(given, tmp_path):
    drawn = world.planted_picture(world.class_index("hawk"), 900_001)
    rows, columns = drawn.masks[world.SHORTCUT].nonzero()
    x, y = columns.min() - 4, rows.min() - 4
    w, h = columns.max() + 5 - x, rows.max() + 5 - y
    file = tmp_path / "hawk.png"
    Image.fromarray(drawn.image).save(file)
    two = ("--class", "hawk", "--against", "owl", "--json")
    found = ask("insert", given, *two, "--patch", f"{file}:{x},{y},{w},{h}").json
    assert found["insertion"]["swapped"]
    assert found["insertion"]["box"] == [96 - w, 96 - h, 96, 96]
    assert set(found["insertion"]["controls"]) == {"blank", "theirs", "third"}
    other = ask("insert", given, *two, "--patch", f"{file}:0,0,{w},{h}", "--at", "top-left").json
    assert not other["insertion"]["swapped"]
    assert other["insertion"]["box"] == [0, 0, w, h]
    pages = {found["page"], other["page"]}
    assert len(pages) == 2
    assert all("Does the patch turn “owl” into “hawk”?" in Path(page).read_text() for page in pages)


@pytest.mark.parametrize("name", ["a:b.png", "a.png:1,2,3,4"])
def test_a_file_whose_name_has_a_colon_is_a_file(given, tmp_path, name):
    Image.new("RGB", (9, 7)).save(tmp_path / name, "PNG")
    two = ("--class", "hawk", "--against", "owl", "--json")
    assert ask("insert", given, *two, "--patch", tmp_path / name).json["insertion"]["box"] == [87, 89, 96, 96]


def test_pairs_print_a_table_without_the_papers_rows_which_are_of_other_classes(given):
    three = ("--class", "hawk", "--class", "owl", "--class", "snail")
    ran = ask("pairs", given, *three)
    assert ran.code == 0
    for text in ("6 pairs", "random directions", "normal reversed"):
        assert text in ran.out
    assert "paper" not in ran.out
    assert max(map(len, ran.out.splitlines()[:6])) <= 80
    assert "of 2 random directions" in " ".join(ran.out.split())
    found = ask("pairs", given, *three, "--json").json
    assert len(found["pairs"]) == 6
    assert found["table"]["hyperplane"]["n"] == 6


def test_pairs_without_controls_and_held_out_images_leave_them_out(given):
    bare = ("--class", "hawk", "--class", "owl", "--set", "controls=0", "--set", "held_out=0")
    table = ask("pairs", given, *bare, "--json").json["table"]
    assert table["random"] is table["above"] is table["held_out"] is None
    told = ask("pairs", given, *bare)
    assert told.code == 0
    assert "random directions" not in told.out
    assert "Balanced accuracy" not in told.out


def test_repair_of_what_passed_says_so(given):
    ran = ask("explain", given, "--class", "comet", "--repair")
    assert ran.code == 0
    assert "nothing to repair: both prediction tests passed" in ran.out
    more = ask("explain", given, "--class", "comet", "--repair", "--json").json["repair"]
    assert more == {"said": "nothing to repair: both prediction tests passed"}


def test_repair_contrasts_with_the_class_that_won_and_tells_both_scores(given):
    few = ("--class", "peacock", "--set", "concepts=1", "--set", "tests=")
    alone = ask("explain", given, *few, "--json").json
    rival = alone["rival"]["name"]
    told = ask("explain", given, *few).out
    assert f"--against {rival}" in " ".join(told.split())
    ran = ask("explain", given, *few, "--repair", "--json")
    assert ran.code == 0
    more = ran.json["repair"]
    assert more["against"]["name"] == rival
    assert more["before"]["including"]["score"] == alone["prediction_test"]["including"]["score"]
    assert 0 <= more["after"]["including"]["score"] <= 1
    assert Path(more["page"]).is_file()
    said = ask("explain", given, *few, "--repair").out
    assert f"“peacock” explained against “{rival}”: prediction test" in " ".join(said.split())
    assert ask("contrast", given, *few, "--json").json["against"]["name"] == rival


def test_a_repair_against_a_class_without_images_tells_the_explanation_and_fails(given, tmp_path):
    few = ("--class", "peacock", "--set", "concepts=1", "--set", "tests=")
    rival = ask("explain", given, *few, "--json").json["rival"]["name"]
    own = [*given]
    place = tmp_path / "pool"
    for name in ("peacock", "comet", "jester"):
        if name != rival:
            (place / name).mkdir(parents=True)
            for file in (pool(given) / name).iterdir():
                (place / name / file.name).write_bytes(file.read_bytes())
    own[own.index("--images") + 1] = str(place)
    own[own.index("--store") + 1] = str(tmp_path / "store")
    ran = ask("explain", own, *few, "--repair", "--json")
    if ran.code == 1:
        assert "no repair: class" in ran.err
        assert "is predicted for none" in ran.json["repair"]["problem"]
        assert ran.json["class"]["name"] == "peacock"
    else:  # with other pictures another class won, which has images
        assert ran.json["repair"]["against"]["name"] in {"comet", "jester"}
    assert leftovers(tmp_path / "store") == []


TWO = ("--class", "hawk", "--against", "owl")


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("contrast", ("--class", "hawk", "--against", "hawk"), "cannot be contrasted with itself"),
        ("contrast", ("--class", "hawk", "--against", "hwak"), "no class is called 'hwak'. Did you mean"),
        ("contrast", ("--class", "comet"), "passed its prediction tests, so no other class won"),
        ("contrast", (*TWO, "--set", "tests=shifting,pushing"), "tests has 'pushing'; choose of"),
        ("contrast", (*TWO, "--set", "shifts=1,2"), "needed are two or more rising numbers, the first one 0"),
        ("contrast", (*TWO, "--set", "shifts=0,x"), "'0,x' is no list of float"),
        ("contrast", (*TWO, "--set", "cut=1"), "needed is a share below 1"),
        ("contrast", (*TWO, "--set", "rate=0"), "rate is 0"),
        ("contrast", (*TWO, "--set", "fill=black"), "fill is 'black'; choose one of zero, white"),
        ("insert", (*TWO, "--patch", "nowhere.png"), "patch nowhere.png: "),
        ("insert", (*TWO, "--patch", "{file}:0,0,97,5"), "does not lie within it"),
        ("insert", (*TWO, "--patch", "{file}:-1,0,5,5"), "does not lie within it"),
        ("insert", (*TWO, "--patch", "{file}:0,0,0,5"), "does not lie within it"),
        ("insert", (*TWO, "--patch", "{file}:1,2,3"), "needed is FILE or FILE:x,y,w,h in whole pixels"),
        (
            "insert",
            (*TWO, "--patch", "{large}"),
            "the patch is 200 x 10 pixels, the model's images are",
        ),
        ("insert", (*TWO, "--patch", "{file}:0,0,5,5", "--at", "middle"), "there is no place 'middle'"),
        ("insert", (*TWO, "--patch", "{text}"), "not an image that can be read"),
        ("pairs", ("--class", "hawk"), "needed are two or more, each once"),
        ("pairs", ("--class", "hawk", "--class", "1"), "needed are two or more, each once"),
    ],
)
def test_bad_input_is_one_clear_message(given, tmp_path, command, options, reason):
    places = {"large": tmp_path / "large.png", "text": tmp_path / "text.png"}
    Image.new("RGB", (200, 10)).save(places["large"])
    places["text"].write_text("no picture")
    places["file"] = next(pool(given).rglob("*.png"))
    ran = ask(command, given, *(option.format(**places) for option in options))
    assert (ran.code, ran.out) == (1, "")
    assert reason in ran.message
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["contrast", "insert", "pairs"])
def test_help_names_every_option(command):
    ran = whyclass(command, "--help")
    assert ran.code == 0
    for option in ("--class", "--model", "--layer", "--images", "--store", "--json"):
        assert option in ran.out


def test_a_long_step_is_told(given, monkeypatch, tmp_path):
    monkeypatch.setattr(progress_bars, "LONG", 0.0)
    own = [option for option in given if option != "--quiet"]
    own[own.index("--store") + 1] = str(tmp_path / "store")
    ran = ask("contrast", own, *TWO, "--json")
    lines = [line.split(":")[0] for line in ran.err.splitlines()]
    assert {"shifting", "masking", "insertion", "whole images", "page"} <= set(lines)
