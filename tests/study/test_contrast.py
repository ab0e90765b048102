"""Two classes against each other, on a network and pictures whose truth is known."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import whyclass
from helpers.planted_world import NAMES, leftovers, quick
from whyclass.checks import interventions
from whyclass.concepts import hyperplanes
from whyclass.concepts.hyperplane_training import hold_out
from whyclass.errors import ClassError, DataError, SettingsError
from whyclass.planted import demo, judgement, nets, world
from whyclass.progress import Progress
from whyclass.records import Contrast, InsertionTest, Pairs, codec
from whyclass.report import contrast_text, contrast_verdict, json_objects, pairs_table, summary
from whyclass.report import page as report_page
from whyclass.study import contrast, plane_trust, shifted_sources
from whyclass.study.class_evidence import ClassEvidence, evidence_of
from whyclass.study.prediction_test_and_control import random_places
from whyclass.study.study import Study

N = 16
HAWK, OWL = (world.class_index(name) for name in world.TWINS)
SETTINGS = {"images": 60, "copies": 4, "controls": 19, "crops": 8, "control_images": 4, "examples": 6}
SETTINGS["mask_curve"] = "whole"  # what is narrowed is held to it elsewhere


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


def study(pool, store=None, /, *, model=None, progress=None, **changes) -> Study:
    loaded = demo.loaded() if model is None else replace(demo.loaded(), model=model)
    return Study(loaded, world.LAYER, pool, store, quick(**SETTINGS | changes), progress=progress)


@pytest.fixture(scope="module")
def asked(pictures, tmp_path_factory) -> Study:
    return study(pictures, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def twins(asked) -> Contrast:
    return asked.contrast(*world.TWINS)


@pytest.fixture(scope="module")
def by_plane(pictures, tmp_path_factory) -> Contrast:
    """The same, where cells count by their distance from the hyperplane."""
    store = tmp_path_factory.mktemp("plane")
    return study(pictures, store, contrast_by="plane", tests=("masking",)).contrast(*world.TWINS)


@pytest.fixture(scope="module")
def truth(pictures) -> judgement.Truth:
    files = [str(file.relative_to(pictures)) for file in pictures.rglob("*.png")]
    return {file: world.pool_picture(file).masks for file in files}


def showing(concepts, part: str, truth: judgement.Truth) -> list[int]:
    """How many of each concept's crops show the part."""
    found = []
    for concept in concepts:
        boxes = [(truth[crop.image.path].get(part), crop.box) for crop in concept.including]
        cover = [
            0.0 if mask is None else mask[top:bottom, left:right].mean()
            for mask, (left, top, right, bottom) in boxes
        ]
        found.append(sum(share >= judgement.SHOWN for share in cover))
    return found


def piece(part: str, name: str, seed: int, margin: int = 4) -> Image.Image:
    """A part with some background, cut out of a picture of a class."""
    drawn = world.planted_picture(world.class_index(name), seed)
    rows, columns = np.nonzero(drawn.masks[part])
    top, left = rows.min() - margin, columns.min() - margin
    assert top >= 0
    assert left >= 0
    return Image.fromarray(drawn.image[top : rows.max() + 1 + margin, left : columns.max() + 1 + margin])


# ---------------------------------------------------------------- the planted shortcut


def test_the_contrast_shows_the_shortcut_and_only_on_its_side(twins, truth):
    pro_hawk = showing(twins.a.concepts, world.SHORTCUT, truth)
    pro_owl = showing(twins.b.concepts, world.SHORTCUT, truth)
    assert max(pro_hawk) >= 6
    assert max(pro_owl) == 0
    assert sum(pro_hawk) > sum(showing(twins.a.explanation.concepts, world.SHORTCUT, truth))


def test_what_both_twins_have_is_left_out_of_the_contrast(twins, truth):
    alone = [max(showing(twins.a.explanation.concepts, part, truth)) for part in world.CLASSES[HAWK].parts]
    against = [max(showing(twins.a.concepts, part, truth)) for part in world.CLASSES[HAWK].parts]
    assert min(alone) >= 6
    assert max(against) <= 4


def test_control_random_crops_show_the_shortcut_seldom(asked, twins, truth):
    index, generator = asked.index(), np.random.default_rng(0)
    drawn = random_places(index.usable, index.usable, index.cells.shape[1], 4000, generator)
    masks = [
        (truth[index.items[p.position].path].get(world.SHORTCUT), p.box(asked.context().crops, (96, 96)))
        for p in drawn
    ]
    rate = np.mean(
        [mask is not None and mask[t:b, x:r].mean() >= judgement.SHOWN for mask, (x, t, r, b) in masks]
    )
    assert rate < 0.02


