"""The command: one JSON object or a summary on standard output, all else on standard error, an exit code."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.planted_world import (
    FACTORY,
    NAMES,
    WEIGHTS,
    files_of,
    leftovers,
    model_arguments,
    quick_arguments,
    whyclass,
)
from whyclass import Explanation, __version__, progress_bars
from whyclass.planted import demo, world
from whyclass.planted.parts import PARTS

N = 4
COMMAND = Path(sys.executable).with_name("whyclass")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return world.write_pool(tmp_path_factory.mktemp("world") / "pool", N)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> list[str]:
    return model_arguments(tmp_path_factory.mktemp("model"))


@pytest.fixture
def explain(model, pictures, tmp_path, monkeypatch):
    """Call ``explain`` with whatever a test changes: the last of an option given twice counts."""
    monkeypatch.setattr(progress_bars, "LONG", 600.0)  # a busy machine makes no step worth telling about

    def call(*changes: str | Path, images: Path = pictures):
        place = ("--images", images, "--store", tmp_path / "store", "--class", "hawk")
        return whyclass("explain", *model, *place, *quick_arguments(), *changes)

    return call


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


def changed(model: list[str], **options: str | Path) -> list[str]:
    """The arguments with other values of some options."""
    pairs = dict(zip(model[::2], model[1::2], strict=True))
    pairs |= {f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}
    return [text for pair in pairs.items() for text in pair]


def complains(ran, code: int = 1, *, store: Path | None = None) -> str:
    """The message of a call that failed as it should: one message, nothing else, nothing half-written."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    if store is not None and store.exists():
        assert leftovers(store) == []
        assert not (store / "explanations").exists()
        assert not (store / "pages").exists()
    return ran.message


# ---------------------------------------------------------------- what it prints


def test_json_says_what_was_found(explain, store, pictures):
    ran = explain("--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert found["class"] == {"index": 1, "name": "hawk"}
    assert (found["n_images"], found["n_predicted"], found["pool"]["size"]) == (N, N, 36)
    assert (found["skipped"], found["warnings"]) == (
        [],
        ["Only 4 images are predicted as this class; what is found from so few is unsure."],
    )
    assert set(found["completeness"]) == {"n", "mean", "worst", "copies"}
    assert len(found["concepts"]) == 6
    for concept in found["concepts"]:
        for crop in concept["crops"] + concept["crops_excluding"]:
            assert (pictures / crop["image"]).is_file()
            assert len(crop["box"]) == 4
            assert -1 <= crop["cosine"] <= 1
    for test in found["prediction_test"].values():
        assert 0 <= test["score"] <= 1
        assert test["predicted"] is True
        assert len(test["top"]) == 5
        assert (test["top"][0]["name"], test["top"][0]["score"]) == ("hawk", test["score"])
    assert set(found["verdict"]) == {"level", "sentence"}
    assert found["settings"]["copies"] == 2
    assert {"whyclass", "torch", "python"} <= set(found["versions"])
    assert all(seconds >= 0 for seconds in found["seconds"].values())
    assert {"load", "index", "attribution", "concepts", "crops", "prediction test", "page"} <= set(
        found["seconds"]
    )
    page = Path(found["page"])
    assert page.parent == store / "pages"
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_the_summary_says_the_same_in_words(explain):
    ran = explain()
    assert (ran.code, ran.err) == (0, "")
    for text in ("hawk (index 1)", "stage3 (64 x 12 x 12)", "Only 4 images", ".html"):
        assert text in " ".join(ran.out.replace("×", "x").split())


def test_the_second_call_is_served_from_the_store(explain, store):
    first, before = explain("--json").json, files_of(store, "**/*.*")
    second = explain("--json").json
    assert files_of(store, "**/*.*") == before
    assert set(second["seconds"]) == {"load", "page"}
    assert sum(second["seconds"].values()) < sum(first["seconds"].values())
    assert {**first, "seconds": None} == {**second, "seconds": None}


def test_the_same_seed_gives_the_same_bytes_in_two_stores_and_another_seed_others(explain, tmp_path):
    changes = {"a": "3", "b": "3", "c": "4"}
    for name, seed in changes.items():
        assert explain("--store", tmp_path / name, "--seed", seed).code == 0
    made = {name: files_of(tmp_path / name, "[ep]*/*") for name in changes}
    assert len(made["a"]) == 3  # evidence, explanation, page
    assert made["a"] == made["b"]
    assert not set(made["a"].values()) & set(made["c"].values())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preset", "paper"], {"baseline": "white", "relu": "after", "starts": 1}),
        (["--preset", "authors"], {"baseline": "ones", "relu": "before", "starts": 1}),
        (["--set", "concepts=4", "--set", "noise=0.5"], {"concepts": 4, "noise": 0.5}),
        (["--set", "method=gradient"], {"method": "gradient"}),
        (["--precision", "bfloat16", "--set", "precision=auto"], {"precision": "auto"}),
        (["--set", "precision=bfloat16"], {"precision": "bfloat16"}),
        (["--seed", "3", "--set", "seed=4"], {"seed": 4}),
        (["--set", "layout=mosaic"], {"layout": "mosaic"}),
        (["--set", "controls=0"], {"controls": 0}),
    ],
    ids=" ".join,
)
def test_settings_are_taken_and_told(explain, options, expected):
    found = explain("--json", *options).json
    assert {name: found["settings"][name] for name in expected} == expected
    assert len(found["concepts"]) == expected.get("concepts", 6)


