"""A store serves one model, and never what was made for something else."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from whyclass import store as stores
from whyclass.errors import StoreError
from whyclass.rows import Rows
from whyclass.store import MARK, Store, finish, key_of, open_store, read_meta, resume, stores_in

WEIGHTS = "0123456789abcdef"


def test_a_store_is_made_and_opened_again(tmp_path):
    first = open_store(tmp_path / "new" / "store", "resnet", WEIGHTS)
    assert open_store(str(first.folder), "resnet", WEIGHTS) == first
    assert open_store(first.folder, "the same by another name", WEIGHTS) == first
    assert [path.name for path in first.folder.iterdir()] == [MARK]


def test_an_empty_folder_becomes_a_store(tmp_path):
    assert open_store(tmp_path, "resnet", WEIGHTS).folder == tmp_path


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match=r"not empty and no store of whyclass \(it holds 'thesis.tex'\)"):
        open_store(tmp_path, "resnet", WEIGHTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_another_run_is_just_writing_does_not_make_a_folder_foreign(tmp_path):
    (tmp_path / f".{MARK}.x1y2.tmp").touch()
    open_store(tmp_path, "resnet", WEIGHTS)


def test_another_models_store_lies_in_the_first_ones(tmp_path):
    first = open_store(tmp_path, "torchvision:resnet18", "f" * 32)
    second = open_store(tmp_path, "vgg", WEIGHTS)
    third = open_store(tmp_path, "vit", "c" * 32)
    assert first.folder == tmp_path
    assert second.folder == tmp_path / "models" / WEIGHTS[:16]
    assert open_store(tmp_path, "vgg", WEIGHTS).folder == second.folder
    assert [one.folder for one in stores_in(tmp_path)] == [
        first.folder,
        *sorted((second.folder, third.folder)),
    ]
    with pytest.raises(StoreError, match="belongs to another model; give the folder that it lies in"):
        open_store(second.folder, "vit", "c" * 32)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(StoreError, match="x is a file"):
        open_store(tmp_path / "x", "resnet", WEIGHTS)
    with pytest.raises(StoreError, match="cannot write"):
        open_store(tmp_path / "x" / "store", "resnet", WEIGHTS)


def test_a_store_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    open_store(tmp_path, "resnet", WEIGHTS)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(StoreError, match="cannot be written to"):
        open_store(tmp_path, "resnet", WEIGHTS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("\x00\xff", "damaged"),
        ("[]", "another version"),
        ("7", "another version"),
        (json.dumps({"format": 99, "weights": WEIGHTS}), "another version"),
        (json.dumps({"weights": WEIGHTS}), "another version"),
    ],
)
def test_a_damaged_mark_is_named(tmp_path, text, reason):
    (tmp_path / MARK).write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match=f"{MARK} is .*{reason}"):
        open_store(tmp_path, "resnet", WEIGHTS)


def test_every_part_of_a_key_counts():
    parts = {"layer": "a", "pool": "p", "grid": [2, 2], "side": 2, "weights": None, "noise": 0.25}
    changes = {"layer": "b", "pool": "q", "grid": [2, 3], "side": 3, "weights": "", "noise": 0.250001}
    keys = {key_of(**parts), *(key_of(**parts | {name: value}) for name, value in changes.items())}
    assert len(keys) == 1 + len(changes)
    assert key_of(**dict(reversed(parts.items()))) == key_of(**parts)
    assert key_of(a="b") != key_of(b="a")


@pytest.mark.parametrize(
    "name", ["French horn", "../../etc/passwd", "日本", "", "a" * 500, "con\n.html", "-"]
)
def test_a_page_lies_in_the_store_whatever_the_class_is_called(tmp_path, name):
    page = Store(tmp_path).page(name, "0123456789")
    assert page.parent == tmp_path / "pages"
    assert page.name.isascii()
    assert page.name.endswith("-01234567.html")
    assert len(page.name) < 100
    page.parent.mkdir()
    page.touch()


# ---------------------------------------------------------------- rows


def test_rows_are_read_back_as_they_were_written(tmp_path):
    rows = Rows(tmp_path / "x", (2, 3), "<f4")
    values = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    rows.append(0, values[:2])
    rows.append(2, values[2:])
    found = rows.read(5)
    assert np.array_equal(found, values)
    assert not found.flags.writeable


def test_what_an_interrupted_run_left_behind_is_cut_off(tmp_path):
    rows = Rows(tmp_path / "x", (2,), "<f4")
    rows.append(0, np.zeros((5, 2)))
    with rows.path.open("ab") as file:
        file.write(b"half")
    rows.append(3, np.ones((1, 2)))
    assert rows.read(4).tolist() == [[0, 0]] * 3 + [[1, 1]]


def test_rows_know_how_many_they_hold(tmp_path):
    rows = Rows(tmp_path / "x", (2,), "<f4")
    assert rows.hold(0)
    assert not rows.hold(1)
    rows.append(0, np.zeros((3, 2)))
    assert rows.hold(3)
    assert not rows.hold(4)


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"123"), lambda path: path.unlink()], ids=["cut", "gone"]
)
def test_damaged_rows_are_refused_by_name(tmp_path, damage):
    rows = Rows(tmp_path / "cells", (2,), "<f4")
    rows.append(0, np.zeros((3, 2)))
    damage(rows.path)
    with pytest.raises(StoreError, match="cells is damaged"):
        rows.read(3)


def test_rows_that_cannot_be_written_say_that_the_run_can_go_on(tmp_path):
    rows = Rows(tmp_path / "missing" / "cells", (2,), "<f4")
    with pytest.raises(StoreError, match=r"cells.*run the same again: it continues"):
        rows.append(0, np.zeros((3, 2)))


# ---------------------------------------------------------------- passes


def test_a_pass_is_continued_where_it_was_kept(tmp_path):
    store = Store(tmp_path)
    work = resume(store, "k")
    assert (work.done, work.state) == (0, {})
    work.keep(64, {"skipped": {"3": "torn"}})
    again = resume(store, "k")
    assert (again.done, again.state) == (64, {"skipped": {"3": "torn"}})
    assert resume(store, "other").done == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"done": "x", "state": {}}', '{"done": 3}', "null"])
def test_a_pass_whose_note_is_damaged_starts_again(tmp_path, text):
    work = resume(Store(tmp_path), "k")
    (work.folder / "progress.json").write_text(text)
    assert resume(Store(tmp_path), "k").done == 0


def test_a_finished_pass_is_the_index_and_no_longer_a_pass(tmp_path):
    store = Store(tmp_path)
    work = resume(store, "k")
    work.keep(3, {})
    finish(store, "k", work, {"classes": 5})
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["k"]
    assert [path.name for path in store.index("k").iterdir()] == ["meta.json"]
    assert read_meta(store.index("k")) == {"classes": 5}


def test_when_another_run_finished_first_its_index_stays(tmp_path):
    store = Store(tmp_path)
    first, second = resume(store, "k"), resume(store, "k")
    finish(store, "k", first, {"run": 1})
    finish(store, "k", resume(store, "k"), {"run": 2})
    assert read_meta(store.index("k")) == {"run": 1}
    assert not second.folder.exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", None])
def test_a_damaged_or_missing_meta_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "meta.json").write_text(text)
    assert read_meta(tmp_path) is None


def test_one_run_at_a_time_makes_an_index(tmp_path):
    store, inside, order = Store(tmp_path), threading.Event(), []

    def wait() -> None:
        inside.wait(10)
        with stores.locked(store, "k"):
            order.append("second")

    other = threading.Thread(target=wait)
    other.start()
    with stores.locked(store, "k"):
        inside.set()
        with stores.locked(store, "another key"):
            other.join(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "call", [lambda store: resume(store, "k"), lambda store: stores.locked(store, "k").__enter__()]
)
def test_a_store_below_a_file_is_an_error_of_the_store(tmp_path, call):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        call(Store(tmp_path / "file"))


def test_a_store_that_another_run_makes_at_the_same_moment_is_shared(tmp_path, monkeypatch):
    real = Path.iterdir

    def late(folder):
        monkeypatch.undo()  # the other run comes once, between the question and the look
        open_store(folder, "net", "abc")
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", late)
    assert open_store(tmp_path, "net", "abc").folder == tmp_path
