"""The page, the fragment and the words of a contrast and of an insertion test."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from functools import cache

import pytest

from helpers.contrasts import CASES, contrast, insertion_test, sweep
from helpers.explanations import HOSTILE
from helpers.parsed_pages import Parsed
from whyclass.errors import RecordError
from whyclass.records import Contrast, InsertionTest, Permutations, Prediction, codec
from whyclass.report import contrast_text, contrast_verdict, contrast_ways, curves
from whyclass.report.json_objects import as_object
from whyclass.report.page import fragment, page
from whyclass.report.summary import rows, summary

SHOWN_HOSTILE = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\udce9", "\ufffd")
LOOKS = {"size": (64, 64), "crop": (16, 16)}


@cache
def small(case: str = "passed") -> Contrast:
    return contrast(case, **LOOKS)


@cache
def patch(case: str = "passed") -> InsertionTest:
    return insertion_test(case, **LOOKS)


@pytest.mark.parametrize(
    ("case", "level", "says"),
    [
        (
            "passed",
            "trust",
            ["What speaks for “French horn” against “cornet” was found", "0.00 to 0.80", "91%"],
        ),
        ("chance", "distrust", ["was not found", "at most 0.95 (n = 20)", "no better than chance"]),
        ("failed", "careful", ["not every test says so", "do not become “French horn” (at most 0.20"]),
        ("bare", "distrust", ["no concept speaks for", "could not be measured"]),
    ],
)
def test_verdict_follows_from_the_numbers(case, level, says):
    judged = contrast_verdict.verdict(small(case))
    assert judged.level == level
    for words in says:
        assert words in judged.sentence
    assert judged.sentence.endswith("by itself.") == (level != "trust")


def test_the_sentence_names_every_test_that_failed_or_was_not_run():
    made = small()
    assert "All 8 tests passed." in contrast_verdict.verdict(made).sentence
    low = replace(made.a.masking, swapped=False)
    lost = tuple(
        replace(one, swapped=False, pasted=replace(one.pasted, target=one.third.high))
        for one in made.a.insertions
    )
    one = replace(made, a=replace(made.a, masking=low))
    assert contrast_verdict.verdict(one).level == "trust"
    assert "1 of 8 tests failed: masking." in contrast_verdict.verdict(one).sentence
    both = replace(made, a=replace(made.a, masking=low, insertions=lost))
    judged = contrast_verdict.verdict(both)
    assert judged.level == "careful"
    assert "2 of 8 tests failed: masking, insertion of single crops." in judged.sentence
    missing = replace(made, a=replace(made.a, unseen=None, masking=low))
    judged = contrast_verdict.verdict(missing)
    assert judged.level == "careful"
    said = "1 of 8 tests failed: masking; not run or without enough controls: shifting of images not seen."
    assert said in judged.sentence


def test_a_crop_that_raises_the_class_above_all_controls_need_not_win():
    """A class of several parts is not made by one; what no picture of B bears out stays below."""
    made = small()
    low = replace(made.a.masking, swapped=False)

    def of(target: float, **change: object) -> contrast_verdict.Verdict:
        crops = tuple(
            replace(one, swapped=False, pasted=replace(one.pasted, target=target), **change)
            for one in made.a.insertions
        )
        return contrast_verdict.verdict(replace(made, a=replace(made.a, masking=low, insertions=crops)))

    first = made.a.insertions[0]
    most = max(first.third.high, first.blank.target, first.theirs.target if first.theirs else 0.0)
    judged = of(most * 1.1)
    assert judged.level == "trust"
    assert "2 of 8 tests failed: masking, insertion of single crops." in judged.sentence
    assert "No single crop turns images of “cornet”; the best raises “French horn” from" in judged.sentence
    for small_or_unsure in (
        of(most),
        of(most * (1 + 1e-9)),
        of(most * 1.1, third=None),
        of(most * 1.1, third=replace(first.third, n=18)),
        of(most * 1.1, original=replace(first.original, target=most * 1.2)),
    ):
        assert small_or_unsure.level == "careful"


def test_a_class_of_few_images_on_either_side_keeps_the_highest_level_away():
    made = small()
    for name in ("a", "b"):
        side = getattr(made, name)
        few = replace(side, explanation=replace(side.explanation, n_images=9))
        judged = contrast_verdict.verdict(replace(made, **{name: few}))
        assert judged.level == "careful"
        assert "1 of 8 tests failed: ten images of each class." in judged.sentence


def test_the_highest_level_rests_on_tests_that_look_at_b():
    """Whatever crops of A alone say, without any one of these it is not reached."""
    made = small()
    lost = replace(made.a.shifting, swapped=False)
    for side in (replace(made.a, shifting=lost), replace(made.a, unseen=lost)):
        assert contrast_verdict.verdict(replace(made, a=side)).level == "careful"
    for name in ("shifting", "shifting of images not seen", "hyperplane on images not seen"):
        assert name in contrast_verdict.NEEDED


@pytest.mark.parametrize(
    "change",
    [
        {"held_out": None},
        {"trust": None},
        {"trust": replace(small().hyperplane.trust, permutations=None)},
        {"trust": replace(small().hyperplane.trust, permutations=Permutations(9, 0.9, 0.6, 0.1))},
        {"trust": replace(small().hyperplane.trust, permutations=Permutations(99, 0.9, 0.9, 0.06))},
    ],
)
def test_a_plane_of_which_too_little_is_known_is_never_trusted(change):
    made = small()
    judged = contrast_verdict.verdict(replace(made, hyperplane=replace(made.hyperplane, **change)))
    assert judged.level == "careful"
    assert "hyperplane on images not seen" in judged.sentence


def test_a_margin_of_rounding_is_a_tie():
    made = sweep("passed", Prediction(0, "a", 0.0), Prediction(1, "b", 1.0))
    near = replace(made.random, highest=(*made.random.highest[1:], contrast_verdict.highest(made) - 1e-11))
    assert contrast_verdict.outcome(replace(made, random=near, unit=None)) == "chance"
    near = replace(made.random, high=(made.steps[made.first].target - 1e-11,) * 10)
    assert contrast_verdict.outcome(replace(made, random=near)) == "chance"
    inserted = small().a.insertions[0]
    near = replace(inserted.third, high=inserted.pasted.target - 1e-11)
    assert contrast_verdict.inserted_outcome(replace(inserted, third=near)) == "chance"


def test_what_is_known_of_the_plane_is_on_the_page_in_the_text_and_in_json():
    made = small()
    html, text = page(made), summary(made)
    for words in ("p = 0.01: 91% against at most 62% of 99 fits", "cosine 0.30", "median cosine 0.80"):
        assert words in html
        assert words in text
    assert next(iter(contrast_text.plane_rows(made)))[0] == "in training"
    found = as_object(made)
    assert found["hyperplane"]["trust"]["permutations"]["n"] == 99
    assert found["shifting_unseen"]["n"] == 10
    assert found["tests"]["masking"] == "passed"
    assert as_object(small("bare"))["hyperplane"]["trust"] is None


def test_an_interval_of_too_few_is_said_to_be_none():
    made = small()
    bare = replace(
        made.a.shifting, steps=tuple(replace(s, low=None, high=None) for s in made.a.shifting.steps)
    )
    inserted = tuple(replace(one, low=None, high=None) for one in made.a.insertions)
    html = page(replace(made, a=replace(made.a, shifting=bare, insertions=inserted)))
    assert html.count("none of so few") == len(bare.steps) + len(inserted)
    assert html.count('class="sure"') == page(made).count('class="sure"') - 1


def test_a_contrast_that_fails_without_its_own_images_is_read_with_care():
    made = small()
    test = replace(made.a.prediction_test.excluding, predicted=False, score=0.2)
    side = replace(made.a, prediction_test=replace(made.a.prediction_test, excluding=test))
    judged = contrast_verdict.verdict(replace(made, a=side))
    assert judged.level == "careful"
    assert "but says “French horn”" in judged.sentence


def test_an_attribution_that_does_not_add_up_or_a_plane_at_chance_is_not_trusted():
    made = small()
    off = replace(made.a.explanation, completeness=replace(made.a.explanation.completeness, mean=0.3))
    assert contrast_verdict.verdict(replace(made, a=replace(made.a, explanation=off))).level == "careful"
    held = replace(made.hyperplane.held_out, balanced=0.51, at_chance=True)
    plane = replace(made.hyperplane, held_out=held)
    assert contrast_verdict.verdict(replace(made, hyperplane=plane)).level == "careful"
    lost = replace(made.a, shifting=replace(made.a.shifting, swapped=False))
    assert contrast_verdict.verdict(replace(made, hyperplane=plane, a=lost)).level == "distrust"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "passed"),
        ({"swapped": False}, "failed"),
        ({"random": None}, "unchecked"),
    ],
)
def test_outcome_of_a_sweep(change, expected):
    made = replace(sweep("passed", Prediction(0, "a", 0.0), Prediction(1, "b", 1.0)), unit=None)
    assert contrast_verdict.outcome(replace(made, **change)) == expected
    few = replace(made.random, n=18)
    assert contrast_verdict.outcome(replace(made, random=few)) == "unchecked"
    one = replace(made.random, highest=(0.01,) * 19 + (0.81,))
    assert contrast_verdict.outcome(replace(made, random=one)) == "chance"
    assert (
        contrast_verdict.outcome(replace(made, reversed=replace(made.reversed, highest=(0.9,)))) == "chance"
    )


def test_controls_of_a_shift_in_units_are_asked_where_the_target_wins_first():
    """Farther on a direction of any kind ends in some class."""
    made = sweep("passed", Prediction(0, "a", 0.0), Prediction(1, "b", 1.0))
    at, n = made.first, len(made.steps)
    far = tuple(0.95 if number > at else 0.1 for number in range(n))
    assert contrast_verdict.outcome(replace(made, random=replace(made.random, high=far))) == "passed"
    near = tuple(0.95 if number == at else 0.1 for number in range(n))
    assert contrast_verdict.outcome(replace(made, random=replace(made.random, high=near))) == "chance"
    assert contrast_verdict.outcome(replace(made, reversed=replace(made.reversed, high=near))) == "chance"
    assert contrast_verdict.outcome(replace(made, reversed=replace(made.reversed, high=far))) == "passed"


@pytest.mark.parametrize(
    ("case", "level", "opening"),
    [
        ("passed", "trust", "The patch turns the model to “French horn”: "),
        ("chance", "distrust", "but so does what is not the patch"),
        ("failed", "distrust", "The patch does not turn the model to “French horn”"),
        ("bare", "careful", "too few controls"),
    ],
)
def test_verdict_of_an_insertion(case, level, opening):
    judged = contrast_verdict.insertion_verdict(patch(case))
    assert judged.level == level
    assert opening in judged.sentence
    assert "in 49 images" in judged.sentence


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [small, patch])
@pytest.mark.parametrize("view", [page, fragment])
def test_every_case_is_whole_html_without_script_or_address(case, make, view):
    html = view(make(case))
    parsed = Parsed(html)
    assert parsed.open == []
    assert not parsed.named("script")
    assert not any(name.startswith("on") for _, given in parsed.tags for name in given)
    assert "://" not in html
    ids = [given["id"] for _, given in parsed.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert all(given.get("alt") is not None for given in parsed.named("img"))
    assert view(make(case)) == html


@pytest.mark.parametrize("make", [small, patch])
def test_hostile_names_stay_text(make):
    parsed = Parsed(page(make("hostile")))
    shown = " ".join(parsed.texts)
    assert shown.count(SHOWN_HOSTILE) >= 5
    assert "alert" not in " ".join(parsed.styles)
    styles = [given["style"] for _, given in parsed.tags if "style" in given]
    assert all(re.fullmatch(r"[-a-z]+:[-\w.%/]+(;[-a-z]+:[-\w.%/]+)*;?", style) for style in styles)


@pytest.mark.parametrize("make", [small, patch])
def test_a_summary_is_safe_to_print(make):
    text = summary(make("hostile"))
    assert text.isprintable() or {c for c in text if not c.isprintable()} == {"\n"}
    assert all(value for _, value in rows(make("hostile")))


def test_the_four_columns_hold_every_concept_and_its_whole_images():
    made = small()
    html = page(made)
    parsed = Parsed(html)
    columns = [given for _, given in parsed.tags if given.get("class") == "column"]
    assert len(columns) == 4
    opened = html.count('<details class="row">')
    assert opened == 4 * 6
    boxes = html.count('class="box"')
    assert boxes >= 4 * 6 * 8  # and those of the prediction tests
    assert made.sources
    for shown in made.sources:  # each once in the whole page, however often it is shown
        assert html.count(base64.b64encode(shown.picture.data).decode()) == 1


def test_a_box_stands_where_the_crop_was_cut():
    html = page(small())
    crop = small().a.concepts[0].including[0]
    left, top, _, _ = crop.box
    assert f"left:{100 * left / 64:.2f}%;top:{100 * top / 64:.2f}%;width:25.00%" in html


def test_curves_lie_in_their_drawing_and_rise_upwards():
    made = sweep("passed", Prediction(0, "a", 0.0), Prediction(1, "b", 1.0))
    drawn = curves.curves(made, contrast_text.steps(made, "shifted"))
    points = [tuple(map(float, pair.split(","))) for pair in drawn.target.split()]
    assert len(points) == 10
    assert all(0 <= x <= curves.WIDTH and 0 <= y <= curves.HEIGHT for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert min(points, key=lambda point: point[1]) == pytest.approx(drawn.best, abs=0.1)
    assert [label for _, label in drawn.ticks] == ["0", "0.5", "1", "2", "10", "15", "20", "35", "50", "200"]
    assert len(drawn.band.split()) == len(drawn.interval.split()) == 20
    assert curves.curves(replace(made, random=None), ["x"] * 10).band == ""


def test_the_numbers_of_a_curve_are_in_its_table():
    parsed = Parsed(page(small()))
    shown = [text.strip() for text in parsed.texts]
    for step in small().a.shifting.steps:
        assert f"{step.target:.3f}" in shown
        assert f"{step.source:.3f}" in shown


@pytest.mark.parametrize("case", CASES)
def test_the_object_for_programs_holds_what_was_measured(case):
    made = small(case)
    found = as_object(made)
    assert {"class", "against", "hyperplane", "prediction_test", "shifting", "masking", "insertion"} <= set(
        found
    )
    assert set(found["mirrored"]) >= {"prediction_test", "shifting", "masking", "insertion"}
    if case == "bare":
        assert found["shifting"] is found["prediction_test"] is found["hyperplane"]["held_out"] is None
        return
    shifting = found["shifting"]
    assert len(shifting["steps"]) == 10
    assert set(shifting["controls"]) == {"random", "reversed"}
    assert (shifting["n"], shifting["swapped"]) == (49, case != "failed")
    assert shifting["highest"] == max(step["target"] for step in shifting["steps"])
    assert set(found["insertion"][0]["controls"]) == {"blank", "theirs", "third"}
    assert codec.to_json(made.hyperplane.training)["balanced"] == found["hyperplane"]["training"]["balanced"]


def test_a_record_without_a_page_says_so():
    class Other(Contrast):
        pass

    made = small()
    other = Other(**{name: getattr(made, name) for name in Contrast.__dataclass_fields__})
    with pytest.raises(RecordError, match=r"there is no page of a Other; save it as \.whyclass"):
        page(other)


def test_a_repair_tells_both_scores():
    alone = small().a.explanation
    failed = replace(alone.prediction_test.including, score=0.14)
    alone = replace(alone, prediction_test=replace(alone.prediction_test, including=failed))
    line = contrast_text.repair_line(alone, small())
    assert "“French horn” explained against “cornet”: prediction test 0.14 alone, 1.00 in contrast" in line
    assert "no concept was found (alone 0.14)" in contrast_text.repair_line(alone, small("bare"))


@pytest.mark.parametrize(
    ("at", "shown", "said"),
    [
        ("wide", "centred", "two pieces of each concept, twice as high and wide as the crops shown"),
        ("larger", "paper", "one and a half times as high and wide"),
        ("wide", "larger", "1.3 times as high and wide"),
        ("wide", "wide", "as large as the crops shown"),
        ("paper", "centred", "as large as the crops shown"),
    ],
)
def test_how_large_the_pieces_of_the_test_are(at, shown, said):
    found = contrast()
    settings = {**found.settings, "pair_crop_at": at, "crop_at": shown, "pair_crops": 2}
    assert said in contrast_ways.pieces(replace(found, settings=settings))
