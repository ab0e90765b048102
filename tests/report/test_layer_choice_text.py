"""The page, the fragment, the table and the words of a choice of a layer."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from helpers.explanations import HOSTILE
from helpers.layer_choices import candidate, choice
from helpers.parsed_pages import Parsed
from whyclass.records import LayerChoice, codec
from whyclass.report import curves
from whyclass.report.json_objects import as_object
from whyclass.report.layer_choice_text import by_class, columns, lines, table
from whyclass.report.page import fragment, page
from whyclass.report.summary import rows, summary

SHOWN_HOSTILE = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\udce9", "\ufffd")
THREE = [candidate("stage1", 4, 0.1), candidate("stage2", 8, 0.5), candidate("stage3", 16, 0.75)]


@pytest.mark.parametrize("shown", [page, fragment])
def test_names_are_escaped_wherever_they_stand(shown):
    bad = candidate(HOSTILE, 8, 0.5, names=(HOSTILE, "church"))
    parsed = Parsed(shown(choice([bad, bad], 0, HOSTILE, HOSTILE)))
    assert not parsed.open
    assert not parsed.named("script")
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    said = "".join(parsed.texts)
    assert said.count(SHOWN_HOSTILE) >= 4
    assert "49" not in re.sub(r"[\d.]*\d\d\d[\d.]*", "", said)  # no template ran inside a name


def test_the_drawing_shows_every_candidate_at_its_score_and_marks_the_chosen_one():
    made = choice(THREE, 1)
    found = columns(made)
    assert [one.crop for one in found] == ["4", "8", "16"]
    assert [one.chosen for one in found] == [False, True, False]
    assert [one.x for one in found] == sorted(one.x for one in found)
    heights = [one.excluding.y for one in found]
    assert heights == sorted(heights, reverse=True)  # a higher score stands higher
    for one, wanted in zip(found, THREE, strict=True):
        assert one.excluding.y == curves.y_at(wanted.excluding.score)
        assert one.control == curves.y_at(0.01)
        assert one.excluding.high <= one.excluding.y <= one.excluding.low < curves.HEIGHT
    parsed = Parsed(page(made))
    assert len(parsed.named("circle")) == 3
    (frame,) = [box for box in parsed.named("rect") if box["class"] == "taken"]
    assert float(frame["x"]) < found[1].x < float(frame["x"]) + float(frame["width"])


def test_the_table_has_the_numbers_and_says_which_was_chosen():
    made = choice(THREE, 2)
    shown = table(made).splitlines()
    assert shown[3].split()[:4] == ["3", "stage3", "16", "6"]
    assert [line.endswith("chosen") for line in shown] == [False, False, False, True]
    assert lines(made)[3][4:7] == ["0.75 [0.55, 0.95]", "1 of 2", "0.01"]
    assert by_class(made)[1] == ["tench", "16", "0.10", "0.50", "0.75"]
    texts = [text.strip() for text in Parsed(page(made)).texts]
    assert "0.75 [0.55, 0.95]" in texts
    assert "chosen" in texts


def test_without_the_second_test_the_first_is_shown():
    made = choice([candidate("a", 4, 0.4, without=False), candidate("b", 8, 0.6, without=False)])
    assert lines(made)[1][4:7] == ["not run", "", ""]
    assert [one.excluding for one in columns(made)] == [None, None]
    assert by_class(made)[1] == ["tench", "16", "0.90", "0.90"]
    assert not Parsed(page(made)).named("circle")


def test_the_summary_and_the_object_say_the_same():
    made = choice(THREE, 1, "of 3 candidates stage2 wins")
    said = dict(rows(made))
    assert said["Why"] == "Of 3 candidates stage2 wins."
    assert said["Layer"].startswith("stage2 (64 × 12 × 12), 6 concepts, crops of 8 px")
    assert "1,000 of 4,925 images, at most 16" in said["Sample"]
    assert "tench, church" in summary(made)
    found = as_object(made)
    assert (found["layer"], found["concepts"], len(found["candidates"])) == ("stage2", 6, 3)
    assert found["candidates"][2]["excluding"]["score"] == 0.75
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_score_after_the_choice_is_told_everywhere():
    made = choice(THREE, 1)
    said = "0.61 of all classes, 95% interval 0.40 to 0.80, which holds whichever candidate is chosen"
    assert said in dict(rows(made))["Score"]
    assert said in page(made)
    assert as_object(made)["score"]["optimism"] == 0.09
    old = replace(made, score=None)
    assert "Score" not in dict(rows(old))
    assert "whichever candidate" not in page(old)


def test_of_too_few_classes_no_interval_is_shown():
    one = candidate("a", 4, 0.4)
    bare = replace(one, excluding=replace(one.excluding, low=None, high=None))
    made = choice([bare], 0)
    assert lines(made)[1][4] == "0.40"
    (drawn,) = columns(made)
    assert drawn.excluding.low == drawn.excluding.high == drawn.excluding.y
    assert page(made)


def test_a_choice_is_saved_and_loaded(tmp_path):
    made = choice(THREE, 1)
    assert LayerChoice.load(made.save(tmp_path / "a.whyclass")) == made
    assert codec.encode(made) == codec.encode(choice(THREE, 1))
    assert page(made) == page(choice(THREE, 1))