def test_precision_is_an_option(model, pictures, store):
    ran = whyclass(
        "explain",
        *model,
        "--images",
        pictures,
        "--store",
        store,
        "--class",
        "hawk",
        "--json",
        "--precision",
        "bfloat16",
        "--set",
        "copies=2",
        "--set",
        "starts=1",
        "--quiet",
    )
    assert ran.json["settings"]["precision"] == "bfloat16"
    assert ran.json["prediction_test"]["excluding"]["predicted"]


@pytest.mark.parametrize("wanted", ["comet", "6", "COMET", " Comet "])
def test_a_class_is_given_by_name_in_any_case_or_by_index(explain, wanted):
    assert explain("--json", "--class", wanted).json["class"] == {"index": 6, "name": "comet"}


@pytest.mark.parametrize(
    ("given", "written"), [("a.html", "a.html"), ("new/b", "new/b.html"), ("c.htm", "c.htm.html")]
)
def test_the_page_goes_where_it_is_wanted_and_that_is_told(explain, tmp_path, given, written):
    ran = explain("--json", "--page", tmp_path / given)
    assert ran.json["page"] == str(tmp_path / written)
    assert (tmp_path / written).is_file()
    assert not (tmp_path / "store" / "pages").exists()


def test_a_page_in_a_place_that_cannot_be_written_is_an_error(explain, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write" in complains(explain("--page", tmp_path / "file" / "a.html"))


def test_several_folders_are_one_pool(explain, pictures):
    ran = explain("--json", "--images", pictures / "owl", images=pictures / "hawk")
    assert ran.json["pool"]["size"] == 2 * N
    assert {c["image"].split("/")[0] for k in ran.json["concepts"] for c in k["crops"]} <= {"owl", "hawk"}


def test_what_a_model_prints_does_not_mix_with_the_result(explain, tmp_path):
    chatty = FACTORY + "    # unreachable\nprint('importing')\n"
    options = changed(model_arguments(tmp_path / "chatty", chatty))
    ran = explain("--json", *options)
    assert ran.json["class"]["name"] == "hawk"
    assert ran.err == "importing\n"


def test_long_steps_and_notes_are_told_on_standard_error(explain, monkeypatch, pictures, tmp_path):
    monkeypatch.setattr(progress_bars, "LONG", 0.0)
    own = Path(shutil.copytree(pictures, tmp_path / "own"))
    ran = explain("--json", images=own)
    lines = [line.split(":")[0] for line in ran.err.splitlines()]
    steps = ["load", "index", "images", "activations", "attribution", "concepts", "crops", "prediction test"]
    assert lines == [*steps, "page"]
    assert "images/s" in ran.err
    assert ran.json
    (own / "owl" / "0000.png").unlink()
    assert "note: an index in" in explain("--json", images=own).err
    assert explain("--json", "--quiet", "--seed", "8", images=own).err == ""


# ---------------------------------------------------------------- the process itself


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [str(COMMAND), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_the_installed_command_tells_an_error_and_leaves_with_its_code(model, pictures, store):
    ran = process("explain", *model, "--images", pictures, "--store", store, "--class", "hwak", "--quiet")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: no class is called 'hwak'. Did you mean 1 (hawk)?")


def test_version_and_help():
    assert whyclass("--version").out == f"{__version__}\n"
    for arguments in (["--help"], ["explain", "--help"], ["layers", "--help"], ["demo", "--help"]):
        ran = whyclass(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert "Usage: whyclass" in ran.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["explain"], "Missing option"),
        (["explane"], "No such command"),
        (["explain", "--modle", "a"], "No such option"),
        (["explain", "--resize", "large"], "Invalid value for '--resize'"),
        (["layers"], "Missing argument"),
    ],
)
def test_a_wrong_call_is_told_and_exits_with_two(arguments, reason):
    assert reason in complains(whyclass(*arguments), 2)


