"""The whole path from Python, on a network and pictures whose truth is known."""

from __future__ import annotations

import gc
import io
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from helpers.drawn import same_pictures
from helpers.planted_world import NAMES, files_of, leftovers, quick
from whyclass.attribution import methods, smoothgrad
from whyclass.attribution import smoothgrad as attribution
from whyclass.errors import (
    ClassError,
    DataError,
    LayerError,
    ModelError,
    RecordError,
    SettingsError,
    StoreError,
    WhyclassError,
)
from whyclass.planted import demo, judgement, nets, world
from whyclass.pool import images as pool_images
from whyclass.progress import Progress
from whyclass.records import Explanation, codec
from whyclass.report import page as report_page
from whyclass.report import verdict
from whyclass.settings import plain
from whyclass.study.study import Study

N = 4
"""Pictures of each class, enough for most questions; two blocks in all."""

HAWK = world.class_index("hawk")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Twelve pictures of each class, to judge what is found."""
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", 12)


@pytest.fixture
def own(pictures, tmp_path) -> Path:
    """A copy of the pool that a test may change."""
    return Path(shutil.copytree(pictures, tmp_path / "pool"))


@pytest.fixture(scope="module")
def hawk(pictures) -> Explanation:
    return study(pictures).explain("hawk")


def study(pool, store=None, /, *, layer=world.LAYER, progress=None, model=None, **changes) -> Study:
    loaded = demo.loaded() if model is None else replace(demo.loaded(), model=model)
    return Study(loaded, layer, pool, store, quick(**changes), progress=progress)


class Told(Progress):
    """Remembers the notes, and how far each step came of how much."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.steps: dict[str, list[int | None]] = {}

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def _shown(self, name, total, unit):
        self.steps[name] = [0, total]

        def advance(done: int) -> None:
            self.steps[name][0] += done

        yield advance


# ---------------------------------------------------------------- what it says of the planted world


def test_an_explanation_holds_what_was_asked_for(hawk):
    assert (hawk.target.name, hawk.target.index) == ("hawk", HAWK)
    assert (hawk.n_images, hawk.n_predicted, hawk.pool.size) == (N, N, N * len(NAMES))
    assert [len(concept.including) for concept in hawk.concepts] == [4] * 6
    assert [len(concept.heat_maps) for concept in hawk.concepts] == [len(hawk.images)] * 6 == [2] * 6
    assert sum(concept.share for concept in hawk.concepts) == pytest.approx(1)
    assert [c.share for c in hawk.concepts] == sorted((c.share for c in hawk.concepts), reverse=True)
    assert hawk.completeness.worst < 1e-5
    assert hawk.settings == plain(quick())
    assert hawk.model.shape == (64, 12, 12)


def test_crops_are_nearest_first_and_the_excluding_ones_are_of_other_classes(hawk):
    for concept in hawk.concepts:
        for crops in (concept.including, concept.excluding):
            cosines = [crop.cosine for crop in crops]
            assert cosines == sorted(cosines, reverse=True)
            assert {crop.box[2] - crop.box[0] for crop in crops} == {16}
        assert concept.including[0].cosine >= concept.excluding[0].cosine
        assert "hawk" not in {crop.image.prediction.name for crop in concept.excluding}


def test_the_stitched_image_is_made_of_the_best_crops(hawk):
    tests = hawk.prediction_test
    for test, crops in ((tests.including, "including"), (tests.excluding, "excluding")):
        best = [getattr(concept, crops)[0] for concept in hawk.concepts]
        shown = decoded(test.picture.data)
        assert np.array_equal(shown, np.concatenate([decoded(crop.picture.data) for crop in best]))
        assert [source.image.path for source in test.sources] == [crop.image.path for crop in best]
        assert test.layout == "stacked"


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_crop_shows_its_box_of_its_file(hawk, pictures):
    crop = hawk.concepts[0].including[0]
    left, top, right, bottom = crop.box
    pixels = np.asarray(Image.open(pictures / crop.image.path))[top:bottom, left:right]
    assert np.array_equal(decoded(crop.picture.data), pixels)


