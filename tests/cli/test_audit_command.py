"""The commands around an audit: what they print, write, and refuse."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from helpers.planted_world import NAMES, leftovers, model_arguments, quick_arguments, whyclass
from whyclass import progress_bars
from whyclass.planted import world

SOME = ("--classes", "hawk,owl,bee", "--tests", "prediction,shift")


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    place = tmp_path_factory.mktemp("world")
    pool = world.write_pool(place / "pool", 3)
    model = model_arguments(place / "model")
    model[model.index("--layer")] = "--layers"
    return ["audit", *model, "--images", str(pool), "--workers", "1", *quick_arguments()]


@pytest.fixture(scope="module")
def store(given, tmp_path_factory) -> Path:
    """Three classes, both tests."""
    place = tmp_path_factory.mktemp("store") / "store"
    ran = whyclass(
        *given, "--store", place, "--classes", "hawk,owl,bee", "--tests", "prediction,shift", "--quiet"
    )
    assert (ran.code, ran.err) == (0, ""), ran
    assert "Table 3. Shifting test" in ran.out
    assert "3 of the 9 classes" in ran.out
    assert f"whyclass report {place}" in ran.out
    return place


def test_an_audit_prints_one_json_object(given, store):
    ran = whyclass(
        *given, "--store", store, "--classes", "hawk,owl,bee", "--tests", "prediction,shift", "--json"
    )
    assert ran.code == 0
    (audit,) = ran.json["audits"]
    assert {one["target"]["name"] for one in audit["classes"]} == {"hawk", "owl", "bee"}
    assert [table["number"] for table in ran.json["tables"]] == [1, 2, 3]
    assert audit["n_classes"] == len(NAMES)


def test_other_methods_have_rows_too(given, store, tmp_path):
    own = shutil.copytree(store, tmp_path / "store")  # the others' tables stay as they are
    some = ("--store", own, "--classes", "hawk,owl,bee", "--quiet")
    ran = whyclass(*given, *some, "--methods", "whyclass,permuted", "--json")
    assert ran.code == 0, ran
    assert [one["settings"].get("concepts_by") for one in ran.json["audits"]] == [None, "permuted"]
    rows = [row["label"] for row in ran.json["tables"][1]["rows"] if row["kind"] == "measured"]
    assert len(rows) == 2
    assert "(concepts_by permuted)" in rows[1]
    wrong = whyclass(*given, *some, "--methods", "nmf")
    assert wrong.code == 1
    assert "there is no method 'nmf'" in wrong.message


def test_classes_come_from_a_file_too(given, store, tmp_path):
    (tmp_path / "classes.txt").write_text("hawk\nowl\n")
    ran = whyclass(*given, "--store", store, "--classes", tmp_path / "classes.txt", "--json", "--quiet")
    assert ran.code == 0


def test_several_layers_are_audited_one_after_the_other(given, tmp_path):
    both = [*given]
    both[both.index("--layers") + 1] = "stage2,stage3"
    ran = whyclass(*both, "--store", tmp_path / "store", "--classes", "hawk", "--json", "--quiet")
    assert ran.code == 0
    assert {audit["layer"] for audit in ran.json["audits"]} == {"stage2", "stage3"}
    assert len(list((tmp_path / "store" / "frames").glob("*/pixels.u8"))) == 1  # decoded once for both


def test_where_there_is_no_terminal_progress_is_lines(given, tmp_path, monkeypatch):
    monkeypatch.setattr(progress_bars, "EVERY", 0.0)
    monkeypatch.setattr(progress_bars, "LONG", 0.0)
    ran = whyclass(*given, "--store", tmp_path / "store", "--classes", "hawk,owl")
    lines = ran.err.splitlines()
    assert any(
        re.fullmatch(r"audit: attribution: 1 of 2 classes, \d+%, \d+ min left", line) for line in lines
    )
    assert any(line.startswith("attribution and concepts:") and "images/s" in line for line in lines)
    log = (tmp_path / "store" / "log.txt").read_text()
    for step in ("decode", "index", "attribution and concepts", "crops", "prediction tests"):
        assert re.search(rf"^[\d-]+ [\d:]+ {step}: done after", log, re.MULTILINE), step
    assert "audit of" in log
    assert log.splitlines()[-1].endswith(": done")


@pytest.mark.parametrize("form", ["text", "csv", "json", "markdown", "latex"])
def test_tables_print_in_every_form(store, form):
    ran = whyclass("tables", store, "--format", form)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.strip()
    only = whyclass("tables", store, "--format", form, "--table", "3")
    assert len(only.out) < len(ran.out)


def test_every_class_is_written(store, tmp_path):
    from pyarrow import parquet

    ran = whyclass("tables", store, "--per-class", tmp_path / "classes.parquet")
    assert ran.code == 0
    assert set(parquet.read_table(tmp_path / "classes.parquet")["class_name"].to_pylist()) == {
        "hawk",
        "owl",
        "bee",
    }
    whyclass("tables", store, "--per-class", tmp_path / "classes.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "classes.csv").read_text())))
    assert len(rows) == 3


def test_a_report_is_written_and_named(store, tmp_path):
    ran = whyclass("report", store, "--to", tmp_path / "site", "--quiet")
    assert (ran.code, ran.err) == (0, "")
    assert str(tmp_path / "site" / "index.html") in ran.out
    assert len(list((tmp_path / "site" / "stage3").glob("*.html"))) == 4
    whyclass("report", store, "--quiet")
    assert (store / "site" / "index.html").is_file()
    shutil.rmtree(store / "site")


def test_parts_are_merged(given, store, tmp_path):
    for number in (1, 2):
        place = tmp_path / f"s{number}"
        asked = ("--classes", "hawk,owl,bee", "--part", f"{number}/2", "--quiet")
        assert whyclass(*given, "--store", place, *asked).code == 0
    ran = whyclass("merge", tmp_path / "s1", tmp_path / "s2", "--json")
    assert ran.json["stores"][str(tmp_path / "s2")] == {"taken": 3, "same": 2, "different": 0}
    assert "were there already" in whyclass("merge", tmp_path / "s1", tmp_path / "s2").out
    told = json.loads(whyclass("tables", tmp_path / "s1", "--format", "json").out)
    wanted = json.loads(whyclass("tables", store, "--format", "json").out)
    assert told[0] == wanted[0]
    assert leftovers(tmp_path / "s1") == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--tests", "shifting"), "choose of prediction, shift, mask"),
        (("--part", "2"), "needed is i/n"),
        (("--part", "1/2", "--tests", "shift"), "merge their stores"),
        (("--pairs", "some"), "choose drawn or all"),
        (("--budget", "much"), "such as 8GiB"),
        (("--classes", "hawks"), "hawk"),
        (("--layers", "stage9"), "stage9"),
        (("--workers", "-1"), "at least 1"),
    ],
)
def test_what_cannot_be_done_is_an_error(given, tmp_path, asked, message):
    ran = whyclass(*given, "--store", tmp_path / "store", "--quiet", *asked)
    assert ran.code == 1
    assert message in ran.message
    assert ran.out == ""
    assert not list(tmp_path.glob("store/findings/*"))


@pytest.mark.parametrize("command", ["tables", "report", "merge"])
def test_a_folder_that_is_no_store_is_refused(command, tmp_path):
    others = (tmp_path,) if command == "merge" else ()
    ran = whyclass(command, tmp_path, *others)
    assert ran.code == 1
    assert "no store of whyclass" in ran.message
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_an_audit_says_what_to_run(given, tmp_path):
    explain = [*given]
    explain[0], explain[explain.index("--layers")] = "explain", "--layer"
    at = explain.index("--workers")
    del explain[at : at + 2]
    assert whyclass(*explain, "--store", tmp_path / "store", "--class", "hawk", "--quiet").code == 0
    ran = whyclass("tables", tmp_path / "store")
    assert ran.code == 1
    assert "run whyclass audit" in ran.message


@pytest.mark.parametrize("asked", [("--format", "docx"), ("--table", "7"), ("--per-class", "x.xlsx")])
def test_tables_in_no_known_form_are_refused(store, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = whyclass("tables", store, *asked)
    assert ran.code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_budget_is_read_with_its_unit():
    from whyclass.cli.audit import _gibibytes

    assert _gibibytes("8GiB") == 8
    assert _gibibytes("512 MiB") == 0.5
    assert _gibibytes("2") == 2
    assert _gibibytes("1GB") == pytest.approx(0.931, abs=1e-3)
