"""A pool of very many files: few bytes for each, and names that are read only where something changed."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from whyclass.pool import files_of, known_items
from whyclass.pool.images import pool

N = 6000

BYTES = """
import json, sys, tracemalloc
from pathlib import Path
from whyclass.pool.images import pool
tracemalloc.start()
found = pool(Path(sys.argv[1]))
print(json.dumps([len(found.items), *tracemalloc.get_traced_memory()]))
"""
"""Told by a process of its own: what else a process does at that time is traced too."""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """One picture under many names."""
    folder = tmp_path_factory.mktemp("many")
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "0.png")
    for number in range(1, N):
        place = folder / f"class {number % 7}"
        place.mkdir(exist_ok=True)
        os.link(folder / "0.png", place / f"{number:06d}.png")
    return folder


def test_an_image_of_a_large_pool_takes_few_bytes(many):
    asked = [sys.executable, "-c", BYTES, str(many)]
    count, now, most = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    assert count == N
    assert now / N < 450
    assert most / N < 1100  # also while it is listed and hashed
    found = pool(many)
    assert len(pickle.dumps(found)) / N < 150
    assert found.read(N - 1) == many / found.items[-1].path
    assert len({id(item.label) for item in found.items}) == 8


def test_names_are_kept_and_found_again(many, tmp_path, monkeypatch):
    found, file = pool(many), tmp_path / known_items.FILE
    assert not known_items.is_of(found, file)
    known_items.keep(found, file)
    assert known_items.kept(file) == {item.path: item.digest for item in found.items}
    asked = []
    monkeypatch.setattr(known_items.files, "write", lambda *given: asked.append(given))
    known_items.keep(found, file)  # it is there
    assert asked == []
    assert known_items.is_of(found, file)
    file.write_bytes(file.read_bytes()[:-5])  # the last line is cut off
    assert len(known_items.kept(file)) == N - 1
    file.write_bytes(b"\x00")
    assert known_items.kept(file) == {}


def test_files_of_several_folders_within_each_other_are_each_there_once(many):
    whole, part = pool(many), pool([many, many / "class 3"])
    assert part.items == whole.items
    alone = files_of.of_folders([many / "class 3"])
    assert {item.label for item in alone.items} == {"class 3"}
    assert alone.items[0].path == "000003.png"
