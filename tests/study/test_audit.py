"""Every class in one run: the same numbers as class by class, whatever shares the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.planted_world import NAMES, contents, leftovers, nth, quick
from whyclass.attribution import noise, smoothgrad
from whyclass.attribution import smoothgrad as attribution
from whyclass.checks import interventions as checks
from whyclass.checks import stitching
from whyclass.errors import ClassError, DataError, RecordError, SettingsError
from whyclass.merging import merge_into
from whyclass.planted import demo, judgement, world
from whyclass.pool import images as data
from whyclass.progress import Progress
from whyclass.records import Audit, Finding, Shifts
from whyclass.report import audits_in_store, paper_tables
from whyclass.store import Store, find_store
from whyclass.study import crop_pictures, pair_sampling
from whyclass.study.prediction_test_and_control import Controls
from whyclass.study.study import Study

N = 4
HAWK, OWL = world.class_index("hawk"), world.class_index("owl")
TESTS = ("prediction", "shift", "mask")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


def study(pool, store=None, *, progress=None, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, quick(**changes), progress=progress)


def findings(store: Path) -> dict[str, Finding]:
    loaded = [Finding.load(file) for file in Store(store).records("findings")]
    return {finding.target.name: finding for finding in loaded}


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> tuple[Audit, Path]:
    """An audit of all classes with all tests, and its store."""
    store = tmp_path_factory.mktemp("whole") / "store"
    return study(pictures, store).audit(tests=TESTS), store


@pytest.fixture(scope="module")
def plain(pictures, tmp_path_factory) -> dict[str, bytes]:
    """What an audit of all classes with the prediction test alone leaves."""
    store = tmp_path_factory.mktemp("plain") / "store"
    study(pictures, store).audit()
    return contents(store)


# ---------------------------------------------------------------- what it finds


def test_every_predicted_class_is_found(whole):
    audit, store = whole
    assert [one.target.name for one in audit.classes] == NAMES
    assert audit.n_classes == len(NAMES)
    assert set(findings(store)) == set(NAMES)
    assert leftovers(store) == []


@pytest.mark.parametrize("name", ["hawk", "owl", "bee"])
def test_a_finding_holds_the_numbers_of_the_class_explained_alone(whole, pictures, name):
    found = findings(whole[1])[name]
    alone = study(pictures).explain(name)
    for kind in ("including", "excluding"):
        mine, wanted = getattr(found.prediction_test, kind), getattr(alone.prediction_test, kind)
        assert (mine.score, mine.top, mine.layout, mine.control) == (
            wanted.score,
            wanted.top,
            wanted.layout,
            wanted.control,
        )
    for mine, wanted in zip(found.concepts, alone.concepts, strict=True):
        assert np.array_equal(mine.vector, wanted.vector)
        for kind in ("including", "excluding"):
            spots = [(s.image, s.box, s.cosine) for s in getattr(mine, kind).spots]
            assert spots == [(c.image, c.box, c.cosine) for c in getattr(wanted, kind)]
    assert (found.rival, found.warnings, found.completeness) == (
        alone.rival,
        alone.warnings,
        alone.completeness,
    )
    assert (found.n_images, found.n_predicted) == (alone.n_images, alone.n_predicted)


def test_the_strips_show_the_crops(whole, pictures):
    """Pixels of a strip's first crop are those of the image at the box, up to JPEG."""
    found = findings(whole[1])["hawk"]
    asked = study(pictures)
    paths = [item.path for item in asked.pool.items]
    for concept in found.concepts:
        spot = concept.including.spots[0]
        left, top, right, bottom = spot.box
        sample = asked.pool.sample(paths.index(spot.image.path), asked.loaded.preprocessing)
        wanted = np.asarray(sample.picture.crop(spot.box), float)
        strip = np.asarray(crop_pictures.decode(concept.including.picture), float)
        assert np.abs(strip[: bottom - top, : right - left] - wanted).mean() < 12
        assert concept.including.picture.width == (right - left) * len(concept.including.spots)


def test_shifts_are_those_of_the_pairs_test(whole, pictures):
    audit, _ = whole
    alone = study(pictures).pairs(NAMES)
    wanted = {(p.shifting.target.index, p.shifting.source.index): p for p in alone.pairs}
    for test in ("shift", "mask"):
        own = [shift for shift in audit.shifts if shift.test == test]
        found = {(p.target.index, shift.source.index): p for shift in own for p in shift.pairs}
        assert set(found) == set(wanted)
        for key, pair in found.items():
            assert pair.target.score == pytest.approx(wanted[key].shifting.steps[0].target, abs=1e-6)
            assert pair.training.balanced == wanted[key].training.balanced
            if test == "shift":
                sweep = wanted[key].shifting
                best = sweep.steps[sweep.best]
                assert pair.moved.highest == pytest.approx(best.target, abs=1e-6)
                assert pair.moved.at == best.at


