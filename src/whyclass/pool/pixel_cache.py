"""Every image of the pool as the model sees it, decoded once and kept as rows of 8-bit pixels.

A question about one class reads a few hundred images, and decoding them costs little. A question about
every class reads each image once for its prediction, once for its class, and once for every crop that is
shown of it: from here a read costs a fraction of a millisecond.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from whyclass import store as stores
from whyclass.errors import DataError, StoreError
from whyclass.models.preprocessing import Preprocessing, Sample
from whyclass.pool import known_items
from whyclass.pool.images import Pool, samples
from whyclass.pool.rows_on_disk import RowsOnDisk
from whyclass.pool.value_ranges import NOTHING_SEEN, ValueRanges
from whyclass.progress import Progress
from whyclass.rows import Rows
from whyclass.store import Store

KIND = "frames"

SUCH = 3
"""Files of each kind that are named where a pool changed."""

BATCH = 64
"""Images written at a time."""


def decoded(
    pool: Pool,
    preprocessing: Preprocessing,
    store: Store,
    progress: Progress,
    makes: Makes | None = None,
    **facts: Any,
) -> Pool:
    """The same pool with every image decoded: from the store, or by a pass over it that can be resumed.

    A pool of tensors that are ready for the model comes back as it is: there is nothing to decode.

    Parameters
    ----------
    makes
        Gives the pixels; they are decoded here unless told.
    facts
        What decoding depends on besides, such as versions of libraries.

    Raises
    ------
    DataError
        If an image is no longer the one that was hashed when the pool was made.
    StoreError
        If the store cannot be written.
    """
    known, key = _known(pool, preprocessing, facts)
    if _damage(pool, preprocessing, store, key) is not None:  # no lock where it may only be read
        with stores.locked(store, key, KIND, progress.note):
            stores.drop_unfinished(store, KIND, key)
            if (damage := _damage(pool, preprocessing, store, key)) is not None:
                if store.rows(KIND, key).exists():
                    progress.note(f"the pool is decoded anew, since {damage}")
                    stores.damaged(store, KIND, key)
                rows_of = _RowsOf(preprocessing, makes or made)
                if not _make(pool, store, key, known, progress, rows_of):
                    return pool
    return attached(pool, preprocessing, store, key, progress)


def found(
    pool: Pool, preprocessing: Preprocessing, store: Store, progress: Progress, **facts: Any
) -> Pool | None:
    """The same pool with its pixels from the store; None where they are not there. Nothing is written."""
    key = _known(pool, preprocessing, facts)[1]
    if _damage(pool, preprocessing, store, key) is not None:
        return None
    return attached(pool, preprocessing, store, key, progress)


def _known(pool: Pool, preprocessing: Preprocessing, facts: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What decoded pixels depend on, and the key made of it."""
    known = {"pool": pool.digest, "preprocessing": preprocessing.describe(), **facts}
    return known, stores.key_of(**known)


def tell_what_changed(pool: Pool, store: Store, progress: Progress) -> None:
    """Name the files that are not what they were when a pool was last audited in this store."""
    file = store.folder / known_items.FILE
    if known_items.is_of(pool, file):
        return
    now = {item.path: item.digest for item in pool.items}
    if (before := known_items.kept(file)) and before != now:
        kinds = {
            "changed": sorted(path for path in before if path in now and now[path] != before[path]),
            "vanished": sorted(set(before) - set(now)),
            "new": sorted(set(now) - set(before)),
        }
        told = [f"{len(paths)} {what} ({', '.join(paths[:SUCH])})" for what, paths in kinds.items() if paths]
        what = "; ".join(told) or "the order of the images"
        progress.note(f"the pool is not that of the last audit in this store, and is audited anew: {what}")
    known_items.keep(pool, file)


@dataclass(frozen=True)
class Made:
    """Pixels (n, S, T, C) of some images that follow each other; None where one came as a tensor."""

    pixels: np.ndarray | None = field(repr=False)
    skipped: dict[str, str]
    ranges: ValueRanges


Makes = Callable[[Pool, Preprocessing, int], Iterator[Made]]
"""From a pool and a position to the pixels from there on, in order."""


