"""A record survives its own encoding, the same record gives the same bytes, and damage is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

from whyclass import records, views
from whyclass.errors import RecordError, StoreError
from whyclass.records import codec

FORMAT = 3


@dataclasses.dataclass(frozen=True)
class Leaf:
    name: str
    values: np.ndarray
    data: bytes
    weight: float = 0.5


@dataclasses.dataclass(frozen=True)
class Tree(records.Record):
    leaves: tuple[Leaf, ...]
    box: tuple[int, float, str]
    best: Leaf | None
    facts: dict[str, Any]
    yes: bool = True
    format: int = FORMAT


@dataclasses.dataclass(frozen=True)
class Other:
    format: int = FORMAT


def leaf(number: int) -> Leaf:
    return Leaf(
        f"blätt {number}", np.arange(6, dtype=np.float32).reshape(2, 3) + number, b"\x89PNG" + bytes([number])
    )


TREE = Tree((leaf(1), leaf(2), leaf(1)), (1, 2.5, "x"), leaf(3), {"a": [1, None, "é"], "b": 0.1})


def test_a_record_survives():
    back = codec.decode(Tree, codec.encode(TREE), FORMAT)
    assert isinstance(back, Tree)
    assert isinstance(back.leaves, tuple)
    assert (back.box, back.facts, back.yes) == (TREE.box, TREE.facts, True)
    for found, wanted in zip((*back.leaves, back.best), (*TREE.leaves, TREE.best), strict=True):
        assert (found.name, found.data, found.weight) == (wanted.name, wanted.data, wanted.weight)
        assert found.values.dtype == np.float32
        assert np.array_equal(found.values, wanted.values)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32),
        np.array(2.5),
        np.arange(12).reshape(3, 4).T,
        np.array([True, False]),
        np.array([np.nan, np.inf], np.float16),
        np.arange(3, dtype=np.uint8),
    ],
    ids=["empty", "single", "transposed", "bool", "not finite", "bytes"],
)
def test_every_array_survives(array):
    back = codec.decode(Tree, codec.encode(Tree((Leaf("", array, b""),), (0, 0.0, ""), None, {})), FORMAT)
    found = back.leaves[0].values
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_nothing_where_there_may_be_something_survives():
    assert codec.decode(Tree, codec.encode(Tree((), (1, 2.0, ""), None, {})), FORMAT).best is None


def test_the_same_record_gives_the_same_bytes():
    again = codec.decode(Tree, codec.encode(TREE), FORMAT)
    assert codec.encode(again) == codec.encode(TREE)


def test_equal_pictures_are_kept_once():
    with zipfile.ZipFile(io.BytesIO(codec.encode(TREE))) as archive:
        assert sum(name.startswith("blobs/") for name in archive.namelist()) == 3


def test_plain_values_are_json():
    assert json.loads(json.dumps(codec.to_json(TREE)))["box"] == [1, 2.5, "x"]


def changed(name: str = "record.json", **values: Any) -> bytes:
    """The tree's bytes with a file left out, or with values of its record changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(codec.encode(TREE))) as archive, zipfile.ZipFile(out, "w") as copy:
        for entry in archive.namelist():
            data = archive.read(entry)
            if entry == name == "record.json":
                found = json.loads(data)
                found["record"] |= values
                data = json.dumps(found).encode()
            elif entry.startswith(name):
                continue
            copy.writestr(entry, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no whole record"),
        (b"<html>", "no whole record"),
        (codec.encode(Other()), "this is a Other of format 3; needed is a Tree of format 3"),
        (changed(format=9), "this is a Tree of format 9; needed is a Tree of format 3"),
        (changed(more=1), "more"),
        (changed(box=[1]), "no whole record"),
        (changed(box=["1", 2, "x"]), "'1' is no int"),
        (changed(yes=1), "1 is no bool"),
        (changed(leaves=7), "no whole record"),
        (changed(best="text"), "no whole record"),
        (changed(best={}), "too many or too few"),
        (changed("arrays"), "no whole record"),
        (changed("blobs"), "no whole record"),
    ],
)
def test_what_is_no_such_record_is_refused_with_the_reason(data, reason):
    with pytest.raises(RecordError, match=reason):
        codec.decode(Tree, data, FORMAT)


def test_damage_anywhere_is_noticed_or_without_consequence():
    whole = codec.encode(TREE)
    for position in range(0, len(whole), 3):
        for flip in (0x01, 0x08, 0xFF):
            torn = bytearray(whole)
            torn[position] ^= flip
            try:
                found = codec.decode(Tree, bytes(torn), FORMAT)
            except RecordError:
                continue
            assert codec.encode(found) == whole


def test_a_record_cut_off_anywhere_is_refused():
    whole = codec.encode(TREE)
    for length in range(0, len(whole), 7):
        with pytest.raises(RecordError):
            codec.decode(Tree, whole[:length], FORMAT)


def test_a_record_that_unpacks_to_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr(codec, "_LARGEST", 100)
    with pytest.raises(RecordError, match="2 GiB"):
        codec.decode(Tree, codec.encode(TREE), FORMAT)


# ---------------------------------------------------------------- saving and loading


def test_a_record_is_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(records.base, "FORMAT", FORMAT)
    path = TREE.save(tmp_path / "deep" / "tree.whyclass")
    assert codec.encode(Tree.load(str(path))) == codec.encode(TREE)
    assert TREE.save(str(path)) == path


def test_a_record_is_saved_as_any_view_there_is(tmp_path, monkeypatch):
    monkeypatch.setitem(views.VIEWS, "html", lambda record: f"<p>{record.box[2]}")
    assert TREE.save(tmp_path / "tree.html").read_text() == "<p>x"


@pytest.mark.parametrize("name", ["tree.pdf", "tree", "tree.whyclass.zip"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(RecordError, match=r"\.whyclass or \.html"):
        TREE.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_record_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere\.whyclass"):
        Tree.load(tmp_path / "nowhere.whyclass")
    (tmp_path / "torn.whyclass").write_bytes(codec.encode(TREE)[:100])
    with pytest.raises(RecordError, match=r"torn\.whyclass: this is no whole record"):
        Tree.load(tmp_path / "torn.whyclass")