def test_masking_what_speaks_for_the_hawk_makes_it_an_owl_and_not_the_other_way(twins):
    away = twins.b.masking
    assert away.swapped
    assert away.steps[away.best].target > 0.9 > 0.1 > away.steps[0].target
    assert max(away.reversed.highest) < 0.5
    assert not twins.a.masking.swapped  # blank pixels put no sticker into an owl


def test_shifting_an_owl_along_the_normal_makes_it_a_hawk_and_against_it_does_not(twins):
    shifted = twins.a.shifting
    assert shifted.swapped
    assert contrast_verdict.highest(shifted) > 0.5 > 0.1 > max(shifted.reversed.highest)


def test_the_best_crop_of_the_contrast_inserted_does_more_than_any_crop_of_third_classes(twins, truth):
    best = contrast_text.best_insertion(twins.a)
    concept = twins.a.concepts[int(best.origin.removeprefix("best crop of concept ")) - 1]
    assert showing([replace(concept, including=concept.including[:1])], world.SHORTCUT, truth) == [1]
    assert best.pasted.target > 0.3 > 0.05 > best.third.high
    assert best.blank.target < 0.05


@pytest.mark.parametrize("seed", [900_001, 900_004, 900_006])
def test_inserting_the_shortcut_swaps_the_prediction_and_controls_do_not(asked, seed):
    found = asked.insert("hawk", "owl", piece(world.SHORTCUT, "hawk", seed)).insertion
    assert found.swapped
    assert contrast_verdict.inserted_outcome(found) == "passed"
    assert found.turned > 0.5
    assert found.original.winner.name == "owl"
    assert found.pasted.winner.name == "hawk"
    assert found.low > max(found.blank.target, found.third.high)
    assert found.third.swapped == 0
    other = asked.insert("hawk", "owl", piece("leaf", "snail", 900_001)).insertion
    assert not other.swapped
    assert other.turned == 0
    assert contrast_verdict.inserted_outcome(other) == "failed"


def test_both_directions_are_one_hyperplane(asked, twins):
    mirrored = asked.contrast("owl", "hawk")
    assert np.array_equal(mirrored.hyperplane.normal, -twins.hyperplane.normal)
    assert mirrored.hyperplane.bias == -twins.hyperplane.bias
    for one, other in ((mirrored.a, twins.b), (mirrored.b, twins.a)):
        assert codec.encode(one) == codec.encode(other)


# ---------------------------------------------------------------- a wrong sign anywhere is seen


def cells_of(asked: Study, name: str) -> np.ndarray:
    """Every cell (m, c) of the images that are predicted as a class."""
    index = asked.index()
    rows = np.flatnonzero(index.predicted == NAMES.index(name))
    images = torch.stack([asked.pool.sample(int(row), world.PREPROCESSING).tensor for row in rows])
    with torch.no_grad():
        return asked.split.trunk(images).permute(0, 2, 3, 1).flatten(0, 2).numpy()


def test_each_side_keeps_the_cells_above_its_own_side_of_the_hyperplane(asked, by_plane):
    """A flipped bias or normal keeps others: the cells of zero alone decide by the bias."""
    w, b = by_plane.hyperplane.normal, by_plane.hyperplane.bias
    for side, sign, name in ((by_plane.a, 1, "hawk"), (by_plane.b, -1, "owl")):
        z = sign * (cells_of(asked, name) @ w + b)
        assert side.own_side == pytest.approx((z > 0).mean(), abs=1e-3)
        assert side.own_side != pytest.approx((z - 2 * sign * b > 0).mean(), abs=1e-2)


def test_the_normal_points_to_the_first_class(asked, twins):
    w, b = twins.hyperplane.normal, twins.hyperplane.bias
    of_hawk, of_owl = ((cells_of(asked, name) @ w + b).max() for name in world.TWINS)
    assert of_hawk > of_owl  # only a hawk has cells with the shortcut