def test_no_command_shows_the_help():
    ran = whyclass()
    assert ran.code in (0, 2)
    assert "Usage: whyclass" in ran.out + ran.err


# ---------------------------------------------------------------- layers and demo


def test_layers_are_listed_with_the_size_of_their_crops(model):
    ran = whyclass("layers", model[1], "--crop", "96", "--json")
    found = {layer["name"]: layer for layer in ran.json["layers"]}
    assert (found["stage3"]["shape"], found["stage3"]["crop"]) == ([1, 64, 12, 12], [16, 16])
    assert found["stage1"]["crop"] == [4, 4]
    assert "head" not in found
    table = whyclass("layers", model[1], "--crop", "96")
    assert "64 x 12 x 12" in table.out
    assert "16 x 16" in table.out
    assert "more are signed or cannot be explained; --all lists them with the reason" in table.out
    everything = whyclass("layers", model[1], "--crop", "96", "--all", "--json").json["layers"]
    assert "needed is (n, c, h, w)" in everything[-1]["problem"]
    assert "signed activations" in whyclass("layers", model[1], "--crop", "96", "--all").out


def test_layers_of_a_known_library_need_no_weights():
    listed = whyclass("layers", "torchvision:resnet18", "--json").json["layers"]
    found = {layer["name"]: layer for layer in listed}
    assert (found["layer4.1"]["shape"], found["layer4.1"]["crop"]) == ([1, 512, 7, 7], [74, 74])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchvision:resnet5", "torchvision has no classifier or segmentation net 'resnet5'; did you mean"),
        ("resnet50", "give torchvision:NAME"),
        ("nowhere.py:net", "there is no file nowhere.py"),
        ("{folder}/factory.py:nett", "has no function 'nett'"),
        ("{folder}/broken.py:net", "could not be imported: SyntaxError"),
        ("{folder}/fails.py:net", "could not be built: KeyError"),
        ("{folder}/fails.py:number", "gave a int; needed is a torch.nn.Module"),
    ],
)
def test_an_unknown_model_is_named(explain, store, tmp_path, name, reason):
    (tmp_path / "factory.py").write_text(FACTORY)
    (tmp_path / "broken.py").write_text("def net(:")
    (tmp_path / "fails.py").write_text("def net():\n    return {}['weights']\ndef number():\n    return 3\n")
    name = name.replace("{folder}", str(tmp_path))
    assert reason in complains(whyclass("layers", name))
    assert reason in complains(explain("--model", name), store=store)
    assert not store.exists()


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> demo.DemoResult:
    return demo.run(tmp_path_factory.mktemp("demo"), classes=["hawk"], n_per_class=6)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"found": 3, "invented": 0}, 0), ({"found": 2, "invented": 0}, 3), ({"found": 3, "invented": 1}, 3)],
    ids=["found", "missed", "invented"],
)
def test_the_demo_says_what_it_found_and_exits_with_three_unless_it_is_the_truth(
    shown, monkeypatch, tmp_path, change, code
):
    result = dataclasses.replace(shown, **change)
    monkeypatch.setattr(demo, "run", lambda *_, **__: result)
    ran = whyclass("demo", "--json", "--store", tmp_path)
    assert (ran.code, ran.err) == (code, "")
    told = ran.json
    assert (told["planted"], told["found"], told["invented"]) == (3, result.found, result.invented)
    assert [finding["part"] for finding in told["findings"]["hawk"]] == [part.name for part in PARTS]
    assert Path(told["pages"]["hawk"]).is_file()
    words = whyclass("demo", "--store", tmp_path)
    assert words.code == code
    assert f"{result.found} of 3 planted parts found, {result.invented} found that are not there" in words.out
    assert told["pages"]["hawk"] in words.out


