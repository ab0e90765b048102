"""Options that need not be given again (whyclass.toml, init, a store); settings, gates, errors as JSON."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from helpers.planted_world import QUICK, whyclass
from whyclass.cli import gate, options, panels, project
from whyclass.planted.project import write_project
from whyclass.settings import Settings

SETTINGS = "".join(f"{name} = {json.dumps(value)}\n" for name, value in QUICK.items() if name != "precision")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder as a newcomer has it, with whyclass.toml and a store that has been used."""
    place = write_project(tmp_path_factory.mktemp("world"), 4)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        assert whyclass("init", "--layer", "stage3").code == 0
        with (place / project.FILE).open("a") as file:
            file.write(SETTINGS)
        assert whyclass("explain", "--class", "hawk", "--quiet").code == 0
    return place


def test_init_finds_what_is_there_and_asks_nothing(world, tmp_path, monkeypatch):
    place = write_project(tmp_path, 1)
    (place / "notes.py").write_text("def build(size):\n    return None\n")  # which needs to be told something
    (place / "docs").mkdir()
    (place / "docs" / "a.png").write_bytes(b"")
    monkeypatch.chdir(place)
    found = whyclass("init", "--json").json
    assert found["options"] == {
        "model": "net.py:build",
        "weights": "net.safetensors",
        "images": ["photos"],
        "layer": "stage4.5",
        "store": "runs/net",
    }
    text = (place / project.FILE).read_text()
    assert "stage2.5 show smaller crops" in text
    assert whyclass("init").message == (
        f"error: {place / project.FILE} is there already; edit it, or write over it with --overwrite"
    )
    assert project.read(place / project.FILE)["images"] == [place / "photos"]


def test_init_takes_weights_and_names_that_it_is_given(tmp_path, monkeypatch):
    place = write_project(tmp_path, 1)
    (place / "other.safetensors").write_bytes((place / "net.safetensors").read_bytes())
    (place / "names.json").write_text("[]")
    monkeypatch.chdir(place)
    given = ("--weights", "other.safetensors", "--class-names", "own.txt")
    found = whyclass("init", *given, "--json").json["options"]
    assert (found["weights"], found["class-names"]) == ("other.safetensors", "own.txt")
    assert "also here" not in (place / project.FILE).read_text()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "which model? found none here; give --model MODEL"),
        ({"a.py": "def net(): ...", "b.py": "def net(): ..."}, "found a.py:net, b.py:net; give --model"),
    ],
)
def test_init_says_what_it_cannot_find_out(tmp_path, monkeypatch, files, message):
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ran = whyclass("init")
    assert ran.code == 1
    assert message in ran.message
    assert not (tmp_path / project.FILE).exists()


def test_options_come_from_the_file_from_folders_below_too(world, monkeypatch):
    (world / "deep" / "er").mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(world / "deep" / "er")
    ran = whyclass("explain", "--class", "hawk", "--json")
    assert ran.json["layer"] == "stage3"
    assert ran.json["settings"]["copies"] == QUICK["copies"]
    options = "--model, --weights, --images, --layer, --store, --set"
    assert f"note: from {world / project.FILE}: {options}" in ran.err
    assert set(ran.json["seconds"]) == {"load", "page"}  # of the same store


def test_an_empty_table_of_settings_is_not_told(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world / "runs")
    (world / "runs" / project.FILE).write_text('model = "../net.py:build"\n[settings]\n')
    ran = whyclass("layers", "--layers", "stage9")
    assert f"note: from {world / 'runs' / project.FILE}: --model\n" in ran.err
    (world / "runs" / project.FILE).unlink()


def test_the_line_goes_before_the_file(world, monkeypatch):
    monkeypatch.chdir(world)
    other = ("--set", "concepts=2", "--layer", "stage2")
    ran = whyclass("explain", "--class", "hawk", "--json", "--quiet", *other)
    assert (ran.json["layer"], len(ran.json["concepts"]), ran.err) == ("stage2", 2, "")
    assert ran.json["settings"]["copies"] == QUICK["copies"]


def test_another_model_takes_nothing_that_belongs_to_the_files(world, monkeypatch):
    monkeypatch.chdir(world)
    ran = whyclass("explain", "--class", "hawk", "--model", "net.py:build")
    assert (ran.code, "Missing option '--layer'" in ran.message) == (2, True)
    ran = whyclass("explain", "--class", "hawk", "--model", "net.py:build", "--layer", "stage3")
    assert (ran.code, "Missing option '--store'" in ran.message) == (2, True)