def made(pool: Pool, preprocessing: Preprocessing, start: int, stop: int | None = None) -> Iterator[Made]:
    """The pixels of blocks of images from a position on, decoded here."""
    last = (len(pool.items) if stop is None else stop) - 1
    skipped, ranges = dict[str, str](), NOTHING_SEEN
    block: list[np.ndarray] = []
    for position, sample in samples(pool, range(start, last + 1), preprocessing, os.cpu_count() or 2):
        if isinstance(sample, Sample):
            if sample.pixels is None:
                yield Made(None, {}, NOTHING_SEEN)
                return
            ranges = ranges.seen(pool.items[position].path, sample)
        block.append(_pixels(pool, preprocessing, position, sample, skipped))
        if len(block) == BATCH or position == last:
            yield Made(np.stack(block), skipped, ranges)
            block, skipped, ranges = [], {}, NOTHING_SEEN


def _make(
    pool: Pool, store: Store, key: str, facts: dict[str, Any], progress: Progress, rows_of: _RowsOf
) -> bool:
    """Write the rows; False where an image came as a tensor, which no picture can give back."""
    work = stores.resume(store, key, KIND)
    rows, total = _rows(rows_of.preprocessing, work.folder, key), len(pool.items)
    with progress.step("decode", total) as advance, RowsOnDisk(work, (rows,)) as written:
        advance(written.done)
        left = written.done < total
        for block in rows_of.makes(pool, rows_of.preprocessing, written.done) if left else ():
            if block.pixels is None:
                return False
            written.add((block.pixels,), block.skipped, block.ranges)
            advance(len(block.pixels))
    seen = {"skipped": written.skipped, "ranges": written.ranges.held()}
    stores.finish(store, key, work, facts | seen, KIND)
    return True


@dataclass(frozen=True)
class _RowsOf:
    """How rows come about: of which pixels, and who decodes them."""

    preprocessing: Preprocessing
    makes: Makes


def _pixels(
    pool: Pool,
    preprocessing: Preprocessing,
    position: int,
    sample: Sample | DataError,
    skipped: dict[str, str],
) -> np.ndarray:
    path = pool.items[position].path
    if isinstance(sample, DataError):
        skipped[str(position)] = str(sample).removeprefix(f"{path}: ")
        return np.zeros((*preprocessing.crop, preprocessing.channels), np.uint8)
    assert sample.pixels is not None
    return sample.pixels


def _rows(preprocessing: Preprocessing, folder: Any, key: str) -> Rows:
    return Rows(folder / "pixels.u8", (*preprocessing.crop, preprocessing.channels), "u1", key)


def _damage(pool: Pool, preprocessing: Preprocessing, store: Store, key: str) -> str | None:
    """Why finished rows are not there to be used; the rows themselves are looked at one by one."""
    folder = store.rows(KIND, key)
    meta = stores.read_meta(folder)
    if meta is None or stores.key_of(**stores.facts_of(meta)) != key or "skipped" not in meta:
        return f"{folder} is damaged"
    try:
        _rows(preprocessing, folder, key).read(len(pool.items))
    except StoreError:
        return f"{folder / 'pixels.u8'} is damaged"
    return None


def attached(pool: Pool, preprocessing: Preprocessing, store: Store, key: str, progress: Progress) -> Pool:
    """The pool with its pixels from finished rows; damaged ones are decoded anew."""
    folder = store.rows(KIND, key)
    meta = stores.read_meta(folder) or {}
    row, skipped = _rows(preprocessing, folder, key).checked(len(pool.items)), dict(meta["skipped"])

    def kept(position: int) -> np.ndarray:
        path = pool.items[position].path
        if str(position) in skipped:
            raise DataError(f"{path}: {skipped[str(position)]}")
        if (found := row(position)) is not None:
            return found
        progress.note(f"{path} is decoded anew, since {folder / 'pixels.u8'} is damaged there")
        pixels = pool.sample(position, preprocessing).pixels  # which proves that it is the same image
        assert pixels is not None
        return pixels

    return replace(pool, kept=kept, ranges=ValueRanges.of(meta.get("ranges")))