def test_controls_are_measured_for_one_pair_of_each_source(whole):
    """A pair that is drawn: of nine sources not all have their lowest target's."""
    places = []
    for shift in whole[0].shifts:
        if shift.test == "mask":
            continue
        measured = [pair.control is not None for pair in shift.pairs]
        assert sum(measured) == 1
        places.append(measured.index(True))
    assert len(set(places)) > 3


def test_with_many_classes_targets_are_drawn_as_in_the_paper(whole, pictures, tmp_path, monkeypatch):
    pass

    monkeypatch.setattr(pair_sampling, "TARGETS", 3)
    audit = study(pictures, tmp_path / "store").audit(tests=("shift",))
    for shift in audit.shifts:
        drawn = [run for pair in shift.pairs for run in pair.runs]
        assert shift.runs == 5
        assert sorted(drawn) == sorted([*range(5)] * 3)
        assert shift.source.index not in [pair.target.index for pair in shift.pairs]
    targets = {tuple(p.target.index for p in shift.pairs) for shift in audit.shifts}
    assert len(targets) > 1  # each source has a draw of its own


def test_the_shortcut_is_found_in_its_class_and_random_crops_show_it_seldom(tmp_path):
    """The planted sticker stands in the hawk's crops, in none of the owl's, and seldom in a control's."""
    pool = world.write_pool(tmp_path / "pool", 20)
    store = tmp_path / "store"
    asked = study(pool, store, images=12, copies=8, starts=4, crops=8)
    asked.audit(["hawk", "owl"])
    found = findings(store)

    def shown(path: str, box: tuple[int, int, int, int]) -> bool:
        mask = world.pool_picture(path, 0).masks.get(world.SHORTCUT)
        left, top, right, bottom = box
        return mask is not None and mask[top:bottom, left:right].mean() >= judgement.SHOWN

    def most(name: str) -> int:
        spots = [concept.including.spots for concept in found[name].concepts]
        return max(sum(shown(s.image.path, s.box) for s in one) for one in spots)

    assert most("hawk") >= 4
    assert most("owl") <= 1
    side = found["hawk"].concepts[0].including.spots[0].box
    width = side[2] - side[0]
    random = np.random.default_rng(0).integers(0, 96 // width, (400, 2)) * width
    paths = [item.path for item in asked.pool.items]
    rate = np.mean(
        [
            shown(paths[n % len(paths)], (x, y, x + width, y + width))
            for n, (x, y) in enumerate(random.tolist())
        ]
    )
    assert rate < 0.05


def test_a_class_that_nothing_speaks_for_is_told_and_the_others_are_found(pictures, tmp_path, monkeypatch):
    real = smoothgrad.at_layers

    def silent(asked, *rest):
        (one,), (scores,) = asked, real(asked, *rest)
        if one.question.target != HAWK:
            return [scores]
        nothing = np.zeros_like(scores.cells)
        return [smoothgrad.Scores(nothing, nothing, scores.missed, scores.changes)]

    monkeypatch.setattr(smoothgrad, "at_layers", silent)
    store = tmp_path / "store"
    audit = study(pictures, store).audit(["hawk", "owl", "bee"], ("prediction", "shift"))
    found = findings(store)
    assert "nothing at this layer speaks for the class" in found["hawk"].problem
    assert found["hawk"].prediction_test is None
    assert not found["owl"].problem
    assert {shift.source.name for shift in audit.shifts} == {"owl", "bee"}
    (table, *_) = paper_tables.made([audit])
    assert table.rows[0].n == 2
    assert any("1 classes could not be explained" in note for note in table.notes)


# ---------------------------------------------------------------- how little it does


def test_each_image_is_decoded_once_and_has_so_many_noisy_copies(pictures, tmp_path, monkeypatch):
    decoded, noisy = [], []
    sample, copies = data.sample_of, noise.noisy_copies
    monkeypatch.setattr(data, "sample_of", lambda *a: decoded.append(1) or sample(*a))
    monkeypatch.setattr(noise, "noisy_copies", lambda *a: noisy.append(a[1]) or copies(*a))
    asked = study(pictures, tmp_path / "store")
    asked.audit(tests=TESTS)
    assert len(decoded) == len(asked.pool.items)
    assert len(noisy) == len(set(noisy)) == len(asked.pool.items)  # every image is of one class


def test_all_classes_share_their_random_crops(pictures, tmp_path, monkeypatch):
    stitched = []
    real = stitching.stitch
    monkeypatch.setattr(stitching, "stitch", lambda *a: stitched.append(1) or real(*a))
    study(pictures, tmp_path / "store", null_crops=20).audit()
    tests = 2 * len(NAMES)
    assert len(stitched) - tests < 20 * len(NAMES)  # class by class they are 40 for each


def test_shared_random_crops_of_other_images_hold_none_of_the_class(pictures):
    asked = study(pictures, null_crops=5)
    scene = asked.context()
    mask = scene.index.usable & (scene.index.predicted != HAWK)
    seen = []
    controls = Controls(scene)
    controls.of(
        HAWK, range(6), mask, lambda position: seen.append(position) or scene.read([position])[0], 0.5
    )
    assert seen
    assert mask[seen].all()


def test_a_second_audit_computes_nothing(whole, pictures, monkeypatch):
    audit, store = whole
    before = contents(store)
    for place, name in (
        (attribution, "smoothgrad"),
        (data, "sample_of"),
        (stitching, "stitch"),
        (checks, "shift"),
    ):
        monkeypatch.setattr(place, name, None)
    assert study(pictures, store).audit(tests=TESTS) == audit
    assert contents(store) == before


# ---------------------------------------------------------------- the same bytes


def test_the_number_of_processes_changes_no_byte(plain, pictures, tmp_path):
    study(pictures, tmp_path / "store").audit(workers=2)
    assert contents(tmp_path / "store") == plain


def test_class_by_class_gives_the_same_bytes(plain, pictures, tmp_path):
    store = tmp_path / "store"
    for name in reversed(NAMES):
        study(pictures, store).audit([name])
    assert contents(store) == plain


def test_parts_of_two_machines_are_merged_to_the_whole(plain, pictures, tmp_path):
    """The second machine has its pool in another folder."""
    elsewhere = shutil.copytree(pictures, tmp_path / "elsewhere" / "pool")
    study(pictures, tmp_path / "one").audit(part=(1, 2))
    study(elsewhere, tmp_path / "two").audit(part=(2, 2))
    one, two = find_store(tmp_path / "one"), find_store(tmp_path / "two")
    merged = merge_into(one, two)
    assert merged.different == 0
    assert merged.taken == 3 * (len(NAMES) // 2)
    assert set(contents(tmp_path / "one")) == set(plain)
    records = [name for name in plain if not name.startswith("findings")]
    assert {n: contents(tmp_path / "one")[n] for n in records} == {n: plain[n] for n in records}
    audit = study(pictures, tmp_path / "one").audit()  # the same command, whole, has nothing left to do
    assert len(audit.classes) == len(NAMES)
    again = merge_into(one, two)
    assert (again.taken, again.different) == (0, 0)


def test_stores_of_two_models_are_not_merged(whole, pictures, tmp_path):
    other = demo.loaded()
    with torch.no_grad():
        next(other.model.parameters()).add_(0.1)
    Study(other, world.LAYER, pictures, tmp_path / "other", quick())
    with pytest.raises(Exception, match="only stores of one model can be merged"):
        merge_into(find_store(whole[1]), find_store(tmp_path / "other"))


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"tests": ("predictions",)}, SettingsError, "choose of prediction, shift, mask"),
        ({"tests": ()}, SettingsError, "tests are none"),
        ({"workers": 0}, SettingsError, "at least 1"),
        ({"part": (3, 2)}, SettingsError, "i from 1 to n"),
        ({"part": (1, 2), "tests": ("shift",)}, SettingsError, "merge their stores"),
        ({"classes": ["hawkk"]}, ClassError, "hawk"),
        ({"classes": []}, ClassError, "holds none"),
        ({"classes": ["hawk"], "part": (2, 2)}, ClassError, "holds none"),
    ],
)
def test_what_cannot_be_asked_is_refused(pictures, asked, kind, message):
    with pytest.raises(kind, match=message):
        study(pictures).audit(**asked)


