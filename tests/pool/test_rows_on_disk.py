"""Blocks that are written together are the rows of blocks written one by one."""

from __future__ import annotations

import numpy as np
import pytest

from whyclass.errors import StoreError
from whyclass.pool import rows_on_disk
from whyclass.pool.rows_on_disk import RowsOnDisk
from whyclass.pool.value_ranges import NOTHING_SEEN
from whyclass.rows import Rows
from whyclass.store import Store, resume

N, BLOCK = 96, 2
VALUES = np.random.default_rng(0).random((N, 3), np.float32)
WIDE = np.random.default_rng(1).random((N, 2, 5), np.float32)


def files(work) -> tuple[Rows, Rows]:
    return Rows(work.folder / "a", (3,), "<f4", "k"), Rows(work.folder / "b", (2, 5), "<f4", "k")


def written(store, until=N, error: BaseException | None = None, at_end=lambda: None) -> int:
    """A pass that ends after some positions; gives at how many it began."""
    work = resume(Store(store), "k")
    with RowsOnDisk(work, files(work)) as rows:
        begun = rows.done
        for start in range(begun, until, BLOCK):
            block = slice(start, start + BLOCK)
            rows.add((VALUES[block], WIDE[block]), {str(start): "broken"}, NOTHING_SEEN)
        at_end()
        if error is not None:
            raise error
    return begun


@pytest.fixture
def _waiting(monkeypatch):
    monkeypatch.setattr(rows_on_disk, "WAIT", 3600.0)


@pytest.mark.usefixtures("_waiting")
def test_long_passes_wait_and_the_bytes_are_the_same(tmp_path, monkeypatch):
    written(tmp_path)
    work = resume(Store(tmp_path), "k")
    assert work.done == N
    assert work.state["skipped"] == {str(start): "broken" for start in range(0, N, BLOCK)}
    for file, values in zip(files(work), (VALUES, WIDE), strict=True):
        assert file.hold(N)
        assert file.path.read_bytes() == values.tobytes()


@pytest.mark.usefixtures("_waiting")
def test_few_writes_serve_many_blocks(tmp_path, monkeypatch):
    starts, put = [], Rows.append
    monkeypatch.setattr(Rows, "append", lambda self, at, rows: (starts.append(at), put(self, at, rows))[1])
    written(tmp_path)
    assert sorted({*starts}) == list(range(0, (rows_on_disk.AT_ONCE + 1) * BLOCK, BLOCK))
    assert len(starts) == 2 * (rows_on_disk.AT_ONCE + 1)


@pytest.mark.usefixtures("_waiting")
def test_an_error_and_ctrl_c_lose_nothing_that_was_made(tmp_path):
    for error in (ValueError("broken"), KeyboardInterrupt()):
        store = tmp_path / type(error).__name__
        with pytest.raises(type(error)):
            written(store, 60, error)
        assert written(store) == 60
        work = resume(Store(store), "k")
        assert [file.hold(N) for file in files(work)] == [True, True]


@pytest.mark.usefixtures("_waiting")
def test_what_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_on_disk, "MOST", 4 * BLOCK * (3 + 10) * 4)
    work = resume(Store(tmp_path), "k")
    with RowsOnDisk(work, files(work)) as rows:
        for start in range(0, N, BLOCK):
            rows.add((VALUES[start : start + BLOCK], WIDE[start : start + BLOCK]), {}, NOTHING_SEEN)
            assert rows.done - resume(Store(tmp_path), "k").done < 4 * BLOCK


@pytest.mark.usefixtures("_waiting")
@pytest.mark.parametrize(("error", "told"), [(None, StoreError), (ValueError("broken"), ValueError)])
def test_a_full_disk_at_the_end_is_told_and_hides_no_other_error(tmp_path, monkeypatch, error, told):
    def full(*_):
        raise StoreError("full")

    with pytest.raises(told):
        written(tmp_path, N, error, lambda: monkeypatch.setattr(Rows, "append", full))
