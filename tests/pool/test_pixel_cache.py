"""Pixels kept of a pool: the same images as decoded anew, made once, continued, and refused when damaged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from whyclass.errors import DataError
from whyclass.models.preprocessing import Preprocessing
from whyclass.pool import images, pixel_cache
from whyclass.progress import Progress
from whyclass.store import open_store

SIZE = Preprocessing(resize=24, crop=(20, 16))


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store", "net", "00")


def kept(pool, store, preprocessing=SIZE):
    return pixel_cache.decoded(pool, preprocessing, store, Progress(), pillow="1")


def test_an_image_from_pixels_is_the_image_decoded(folder, store):
    pool = images.pool(folder)
    again = kept(pool, store)
    assert again.kept is not None
    for position in range(len(pool.items)):
        one, other = pool.sample(position, SIZE), again.sample(position, SIZE)
        assert torch.equal(one.tensor, other.tensor)
        assert np.array_equal(np.asarray(one.picture), np.asarray(other.picture))


def test_pixels_are_made_once(folder, store, monkeypatch):
    kept(images.pool(folder), store)
    monkeypatch.setattr(images, "sample_of", None)
    again = kept(images.pool(folder), store)
    assert again.sample(0, SIZE).tensor.shape == (3, 20, 16)


def test_another_size_has_pixels_of_its_own(folder, store):
    kept(images.pool(folder), store)
    other = Preprocessing(resize=12, crop=(10, 10))
    assert kept(images.pool(folder), store, other).sample(0, other).picture.size == (10, 10)


def test_a_pass_that_was_stopped_goes_on_at_its_last_block(folder, store, monkeypatch):
    monkeypatch.setattr(pixel_cache, "BATCH", 2)
    monkeypatch.setattr(pixel_cache.os, "cpu_count", lambda: 1)  # several threads may start in any order
    pool, real, read = images.pool(folder), images.sample_of, []

    def stops(image, preprocessing):
        read.append(image)
        if len(read) == 6:
            raise KeyboardInterrupt
        return real(image, preprocessing)

    monkeypatch.setattr(images, "sample_of", stops)
    with pytest.raises(KeyboardInterrupt):
        kept(pool, store)
    before = len(read)
    again = kept(pool, store)
    assert 0 < len(read) - before < len(pool.items)  # what was written is not decoded again
    monkeypatch.undo()
    for position in range(len(pool.items)):
        assert torch.equal(again.sample(position, SIZE).tensor, pool.sample(position, SIZE).tensor)


def test_a_broken_image_stays_broken(folder, store):
    (folder / "a" / "2.png").write_bytes(b"none")
    pool = kept(images.pool(folder), store)
    position = [item.path for item in pool.items].index("a/2.png")
    with pytest.raises(DataError, match=r"a/2\.png: not an image"):
        pool.sample(position, SIZE)


def test_an_image_that_changed_since_it_was_hashed_is_named(folder, store):
    pool = images.pool(folder)
    shutil.copy(folder / "a" / "0.png", folder / "b" / "1.png")
    with pytest.raises(DataError, match=r"b/1\.png changed"):
        kept(pool, store)


def test_tensors_are_left_as_they_are(store):
    pool = images.pool([torch.randn(3, 20, 16) for _ in range(3)])
    assert kept(pool, store) is pool


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:-1] + bytes([d[-1] ^ 1])], ids=["cut", "bit"]
)
def test_damaged_pixels_are_decoded_anew_and_said(folder, store, damage):
    class Told(Progress):
        def note(self, message):
            notes.append(message)

    notes: list[str] = []
    before = kept(images.pool(folder), store)
    last = len(before.items) - 1
    wanted = before.kept(last)
    (file,) = store.folder.glob("frames/*/pixels.u8")
    file.write_bytes(damage(file.read_bytes()))
    again = pixel_cache.decoded(images.pool(folder), SIZE, store, Told(), pillow="1")
    assert np.array_equal(again.kept(last), wanted)
    (note,) = notes
    assert "decoded anew" in note
    assert "pixels.u8 is damaged" in note
