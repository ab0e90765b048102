"""The narrowed masking test against the whole one: what it tells is the same, and far fewer images pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.planted_world import quick
from whyclass.checks import interventions
from whyclass.planted import demo, world
from whyclass.report import contrast_text, contrast_verdict, curves, page
from whyclass.study import contrast, narrowed_masking, sweeps
from whyclass.study.class_evidence import evidence_of
from whyclass.study.context import Context
from whyclass.study.contrast_tests import Attempt, filling
from whyclass.study.study import Study

N = 30
CLASSES = ("hawk", "owl", "snail")
PAIRS = [("hawk", "owl"), ("owl", "hawk"), ("snail", "hawk")]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    pool = world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)
    settings = quick(images=60, copies=2, controls=19, control_images=4, tests=("masking",))
    return Study(demo.loaded(), world.LAYER, pool, None, settings)


@pytest.fixture(scope="module")
def attempts(study) -> dict[tuple[str, str], Attempt]:
    """Of every ordered pair: the first class sought in images of the second."""
    context = study.context()
    numbers = {name: world.class_index(name) for name in CLASSES}
    pairs = [(numbers[a], numbers[b]) for a, b in PAIRS]
    own = {k: evidence_of(context, k) for k in numbers.values()}
    planes = contrast.fit(context, {k: one.cells for k, one in own.items()}, pairs)
    return {
        names: Attempt(own[b], a, planes.weights[row], float(planes.biases[row]))
        for row, (names, (a, b)) in enumerate(zip(PAIRS, pairs, strict=True))
    }


@pytest.fixture
def passed(monkeypatch) -> list[int]:
    """How many images passed the model at a time."""
    seen, real = [], Context.scores

    def scores(self, images, advance=lambda done: None):
        seen.append(len(images))
        return real(self, images, advance)

    monkeypatch.setattr(Context, "scores", scores)
    return seen


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_highest_score_step_and_verdict_are_those_of_the_whole_curve(attempts, pair, passed):
    attempt = attempts[pair]
    whole = sweeps.masking(attempt)
    before = sum(passed)
    found = narrowed_masking.masking(attempt)
    after = sum(passed) - before
    assert before == 9 * (2 * attempt.n + 19 * 4)
    assert after < before / 2.5
    best, wanted = found.steps[found.best], whole.steps[whole.best]
    assert (best.at, best.winner.index, found.swapped) == (wanted.at, wanted.winner.index, whole.swapped)
    assert best.target == pytest.approx(wanted.target, abs=1e-6)
    assert contrast_verdict.outcome(found) == contrast_verdict.outcome(whole)
    assert best.n is None
    for step, full in zip(found.steps, whole.steps, strict=True):
        if step.n is None:
            assert step.target == pytest.approx(full.target, abs=1e-6)
        else:
            assert narrowed_masking.FEWEST <= step.n < attempt.n
    moved = narrowed_masking.best_mask(attempt)
    assert (moved.at, moved.swapped, moved.winner.index) == (wanted.at, whole.swapped, wanted.winner.index)
    assert (moved.highest, moved.low, moved.high) == (best.target, found.low, found.high)  # the same again


def test_the_whole_curve_is_had_for_the_asking_and_of_few_images(attempts):
    attempt = replace(attempts["owl", "hawk"], only=np.arange(narrowed_masking.FEWEST + 1))
    context = replace(attempt.context, settings=replace(attempt.context.settings, mask_curve="whole"))
    asked = replace(attempt, source=replace(attempt.source, context=context))
    assert narrowed_masking.masking(asked) == sweeps.masking(asked)
    assert narrowed_masking.best_mask(asked) == sweeps.best_mask(asked)
    assert narrowed_masking.masking(attempt) != sweeps.masking(attempt)
    few = replace(attempt, only=np.arange(narrowed_masking.FEWEST))
    assert narrowed_masking.masking(few) == sweeps.masking(few)


def test_a_control_that_reaches_the_target_is_tried_on_all_its_images(attempts):
    """Blanking at random makes planted hawks owls as well: one such direction tells the verdict."""
    found, whole = (test.masking(attempts["owl", "hawk"]) for test in (narrowed_masking, sweeps))
    assert contrast_verdict.outcome(whole) == "chance"
    assert found.random.followed >= 1
    followed = np.isclose(found.random.highest, whole.random.highest, atol=1e-6)
    assert np.array(found.random.highest)[followed].max() >= found.steps[found.best].target


def test_a_target_that_does_not_win_has_its_controls_on_few_images(attempts):
    found = narrowed_masking.masking(attempts["hawk", "owl"])
    assert contrast_verdict.outcome(found) == "failed"
    assert (found.random.n, found.random.images, found.random.followed) == (19, 1, 0)
    assert found.random.at == found.reversed.at == (0, 1, 3, 5, 7, 9)
    assert found.reversed.images == narrowed_masking.FEWEST
    said = contrast_text.sweep_line(found, "masked")
    assert "19 random directions at most" in said
    assert "on one image each, 0 of them on more" in said
    drawn = curves.curves(found, contrast_text.steps(found, "masked"))
    assert len(drawn.target.split()) == 10
    assert len(drawn.reversed.split()) == 6
    assert len(drawn.band.split()) == 12


def test_a_page_tells_what_was_left_out(study):
    found = study.contrast(*world.TWINS)
    text = page.page(found)
    assert "controls were tried at every other one; steps that fell behind are of 8 images or more" in text
    for side in (found.a, found.b):
        assert f"{side.masking.random.mean[1]:.3f}, {side.masking.random.low[1]:.3f} to" in text


def test_one_picture_passes_once_and_its_scores_are_those_of_the_plain_way(attempts, passed):
    attempt = attempts["owl", "hawk"]
    rows, (h, w) = np.array([3, 0, 7]), attempt.activations.shape[2:]
    masks = np.random.default_rng(0).random((4, 3, h, w)) < 0.5
    masks[0], masks[1, 0], masks[2, :2] = False, masks[3, 0], True
    masked = narrowed_masking.Masked(attempt)
    found = masked.scores(rows, masks)
    # three untouched, one as another, two without any cell left that are one
    assert sum(passed) == masked.passes == 12 - 3 - 1 - 1
    again = masked.scores(rows[::-1], masks[:, ::-1])
    assert sum(passed) == masked.passes
    np.testing.assert_array_equal(again, found[:, ::-1])
    fill = filling(attempt.context)
    for own, scores in zip(masks, found, strict=True):
        plain = attempt.context.scores(interventions.mask(attempt.images[rows], own, fill))
        np.testing.assert_allclose(scores, plain, atol=1e-6)


# ---------------------------------------------------------------- the race


def race(values: np.ndarray, seed: int, bar: float | None = None) -> tuple[narrowed_masking.Race, int]:
    """Of given scores (10, n) of one class; and how many of them were asked for."""
    asked = []

    def score(shares, rows):
        asked.append(len(shares) * len(rows))
        return values[list(shares)][:, rows, None]

    order = np.random.default_rng(seed).permutation(values.shape[1])
    return narrowed_masking.raced(score, order, 8, 0, bar), sum(asked)


def curve(rng: np.random.Generator, n: int = 60) -> np.ndarray:
    """Scores (10, n) that rise and fall with the share, differ between images, and are noisy besides."""
    peak = rng.uniform(1, 8)
    level = 3 * np.exp(-0.5 * ((np.arange(10)[:, None] - peak) / 1.5) ** 2) - 2
    return 1 / (1 + np.exp(-(level + rng.normal(0, 1.5, n) + rng.normal(0, 0.5, (10, n)))))


def test_a_race_finds_the_best_of_all_images_by_a_part_of_the_scores():
    rng, agree, asked, lost = np.random.default_rng(0), 0, 0, []
    for seed in range(200):
        values = curve(rng)
        found, scores = race(values, seed)
        wanted = values.mean(1)
        agree, asked = agree + (found.best == wanted.argmax()), asked + scores
        lost.append(wanted.max() - wanted[found.best])
        np.testing.assert_allclose(found.scores[found.best].mean(), wanted[found.best])
    assert agree >= 194
    assert max(lost) < 0.03
    assert asked < 200 * 600 / 2


def test_control_a_race_that_drops_too_soon_loses_the_best(monkeypatch):
    monkeypatch.setattr(narrowed_masking, "SURE", 0.0)
    rng = np.random.default_rng(0)
    given = [curve(rng) for _ in range(60)]
    assert sum(race(values, 0)[0].best != values.mean(1).argmax() for values in given) > 6


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