@pytest.mark.parametrize("sign", [(-1, -1), (-1, 1)], ids=["both flipped", "normal flipped"])
def test_control_a_flipped_normal_loses_the_shortcut(pictures, monkeypatch, truth, sign):
    real = hyperplanes.against
    monkeypatch.setattr(hyperplanes, "against", lambda x, w, b: real(x, sign[0] * w, sign[1] * b))
    found = study(pictures, tests=(), contrast_by="plane").contrast(*world.TWINS)
    assert max(showing(found.a.concepts, world.SHORTCUT, truth)) == 0


# ---------------------------------------------------------------- the record


def test_a_contrast_draws_as_many_random_crops_as_its_other_controls(pictures):
    found = study(pictures, tests=(), controls=5, null_crops=9).contrast(*world.TWINS)
    alone, against = found.a.explanation.prediction_test, found.a.prediction_test
    assert (alone.including.control.n, against.including.control.n) == (9, 5)


def test_every_number_has_its_n_and_its_controls(twins):
    assert twins.hyperplane.training.images == (N, N)
    assert twins.hyperplane.held_out.images == (3, 3)
    assert twins.hyperplane.training.balanced > 0.55
    settings = whyclass.Settings()
    for side, other in ((twins.a, twins.b), (twins.b, twins.a)):
        for sweep, most in ((side.shifting, len(settings.shifts) + settings.finer), (side.masking, 10)):
            assert sweep.n == N
            assert most - settings.finer // 2 <= len(sweep.steps) <= most
            assert (sweep.random.n, sweep.random.images, len(sweep.random.highest)) == (19, 4, 19)
            assert (sweep.reversed.n, sweep.reversed.images) == (1, N)
            assert sweep.steps[0].at == 0
            assert sweep.steps[0].target == pytest.approx(sweep.target.score)
            assert sweep.steps[0].source == pytest.approx(other.explanation.target.score, abs=1e-6)
            assert sweep.steps[sweep.best].target == max(step.target for step in sweep.steps)
            assert all(step.low <= step.target <= step.high for step in sweep.steps)
            low, high = np.array(sweep.random.low), np.array(sweep.random.high)
            assert ((low <= sweep.random.mean) & (sweep.random.mean <= high)).all()
        assert len(side.insertions) == len(side.concepts) == 6
        assert {(inserted.n, inserted.third.n) for inserted in side.insertions} == {(N, 19)}
        assert {inserted.box for inserted in side.insertions} == {(80, 80, 96, 96)}
    assert {step.at for step in twins.a.shifting.steps} > set(settings.shifts)
    assert [step.at for step in twins.a.masking.steps] == [k / 10 for k in range(10)]


def test_what_is_known_of_the_plane_is_measured(asked, twins):
    trust = twins.hyperplane.trust
    assert trust.start is trust.starts is None  # nothing random in it
    assert (trust.bootstraps.n, trust.permutations.n) == (20, 99)
    assert trust.permutations.balanced == pytest.approx(twins.hyperplane.held_out.balanced, abs=0.01)
    assert not any("random start" in warning for warning in twins.warnings)
    for side in (twins.a, twins.b):
        assert (side.unseen.n, side.unseen.random.n) == (3, 19)
        assert len(side.unseen.steps) > 13
        assert side.unseen.steps[0].target != side.shifting.steps[0].target  # of other images
        assert side.shifting.low <= contrast_verdict.highest(side.shifting) <= side.shifting.high
    own = evidence_of(asked.context(), OWL)
    held = hold_out(np.unique(own.cells.image), OWL, 0, asked.settings.held_out)
    assert set(held) == set(plane_trust.unseen_rows(own)) & set(own.cells.image)


def test_a_plane_of_which_nothing_was_asked_is_never_supported(pictures):
    none = {"plane_starts": 0, "plane_bootstraps": 0, "plane_permutations": 0}
    found = study(pictures, tests=("shifting",), **none).contrast(*world.TWINS)
    trust = found.hyperplane.trust
    assert trust.starts is trust.bootstraps is trust.permutations is None
    assert found.a.unseen is not None
    judged = contrast_verdict.verdict(found)
    assert judged.level != "trust"
    assert "not run or without enough controls: masking, insertion of single crops" in judged.sentence.lower()


def test_the_random_crops_of_the_class_alone_serve_its_contrast_too(pictures):
    """Where a contrast is tested with as many crops of one size."""
    found = study(pictures, tests=(), pair_crop_at="centred", pair_crops=1).contrast(*world.TWINS)
    alone, against = found.a.explanation.prediction_test, found.a.prediction_test
    # the same draws, and no rank: that was of the other test's score
    assert against.including.control == replace(alone.including.control, p=None)
    assert against.excluding.control == replace(alone.excluding.control, p=None)
    assert against.including.picture != alone.including.picture