@pytest.mark.parametrize("name", ["hawk", "comet"])
def test_the_planted_class_passes_both_prediction_tests(many, name):
    checked = {"null_crops": 99, "null_cells": 39, "null_scores": 19, "fillings": 8, "refits": 3}
    found = study(many, copies=4, images=60, **checked).explain(name)
    assert verdict.verdict(found).level == "trust"
    for test in (found.prediction_test.including, found.prediction_test.excluding):
        assert test.predicted
        assert test.top[0].name == name
        assert test.score > max(0.9, test.control.high)
        assert test.control.predicted < 0.5


@pytest.fixture(scope="module")
def truth(many) -> judgement.Truth:
    files = [str(file.relative_to(many)) for file in many.rglob("*.png")]
    return {file: world.pool_picture(file).masks for file in files}


def parts_found(found: Explanation, truth: judgement.Truth) -> set[str]:
    return {finding.part for finding in judgement.judge(found, truth) if finding.found}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_control_a_net_of_shuffled_weights_is_not_trusted_and_shows_no_part(many, truth, seed):
    net, generator = nets.planted_net(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in net.parameters():
            order = torch.randperm(values.numel(), generator=generator)
            values.copy_(values.flatten()[order].view_as(values))
    asked = study(many, model=net, null_crops=20, copies=4, images=60, examples=12)
    common = np.bincount(asked.index().predicted).argmax()
    found = asked.explain(int(common))
    assert verdict.verdict(found).level == "distrust"
    assert parts_found(found, truth).isdisjoint(world.CLASSES[common].needs)


@same_pictures
def test_control_permuted_scores_show_parts_that_the_class_does_not_have(many, truth, monkeypatch):
    needs = set(world.CLASSES[HAWK].needs)
    settings = {"copies": 8, "images": 60, "examples": 12, "starts": 8}
    assert parts_found(study(many, **settings).explain("hawk"), truth) == needs
    real = smoothgrad.at_layers

    def permuted(*arguments):
        (scores,) = real(*arguments)
        cells = np.random.default_rng(0).permutation(scores.cells.reshape(-1))
        return [replace(scores, cells=cells.reshape(scores.cells.shape))]

    monkeypatch.setattr(smoothgrad, "at_layers", permuted)
    assert parts_found(study(many, **settings).explain("hawk"), truth) - needs


# ---------------------------------------------------------------- classes


def some(pictures: Path, place: Path, **counts: int) -> Path:
    """A pool of so many pictures of some classes."""
    for name, count in counts.items():
        (place / name).mkdir(parents=True)
        for i in range(count):
            shutil.copy(pictures / name / f"{i:04d}.png", place / name)
    return place


def test_a_class_that_is_never_predicted_is_refused_with_its_rivals(pictures, tmp_path):
    pool = some(pictures, tmp_path / "pool", hawk=4, owl=2)
    with pytest.raises(ClassError, match=r"'comet' is predicted for none of the pool's 6 images") as caught:
        study(pool, tmp_path / "store").explain("comet")
    assert {"hawk (4 images)", "owl (2 images)"} <= set(str(caught.value).split(": ")[-1].split(", "))
    assert leftovers(tmp_path / "store") == []
    assert not (tmp_path / "store" / "explanations").exists()


def test_a_class_that_is_predicted_once_is_explained_with_a_warning(pictures, tmp_path):
    found = study(some(pictures, tmp_path / "pool", hawk=4, comet=1)).explain("comet")
    assert (found.n_images, found.n_predicted) == (1, 1)
    assert "Only 1 image is predicted as this class; what is found from so few is unsure." in found.warnings
    assert "Only 1 image is" in found._repr_html_()


def test_where_all_images_are_predicted_as_the_class_the_second_test_is_left_out(pictures, tmp_path):
    found = study(some(pictures, tmp_path / "pool", hawk=4)).explain("hawk")
    assert found.prediction_test.excluding is None
    assert all(concept.excluding == () for concept in found.concepts)
    assert Explanation.load(found.save(tmp_path / "a.whyclass")).prediction_test.excluding is None
    assert "all" in report_page.page(found)


@pytest.mark.parametrize("wanted", ["hwak", "9", -1, 9, "", "eagle owl"])
def test_an_unknown_class_is_refused_before_the_pool_is_read(pictures, tmp_path, wanted):
    with pytest.raises(ClassError):
        study(pictures, tmp_path).explain(wanted)
    assert not (tmp_path / "index").exists()


def test_names_of_another_number_are_refused_before_the_pool_is_read(pictures, tmp_path):
    with pytest.raises(ClassError, match="2 class names, and the model has 9 classes"):
        Study(demo.loaded(), world.LAYER, pictures, tmp_path, class_names=["a", "b"])
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_of_few_classes_has_a_shorter_top(pictures, tmp_path, classes):
    net = nets.planted_net()
    head = nn.Linear(96, classes)
    head.load_state_dict({"weight": net.head.weight[:classes], "bias": net.head.bias[:classes]})
    net.head = head
    found = Study(net, world.LAYER, pictures, settings=quick(), preprocessing=world.PREPROCESSING).explain(1)
    assert found.target.name == "class 1"
    assert len(found.prediction_test.including.top) == classes


# ---------------------------------------------------------------- a model that somebody holds


class Net(nets.PlantedNet):
    """The planted net as somebody might hold it: in training, with hooks, and half of it frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.load_state_dict(nets.planted_net().state_dict())
        self.train()
        self.stage2.eval()
        self.calls = 0
        self.stage1.requires_grad_(False)
        self.head.weight.grad = torch.ones_like(self.head.weight)
        self.stage4.register_forward_hook(lambda *_: None)
        self.stage4.register_forward_pre_hook(lambda *_: None)
        self.head.register_full_backward_hook(lambda *_: None)


class Stubborn(Net):
    """Fails on images of another size; ``failing`` lets it fail on any."""

    failing = False

    def forward(self, images):
        if self.failing or images.shape[2:] != (world.SIZE, world.SIZE):
            raise AssertionError("not this size")
        return super().forward(images)


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(net: nn.Module) -> dict[str, object]:
    """Everything that a borrower could change, of the model and of torch."""
    found: dict[str, object] = {"grad": torch.is_grad_enabled(), "numpy": str(np.random.get_state())}
    found["torch"] = torch.random.get_rng_state().numpy().tobytes()
    for name, module in net.named_modules():
        found[name] = (id(module), type(module), module.training, sorted(module.__dict__))
        found[f"{name} hooks"] = [str(getattr(module, hooks)) for hooks in HOOKS]
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        grad = None if value.grad is None else value.grad.numpy().tobytes()
        found[f"{name} values"] = (id(value), value.requires_grad, grad, value.detach().numpy().tobytes())
    return found


def held(net: nn.Module, images, store=None, **changes) -> Study:
    preprocessing, settings = world.PREPROCESSING, quick(**changes)
    return Study(net, world.LAYER, images, store, settings, class_names=NAMES, preprocessing=preprocessing)


def test_a_held_model_gives_the_same_and_is_given_back_as_it_came(pictures, hawk):
    net = Net()
    before = state(net)
    found = held(net, pictures).explain("hawk")
    assert state(net) == before
    assert found.model.name == "Net"
    assert [c.vector.tolist() for c in found.concepts] == [c.vector.tolist() for c in hawk.concepts]
    assert found.prediction_test.excluding == hawk.prediction_test.excluding


@pytest.mark.parametrize(
    ("step", "error"),
    [("at_layers", RuntimeError), ("_deeplift", MemoryError), ("score_cells", KeyboardInterrupt)],
)
def test_after_an_error_a_held_model_is_as_it_came_and_the_store_is_clean(
    pictures, tmp_path, monkeypatch, step, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr(methods if step == "_deeplift" else attribution, step, fail)
    monkeypatch.setitem(methods.METHODS, "deeplift", methods._deeplift)
    net = Net()
    before = state(net)
    with pytest.raises(error):
        held(net, pictures, tmp_path).explain("hawk")
    assert state(net) == before
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "explanations").exists()


def test_a_model_that_fails_half_way_is_as_it_came(pictures, monkeypatch):
    net = Stubborn()
    asked = held(net, pictures)
    asked.index()
    before = state(net)
    monkeypatch.setattr(Stubborn, "failing", True)
    with pytest.raises(ModelError, match="not this size"):
        asked.explain("hawk")
    assert state(net) == before


def test_a_model_of_one_size_is_tested_with_a_mosaic(pictures):
    found = held(Stubborn(), pictures).explain("hawk")
    assert found.prediction_test.including.layout == "mosaic"
    assert found.prediction_test.including.picture.height == world.SIZE


def test_a_layout_that_the_model_cannot_take_is_an_error(pictures):
    with pytest.raises(ModelError, match="not this size"):
        held(Stubborn(), pictures, layout="stacked").explain("hawk")


# ---------------------------------------------------------------- images


class Labelled(Dataset):
    """A dataset as people have them: pairs of a normalised tensor and a label."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int):
        return world.PREPROCESSING.tensor(Image.open(self.files[position])), 7


def arrays(files):
    return [np.asarray(Image.open(file)) for file in files]


WAYS = {
    "a list of pictures": lambda files: [Image.open(file) for file in files],
    "a dataset of tensors and labels": Labelled,
    "a list of arrays": arrays,
    "a list of files": lambda files: files,
    "a tuple of file names": lambda files: tuple(map(str, files)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_giving_the_images_gives_the_same_concepts(pictures, way):
    # without noise, since its seed is an image's identity and a file's is another than a picture's
    settings = {"copies": 1, "noise": 0.0}
    wanted = study(pictures, **settings).explain("hawk")
    files = sorted(pictures.rglob("*.png"))
    found = study(WAYS[way](files), **settings).explain("hawk")
    assert np.array_equal(
        [concept.vector for concept in found.concepts], [concept.vector for concept in wanted.concepts]
    )
    assert found.prediction_test.excluding.score == wanted.prediction_test.excluding.score
    digits = [c.image.path for c in found.concepts[0].including]
    names = [c.image.path for c in wanted.concepts[0].including]
    assert [str(files[int(d)].relative_to(pictures)) if d.isdigit() else d for d in digits] == names


def test_a_broken_picture_of_a_list_is_skipped_and_named(pictures):
    images = [*arrays(sorted(pictures.rglob("*.png"))), np.zeros((3, 3)), "no such file.png"]
    found = study(images).explain("hawk")
    assert [skipped.path for skipped in found.pool.skipped] == ["36", "37"]
    assert "float64" in found.pool.skipped[0].reason
    assert found.pool.size == 36


def test_a_file_that_is_gone_between_index_and_explanation_is_named(own, tmp_path):
    asked = study(own, tmp_path / "store", images=60)
    asked.index()
    (own / "hawk" / "0003.png").unlink()
    with pytest.raises(DataError, match=r"read before cannot be read now: hawk/0003.png"):
        asked.explain("hawk")
    assert not (tmp_path / "store" / "explanations").exists()
    assert study(own, tmp_path / "store", images=60).explain("hawk").n_predicted == N - 1


def test_one_more_image_changes_the_draw_by_at_most_one(own):
    def drawn() -> set[str]:
        found = study(own, images=3, examples=3).explain("hawk")
        assert (found.n_images, len(found.images)) == (3, 3)
        return {shown.image.path for shown in found.images}

    draws = [drawn()]
    for seed in range(3):
        Image.fromarray(world.planted_picture(HAWK, 777 + seed).image).save(own / "hawk" / f"{seed}.png")
        draws.append(drawn())
    assert all(len(before - after) <= 1 for before, after in pairwise(draws))


# ---------------------------------------------------------------- the store


def records(store: Path) -> dict[str, bytes]:
    return files_of(store, "explanations/*")


def test_the_second_time_it_is_served_from_the_store(pictures, tmp_path):
    first, second = Told(), Told()
    found = study(pictures, tmp_path, progress=first).explain("hawk")
    bytes_before = records(tmp_path)
    again = study(pictures, tmp_path, progress=second).explain("hawk")
    assert set(first.seconds) == {
        "load",
        "index",
        "images",
        "activations",
        "attribution",
        "concepts",
        "crops",
        "prediction test",
    }
    assert set(second.seconds) == {"load"}
    assert codec.encode(again) == codec.encode(found)
    name, kept = next(iter(bytes_before.items()))
    assert codec.encode(found, f"explanations/{Path(name).stem}") == kept
    assert records(tmp_path) == bytes_before
    assert second.notes == []


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(pictures, tmp_path):
    for store, seed in (("a", 5), ("b", 5), ("c", 6)):
        study(pictures, tmp_path / store, seed=seed, images=3).explain("hawk")
    assert records(tmp_path / "a") == records(tmp_path / "b")
    files = [next((tmp_path / store / "explanations").iterdir()) for store in ("a", "c")]
    this, other = (Explanation.load(file).concepts[0].vector for file in files)
    assert not np.array_equal(this, other)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-40], lambda data: b"", lambda data: data.replace(b'"format": 3', b'"format": 9')],
    ids=["cut off", "empty", "another version"],
)
def test_a_damaged_record_of_the_store_is_made_anew_and_said(pictures, tmp_path, damage):
    study(pictures, tmp_path).explain("hawk")
    before = records(tmp_path)
    (file,) = (tmp_path / "explanations").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    told = Told()
    study(pictures, tmp_path, progress=told).explain("hawk")
    assert records(tmp_path) == before
    assert len(told.notes) == 1
    assert "made anew" in told.notes[0]
    assert file.name in told.notes[0]


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"baseline": "white"}, {"relu": "before"}, {"copies": 1}, {"noise": 0.1}, {"concepts": 5}],
    ids=str,
)
def test_another_setting_is_another_record_of_the_same_index(pictures, tmp_path, change):
    study(pictures, tmp_path).explain("hawk")
    told = Told()
    study(pictures, tmp_path, progress=told, **change).explain("hawk")
    assert len(records(tmp_path)) == 2
    assert "index" not in told.seconds
    assert told.notes == []