@pytest.mark.slow
def test_the_whole_demo(tmp_path):
    ran = process("demo", "--json", "--store", tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["found"] == found["planted"] == sum(len(planted.needs) for planted in world.CLASSES)
    assert found["invented"] == 0


# ---------------------------------------------------------------- images


def test_broken_files_are_skipped_and_reported_everywhere(explain, store, pictures, tmp_path):
    own = Path(shutil.copytree(pictures, tmp_path / "own"))
    (own / "hawk" / "text.png").write_text("no picture")
    (own / "hawk" / "zero.png").write_bytes(b"")
    (own / "hawk" / "cut.png").write_bytes((own / "hawk" / "0000.png").read_bytes()[:5000])
    (own / "notes.txt").write_text("not looked at")
    found = explain("--json", images=own).json
    names = ["hawk/cut.png", "hawk/text.png", "hawk/zero.png"]
    assert [skipped["path"] for skipped in found["skipped"]] == names
    assert all(skipped["reason"] for skipped in found["skipped"])
    assert (found["pool"]["size"], found["n_predicted"]) == (36, N)
    record = Explanation.load(next((store / "explanations").iterdir()))
    assert [skipped.path for skipped in record.pool.skipped] == names
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert all(name in page for name in names)
    assert "3 skipped" in explain(images=own).out
    assert explain("--json", images=own).json["skipped"] == found["skipped"]


def test_odd_files_work_from_end_to_end(explain, pictures, tmp_path):
    own = tmp_path / "odd"
    own.mkdir()
    for i in range(N):
        shutil.copy(pictures / "hawk" / f"000{i}.png", own)
    picture = Image.open(own / "0000.png")
    picture.convert("CMYK").save(own / "cmyk.jpg", quality=95)
    picture.quantize(64).save(own / "palette.png")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(own / "deep.png")
    picture.save(own / "animated.gif", save_all=True, append_images=[Image.new("RGB", picture.size)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90).save(own / "turned.jpg", exif=exif, quality=95)
    Image.new("RGB", (1, 1), "red").save(own / "pixel.png")
    picture.resize((3000, 3000)).save(own / "large.jpg")
    Image.new("RGB", (5000, 3), "blue").save(own / "strip.png")
    found = explain("--json", images=own).json
    assert (found["skipped"], found["pool"]["size"]) == ([], N + 8)
    assert found["n_predicted"] >= N + 4  # colour, size and turn do not change what is shown
    assert Path(found["page"]).is_file()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda place: None, "there is no folder or file {place}; give a folder that holds images"),
        (lambda place: place.mkdir(), "no image in {place}; looked for"),
        (lambda place: (place / "sub").mkdir(parents=True), "no image in {place}; looked for"),
    ],
    ids=["missing", "empty", "only folders"],
)
def test_a_folder_without_images_is_an_error(explain, store, tmp_path, make, reason):
    place = tmp_path / "images"
    make(place)
    assert reason.format(place=place) in complains(explain(images=place), store=store)
    assert not store.exists()


def test_a_folder_that_cannot_be_read_is_an_error(explain, store, pictures, tmp_path, monkeypatch):
    own = Path(shutil.copytree(pictures, tmp_path / "own"))
    real = os.scandir

    def scandir(path):  # root may read everything, whatever its mode
        if Path(path).name == "owl":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    message = complains(explain(images=own), store=store)
    assert f"cannot read folder {own / 'owl'}: Permission denied" in message


