"""The narrowed masking test against the whole one: what it tells is the same, and far fewer images pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.planted_world import quick
from whyclass.checks import interventions
from whyclass.planted import demo, world
from whyclass.report import contrast_text, contrast_verdict, curves
from whyclass.study import contrast, narrowed_masking, sweeps
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import Attempt, filling
from whyclass.study.study import Study

N = 40
CLASSES = ("hawk", "owl", "snail")
PAIRS = [(a, b) for a in CLASSES for b in CLASSES if a != b]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory) -> dict[tuple[str, str], Attempt]:
    """Of every ordered pair: the first class sought in images of the second."""
    pool = world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)
    settings = quick(images=60, copies=2, controls=19, control_images=4)
    context = Study(demo.loaded(), world.LAYER, pool, None, settings).context()
    numbers = {name: world.class_index(name) for name in CLASSES}
    given = [curve(rng) for _ in range(60)]
    wrong = [race(values, 0)[0].best != values.mean(1).argmax() for values in given]
    assert sum(wrong) > 10


def test_equal_shares_are_not_followed_to_the_end():
    found, asked = race(np.full((10, 60), 0.2), 0)
    assert found.best == 0
    assert asked == 10 * 8 + 52


def test_a_race_against_a_bar_ends_where_nothing_can_reach_it():
    values = curve(np.random.default_rng(1))
    top = values.mean(1).max()
    none, asked = race(values, 0, top + 0.3)
    assert none.best is None
    assert asked < 200
    found, _ = race(values, 0, top - 0.05)
    assert found.best == values.mean(1).argmax()
    assert len(found.scores[found.best]) == 60