def test_two_layers_live_in_one_store(pictures, tmp_path):
    layers = ("stage3", "stage4")
    made = [codec.encode(study(pictures, tmp_path, layer=layer).explain("hawk")) for layer in layers]
    for layer, wanted in zip(layers, made, strict=True):
        told = Told()
        again = study(pictures, tmp_path, layer=layer, progress=told).explain("hawk")
        assert codec.encode(again) == wanted
        assert (list(told.seconds), told.notes) == (["load"], [])
    assert len(list((tmp_path / "index").glob("*/meta.json"))) == 2


def redrawn(pool: Path) -> None:
    Image.fromarray(world.planted_picture(HAWK, 12345).image).save(pool / "hawk" / "0001.png")


def added(pool: Path) -> None:
    shutil.copy(pool / "hawk" / "0001.png", pool / "hawk" / "new.png")


def removed(pool: Path) -> None:
    (pool / "owl" / "0002.png").unlink()


def renamed(pool: Path) -> None:
    (pool / "owl" / "0002.png").rename(pool / "owl" / "z.png")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (redrawn, "1 images, such as hawk/0001.png"),
        (added, "1 images, such as hawk/new.png"),
        (removed, "1 images, such as owl/0002.png"),
        (renamed, "2 images, such as owl/0002.png"),
    ],
)
def test_a_changed_pool_is_indexed_anew_and_what_changed_is_named(own, tmp_path, change, named):
    store = tmp_path / "store"
    study(own, store).index()
    change(own)
    told = Told()
    found = study(own, store, progress=told).explain("hawk")
    assert "index" in told.seconds
    assert len(told.notes) == 1
    assert told.notes[0].endswith(f"is not used, since these changed: {named}")
    assert codec.encode(found) == codec.encode(study(own, tmp_path / "fresh").explain("hawk"))