def test_a_pool_of_broken_files_alone_is_an_error_each_time(explain, store, tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    for i in range(3):
        (place / f"{i}.png").write_text("no picture")
    for _ in range(2):
        message = complains(explain(images=place), store=store)
        assert "none of the 3 images can be read; the first, 0.png: not an image" in message


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--layer", "stage5"], "no layer 'stage5'; did you mean stage"),
        (["--set", "signed=both"], "signed is 'both'; choose one of split, clip"),
        (["--layer", "head"], "its output has shape (1, 9), needed is (n, c, h, w)"),
        (["--class", "hwak"], "no class is called 'hwak'. Did you mean 1 (hawk)"),
        (["--class", "9"], "class 9 does not exist; the model has classes 0 to 8"),
        (["--class", "-1"], "class -1 does not exist"),
        (["--class", "²"], "no class is called '²'"),
        (["--mean", "a,b,c"], "--mean is 'a,b,c'; needed are numbers such as 0.5,0.5,0.5"),
        (["--mean", ""], "--mean is ''; needed are numbers"),
        (["--mean", "0.5,0.5"], "need one number for each channel"),
        (["--std", "0"], "std above 0"),
        (["--std", "nan"], "std above 0"),
        (["--resize", "0"], "must be at least 1 pixel"),
        (["--crop", "-4"], "must be at least 1 pixel"),
        (["--crop", "0"], "must be at least 1 pixel"),
        (["--set", "image=3"], "unknown setting image; known are"),
        (["--set", "images=many"], "--set images=many: 'many' is no int"),
        (["--set", "images"], "--set images: '' is no int"),
        (["--set", "images=0"], "images is 0; needed is a int of at least 1"),
        (["--set", "noise=-1"], "noise is -1.0; needed is a float of at least 0.0"),
        (["--set", "noise=nan"], "noise is nan"),
        (["--set", "baseline=black"], "baseline is 'black'; choose one of ones, white"),
        (["--preset", "papers"], "no preset 'papers'; choose one of default, paper, authors"),
        (["--set", "precision=double"], "precision is 'double'; choose one of auto, float32, bfloat16"),
        (["--seed", "-1"], "seed is -1; needed is a int of at least 0"),
        (["--device", "tpu"], "device is 'tpu'; choose one of auto, cpu, cuda, mps"),
        (["--class-names", "nowhere.txt"], "cannot read class names from nowhere.txt"),
        (["--weights", "nowhere.pt"], "there is no weights file nowhere.pt"),
        (["--images", "nowhere"], "there is no folder or file nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_option_is_named_and_nothing_is_written(explain, store, options, reason):
    assert reason in complains(explain(*options), store=store)
    assert not store.exists() or [path.name for path in store.iterdir()] == ["whyclass.json"]


def names_file(place: Path, names: list[str]) -> list[str | Path]:
    place.write_text(json.dumps(names))
    return ["--class-names", place]


@pytest.mark.parametrize(
    ("names", "wanted", "reason"),
    [
        (NAMES[:-1], "hawk", "there are 8 class names, and the model has 9 classes"),
        ([*NAMES, "tenth"], "hawk", "there are 10 class names, and the model has 9 classes"),
        (
            [*NAMES[:-1], "HAWK"],
            "Hawk",
            "'Hawk' is ambiguous; give the index of one: 1 (hawk), 8 (HAWK)",
        ),
        (
            [*NAMES[:-1], "hawk"],
            "hawk",
            "'hawk' is ambiguous; give the index of one: 1 (hawk), 8 (hawk)",
        ),
        ([], "hawk", "holds no class name"),
    ],
    ids=["too few", "too many", "two in other case", "the same twice", "none"],
)
def test_class_names_that_do_not_serve_are_refused(explain, store, tmp_path, names, wanted, reason):
    options = names_file(tmp_path / "names.json", names)
    assert reason in complains(explain(*options, "--class", wanted), store=store)
    assert not (store / "index").exists()  # before the pool is read


def test_a_class_that_is_never_predicted_is_refused_with_its_rivals(explain, store, pictures):
    message = complains(explain("--class", "comet", images=pictures / "hawk"), store=store)
    assert "class 'comet' is predicted for none of the pool's 4 images" in message
    assert "predicted where it scores highest: hawk (4 images)" in message


def test_where_every_image_is_of_the_class_the_second_test_is_null(explain, pictures):
    found = explain("--json", images=pictures / "hawk").json
    assert found["prediction_test"]["excluding"] is None
    assert all(concept["crops_excluding"] == [] for concept in found["concepts"])
    assert "Test, other images" in explain(images=pictures / "hawk").out


class Hostile:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.write_text, (self.place, "executed")


def hostile(place: Path) -> Path:
    torch.save({"state_dict": Hostile(place / "executed")}, place / "weights.pt")
    return place / "weights.pt"


def raw_pickle(place: Path) -> Path:
    (place / "weights.pth").write_bytes(pickle.dumps(Hostile(place / "executed")))
    return place / "weights.pth"


def with_nan(place: Path) -> Path:
    state = load_file(WEIGHTS)
    state["head.bias"][0] = float("nan")
    save_file(state, place / "weights.safetensors")
    return place / "weights.safetensors"


def of_another_model(place: Path) -> Path:
    save_file({"conv.weight": torch.zeros(3)}, place / "weights.safetensors")
    return place / "weights.safetensors"


def of_another_width(place: Path) -> Path:
    state = load_file(WEIGHTS)
    state["stage3.0.weight"] = state["stage3.0.weight"][:, :10].contiguous()
    save_file(state, place / "weights.safetensors")
    return place / "weights.safetensors"


def cut_off(place: Path) -> Path:
    (place / "weights.safetensors").write_bytes(WEIGHTS.read_bytes()[:1000])
    return place / "weights.safetensors"


def a_picture(place: Path) -> Path:
    Image.new("RGB", (4, 4)).save(place / "weights.png")
    return place / "weights.png"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (hostile, "a pickle that could run code when it is loaded, so it was refused"),
        (raw_pickle, "a pickle that could run code when it is loaded, so it was refused"),
        (with_nan, "holds NaN or infinity in head.bias"),
        (of_another_model, "does not fit"),
        (of_another_width, "stage3.0.weight is (64, 10, 3, 3), the model's is (64, 48, 3, 3)"),
        (cut_off, "cannot be read as weights"),
        (a_picture, "refused"),
    ],
)
def test_weights_that_do_not_serve_are_refused_unexecuted(explain, store, tmp_path, make, reason):
    message = complains(explain("--weights", make(tmp_path)), store=store)
    assert reason in message
    assert "weights." in message
    assert not (tmp_path / "executed").exists()
    assert not store.exists()


