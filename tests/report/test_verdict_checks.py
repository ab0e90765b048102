"""Every check that an explanation has to pass: each alone keeps the highest level away, and is named."""

from dataclasses import replace

import pytest

from helpers.explanations import explanation
from whyclass.records import Completeness, Explanation, PredictionTest
from whyclass.report import verdict_checks
from whyclass.report.verdict import verdict
from whyclass.report.worth_text import member_line, set_line, stability_line


def with_second(made: Explanation, test: PredictionTest) -> Explanation:
    return replace(made, prediction_test=replace(made.prediction_test, excluding=test))


def with_null(made: Explanation, kind: str, **changes) -> Explanation:
    test = made.prediction_test.excluding
    nulls = tuple(replace(one, **changes) if one.kind == kind else one for one in test.nulls)
    return with_second(made, replace(test, nulls=nulls))


def with_first(made: Explanation, **changes) -> Explanation:
    first = made.prediction_test.including
    control = replace(first.control, **changes)
    return replace(
        made, prediction_test=replace(made.prediction_test, including=replace(first, control=control))
    )


def idle(made: Explanation, count: int) -> Explanation:
    concepts = [
        replace(one, contribution=replace(one.contribution, needed=k >= count))
        for k, one in enumerate(made.concepts)
    ]
    return replace(made, concepts=tuple(concepts))


MADE = explanation()

FAILING = {
    "all images": with_first(MADE, p=0.2),
    "random crops": with_null(MADE, "random crops", p=0.2),
    "random cells": with_null(MADE, "random cells", p=0.2),
    "shuffled scores": with_null(MADE, "shuffled scores", p=0.06),
    "each concept by itself": idle(MADE, 3),
    "halves of the images": replace(MADE, refits=replace(MADE.refits, same=0.5)),
    "ten images": replace(MADE, n_images=9),
    "completeness": replace(MADE, completeness=Completeness(20, 0.02, 0.3)),
}

ABSENT = {
    "random crops": with_null(MADE, "random crops", n=8),
    "shuffled scores": with_second(
        MADE, replace(MADE.prediction_test.excluding, nulls=MADE.prediction_test.excluding.nulls[:2])
    ),
    "each concept by itself": replace(
        MADE, concepts=tuple(replace(one, contribution=None) for one in MADE.concepts)
    ),
    "halves of the images": replace(MADE, refits=None),
}


def test_random_crops_that_are_mostly_predicted_show_that_nothing_is_needed():
    for often in (with_first(MADE, predicted=0.5), with_null(MADE, "random crops", predicted=0.5)):
        (check,) = [one for one in verdict_checks.checks(often) if one.result != "passed"]
        assert check.result == "failed"
        assert verdict(often).level == "careful"


def test_the_first_test_is_not_run_without_enough_random_crops():
    (check,) = [one for one in verdict_checks.checks(with_first(MADE, n=8)) if one.result != "passed"]
    assert (check.name, check.result) == ("all images", "not run")


def test_where_all_pass_the_level_is_the_highest():
    assert verdict(MADE).level == "trust"
    assert all(check.result == "passed" for check in verdict_checks.checks(MADE))


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_alone_is_named_and_keeps_the_highest_level_away(name):
    judged = verdict(FAILING[name])
    assert judged.level == "careful"
    assert f"1 of 9 checks failed: {name}" in judged.sentence


@pytest.mark.parametrize("name", ABSENT)
def test_what_was_not_run_is_named_and_keeps_the_highest_level_away(name):
    judged = verdict(ABSENT[name])
    assert judged.level == "careful"
    assert f"Not run: {name}" in judged.sentence


def test_two_of_six_idle_concepts_do_not_keep_it_away_and_are_marked():
    made = idle(MADE, 2)
    assert verdict(made).level == "trust"
    lines = [member_line(one).startswith("Not needed by the test") for one in made.concepts]
    assert lines == [True, True, False, False, False, False]


def test_the_q_value_decides_where_there_is_one():
    assert verdict(with_null(MADE, "shuffled scores", p=0.01, q=0.2)).level == "careful"


def test_lines_of_the_set_and_of_stability():
    assert set_line(MADE) == (
        "The six crops are of six different cells. One of them (concept 1) suffices: predicted in 75% of "
        "random fillings."
    )
    steady = MADE.concepts[0]
    assert stability_line(steady).startswith("found anew from 6 halves")
    shaky = replace(steady, stability=replace(steady.stability, least=0.4))
    assert stability_line(shaky).startswith("Unstable:")
