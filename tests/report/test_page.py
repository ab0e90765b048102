"""The page, the fragment and the words of a record."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from helpers.explanations import CASES, HIGH, HOSTILE, LOW, NAMES, explanation
from helpers.parsed_pages import Parsed
from whyclass.errors import RecordError
from whyclass.records import (
    Completeness,
    Control,
    Explanation,
    HeatMap,
    Picture,
    Prediction,
    PredictionTest,
    PredictionTests,
)
from whyclass.report import explanation_text, page_pictures
from whyclass.report import verdict as verdicts
from whyclass.report.page import fragment, page
from whyclass.report.summary import rows, summary
from whyclass.report.verdict import verdict

SHOWN_HOSTILE = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\udce9", "\ufffd")


def test_a_failed_test_names_the_class_that_won_and_how_to_contrast_with_it():
    assert "--against" not in page(small())
    shown = " ".join(Parsed(page(small("both fail"))).texts)
    rival = small("both fail").rival.name
    assert f"“{rival}” won; to see what speaks for “French horn” against it" in shown
    assert f"--class 'French horn' --against {rival}" in shown


@cache
def small(case: str = "both") -> Explanation:
    return explanation(case, size=(64, 64), crop=(16, 16))


def varied(**tests: object) -> Explanation:
    """The explanation that passes, with fields of both tests replaced: ``first=...``, ``second=...``."""
    made = small()
    first = replace(made.prediction_test.including, **tests.get("first", {}))
    second = tests.get("second", {})
    other = replace(made.prediction_test.excluding, **second) if second is not None else None
    return replace(made, prediction_test=PredictionTests(first, other))


FAILED = {
    "predicted": False,
    "score": 0.12,
    "top": (Prediction(3, "sax", 0.4), Prediction(0, NAMES[0], 0.12)),
}
AGAIN = {
    "predicted": False,
    "score": 0.03,
    "top": (Prediction(5, "drum", 0.6), Prediction(0, NAMES[0], 0.03)),
}


def test_drawn_pictures_tell_what_the_model_says_as_crops_do():
    """A segmentation net can say several classes of one image: what counts is whether it says this one."""
    made = small()
    failed = replace(made.prediction_test.including, **FAILED)
    for top in (failed.top, failed.top[::-1]):
        said = explanation_text.drawn_result(replace(made, drawn_test=replace(failed, top=top)))
        assert said.startswith("The model says “sax” (0.40) and gives “French horn” 0.12. These pictures")
    shown = replace(made, drawn_test=replace(failed, predicted=True), drawn_control=failed)
    assert explanation_text.drawn_result(shown) == (
        "The model says “French horn” with 0.12. These pictures were made to excite the layer. To pictures "
        "of as many random directions, the concepts with their channels in another order, it says “sax” "
        "(0.40) and gives “French horn” 0.12."
    )
    begun = replace(shown, settings=shown.settings | {"picture_start": "image"})
    assert "pictures, begun from the images of the best crops, were made" in explanation_text.drawn_result(
        begun
    )


def test_verdict_when_both_tests_pass():
    judged = verdict(small())
    assert judged.level == "trust"
    assert judged.sentence == (
        "This set of six crops suffices: shown only six crops, the model says “French horn” with 1.00, "
        "and again (0.96) when all crops come from images it calls something else. "
        "Six random crops: 0.00 (n = 20). All 9 checks passed."
    )


@pytest.mark.parametrize(
    ("tests", "level", "says"),
    [
        (
            {"second": FAILED},
            "careful",
            ["suffices only while", "it says “sax” (0.40)", "“French horn” 0.12"],
        ),
        ({"first": FAILED}, "careful", ["tests disagree", "the model says “sax” (0.40)", "with 0.96"]),
        (
            {"first": FAILED, "second": AGAIN},
            "distrust",
            ["does not suffice", "“sax” (0.40)", "“drum” (0.60)"],
        ),
        ({"first": FAILED, "second": None}, "distrust", ["does not suffice", "does not hold it"]),
        ({"second": None}, "careful", ["suffices by the weaker of two tests", "not run"]),
        (
            {"first": {"control": HIGH}},
            "careful",
            ["only one of two", "in 85% of draws (n = 20); from", "at least half"],
        ),
        (
            {"first": {"control": HIGH}, "second": {"control": HIGH}},
            "distrust",
            [
                "may or may not suffice",
                "Six random crops: 0.81, called",
                "reach up to 0.99",
                "nothing follows",
            ],
        ),
        ({"first": {"control": HIGH}, "second": None}, "distrust", ["nothing follows", "not run"]),
        ({"first": FAILED, "second": {"control": HIGH}}, "distrust", ["does not suffice", "nothing follows"]),
        (
            {"first": {"control": None}, "second": {"control": None}},
            "careful",
            ["may or may not suffice", "In both tests there were no random crops"],
        ),
        ({"second": {"control": replace(LOW, n=3)}}, "careful", ["only three random draws", "(n = 3)"]),
        (
            {"first": {"control": None}, "second": FAILED},
            "careful",
            ["may or may not suffice", "whether any crops"],
        ),
    ],
)
def test_verdict_follows_from_the_numbers(tests, level, says):
    judged = verdict(varied(**tests))
    assert judged.level == level
    for words in says:
        assert words in judged.sentence
    assert judged.sentence.endswith("The explanation should not be trusted by itself.")


@pytest.mark.parametrize("mean", [0.24, float("nan"), float("inf")])
def test_an_attribution_that_does_not_add_up_is_never_trusted(mean):
    judged = verdict(replace(small(), completeness=Completeness(20, mean, mean)))
    assert judged.level == "careful"
    assert "does not add up" in judged.sentence


@pytest.mark.parametrize(
    ("score", "control", "expected"),
    [
        (0.5, Control(20, 0.1, 0.0, 0.49, 0.0), "passed"),
        (0.5, Control(20, 0.1, 0.0, 0.5, 0.0), "chance"),
        (0.9, Control(20, 0.5, 0.3, 0.8, 0.5), "chance"),
        (0.9, Control(18, 0.0, 0.0, 0.0, 0.0), "unchecked"),
        (0.9, Control(0, float("nan"), float("nan"), float("nan"), float("nan")), "unchecked"),
        (float("nan"), Control(20, 0.1, 0.0, 0.4, 0.0), "chance"),
    ],
)
def test_outcome(score, control, expected):
    test = replace(small().prediction_test.including, score=score, control=control)
    assert verdicts.outcome(test) == expected


def test_singular_and_fewer_concepts():
    assert verdict(explanation(k=1)).sentence.startswith("This one crop suffices: shown only one crop,")
    assert "One random crop: 0.00" in verdict(explanation(k=1)).sentence


def test_rows_hold_the_facts_and_nothing_that_acts_on_a_terminal():
    found = dict(rows(small("hostile")))
    assert SHOWN_HOSTILE in found["Class"]
    assert SHOWN_HOSTILE in found["Warning"]
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\ud800-\udfff]", "".join(found.values()))
    found = dict(rows(small()))
    assert found["Pool"] == "imagenette/val: 3,925 images, 1 skipped"
    assert found["Test, other images"].startswith("0.96, passed; random crops 0.00 on average")
    assert found["Concepts"].startswith("22%, 20%")
    assert "1.8\u00a0×\u00a010⁻⁶" in found["Completeness"]


def test_rows_of_failures_name_the_winner():
    found = dict(rows(small("both fail")))
    assert found["Test, whole pool"].startswith("0.21, failed, the model says “cornet” (0.41)")
    assert dict(rows(small("alone")))["Test, other images"].startswith("not run: every image")


def test_summary_is_aligned_and_within_its_width():
    made = small("both fail")
    lines = summary(made, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    labels = [label for label, _ in rows(made)]
    assert [line[:20].strip() for line in lines if line[:20].strip()] == labels
    assert all(line[18:20] == "  " for line in lines)
    assert all(
        line.startswith(("Class", "Verdict", "Test", "Concepts", "Images", "Pool")) or line for line in lines
    )


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed_and_complete_in_itself(case):
    html = page(small(case))
    assert html.startswith("<!doctype html>\n")
    parsed = Parsed(html)
    assert parsed.open == []
    assert parsed.named("html") == [{"lang": "en"}]
    metas = parsed.named("meta")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    policy = next(meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    for _, attributes in parsed.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    assert all(found.startswith("data:image/") for found in re.findall(r"url\((.*?)\)", html))


@pytest.mark.parametrize("case", CASES)
def test_headings_landmarks_and_ids(case):
    parsed = Parsed(page(small(case)))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer", "title"):
        assert len(parsed.named(landmark)) == 1
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {link["href"] for link in parsed.named("a")}
    assert {link[1:] for link in links} <= set(ids)


@pytest.mark.parametrize("make", [page, fragment])
@pytest.mark.parametrize("case", CASES)
def test_every_picture_has_words_and_proportions(make, case):
    images = Parsed(make(small(case))).named("img")
    assert images
    for image in images:
        assert image["alt"]
        assert int(image["width"] or 0) > 0
        assert int(image["height"] or 0) > 0


@pytest.mark.parametrize("make", [page, fragment])
def test_hostile_text_is_only_text(make):
    parsed = Parsed(make(small("hostile")))
    assert not parsed.named("script")
    assert not [name for _, found in parsed.tags for name in found if name.startswith("on")]
    assert any(SHOWN_HOSTILE in shown for shown in parsed.texts)
    assert any(SHOWN_HOSTILE in (image["alt"] or "") for image in parsed.named("img"))
    styles = [*parsed.styles, *(found["style"] or "" for _, found in parsed.tags if "style" in found)]
    assert not [style for style in styles if "alert" in style]
    make(small("hostile")).encode("utf-8")


def test_hostile_text_stands_wherever_the_record_has_it():
    parsed = Parsed(page(small("hostile")))
    shown = " ".join(parsed.texts)
    assert "{{ 7*7 }}" in shown
    assert "49" not in [word.strip() for word in parsed.texts]
    for label in ("Skipped files", "Settings", "Versions", "Weights hash", "Content hash", "Note:"):
        assert label in shown
    assert shown.count(SHOWN_HOSTILE) > 20


def test_fragment_stands_alone_and_twice_on_one_page():
    both = fragment(small()) + fragment(small("both fail"))
    parsed = Parsed(both)
    assert parsed.open == []
    assert not [found for _, found in parsed.tags if "id" in found]
    assert not parsed.named("script")
    for style in parsed.styles:
        outside = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "", style)
        for selector in re.split(r"[,{}]", re.sub(r"@media[^{]*", "", outside)):
            assert not selector.strip() or ".whyclass" in selector or selector.strip().startswith(".wc-")


def test_pictures_of_two_records_do_not_mix():
    one, other = small(), explanation(size=(32, 32), crop=(16, 16))
    prefixes = [set(re.findall(r"\.(wc-[0-9a-f]+)-\d", fragment(made))) for made in (one, other)]
    assert len(prefixes[0]) == len(prefixes[1]) == 1
    assert prefixes[0] != prefixes[1]


@pytest.mark.parametrize("make", [page, fragment, summary])
def test_same_record_same_bytes(make):
    size = {"size": (64, 64), "crop": (16, 16)}
    assert make(explanation(**size)) == make(explanation(**size))


def test_page_stays_light():
    made = explanation()
    html = page(made)
    assert len(html) < 3_000_000
    for shown in made.images:
        assert (
            html.count(page_pictures.uri(shown.picture).partition(",")[2]) <= 1 + 2
        )  # once, and as a source


@pytest.mark.parametrize(
    "kinds",
    [
        {"size": (32, 32), "crop": (3, 3), "k": 3, "n_images": 1, "names": NAMES[:2]},
        {"size": (400, 160), "crop": (100, 30)},
        {"size": (160, 400), "crop": (40, 133), "k": 2},
        {"size": (640, 480), "crop": (200, 160), "k": 1},
        {"names": ("word" * 60, *NAMES[1:])},
    ],
)
def test_unusual_records(kinds):
    made = explanation(**kinds)
    for make in (page, fragment):
        parsed = Parsed(make(made))
        assert parsed.open == []
        assert len(parsed.named("article")) == len(made.concepts)


def test_what_is_missing_is_said():
    made = small("alone")
    shown = " ".join(Parsed(page(made)).texts)
    assert "In this record every image of the pool is predicted as “French horn”" in shown
    assert "Nearest crops in images called something else" not in shown
    bare = replace(
        made, images=(), concepts=tuple(replace(concept, heat_maps=()) for concept in made.concepts)
    )
    assert "Heat maps" not in " ".join(Parsed(page(bare)).texts)
    assert "control with random crops was not run" in " ".join(Parsed(page(small("no control"))).texts)


def test_a_class_outside_the_top_five_still_has_its_bar():
    top = tuple(Prediction(index, NAMES[index], 0.2 - 0.01 * index) for index in range(1, 6))
    made = varied(first={"predicted": False, "score": 0.01, "top": top})
    ours = re.findall(r'<li class="ours"><span class="name" title="French horn">', page(made))
    assert len(ours) == 2


def test_box_lies_where_the_crop_was_cut():
    made = explanation()
    crop = made.concepts[0].including[0]
    style = page_pictures.box_style(crop.box, made.images[0].picture)
    left, top, width, height = (float(x) for x in re.findall(r"([\d.]+)%", style))
    assert (left, top) == pytest.approx([100 * crop.box[0] / 224, 100 * crop.box[1] / 224], abs=0.01)
    assert (width, height) == pytest.approx([100 * 74 / 224] * 2, abs=0.01)
    assert style in page(made)
    assert page_pictures.box_style((-5, 0, 500, 10), made.images[0].picture).startswith(
        "left:0.00%;top:0.00%;width:100.00%"
    )


def test_overlay_is_opaque_where_the_concept_is_active():
    import base64
    import io

    from PIL import Image

    values = np.zeros((7, 7), dtype=np.float32)
    values[0, 0], values[6, 6] = 1.0, np.nan
    uri = page_pictures.overlay(HeatMap(values), Picture(b"", 400, 200))
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")
    assert image.size == (112, 56)
    assert image.getpixel((0, 0)) == (*page_pictures.HUE, round(255 * page_pictures.OPAQUE))
    assert image.getpixel((111, 55))[3] == 0


def test_a_picture_of_another_kind_is_refused():
    made = explanation()
    shown = replace(made.images[0], picture=Picture(b"<svg/>", 1, 1, "image/svg+xml"))
    with pytest.raises(RecordError, match=r"image/svg\+xml"):
        page(replace(made, images=(shown,)))


def test_a_mosaic_is_shown_whole_with_its_pieces():
    made = explanation()
    test: PredictionTest = replace(made.prediction_test.including, layout="mosaic")
    html = page(replace(made, prediction_test=PredictionTests(test, made.prediction_test.excluding)))
    assert html.count('class="mosaic') == 1
    assert html.count('class="stitched') == 1
    assert html.count('class="piece') == len(made.concepts)
