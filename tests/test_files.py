"""A file is written whole or not at all."""

from __future__ import annotations

import os

import pytest

from whyclass import files
from whyclass.errors import StoreError


def everything(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "x.bin"
    files.write(path, b"first")
    files.write(path, b"2nd")
    assert files.read(path) == b"2nd"
    assert everything(tmp_path) == ["a", "a/b", "a/b/x.bin"]


def test_a_written_file_has_the_rights_of_any_other(tmp_path):
    files.write(tmp_path / "x", b"")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step, error):
    path = tmp_path / "x.bin"
    files.write(path, b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((StoreError, KeyboardInterrupt)) as caught:
        files.write(path, b"new")
    if isinstance(error, OSError):
        assert caught.type is StoreError
        assert "x.bin: No space left on device" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("place", ["file/x.bin", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    before = everything(tmp_path)
    with pytest.raises(StoreError, match=f"cannot write .*{place}"):
        files.write(tmp_path / place, b"new")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(StoreError, match="cannot read"):
        files.read(tmp_path / name)
