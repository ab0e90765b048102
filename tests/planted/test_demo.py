"""The demonstration finds what was planted, and its judgement finds nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from whyclass import ClassError, Explanation, SettingsError
from whyclass.planted import demo, judgement, world
from whyclass.planted.parts import PARTS
from whyclass.records import HeatMap

N = 16
DRAWN = np.random.default_rng(0)


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> demo.DemoResult:
    return demo.run(tmp_path_factory.mktemp("demo"), classes=world.TWINS, n_per_class=N)


@pytest.fixture(scope="module")
def truth() -> judgement.Truth:
    files = [f"{planted.name}/{i:04d}.png" for planted in world.CLASSES for i in range(N)]
    return {file: world.pool_picture(file).masks for file in files}


@pytest.fixture
def hawk(result) -> Explanation:
    return result.judged[0].explanation


def found(findings: tuple[judgement.Finding, ...]) -> set[str]:
    return {finding.part for finding in findings if finding.found}


def with_heat(explanation: Explanation, heat: np.ndarray) -> Explanation:
    """The explanation with other heat maps (k, n, h, w)."""
    concepts = zip(explanation.concepts, heat, strict=True)
    return replace(
        explanation, concepts=tuple(replace(c, heat_maps=tuple(map(HeatMap, maps))) for c, maps in concepts)
    )


def heat_of(explanation: Explanation) -> np.ndarray:
    return np.stack([[found.values for found in concept.heat_maps] for concept in explanation.concepts])


def test_what_was_planted_is_found_and_nothing_else(result):
    for judged in result.judged:
        assert found(judged.findings) == set(world.CLASSES[judged.explanation.target.index].needs)
        assert [finding.part for finding in judged.findings] == [part.name for part in PARTS]
    assert (result.planted, result.found, result.invented) == (5, 5, 0)


def test_the_shortcut_shows_in_its_class_and_not_in_the_twin(result):
    assert result.shortcut == (True, False)
    assert result.turned.by_shortcut >= 0.95
    assert result.turned.by_others <= 0.05


def test_the_prediction_test_passes_with_and_without_the_class_itself(result):
    for judged in result.judged:
        tests = judged.explanation.prediction_test
        assert tests.including.predicted
        assert tests.excluding.predicted


def test_the_contrast_of_the_twins_shows_the_shortcut_on_one_side(result):
    assert result.contrasted.shortcut == (True, False)
    assert result.contrasted.crops[0] >= 6
    assert result.contrasted.crops[1] == 0
    assert result.contrasted.page.name == "hawk-against-owl.html"
    assert result.contrasted.contrast.a.shifting.swapped
    assert "the sticker is found" in demo.summary(result)[-1]


def test_there_is_a_page_for_each_class(result):
    assert [judged.page.name for judged in result.judged] == ["hawk.html", "owl.html"]
    assert all(judged.page.stat().st_size > 10_000 for judged in result.judged)


def test_the_summary_says_it(result):
    text = "\n".join(demo.summary(result))
    assert "5 of 5 planted parts found, 0 found that are not there" in text
    assert "is found in hawk and not found in owl" in text


def test_heat_of_other_pictures_finds_nothing(hawk, truth):
    shuffled = with_heat(hawk, np.roll(heat_of(hawk), 1, axis=1))
    assert found(judgement.judge(shuffled, truth)) == set()


def test_heat_anywhere_finds_nothing(hawk, truth):
    rng = np.random.default_rng(1)
    somewhere = with_heat(hawk, rng.random(heat_of(hawk).shape) ** 4)
    assert found(judgement.judge(somewhere, truth)) == set()


def test_crops_from_anywhere_find_nothing(hawk, truth):
    rng = np.random.default_rng(2)
    paths = list(truth)

    def elsewhere(crop):
        row, column = rng.integers(0, 6, 2) * 16
        box = (column, row, column + 16, row + 16)
        return replace(crop, box=box, image=replace(crop.image, path=paths[rng.integers(len(paths))]))

    concepts = tuple(replace(c, including=tuple(map(elsewhere, c.including))) for c in hawk.concepts)
    assert found(judgement.judge(replace(hawk, concepts=concepts), truth)) == set()


def test_the_truth_of_other_classes_finds_nothing(hawk, truth):
    swapped = {path: truth[path.replace("hawk", "comet")] for path in truth}
    assert found(judgement.judge(hawk, swapped)).isdisjoint({"star", "zigzag"})


def test_a_perfect_heat_map_overlaps_completely():
    masks = np.zeros((4, 12, 12), dtype=bool)
    for i, mask in enumerate(masks):
        mask[3 * i : 3 * i + 3, :3] = True
    heat = np.stack([masks * 0.7, np.ones(masks.shape), np.zeros(masks.shape)])
    assert judgement.overlap(heat, masks) == pytest.approx([1.0, 9 / 144, 0.0])
    assert judgement.heat_control(heat, masks, np.random.default_rng(0)) == pytest.approx(9 / 144)


def test_the_control_of_the_heat_keeps_its_level():
    rng = np.random.default_rng(3)
    exceeded = 0
    for _ in range(200):
        heat, masks = rng.random((6, 8, 12, 12)) ** 6, rng.random((8, 12, 12)) < 0.1
        exceeded += judgement.overlap(heat, masks).max() > judgement.heat_control(heat, masks, rng)
    assert exceeded / 200 <= 0.06  # 2.5 % expected


def test_one_picture_is_not_enough(hawk, truth):
    with pytest.raises(SettingsError, match="examples"):
        judgement.judge(replace(hawk, images=hawk.images[:1]), truth)


def test_an_unknown_class_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ClassError, match="owl"):
        demo.run(tmp_path, classes=["eagle"])
    assert list(tmp_path.iterdir()) == []