def test_every_crop_has_its_whole_image(twins):
    there = {shown.image.path for shown in twins.sources}
    for side in (twins.a, twins.b):
        for concept in (*side.concepts, *side.explanation.concepts):
            assert {crop.image.path for crop in concept.including} <= there
    assert len(there) == len(twins.sources)


def test_a_saved_contrast_is_loaded_as_it_was(twins, tmp_path):
    loaded = Contrast.load(twins.save(tmp_path / "twins.whyclass"))
    assert codec.encode(loaded) == codec.encode(twins)
    assert report_page.page(loaded) == report_page.page(twins)


def test_the_same_seed_gives_the_same_bytes_and_the_store_serves_them(pictures, twins, tmp_path):
    asked = study(pictures, tmp_path)
    assert codec.encode(asked.contrast(*world.TWINS)) == codec.encode(twins)
    progress = Progress()
    again = study(pictures, tmp_path, progress=progress).contrast(*world.TWINS)
    assert codec.encode(again) == codec.encode(twins)
    assert set(progress.seconds) == {"load"}
    assert leftovers(tmp_path) == []
    other = study(pictures, tmp_path, seed=1, tests=()).contrast(*world.TWINS)
    assert not np.array_equal(other.hyperplane.normal, twins.hyperplane.normal)


def test_what_explaining_computed_is_not_computed_again(pictures, tmp_path):
    study(pictures, tmp_path).explain("owl")
    study(pictures, tmp_path).explain("hawk")
    progress = Progress()
    asked = study(pictures, tmp_path, progress=progress, tests=("shifting",), contrast_by="plane")
    asked.contrast(*world.TWINS)
    assert "attribution" not in progress.seconds
    assert "masking" not in progress.seconds
    assert progress.seconds["shifting"] > 0


def test_tests_that_are_not_asked_for_are_left_out_and_said(pictures):
    found = study(pictures, tests=("insertion",), controls=0).contrast(*world.TWINS)
    assert found.a.shifting is found.a.masking is None
    assert found.a.insertions[0].third is None
    assert "the shifting test was not run" in contrast_verdict.verdict(found).sentence
    assert "Not run." in report_page.page(found)


def test_a_budget_too_small_for_a_pair_is_an_error(pictures):
    with pytest.raises(SettingsError, match="classes 0 and 1 alone need"):
        study(pictures, budget=1e-5, tests=()).contrast(*world.TWINS)


# ---------------------------------------------------------------- the tests against slow, obvious code


def test_the_shifting_test_is_the_papers_sentence(asked, twins):
    w, found = twins.hyperplane.normal, twins.a.shifting
    own, other = (evidence_of(asked.context(), k).cells.vectors.mean(0) for k in (HAWK, OWL))
    unit = w / np.linalg.norm(w)
    apart = (own - other) @ unit
    assert found.unit == pytest.approx(abs(apart), rel=1e-5)
    w = torch.from_numpy(unit * abs(apart))[:, None, None]
    index = asked.index()
    rows = np.flatnonzero(index.predicted == OWL)
    model = asked.loaded.model
    for step in found.steps:
        scores = []
        for row in rows:
            image = asked.pool.sample(int(row), world.PREPROCESSING).tensor[None]
            with torch.no_grad():
                x = model.stage3(model.stage2(model.stage1(image)))
                cells = model.stage4(torch.relu(x + step.at * w))
                scores.append(model.head(cells.mean((2, 3))).softmax(1)[0].numpy())
        mean = np.mean(scores, 0)
        assert step.target == pytest.approx(mean[HAWK], abs=1e-4)
        assert step.source == pytest.approx(mean[OWL], abs=1e-4)
        assert step.winner.index == mean.argmax()


