"""Labels of the pool: a third test without what is labelled as the class, and where crops come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.planted_world import NAMES, model_arguments, quick, quick_arguments, whyclass
from whyclass.errors import ClassError
from whyclass.planted import demo, world
from whyclass.records import Explanation
from whyclass.report import json_objects, site, summary
from whyclass.report import page as report_page
from whyclass.study.crop_pictures import decode
from whyclass.study.study import Study

N, WRONG = 4, 2
"""Pictures of each class, and pictures of owls that lie in the hawks' folder."""

HAWK = world.class_index("hawk")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = world.write_pool(tmp_path_factory.mktemp("labels") / "pool", N + WRONG)
    for name in NAMES:
        for number in range(N, N + WRONG):
            picture = folder / name / f"{number:04d}.png"
            if name == "owl":
                shutil.move(picture, folder / "hawk" / f"owl{number}.png")
            else:
                picture.unlink()
    return folder


@pytest.fixture(scope="module")
def flat(pictures, tmp_path_factory) -> Path:
    """The same pictures without folders."""
    folder = tmp_path_factory.mktemp("flat")
    for file in sorted(pictures.rglob("*.png")):
        shutil.copy(file, folder / f"{file.parent.name}-{file.name}")
    return folder


@pytest.fixture(scope="module")
def hawk(pictures) -> Explanation:
    return study(pictures).explain("hawk")


def study(pool, store=None, labels=None, /, **changes) -> Study:
    return Study(demo.loaded(), world.LAYER, pool, store, quick(**changes), labels=labels)


def test_the_third_test_leaves_out_what_is_labelled_as_the_class(hawk):
    tests = hawk.prediction_test
    assert tests.excluding.pool - tests.unlabelled.pool == WRONG
    crops = [crop.image for concept in hawk.concepts for crop in concept.unlabelled]
    assert len(crops) == len(hawk.concepts)
    assert not any(image.labelled == "hawk" or image.prediction.index == HAWK for image in crops)
    assert [shown.image.path for shown in tests.unlabelled.sources] == [image.path for image in crops]
    assert tests.unlabelled.control.n == tests.excluding.control.n
    others = [crop.image for concept in hawk.concepts for crop in concept.excluding]
    wrong = [image for image in others if image.label == "hawk"]
    assert wrong  # owls in the hawks' folder do give crops to the second test
    assert {image.labelled for image in wrong} == {"hawk"}


def test_labels_change_neither_of_the_paper_s_tests(hawk, flat):
    found = study(flat).explain("hawk")
    assert found.prediction_test.unlabelled is None
    assert all(concept.unlabelled == () for concept in found.concepts)
    assert {shown.image.label for shown in found.prediction_test.excluding.sources} == {None}
    assert found.prediction_test.including.pool == hawk.prediction_test.including.pool
    assert found.prediction_test.excluding.pool == hawk.prediction_test.excluding.pool


def test_each_source_has_the_class_s_own_score(hawk, pictures):
    asked = study(pictures)
    index = asked.index()
    rows = {item.path: row for row, item in enumerate(index.items)}
    for test in (hawk.prediction_test.including, hawk.prediction_test.excluding):
        for shown in test.sources:
            wanted = index.scores(np.array([rows[shown.image.path]]))[0, HAWK]
            assert shown.image.score == pytest.approx(wanted)


def test_the_user_says_what_labels_mean(pictures, hawk, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pool")
    (folder / "hawk").rename(folder / "raptor")
    store = tmp_path / "store"
    assert study(folder, store).explain("hawk").prediction_test.unlabelled is None
    told = study(folder, store, {"raptor": "hawk"}).explain("hawk")  # and not what the store has already
    assert told.prediction_test.unlabelled.pool == hawk.prediction_test.unlabelled.pool
    assert study(folder, store, {"raptor": HAWK}).explain("hawk") == told
    with pytest.raises(ClassError, match="hawq"):
        study(folder, store, {"raptor": "hawq"})


def test_a_dataset_s_pairs_are_labels_too(pictures, hawk):
    files = sorted(pictures.rglob("*.png"), key=lambda file: file.relative_to(pictures).as_posix())
    pairs = [(Image.open(file), NAMES.index(file.parent.name)) for file in files]
    found = study(pairs).explain("hawk")
    assert found.prediction_test.unlabelled.pool == hawk.prediction_test.unlabelled.pool
    assert "labelled" in summary.summary(found)


def test_page_text_and_json_say_where_crops_come_from(hawk):
    shown = report_page.page(hawk)
    assert "Crops only from images neither predicted nor labelled as “hawk”" in shown
    assert "Score of “hawk” in each source:" in shown
    rows = dict(summary.rows(hawk))
    assert {"Test, not so labelled", "Sources, whole pool", "Sources, other images"} <= set(rows)
    found = json_objects.as_object(hawk)["prediction_test"]
    assert found["unlabelled"]["pool"] == hawk.prediction_test.unlabelled.pool
    assert {one["labelled"] for one in found["including"]["sources"]} <= set(NAMES)
    assert json.dumps(found)


def test_an_audit_makes_the_third_test_as_well(pictures, tmp_path):
    asked = study(pictures, tmp_path / "store")
    found = asked.audit(["hawk"])
    pages = dict(site.files(asked.store, [found]))
    page = pages[next(name for name in pages if "hawk" in name and name.endswith(".html"))].decode()
    assert "neither predicted nor labelled as “hawk”" in page
    assert "sources lie in folder" in page


def test_the_command_reads_what_labels_mean(pictures, tmp_path):
    folder = shutil.copytree(pictures, tmp_path / "pool")
    (folder / "hawk").rename(folder / "raptor")
    (tmp_path / "labels.json").write_text('{"raptor": "hawk"}')
    model = [*model_arguments(tmp_path / "model"), "--images", folder, "--store", tmp_path / "store"]
    given = ["--class", "hawk", "--labels", tmp_path / "labels.json", "--json"]
    ran = whyclass("explain", *model, *quick_arguments(), *given)
    assert ran.code == 0, ran.message
    assert ran.json["prediction_test"]["unlabelled"]["sources"]


# ---------------------------------------------------------------- where crops are cut


@pytest.mark.parametrize(("at", "side"), [("paper", 48), ("cell", 40)])
def test_crops_are_cut_where_the_setting_says(pictures, at, side):
    # five by five cells of eight pixels are pooled, and the last two rows of twelve fall away
    found = study(pictures, pool=5, crop_at=at, layout="stacked").explain("hawk")
    crops = [crop for concept in found.concepts for crop in (*concept.including, *concept.excluding)]
    assert {(c.box[2] - c.box[0], c.box[3] - c.box[1]) for c in crops} == {(side, side)}
    assert {c.box[0] for c in crops} <= {0, side}
    assert all((c.picture.width, c.picture.height) == (side, side) for c in crops)
    assert found.prediction_test.including.picture.height == side * len(found.concepts)
    first = found.concepts[0].including[0]
    whole = Image.open(pictures / first.image.path).convert("RGB")
    assert np.array_equal(np.asarray(whole.crop(first.box)), np.asarray(decode(first.picture)))


def test_where_crops_are_cut_changes_no_concept_and_no_cosine(pictures):
    paper, cell = (study(pictures, pool=5, crop_at=at).explain("hawk") for at in ("paper", "cell"))
    for one, other in zip(paper.concepts, cell.concepts, strict=True):
        assert np.array_equal(one.vector, other.vector)
        assert [c.cosine for c in one.including] == [c.cosine for c in other.including]