def test_the_hostile_pickle_would_have_been_executed(tmp_path):
    torch.load(hostile(tmp_path), weights_only=False)
    assert (tmp_path / "executed").read_text() == "executed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(explain, store):
    message = complains(explain("--device", "cuda"), store=store)
    assert "this machine has no cuda; choose --device cpu or auto" in message
    assert not store.exists()


# ---------------------------------------------------------------- stores


def a_file(store: Path) -> None:
    store.write_text("mine")


def below_a_file(store: Path) -> None:
    store.parent.mkdir(exist_ok=True)
    store.symlink_to(WEIGHTS / "store")


def full_of_other_things(store: Path) -> None:
    store.mkdir()
    (store / "thesis.txt").write_text("mine")


def damaged(store: Path) -> None:
    store.mkdir()
    (store / "whyclass.json").write_text("{")


def newer(store: Path) -> None:
    store.mkdir()
    (store / "whyclass.json").write_text('{"format": 99}')


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (a_file, "is a file; give a folder for the store"),
        (below_a_file, "cannot"),
        (full_of_other_things, "is not empty and no store of whyclass (it holds 'thesis.txt')"),
        (damaged, "whyclass.json is damaged"),
        (newer, "whyclass.json is of another version of whyclass"),
    ],
)
def test_a_place_that_is_no_store_is_refused_and_left_as_it_is(explain, store, make, reason):
    make(store)
    before = files_of(store, "*") if store.is_dir() else None
    assert reason in complains(explain())
    assert (files_of(store, "*") if store.is_dir() else None) == before


def test_a_store_holds_another_model_apart_and_says_so(explain, store, tmp_path):
    assert explain().code == 0
    before = (store / "whyclass.json").read_bytes()
    state = load_file(WEIGHTS)
    state["head.bias"] += 1
    save_file(state, tmp_path / "other.safetensors")
    ran = explain("--weights", tmp_path / "other.safetensors")
    assert ran.code == 0
    assert f"store {store} is another model's; results of this one go to {store / 'models'}" in ran.message
    assert (store / "whyclass.json").read_bytes() == before


def test_a_full_disk_is_an_error_and_the_next_call_goes_on(explain, store, monkeypatch, tmp_path):
    real = os.replace

    def replace(this, place):
        if "explanations" in str(place):
            raise OSError(28, "No space left on device")
        real(this, place)

    monkeypatch.setattr(os, "replace", replace)
    message = complains(explain())
    assert "No space left on device" in message
    assert leftovers(store) == []
    assert files_of(store, "ex*/*") | files_of(store, "p*/*") == {}
    monkeypatch.undo()
    ran = explain("--json")
    assert not {"index", "attribution"} & set(ran.json["seconds"])
    assert files_of(store, "[ep]*/*")