def test_the_masking_test_is_the_papers_sentence(asked, by_plane):
    """From hawks to owls: blank what lies furthest on the hawk's side, that is, the highest ``z``."""
    w, b, found = by_plane.hyperplane.normal, by_plane.hyperplane.bias, by_plane.b.masking
    rows = np.flatnonzero(asked.index().predicted == HAWK)
    images = torch.stack([asked.pool.sample(int(row), world.PREPROCESSING).tensor for row in rows])
    model = asked.loaded.model
    with torch.no_grad():
        x = model.stage3(model.stage2(model.stage1(images))).numpy()
    cells = [(w @ x[i, :, r, c] + b, i, r, c) for i, r, c in np.ndindex(len(x), *x.shape[2:])]
    cells.sort(key=lambda cell: -cell[0])
    for step in found.steps[:4]:
        changed = images.clone()
        for _, i, r, c in cells[: round(step.at * len(cells))]:
            changed[i, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = 0
        with torch.no_grad():
            mean = model(changed).softmax(1).mean(0)
        assert step.target == pytest.approx(float(mean[OWL]), abs=2e-3)


def test_the_insertion_test_is_the_papers_sentence(asked):
    patch = piece(world.SHORTCUT, "hawk", 900_001)
    found = asked.insert("hawk", "owl", patch, at="top-left").insertion
    rows = np.flatnonzero(asked.index().predicted == OWL)
    pixels = []
    for row in rows:
        picture = Image.open(asked.pool.read(int(row))).convert("RGB")
        picture.paste(patch, (0, 0))
        pixels.append(np.asarray(picture))
    with torch.no_grad():
        scores = asked.loaded.model(nets.as_input(pixels)).softmax(1).numpy()
    assert found.pasted.target == pytest.approx(scores[:, HAWK].mean(), abs=1e-5)
    assert found.turned == pytest.approx((scores.argmax(1) == HAWK).mean())
    assert found.box == (0, 0, patch.width, patch.height)


# ---------------------------------------------------------------- all pairs


def test_pairs_are_the_contrasts_own_shifting_tests(asked, twins):
    found = asked.pairs(["hawk", "owl", "snail"])
    assert [(p.shifting.target.name, p.shifting.source.name) for p in found.pairs] == [
        ("owl", "hawk"),
        ("snail", "hawk"),
        ("hawk", "owl"),
        ("snail", "owl"),
        ("hawk", "snail"),
        ("owl", "snail"),
    ]
    for number, side in ((0, twins.b), (2, twins.a)):
        mine = found.pairs[number].shifting
        np.testing.assert_allclose(
            [step.target for step in mine.steps], [step.target for step in side.shifting.steps], atol=1e-4
        )
        assert mine.swapped == side.shifting.swapped
    kept = asked.store.record("pairs", asked.key(HAWK, OWL, NAMES.index("snail")))
    assert codec.encode(Pairs.load(kept)) == codec.encode(found)


def test_a_table_goes_on_at_the_sources_that_were_shifted(asked, pictures, tmp_path, monkeypatch):
    whole = asked.pairs(["hawk", "owl", "snail"])
    classes, shift, done = ["hawk", "owl", "snail"], shifted_sources.of_source, list[int]()

    def counted(context, source, moves):
        if stops and len(done) == 2:
            raise KeyboardInterrupt
        done.append(source)
        return shift(context, source, moves)

    monkeypatch.setattr(shifted_sources, "of_source", counted)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        study(pictures, tmp_path / "store").pairs(classes)
    assert len(list((tmp_path / "store" / "sources").glob("*.whyclass"))) == 2
    stops = False
    assert codec.encode(study(pictures, tmp_path / "store").pairs(classes)) == codec.encode(whole)
    assert done == [HAWK, OWL, NAMES.index("snail")]
    assert not list((tmp_path / "store" / "sources").iterdir())


def test_the_table_is_counted_by_hand(asked):
    found = asked.pairs(["hawk", "owl", "snail"])
    table = pairs_table.table(found)
    best = [max(step.target for step in pair.shifting.steps) for pair in found.pairs]
    assert table.hyperplane.n == 6
    assert table.hyperplane.shifted == pytest.approx((np.mean(best), np.std(best, ddof=1)))
    for least, share in zip(pairs_table.SWAPS, table.hyperplane.swaps, strict=True):
        wins = [pair.shifting.swapped and top >= least for pair, top in zip(found.pairs, best, strict=True)]
        assert share == pytest.approx(np.mean(wins))
    assert table.above == sum(
        top > max(pair.shifting.random.highest) for pair, top in zip(found.pairs, best, strict=True)
    )
    lines = pairs_table.lines(found)
    assert lines[0] == ["", "default", "shifted", "swap 0.1", "swap 0.2", "swap 0.5"]
    assert not any(line[0].startswith("paper") for line in lines)  # those rows are of ImageNet


# ---------------------------------------------------------------- what cannot be contrasted


def test_few_images_are_warned_of_and_one_alone_is_not_measured(pictures, tmp_path):
    pool = tmp_path / "pool"
    for name, count in (("hawk", 1), ("owl", 8), ("snail", 3)):
        (pool / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(pictures / name / f"{number:04d}.png", pool / name)
    found = study(pool).contrast("hawk", "owl")
    assert found.hyperplane.held_out is None
    assert any("cells of 1 images of “hawk”" in warning for warning in found.warnings)
    assert "could not be measured on images that it has not seen" in contrast_verdict.verdict(found).sentence
    assert "could not be measured" in report_page.page(found)


class Same(nn.Module):
    """The planted net with a class of its own twin: the same weights, and a bias that noise decides."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.planted_net()

    def forward(self, images):
        logits = self.net(images)
        coin = torch.sin(1e4 * images[:, :, ::7, ::7].mean((1, 2, 3)))
        return torch.cat([logits, (logits[:, HAWK] + 0.1 * coin)[:, None]], 1)


def test_classes_that_are_the_same_at_the_layer_are_said_to_be_told_apart_by_chance(pictures):
    loaded = replace(demo.loaded(), model=Same().eval(), class_names=(*NAMES, "hawk too"))
    asked = Study(loaded, "net.stage3", pictures, settings=quick(**SETTINGS, tests=()))
    found = asked.contrast("hawk", "hawk too")
    assert found.hyperplane.held_out.at_chance
    assert any("does not tell the two classes apart" in warning for warning in found.warnings)
    assert contrast_verdict.verdict(found).level == "distrust"


def test_a_side_without_a_cell_has_no_concepts_and_says_so(pictures, monkeypatch):
    real = contrast.fit

    def one_sided(*given):
        planes = real(*given)
        return replace(planes, biases=planes.biases - 1e3)

    monkeypatch.setattr(contrast, "fit", one_sided)
    found = study(pictures, contrast_by="plane").contrast(*world.TWINS)
    assert (found.a.concepts, found.a.prediction_test, found.a.insertions) == ((), None, ())
    assert (found.a.own_side, found.b.own_side) == (0, 1)
    assert "No cell of the images of “hawk” lies on its side" in found.warnings[-1]
    assert contrast_verdict.verdict(found).level in ("careful", "distrust")
    page = report_page.page(found)
    assert "No cell of its images lies on its side of the hyperplane." in page
    assert codec.encode(Contrast.load(found.save(Path(study(pictures).store.folder) / "a.whyclass")))


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ("hawk", "hawk", "'hawk' cannot be contrasted with itself; choose two classes"),
        ("hawk", 1, "'hawk' cannot be contrasted with itself"),
        ("hawk", "eagle", "no class is called 'eagle'"),
        ("hawk", 9, "class 9 does not exist"),
    ],
)
def test_two_classes_are_needed(asked, a, b, reason):
    with pytest.raises(ClassError, match=reason):
        asked.contrast(a, b)
    with pytest.raises(ClassError, match=reason):
        asked.insert(a, b, piece("leaf", "snail", 900_001))


def test_a_class_without_images_is_named_with_its_rivals(pictures, tmp_path):
    pool = shutil.copytree(pictures, tmp_path / "pool")
    shutil.rmtree(pool / "comet")
    asked = study(pool)
    for ask in (lambda: asked.contrast("hawk", "comet"), lambda: asked.pairs(["hawk", "comet"])):
        with pytest.raises(ClassError, match=r"'comet' is predicted for none of the pool's 128 images"):
            ask()
    with pytest.raises(ClassError, match="'comet' is predicted for none"):
        asked.insert("hawk", "comet", piece("leaf", "snail", 900_001))


def test_a_class_without_a_cell_above_the_cut_is_an_error(pictures, monkeypatch):
    empty = hyperplanes.Cells(np.empty((0, 64), np.float32), np.empty(0, np.int64))
    monkeypatch.setattr(sys.modules[ClassEvidence.__module__], "select_cells", lambda *_: empty)
    with pytest.raises(ClassError, match="has no cell above the cut: nothing at this layer speaks for it"):
        study(pictures, tests=()).contrast(*world.TWINS)


@pytest.mark.parametrize("classes", [[], ["hawk"], ["hawk", "hawk"], ["hawk", "owl", 1]])
def test_pairs_need_two_classes_each_once(asked, classes):
    with pytest.raises(ClassError, match="needed are two or more, each once"):
        asked.pairs(classes)


@pytest.mark.parametrize(
    ("patch", "at", "error", "reason"),
    [
        (Image.new("RGB", (97, 10)), "bottom-right", SettingsError, "the patch is 97 x 10 pixels"),
        (Image.new("RGB", (10, 10)), "middle", SettingsError, "there is no place 'middle'; choose one of"),
        ("nowhere.png", "top", DataError, "patch nowhere.png"),
        (np.zeros((4, 4)), "top", DataError, "the patch: an array of float64"),
        (7, "top", DataError, "the patch: an image came as int"),
    ],
)
def test_a_patch_that_cannot_be_inserted_is_refused_before_the_pool_is_read(
    pictures, tmp_path, patch, at, error, reason
):
    with pytest.raises(error, match=reason):
        study(pictures, tmp_path).insert("hawk", "owl", patch, at)
    assert not (tmp_path / "index").exists()


# ---------------------------------------------------------------- the class that won


def test_without_a_second_class_it_is_the_one_that_won(pictures, monkeypatch):
    asked = study(pictures, tests=())
    alone = asked.explain("hawk")
    assert alone.rival is None
    with pytest.raises(ClassError, match="passed its prediction tests, so no other class won"):
        asked.contrast("hawk")
    failed = replace(alone, rival=alone.prediction_test.including.top[1])
    monkeypatch.setattr(Study, "explain", lambda *_: failed)
    rival = alone.prediction_test.including.top[1].name
    assert asked.contrast("hawk").b.explanation.target.name == rival


def test_the_rival_is_the_class_that_won_the_first_test_that_failed(pictures):
    """With one concept alone no planted class is recognised: it takes all of its parts."""
    found = study(pictures, concepts=1, controls=0).explain("peacock")
    tests = found.prediction_test
    assert not tests.including.predicted
    assert found.rival == tests.including.top[0]
    assert found.rival.name != "peacock"
    line = dict(summary.rows(found))["Rival"]
    assert f"“{found.rival.name}” won" in line
    assert f"--class peacock --against {found.rival.name}" in line


def test_an_insertion_test_is_saved_shown_and_loaded(asked, tmp_path):
    found = asked.insert("hawk", "owl", piece(world.SHORTCUT, "hawk", 900_001), origin="sticker.png")
    loaded = InsertionTest.load(found.save(tmp_path / "a.whyclass"))
    assert codec.encode(loaded) == codec.encode(found)
    page = found.save(tmp_path / "a.html").read_text()
    assert "sticker.png" in page
    assert "The patch turns the model to “hawk”" in page
    assert "The patch turns the model to “hawk”" in found._repr_html_()


def test_a_large_batch_is_shifted_in_blocks_of_the_same_result(asked, twins, monkeypatch):
    images = torch.stack([asked.pool.sample(row, world.PREPROCESSING).tensor for row in range(5)])
    with torch.no_grad():
        x = asked.split.trunk(images).numpy()
    w, steps = twins.hyperplane.normal, (0.0, 1.0, 50.0)
    whole = interventions.shift(asked.split, x, images, w, steps)
    monkeypatch.setattr(interventions, "SHIFTED_BYTES", 1)
    np.testing.assert_allclose(interventions.shift(asked.split, x, images, w, steps), whole, atol=1e-6)


def test_what_speaks_for_each_class_is_drawn_too(tmp_path):
    pool = world.write_pool(tmp_path / "pool", 3)
    settings = quick(pictures="fourier", picture_steps=2, tests=())
    found = Study(demo.loaded(), world.LAYER, pool, tmp_path / "store", settings).contrast("hawk", "owl")
    for side in (found.a, found.b):
        assert all(concept.drawn.steps == 2 for concept in side.concepts)
        assert side.drawn_test.picture.height == side.drawn_control.picture.height
        assert side.drawn_test.score != side.explanation.drawn_test.score
    page = report_page.page(found)
    assert page.count("drawn by the concept itself") == 4 * 6
    assert page.count("To pictures of as many random directions") == 2
    assert [label for label, _ in summary.rows(found)].count("Drawn pictures") == 2
    told = json_objects.as_object(found)
    assert told["drawn_test"]["score"] == found.a.drawn_test.score
    assert told["concepts"][0]["drawn"]["cosine"] == found.a.concepts[0].drawn.cosine