def test_other_preprocessing_is_indexed_anew_and_named(pictures, tmp_path):
    study(pictures, tmp_path).index()
    told = Told()
    other = replace(world.PREPROCESSING, mean=(0.4, 0.4, 0.4))
    Study(demo.loaded(), world.LAYER, pictures, tmp_path, quick(), preprocessing=other, progress=told).index()
    assert told.notes[0].endswith("these changed: preprocessing")


def other_weights() -> nn.Module:
    net = nets.planted_net()
    with torch.no_grad():
        net.head.bias += 1e-6
    return net


def test_a_store_holds_another_model_apart_and_stays_as_it_is(pictures, tmp_path):
    study(pictures, tmp_path).explain("hawk")
    before = files_of(tmp_path, "*.json")
    told = Told()
    other = study(pictures, tmp_path, model=other_weights(), progress=told)
    assert other.store.folder.parent == tmp_path / "models"
    assert (
        f"store {tmp_path} is another model's; results of this one go to {other.store.folder}" in told.notes
    )
    assert (tmp_path / "whyclass.json").read_bytes() == before["whyclass.json"]
    assert study(pictures, tmp_path).store.folder == tmp_path
    assert study(pictures, tmp_path, model=other_weights()).store.folder == other.store.folder
    with pytest.raises(StoreError, match="belongs to another model; give the folder that it lies in"):
        study(pictures, other.store.folder)


