"""An explanation from as many noisy copies as it takes is the one from the paper's twenty."""

from __future__ import annotations

import pytest

from helpers.planted_world import quick
from whyclass.cli import reading
from whyclass.concepts.matching import cosines, matched
from whyclass.errors import SettingsError
from whyclass.planted import demo, world
from whyclass.report import explanation_text, verdict_checks
from whyclass.study.study import Study


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 24)


@pytest.mark.parametrize("name", ["hawk", "snail"])
def test_concepts_and_verdict_are_those_of_twenty_copies(pool, name):
    found = {}
    for copies in (20, "auto"):
        settings = quick(images=24, copies=copies, starts=4, iterations=2000, null_crops=19)
        found[copies] = Study(demo.loaded(), world.LAYER, pool, None, settings).explain(name)
    full, few = found[20], found["auto"]
    assert full.completeness.copies == 20
    assert 6 <= few.completeness.copies <= 10
    assert few.completeness.n == few.n_images * few.completeness.copies
    told = explanation_text.completeness_line(few.completeness)
    assert f"{few.completeness.copies} of each image" in told
    pairs = matched(cosines(full.vectors, few.vectors), 0.0)
    assert min(cosine for _, _, cosine in pairs) >= 0.99
    assert verdict_checks.outcome(few.prediction_test.including) == verdict_checks.outcome(
        full.prediction_test.including
    )


def test_the_command_takes_the_word_and_numbers():
    assert reading.changes(["copies=auto", "starts=2"]) == {"copies": "auto", "starts": 2}
    assert reading.changes(["copies=5"]) == {"copies": 5}
    with pytest.raises(SettingsError, match="copies=few: 'few' is no int"):
        reading.changes(["copies=few"])
    with pytest.raises(SettingsError, match="starts=auto"):
        reading.changes(["starts=auto"])
