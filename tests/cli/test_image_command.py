"""The command that explains images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers.planted_world import leftovers, model_arguments, quick_arguments, whyclass
from whyclass.planted import world

N = 6


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    """Everything but the command and its own options; one store serves all calls of this file."""
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", N)
    options = ["--images", str(pool), "--store", str(place / "store"), "--quiet"]
    return [*model_arguments(place / "model"), *options, *quick_arguments()]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Two owls with stickers."""
    folder = tmp_path_factory.mktemp("given") / "owl"
    folder.mkdir()
    for number in range(2):
        drawn = world.planted_picture(world.class_index("owl"), 7_000_000 + number, add=[world.SHORTCUT])
        Image.fromarray(drawn.image).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_images_print_one_object_and_make_pages(given, pictures):
    ran = whyclass("image", *pictures, *given, "--json")
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.json["images"]
    for one, path in ((first, pictures[0]), (second, pictures[1])):
        assert one["image"] == str(path)
        assert (one["class"]["name"], one["against"]["name"], one["mistaken"]) == ("hawk", "owl", True)
        assert one["swap"]["found"]
        page = Path(one["page"])
        assert page.name.startswith(f"hawk-in-{path.stem}-")
        assert "Why “hawk” in this image?" in page.read_text(encoding="utf-8")
    assert first["page"] != second["page"]
    assert set(ran.json["seconds"]) >= {"page"}


def test_the_summary_says_it_in_words(given, pictures, tmp_path):
    place = tmp_path / "deep" / "one.html"
    ran = whyclass("image", pictures[0], *given, "--class", "owl", "--against", "hawk", "--page", place)
    words = " ".join(ran.out.split())
    assert ran.code == 0
    assert "“owl” gets" in words
    assert "To say otherwise" in words
    assert place.is_file()


def test_without_tests_nothing_is_removed(given, pictures):
    (one,) = whyclass("image", pictures[0], *given, "--no-tests", "--json").json["images"]
    assert one["swap"] is None
    assert all(concept["removed"] is None for concept in one["class"]["concepts"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["nowhere.png"], "nowhere.png: No such file or directory"),
        (["{0}", "--class", "ow"], "no class is called 'ow'"),
        (["{0}", "--class", "owl", "--against", "owl"], "cannot be contrasted with itself"),
        (["{0}", "{1}", "--page", "one.html"], "--page is one file, and 2 images came"),
    ],
)
def test_what_is_wrong_is_one_line(given, pictures, more, said):
    ran = whyclass("image", *given, *(text.format(*pictures) for text in more))
    assert ran.code == 1
    assert said in ran.message
    assert ran.out == ""


def test_nothing_is_left_over(given):
    assert leftovers(Path(given[given.index("--store") + 1])) == []