def test_a_store_remembers_what_made_it(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = whyclass("explain", "--store", world / "runs" / "net", "--class", "hawk", "--json")
    assert ran.code == 0
    assert f"note: from {world / 'runs' / 'net'}: --model" in ran.err
    assert set(ran.json["seconds"]) == {"load", "page"}
    empty = whyclass("explain", "--store", tmp_path / "new", "--class", "hawk")
    assert (empty.code, "Missing option '--model'" in empty.message) == (2, True)


def test_a_store_remembers_seed_and_precision_set_as_other_settings_are(world, tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.chdir(world)
    ways = (
        "--set",
        "seed=3",
        "--set",
        "precision=float32",
        "--set",
        "null_cells=0",
        "--set",
        "null_scores=0",
    )
    assert whyclass("explain", "--class", "hawk", "--store", store, *ways).code == 0
    monkeypatch.chdir(tmp_path)
    ran = whyclass("explain", "--store", store, "--class", "hawk", "--json")
    assert (ran.json["settings"]["seed"], ran.json["settings"]["precision"]) == (3, "float32")
    assert set(ran.json["seconds"]) == {"load", "page"}  # of the same store


def test_a_store_brings_no_code(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    (store / "whyclass.json").write_bytes((world / "runs/net/whyclass.json").read_bytes())
    (store / "evil.py").write_text("raise SystemExit('it ran')")
    kept = json.loads((world / "runs/net/made_by.json").read_text())
    for model in (str(store / "evil.py") + ":net", "store/evil.py:net", str(store / "x/../evil.py") + ":net"):
        (store / "made_by.json").write_text(json.dumps({**kept, "model": model}))
        ran = whyclass("explain", "--store", store, "--class", "hawk")
        assert (ran.code, "Missing option '--model'" in ran.message) == (2, True)
    (store / "made_by.json").write_text(json.dumps({**kept, "task": f"{store / 'evil.py'}:read"}))
    ran = whyclass("explain", "--store", store, "--class", "hawk")
    assert (ran.code, "Missing option '--model'" in ran.message) == (2, True)


def test_every_shared_option_may_stand_in_the_file_or_is_told_here(tmp_path):
    shared = set(inspect.signature(options._opened).parameters) | {"layer"}
    assert shared - set(project.KEYS) == {"change", "as_json", "quiet"}  # [settings]; told at each call
    assert shared <= {*panels.GROUPS}
    (tmp_path / project.FILE).write_text(
        'model = "a/net.py:build"\ntask = "embedding:bank.npy"\nmean = 0.5\n'
    )
    read = project.read(tmp_path / project.FILE)
    assert read["model"] == f"{tmp_path / 'a' / 'net.py'}:build"
    assert read["task"] == f"embedding:{tmp_path / 'bank.npy'}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer = [", "is no TOML"),
        ("layers = 'x'", "there is no option 'layers'; known are model, layer"),
        ("resize = 'x'", "resize is 'x'; needed is a whole number"),
        ("resize = true", "resize is True; needed is a whole number"),
        ("layer = ['a', 'b']", "layer is ['a', 'b']; needed is a text"),
        ("images = [1]", "images is [1]; needed is paths"),
        ("settings = 3", "needed is a table"),
        ("[settings]\nseed = 3", "seed stands outside [settings]"),
        ("[settings]\nimges = 3", "unknown setting imges"),
    ],
)
def test_a_file_that_says_what_no_option_takes_is_one_line(tmp_path, monkeypatch, text, message):
    (tmp_path / project.FILE).write_text(text)
    monkeypatch.chdir(tmp_path)
    ran = whyclass("settings")
    assert ran.code == 1
    assert message in ran.message


def test_settings_are_listed_with_the_papers_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = whyclass("settings", "--json", "--set", "copies=3").json["settings"]
    rows = {row["name"]: row for row in found}
    assert set(rows) == set(Settings.__dataclass_fields__)
    assert (rows["copies"]["value"], rows["copies"]["paper"]) == ("3", "20")
    assert (rows["baseline"]["value"], rows["baseline"]["paper"]) == ("ones", "white")
    assert rows["controls"]["paper"] is None
    papers = {name: row["paper"] for name, row in rows.items() if row["paper"] is not None}
    kept = {name: rows[name]["presets"]["paper"] for name in papers}
    assert {name for name in papers if papers[name] != kept[name]} == {"layout"}  # a mosaic where it must be
    assert all(row["does"] for row in found)
    shown = whyclass("settings")
    assert max(map(len, shown.out.splitlines()[:-1])) <= 80
    assert whyclass("settings", "imges").code == 1


def test_a_gate_closes_at_a_verdict_or_worse(world, monkeypatch):
    monkeypatch.chdir(world)
    level = whyclass("explain", "--class", "hawk", "--json").json["verdict"]["level"]
    assert level == "careful"  # four images
    closed = whyclass("explain", "--class", "hawk", "--json", "--fail-on", "careful")
    assert (closed.code, closed.json["verdict"]["level"]) == (3, "careful")
    assert "fell short" in closed.err
    assert whyclass("explain", "--class", "hawk", "--fail-on", "distrust").code == 0
    wrong = whyclass("explain", "--class", "hawk", "--fail-on", "trust", "--json")
    assert (wrong.code, wrong.json["error"]["kind"]) == (1, "SettingsError")


@pytest.mark.parametrize(
    ("level", "fail_on", "closed"),
    [
        *((level, "distrust", level == "distrust") for level in gate.ORDER),
        *((level, "careful", level != "trust") for level in gate.ORDER),
        *((level, None, False) for level in gate.ORDER),
    ],
)
def test_the_gates_order(level, fail_on, closed):
    if closed:
        with pytest.raises(gate.typer.Exit) as left:
            gate.close(fail_on, ["trust", level])
        assert left.value.exit_code == 3
    else:
        gate.close(fail_on, ["trust", level])


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("explain", "--json"), 2, "UsageError"),
        (("explain", "--json", "--nothing"), 2, "UsageError"),
        (("tables", "nowhere", "--json"), 1, "StoreError"),
        (("layers", "x", "--json"), 1, "ModelError"),
    ],
)
def test_errors_are_json_too(tmp_path, monkeypatch, arguments, code, kind):
    monkeypatch.chdir(tmp_path)
    ran = whyclass(*arguments)
    assert ran.code == code
    assert ran.json["schema"] == "whyclass/error/1"
    assert (ran.json["error"]["kind"], ran.json["error"]["exit_code"]) == (kind, code)
    assert ran.json["error"]["message"]
    assert ran.err
    plain = whyclass(*(text for text in arguments if text != "--json"))
    assert (plain.code, plain.out) == (code, "")
