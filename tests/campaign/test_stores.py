"""Stores of others, on disks that can only be read, removed meanwhile, and written by many at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.campaign import LENGTH, tell
from helpers.planted_world import contents, files_of, model_arguments, nth, quick_arguments, whyclass
from whyclass import files
from whyclass.merging import merge_into
from whyclass.planted import world
from whyclass.records import Audit
from whyclass.report import audits_in_store, site
from whyclass.store import MARK, Store, find_store
from whyclass.study import explain


class Made:
    """A finished store, and the commands that it answers."""

    def __init__(self, place: Path) -> None:
        pool = world.write_pool(place / "pool", 2)
        model = model_arguments(place / "model")
        several = [*model]
        several[several.index("--layer")] = "--layers"
        shared = ["--images", str(pool), "--json", "--quiet", *quick_arguments()]
        self.explain = ["explain", *model, "--class", "owl", *shared]
        self.audit = ["audit", *several, "--classes", "hawk,owl,", "--workers", "1", *shared]
        self.store = place / "store"
        assert whyclass(*self.explain, "--store", self.store).code == 0
        assert whyclass(*self.audit, "--store", self.store).code == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


# ---------------------------------------------------------------- what a merge takes


def link(place: Path, secret: Path) -> None:
    place.symlink_to(secret)


def pipe(place: Path, secret: Path) -> None:
    os.mkfifo(place)


def junk(place: Path, secret: Path) -> None:
    place.write_bytes(b"junk")


def record(place: Path, secret: Path) -> None:
    """A whole record, of another kind and key."""
    other = next((place.parent.parent / "evidence").glob("*.whyclass"))
    place.write_bytes(other.read_bytes())


def folder(place: Path, secret: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("what", [link, pipe, junk, record, folder])
@pytest.mark.parametrize("kind", ["findings", "explanations", "factors"])
def test_a_merge_takes_whole_records_and_nothing_else(made, tmp_path, kind, what):
    secret = tmp_path / "secret"
    secret.write_text("password")
    other, mine = tmp_path / "other", tmp_path / "mine"
    shutil.copytree(made.store, other)
    mine.mkdir()
    shutil.copy(other / MARK, mine)
    what(other / kind / "0000.whyclass", secret)
    ran = whyclass("merge", mine, other)
    assert ran.code == 1
    assert f"left out, {kind}/0000.whyclass" in ran.message
    assert not (mine / kind / "0000.whyclass").exists()
    assert len(list(mine.glob(f"{kind}/*"))) == len(list(made.store.glob(f"{kind}/*.whyclass")))
    tell(f"merged: a {what.__name__} among {kind}", 1, 1)


@pytest.mark.parametrize("what", [link, pipe, junk, folder])
def test_a_merge_takes_whole_passes_and_nothing_else(made, tmp_path, what):
    secret = tmp_path / "secret"
    secret.write_text("password")
    other, mine = tmp_path / "other", tmp_path / "mine"
    shutil.copytree(made.store, other)
    mine.mkdir()
    shutil.copy(other / MARK, mine)
    (index,) = (path for path in (other / "index").iterdir() if path.is_dir())
    what(index / "more", secret)
    found = merge_into(find_store(mine), find_store(other))
    (refused,) = found.refused
    assert refused.startswith(f"index/{index.name}: ")
    assert not (mine / "index" / index.name).exists()
    assert list(mine.glob("frames/*/pixels.u8"))
    tell(f"merged: a {what.__name__} in an index", 1, 1)


def test_a_pass_under_another_key_is_not_merged(made, tmp_path):
    other, mine = tmp_path / "other", tmp_path / "mine"
    shutil.copytree(made.store, other)
    mine.mkdir()
    shutil.copy(other / MARK, mine)
    (index,) = (path for path in (other / "index").iterdir() if path.is_dir())
    index.rename(index.with_name("0" * 20))
    found = merge_into(find_store(mine), find_store(other))
    assert found.refused == (f"index/{'0' * 20}: what it says of itself is damaged, or of something else",)


# ---------------------------------------------------------------- read, removed, written at once


def test_a_finished_store_is_read_where_nothing_can_be_written(made, tmp_path):
    place = tmp_path / "disk"
    shutil.copytree(made.store, place)
    if (
        os.geteuid()
        or subprocess.run(["mount", "--bind", str(place), str(place)], capture_output=True).returncode
    ):
        pytest.skip("mounting a file system needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True, capture_output=True)
        before = contents(place)
        ran = whyclass(*made.explain, "--store", place)
        assert (ran.code, ran.err) == (0, "")
        assert ran.json["class"]["name"] == "owl"
        for asked in ([*made.audit, "--store", place], ["tables", place]):
            ran = whyclass(*asked)
            assert (ran.code, ran.err) == (0, "")
        ran = whyclass("report", place)
        assert ran.code == 1
        assert "Read-only" in ran.message
        assert contents(place) == before
        other = [*made.explain]
        other[other.index("owl")] = "bee"
        ran = whyclass(*other, "--store", place)
        assert ran.code == 1
        assert ran.err.count("\n") == 1
        assert "Read-only" in ran.message
    finally:
        subprocess.run(["umount", str(place)], check=True)
    tell("commands on a store that can only be read", 5, 5)


@pytest.mark.parametrize("name", ["query", "show"])
def test_a_store_that_is_removed_meanwhile_is_never_a_success(made, tmp_path, monkeypatch, name):
    store = tmp_path / "store"
    monkeypatch.setattr(explain, name, nth(1, lambda: shutil.rmtree(store), getattr(explain, name)))
    ran = whyclass(*made.explain, "--store", store)
    assert (ran.code, ran.json["schema"], ran.json["error"]["kind"]) == (1, "whyclass/error/1", "StoreError")
    assert "removed while it was in use" in ran.message
    tell("a store removed while it is in use", 1, 1)


def test_a_sweep_takes_nothing_from_a_living_writer(tmp_path):
    """Half-written files are swept by each run that opens a store, while others write to it."""
    stop, problems, count = threading.Event(), [], 300 * LENGTH

    def sweep() -> None:
        while not stop.is_set():
            files.sweep(tmp_path)

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(count):
            files.write(tmp_path / "x", b"%d" % number)
            if files.read(tmp_path / "x") != b"%d" % number:
                problems.append(number)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    tell("files written while others sweep", count, count)


@pytest.mark.parametrize("command", ["explain", "audit"])
def test_what_a_killed_run_left_is_swept_by_any_command(made, tmp_path, command):
    store = tmp_path / "store"
    shutil.copytree(made.store, store)
    half = store / "findings" / ".abc.whyclass.abcd1234.tmp"
    half.write_bytes(b"half")
    assert whyclass(*getattr(made, command), "--store", store).code == 0
    assert not half.exists()


# ---------------------------------------------------------------- sites


def named(audit: Audit, layer: str) -> Audit:
    return replace(audit, model=replace(audit.model, layer=layer))


@pytest.mark.parametrize(
    "layers",
    [
        ("stage3", "stage3-3", "stage3"),
        ("stage3", "stage3", "stage3-2"),
        ("a", "A", "a", "a-3", "A-4"),
        ("..", "..", "/", "-"),
    ],
)
def test_each_audit_of_a_site_has_a_folder_of_its_own(made, layers):
    store = find_store(made.store)
    (audit,) = audits_in_store.collect(store)
    pages = [name for name, _ in site.files(store, [named(audit, layer) for layer in layers])]
    assert len({page.lower() for page in pages}) == len(pages)
    assert all(".." not in page and not page.startswith("/") for page in pages)


# ---------------------------------------------------------------- what was not done is said


def test_few_images_used_are_not_few_images_predicted(made, tmp_path):
    asked = [*made.explain]
    asked[asked.index("images=6")] = "images=1"
    found = whyclass(*asked, "--store", tmp_path / "s").json
    assert (found["n_images"], found["n_predicted"]) == (1, 2)
    assert any(line.startswith("Only 2 images are predicted") for line in found["warnings"])
    used = list(explain.few(8, 26, "this class"))
    assert used == [
        "Only 8 of the 26 images predicted as this class were used; what is found from so few is unsure."
    ]
    assert not list(explain.few(26, 26, "this class"))


def test_a_test_that_was_left_out_is_said_to_be_not_run(made, tmp_path):
    asked = [*made.explain, "--set", "tests=shifting"]
    asked[0], asked[asked.index("--json")] = "contrast", "--quiet"
    ran = whyclass(*asked, "--against", "hawk", "--store", tmp_path / "s")
    assert ran.code == 0
    said = " ".join(ran.out.split())
    assert said.count("masked: not run") == 2
    assert said.count("inserted: not run") == 2
    assert "shifted: not run" not in said
    (page,) = files_of(tmp_path / "s", "pages/*.html").values()
    assert page.decode().count("Not run.") == 4


def test_an_audit_that_can_test_nothing_does_not_tell_to_run_itself(made, tmp_path):
    asked = [*made.audit, "--tests", "shift", "--store", str(tmp_path / "s")]
    asked[asked.index("hawk,owl,")] = "hawk,"
    ran = whyclass(*asked)
    assert ran.code == 1
    assert "run whyclass audit" not in ran.message
    assert "two or more classes" in ran.message


def test_a_mark_is_json(made):
    assert set(json.loads((made.store / MARK).read_text())) == {"format", "model", "weights"}
    assert Store(made.store) == find_store(made.store)