class Told(Progress):
    """Remembers the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_files_that_changed_between_runs_are_named_and_audited_anew(pictures, tmp_path):
    pool, store = Path(shutil.copytree(pictures, tmp_path / "pool")), tmp_path / "store"
    study(pool, store).audit(["hawk"])
    shutil.copy(pool / "bee" / "0000.png", pool / "owl" / "0001.png")
    told = Told()
    study(pool, store, progress=told).audit(["hawk"])
    (pool / "bee" / "0002.png").unlink()
    shutil.copy(pool / "bee" / "0000.png", pool / "bee" / "9999.png")
    study(pool, store, progress=told).audit(["hawk"])
    notes = [note for note in told.notes if "the last audit" in note]
    assert ["1 changed (owl/0001.png)" in note for note in notes] == [True, False]
    assert "1 vanished (bee/0002.png); 1 new (bee/9999.png)" in notes[1]
    assert "owl/0001.png" in (store / "log.txt").read_text()
    assert (
        len(audits_in_store.collect(find_store(store))) == 3
    )  # each state of the pool is an audit of its own


def press() -> None:
    raise KeyboardInterrupt


def test_a_file_that_changed_after_a_run_was_stopped_early_is_named(pictures, tmp_path, monkeypatch):
    pool, store = Path(shutil.copytree(pictures, tmp_path / "pool")), tmp_path / "store"
    with monkeypatch.context() as patched:
        patched.setattr(
            data,
            "sample_of",
            nth(9, lambda: (_ for _ in ()).throw(KeyboardInterrupt), data.sample_of),
        )
        with pytest.raises(KeyboardInterrupt):
            study(pool, store).audit(["hawk"])
    (pool / "owl" / "0003.png").unlink()
    told = Told()
    study(pool, store, progress=told).audit(["hawk"])
    assert any("owl/0003.png" in note for note in told.notes)
    assert not list(store.glob("*/*.partial"))


def test_one_class_alone_has_nothing_to_be_shifted_from(pictures, tmp_path):
    told = Told()
    audit = study(pictures, tmp_path / "store", progress=told).audit(["hawk"], ("prediction", "shift"))
    assert (len(audit.classes), audit.shifts) == (1, ())
    assert any("shifting needs two" in note for note in told.notes)


def test_tests_asked_one_after_the_other_count_each_pair_once(pictures, tmp_path):
    store = tmp_path / "store"
    names = ["hawk", "owl", "bee"]
    study(pictures, store).audit(names, ("prediction", "shift"))
    audit = study(pictures, store).audit(names, ("shift", "mask"))
    shifting, masking = (
        t for t in paper_tables.made([audit]) if t.title in ("Shifting test", "Masking test")
    )
    assert shifting.rows[0].n == masking.rows[0].n == 6


def test_settings_of_pairs_leave_findings_as_they_are(pictures, tmp_path, monkeypatch):
    store = tmp_path / "store"
    study(pictures, store).audit(["hawk", "owl"])
    monkeypatch.setattr(stitching, "stitch", None)
    audit = study(pictures, store, budget=1.0, held_out=0.5).audit(["hawk", "owl"], ("prediction", "shift"))
    (one,) = audits_in_store.collect(find_store(store))
    assert (len(one.classes), len(one.shifts)) == (2, 2)
    assert audit == one


def test_other_names_are_another_audit(pictures, tmp_path):
    store = tmp_path / "store"
    study(pictures, store).audit(["hawk"])
    loaded = replace(demo.loaded(), class_names=tuple(name.upper() for name in NAMES))
    audit = Study(loaded, world.LAYER, pictures, store, quick()).audit(["HAWK"])
    assert [one.target.name for one in audit.classes] == ["HAWK"]
    first, second = audits_in_store.collect(find_store(store))
    assert "class names" in audits_in_store.labels([first, second])[0]


def test_a_file_that_changes_while_the_audit_runs_is_named(pictures, tmp_path, monkeypatch):
    pool = Path(shutil.copytree(pictures, tmp_path / "pool"))
    asked = study(pool, tmp_path / "store")
    (pool / "owl" / "0001.png").unlink()
    with pytest.raises(DataError, match=r"owl/0001\.png"):
        asked.audit()
    assert not contents(tmp_path / "store").keys() & {"findings"}


def test_an_image_that_cannot_be_read_is_left_out_of_the_audit(pictures, tmp_path):
    pool = Path(shutil.copytree(pictures, tmp_path / "pool"))
    (pool / "owl" / "0001.png").write_bytes(b"no picture")
    store = tmp_path / "store"
    study(pool, store).audit(["hawk"])
    (skipped,) = findings(store)["hawk"].pool.skipped
    assert skipped.path == "owl/0001.png"


def test_a_damaged_finding_is_named(whole, tmp_path):
    store = Path(shutil.copytree(whole[1], tmp_path / "store"))
    file = find_store(store).records("findings")[0]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RecordError, match=file.name):
        audits_in_store.collect(find_store(store))


def test_images_that_are_tensors_are_audited_too(pictures, tmp_path):
    """They cannot be kept as pixels, and are read each time."""
    asked = study(pictures)
    tensors = [sample.tensor for sample in asked.context().read(range(len(asked.pool.items)))]
    store = tmp_path / "store"
    Study(demo.loaded(), world.LAYER, tensors, store, quick()).audit(["hawk"])
    assert not list(store.glob("frames/*/pixels.u8"))
    score = findings(store)["hawk"].prediction_test.including.score
    assert score == pytest.approx(asked.explain("hawk").prediction_test.including.score, abs=1e-5)


def test_records_of_an_audit_come_back_as_they_went(whole, tmp_path):
    audit, store = whole
    assert Audit.load(audit.save(tmp_path / "audit.whyclass")) == audit
    shift = Shifts.load(find_store(store).records("shifts")[0])
    assert Shifts.load(shift.save(tmp_path / "shift.whyclass")) == shift