def test_a_folder_that_is_no_store_is_refused_and_left_as_it_is(pictures, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no store of whyclass \(it holds 'thesis.txt'\)"):
        study(pictures, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@contextmanager
def unprivileged():
    """Root may write anywhere, so it steps down for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_a_store_that_cannot_be_written_is_an_error(pictures, begun):
    # not below pytest's own folder, which nobody else may enter
    place = Path(tempfile.mkdtemp())
    store = place / "store"
    try:
        if begun:
            study(pictures, store)
        place.chmod(0o555)
        if begun:
            store.chmod(0o555)
        pool = pool_images.pool(pictures)
        with unprivileged(), pytest.raises(StoreError, match="cannot"):
            study(pool, store).explain("hawk")
        assert [path.name for path in store.rglob("*")] == (["whyclass.json"] if begun else [])
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


def test_without_a_store_nothing_is_left_behind(pictures):
    asked = study(pictures)
    asked.explain("hawk")
    folder = asked.store.folder
    assert folder.is_dir()
    del asked
    gc.collect()
    assert not folder.exists()


# ---------------------------------------------------------------- records


def test_a_saved_explanation_is_loaded_as_it_was(hawk, tmp_path):
    loaded = Explanation.load(hawk.save(tmp_path / "hawk.whyclass"))
    assert codec.encode(loaded) == codec.encode(hawk)
    assert loaded.prediction_test == hawk.prediction_test
    assert loaded.settings == hawk.settings
    assert report_page.page(loaded) == report_page.page(hawk)


def test_a_page_is_saved_and_an_unknown_suffix_refused(hawk, tmp_path):
    page = hawk.save(tmp_path / "hawk.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "hawk" in page
    with pytest.raises(RecordError, match=r"hawk.pdf: a record is saved as .whyclass or .html"):
        hawk.save(tmp_path / "hawk.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["hawk.html"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "no whole record"),
        (lambda data: b"", "no whole record"),
        (lambda data: b"\x89PNG" + bytes(100), "no whole record"),
        (lambda data: data.replace(b'"kind": "Explanation"', b'"kind": "Explanatiom"'), "."),
        (lambda data: data[:3000] + b"?" + data[3001:], "."),
    ],
    ids=["half", "empty", "a picture", "another kind", "one byte"],
)
def test_what_is_no_whole_explanation_is_refused_by_name(hawk, tmp_path, damage, reason):
    file = hawk.save(tmp_path / "hawk.whyclass")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RecordError, match=rf"hawk.whyclass: .*{reason}"):
        Explanation.load(file)


def test_a_record_of_another_version_is_refused_by_name(hawk, tmp_path):
    file = replace(hawk, format=9).save(tmp_path / "hawk.whyclass")
    with pytest.raises(RecordError, match="Explanation of format 9; needed is a Explanation of format 3"):
        Explanation.load(file)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*nothing.whyclass"):
        Explanation.load(tmp_path / "nothing.whyclass")


def test_an_explanation_shows_itself_in_a_notebook_and_a_name_stays_text(pictures):
    names = [*NAMES]
    names[HAWK] = "<script>hawk</script>"
    shown = Study(demo.loaded(), world.LAYER, pictures, settings=quick(), class_names=names).explain(HAWK)
    assert "<script" not in shown._repr_html_()
    assert "&lt;script&gt;hawk" in shown._repr_html_()
    assert "<svg" in shown._repr_html_() or "<img" in shown._repr_html_()


# ---------------------------------------------------------------- what it is of


def test_a_study_says_what_it_is_of_and_indexes_nothing_for_it(pictures, tmp_path):
    asked = study(pictures, tmp_path / "store")
    told = repr(asked)
    assert told.startswith("<Study of 'planted', layer 'stage3' (64 × 12 × 12): 36 images of ")
    assert len(told) < 250
    assert asked.layer == world.LAYER
    assert not list((tmp_path / "store").glob("index/*/meta.json"))


def test_a_study_lists_the_layers_that_can_be_explained(pictures):
    found = study(pictures).layers()
    assert world.LAYER in [info.name for info in found]
    assert "head" not in [info.name for info in found]
    assert not [info for info in found if info.problem]


def test_a_study_lists_the_classes_that_can_be_asked_about(pictures):
    asked = study(pictures)
    found = asked.classes()
    assert [one.index for one in found] == list(range(len(NAMES)))
    assert [one.name for one in found] == NAMES
    assert sum(one.n_images for one in found) == len(asked.pool.items)
    assert found[HAWK].n_images == asked.explain("hawk").n_predicted


def test_a_record_is_the_same_as_the_one_that_was_kept(hawk, tmp_path):
    again = Explanation.load(hawk.save(tmp_path / "hawk.whyclass"))
    assert again == hawk
    assert repr(again) == repr(hawk)
    assert hash(again) == hash(hawk)


# ---------------------------------------------------------------- progress


def test_every_step_is_timed_and_told_to_its_end(pictures):
    told, started = Told(), time.perf_counter()
    study(pictures, progress=told, images=3).explain("hawk")
    passed = time.perf_counter() - started
    assert told.steps["index"] == [36, 36]
    assert told.steps["images"] == told.steps["attribution"] == [3, 3]
    assert told.steps["crops"] == [36, 36]
    assert all(seconds > 0 for seconds in told.seconds.values())
    assert 0.5 * passed < sum(told.seconds.values()) < passed


def test_a_step_is_timed_also_when_it_fails():
    progress = Progress()
    with pytest.raises(ZeroDivisionError), progress.step("load"):
        raise ZeroDivisionError
    assert list(progress.seconds) == ["load"]


# ---------------------------------------------------------------- what cannot be asked


class NoLogits(nets.PlantedNet):
    def forward(self, images):
        return self.stage4(self.stage3(self.stage2(self.stage1(images)))).flatten(2)


class OneClass(nets.PlantedNet):
    def forward(self, images):
        return super().forward(images)[:, :1]


def with_nan() -> nn.Module:
    net = nets.planted_net()
    with torch.no_grad():
        net.head.bias[0] = float("nan")
    return net


BAD = [
    ({"layer": "stage33"}, LayerError, "no layer 'stage33'; did you mean stage3"),
    ({"layer": "head"}, LayerError, r"'head' cannot be explained: its output has shape \(1, 9\)"),
    ({"model": 5}, ModelError, "model came as int"),
    ({"model": "resnet50"}, ModelError, "give torchvision:NAME"),
    ({"model": NoLogits()}, ModelError, r"output is \(1, 9?6?, ?12, 12\)|needed are logits"),
    ({"model": OneClass()}, ModelError, "needed are logits"),
    ({"model": with_nan()}, ModelError, "not finite; do its weights hold NaN"),
    ({"weights": "a.safetensors"}, ModelError, "weights are for a model given by name"),
    ({"images": 5}, DataError, "images came as int"),
    ({"images": []}, DataError, "empty"),
    ({"images": "nowhere"}, DataError, "no folder or file nowhere"),
    ({"device": "tpu"}, SettingsError, "choose one of auto, cpu, cuda, mps"),
    ({"class_names": "nowhere.txt"}, ClassError, "cannot read class names from nowhere.txt"),
]


@pytest.mark.parametrize(("wrong", "error", "reason"), BAD, ids=[str(row[0])[:40] for row in BAD])
def test_what_cannot_be_is_refused_before_anything_is_written(pictures, tmp_path, wrong, error, reason):
    given = {"model": nets.planted_net(), "layer": world.LAYER, "images": pictures}
    given |= {"store": tmp_path / "store", "preprocessing": world.PREPROCESSING}
    with pytest.raises(error, match=reason):
        Study(**given | wrong)
    assert issubclass(error, WhyclassError)
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(pictures):
    with pytest.raises(SettingsError, match="this machine has no cuda; choose --device cpu or auto"):
        Study(demo.loaded(), world.LAYER, pictures, device="cuda")


class Overflows(nets.PlantedNet):
    """No number for an answer where it would say peacock."""

    def forward(self, images):
        logits = super().forward(images)
        return torch.where(logits.argmax(1, keepdim=True) == NAMES.index("peacock"), torch.nan, logits)


def test_an_image_without_a_number_for_an_answer_stops_the_pass_and_leaves_no_index(pictures, tmp_path):
    net = Overflows()
    net.load_state_dict(nets.planted_net().state_dict())
    with pytest.raises(ModelError, match="not a number for an image of the pool"):
        study(pictures, tmp_path, model=net).explain("owl")
    assert leftovers(tmp_path) == []
    assert not list(tmp_path.glob("index/*/meta.json"))
