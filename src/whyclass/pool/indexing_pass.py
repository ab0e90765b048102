"""One pass over the pool: predictions, and the pooled activations of every image.

Notation
--------
``N``
    images of the pool. ``C`` numbers that scores hold for each (`Task.columns`).
``p x q``
    pooled cells of the layer, ``c`` its channels.

Cells are kept as unit vectors in half precision: only their cosine with a concept is ever asked, a
unit vector cannot overflow, and half the bytes are read for each class. Memory does not grow with
the pool: rows are written as they come and read back memory-mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from whyclass import store as stores
from whyclass.errors import DataError, ModelError, StoreError
from whyclass.grid import pooled_shape
from whyclass.models.preprocessing import Preprocessing, Sample
from whyclass.models.split import Split
from whyclass.models.tasks import Task, summary
from whyclass.pool import known_items
from whyclass.pool.images import Pool, samples
from whyclass.pool.items import Item
from whyclass.pool.rows_on_disk import RowsOnDisk
from whyclass.pool.value_ranges import NOTHING_SEEN, ValueRanges
from whyclass.progress import Progress
from whyclass.rows import Rows
from whyclass.store import Store

BATCH = 32

Trunk = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Index:
    """Predictions and pooled cells of a pool.

    Attributes
    ----------
    items
        Identities of the images, in the order of the rows.
    outputs
        Shape (N, C), float32: logits, or of a segmentation net scores. Rows of skipped images are NaN.
    cells
        Shape (N, p*q, c), float16: unit vectors, or zeros.
    grid
        (p, q).
    skipped
        Position and reason of each image that could not be read.
    task
        What the outputs mean.
    ranges
        What values the images hold.
    whole
        Gives the cells once they were read through and, where they are no longer what was written, made anew.
    """

    items: tuple[Item, ...]
    outputs: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    grid: tuple[int, int]
    skipped: dict[int, str]
    task: Task
    ranges: ValueRanges = NOTHING_SEEN
    whole: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    @cached_property
    def checked_cells(self) -> np.ndarray:
        """The cells, checked where they are first searched: they are many."""
        return self.cells if self.whole is None else self.whole()

    @cached_property
    def usable(self) -> np.ndarray:
        """Mask (N,) of the images that could be read."""
        mask = np.ones(len(self.items), bool)
        mask[list(self.skipped)] = False
        return mask

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class that each image is called, shape (N,); -1 for skipped ones."""
        blocks = [self.task.winner(self.outputs[rows]) for rows in self._rows()]
        return np.where(self.usable, np.concatenate(blocks), -1)

    def counting(self, target: int) -> np.ndarray:
        """Mask (N,) of the images that count for a class (`Task.counts`)."""
        return self._shown[:, target] if self.task.plural else np.asarray(self.predicted == target)

    @cached_property
    def _shown(self) -> np.ndarray:
        """Which images (N, K) each class is in, where an image may show several."""
        return self.usable[:, None] & self.task.shows(np.asarray(self.outputs))

    def scores_of(self, target: int) -> np.ndarray:
        """Score of one class for each image, shape (N,); NaN for skipped ones."""
        return np.concatenate([self.task.from_logits(self.outputs[rows])[:, target] for rows in self._rows()])

    def scores(self, positions: np.ndarray) -> np.ndarray:
        """Scores, shape (len(positions), C)."""
        return self.task.from_logits(self.outputs[positions])

    def _rows(self) -> list[slice]:
        """Blocks of rows, so that no more than a block of logits is in memory."""
        return [slice(start, start + 1024) for start in range(0, len(self.items), 1024)]


@dataclass(frozen=True)
class Plan:
    """Everything an index depends on, and the key it is kept under.

    ``trunk`` gives what computes the activations, the split's own or a fast copy of it; it is made only
    where there is something to compute. ``facts`` are the same things in words, to say by name what
    changed.
    """

    split: Split
    task: Task
    trunk: Callable[[], Trunk]
    pool: Pool
    preprocessing: Preprocessing
    side: int
    facts: dict[str, Any]

    @property
    def key(self) -> str:
        """What the index is kept under."""
        return stores.key_of(**self.facts)

    @property
    def grid(self) -> tuple[int, int]:
        """(p, q), the pooled cells."""
        return pooled_shape(*self.split.shape[1:], self.side)


def plan(
    split: Split,
    task: Task,
    trunk: Callable[[], Trunk],
    pool: Pool,
    preprocessing: Preprocessing,
    side: int,
    **facts: Any,
) -> Plan:
    """Plan an index of ``pool``; ``facts`` name what else it depends on (weights, precision)."""
    known: dict[str, Any] = {
        "layer": split.layer,
        "channels": split.shape[0],
        "grid": list(pooled_shape(*split.shape[1:], side)),
        "preprocessing": preprocessing.describe(),
        "pool": pool.digest,
    }
    form = split.form
    if form is not None and (form.places or form.name == "tokens last"):
        known["places"] = [form.name, *form.places]
    if outputs := split.link if split.reading is None else split.reading.facts:
        known["outputs"] = outputs
    return Plan(split, task, trunk, pool, preprocessing, side, known | facts)


def load_or_make(plan: Plan, store: Store, progress: Progress, makes: Makes | None = None) -> Index:
    """The index from the store, continued where it is not finished, and made anew where it is damaged.

    ``makes`` gives its rows, here unless told.

    Raises
    ------
    DataError
        If no image of the pool can be read, or one changed meanwhile.
    StoreError
        If the store cannot be written.
    """
    try:
        found = load(store, plan)  # first without a lock: a store may be there only to be read
    except StoreError:
        found = None
    if found is None:
        with stores.locked(store, plan.key, tell=progress.note):
            _make_sound(plan, store, progress, makes or made)
        found = load(store, plan)

    def whole() -> np.ndarray:
        cells, _ = _rows(plan, store.index(plan.key))
        if cells.wrong(len(plan.pool.items)) is not None:
            with stores.locked(store, plan.key, tell=progress.note):
                _make_sound(plan, store, progress, makes or made, all_rows=True)
        return cells.read(len(plan.pool.items))

    return replace(found, whole=whole)


def _make_sound(plan: Plan, store: Store, progress: Progress, makes: Makes, all_rows: bool = False) -> None:
    """Make the index where there is none or, which is told, where it is no longer what was written.

    The cells, which are many, are looked at with ``all_rows``.
    """
    folder = store.index(plan.key)
    if folder.exists():
        try:
            load(store, plan)
            cells, _ = _rows(plan, folder)
            if not all_rows or cells.wrong(len(plan.pool.items)) is None:
                return
            raise StoreError(f"{cells.path} is damaged")
        except StoreError as error:
            progress.note(f"the pass over the pool is made anew, since {error}")
            stores.damaged(store, "index", plan.key)
    else:
        _tell_what_changed(store, plan, progress)
    _make(plan, store, progress, makes)


def pooled_cells(activations: Tensor, side: int) -> Tensor:
    """Unit vectors (n, p*q, c), float32, of ``activations`` (n, c, h, w) after average pooling.

    Section 4.2 of the paper: 2x2 average pool with stride 2; an odd last row or column falls away.
    """
    h, w = activations.shape[2:]
    window = (side if h >= side else 1, side if w >= side else 1)
    pooled = F.avg_pool2d(activations.float(), window, window)
    return F.normalize(pooled.flatten(2).transpose(1, 2), dim=2, eps=1e-12)


@dataclass(frozen=True)
class Made:
    """Rows of some images that follow each other: outputs (n, C), cells (n, p*q, c), and what else was seen.

    ``skipped`` holds positions, as text, with reasons.
    """

    outputs: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    skipped: dict[str, str]
    ranges: ValueRanges


Makes = Callable[[Plan, int], Iterator[Made]]
"""From a plan and a position to the rows from there on, in order."""


def made(plan: Plan, start: int, stop: int | None = None) -> Iterator[Made]:
    """The rows of blocks of images from a position on, which is where a block begins, made here."""
    trunk = plan.trunk()  # before threads decode: Ctrl-C in one of them must not come while torch traces
    for positions, block in _blocks(plan, start, stop):
        skipped, ranges = {}, NOTHING_SEEN
        for position, sample in zip(positions, block, strict=True):
            path = plan.pool.items[position].path
            if isinstance(sample, DataError):
                skipped[str(position)] = str(sample).removeprefix(f"{path}: ")
            else:
                ranges = ranges.seen(path, sample)
        yield Made(*_compute(plan, trunk, block), skipped, ranges)


def _make(plan: Plan, store: Store, progress: Progress, makes: Makes) -> None:
    """Write the rows block by block; an interrupted pass goes on at its last whole block."""
    work = stores.resume(store, plan.key)
    total = len(plan.pool.items)
    cells, outputs = _rows(plan, work.folder)
    with progress.step("index", total) as advance, RowsOnDisk(work, (outputs, cells)) as written:
        advance(written.done)
        for block in makes(plan, written.done) if written.done < total else ():
            written.add((block.outputs, block.cells), block.skipped, block.ranges)
            advance(len(block.cells))
    skipped = written.skipped
    if len(skipped) == total:
        first = plan.pool.items[0].path
        raise DataError(f"none of the {total} images can be read; the first, {first}: {skipped['0']}")
    facts = {
        "classes": plan.task.classes,
        "skipped": skipped,
        "ranges": (
            plan.pool.ranges or written.ranges
        ).held(),  # of images that were decoded before, what was seen then
    }
    known_items.keep(plan.pool, work.folder / known_items.FILE)
    stores.finish(store, plan.key, work, plan.facts | facts)


def _blocks(
    plan: Plan, start: int, stop: int | None = None
) -> Iterator[tuple[list[int], list[Sample | DataError]]]:
    """Blocks of ``BATCH`` positions, cut at the same places each time, so that a resumed pass agrees."""
    positions: list[int] = []
    block: list[Sample | DataError] = []
    last = (len(plan.pool.items) if stop is None else stop) - 1
    for position, sample in samples(plan.pool, range(start, last + 1), plan.preprocessing):
        positions.append(position)
        block.append(sample)
        if len(block) == BATCH or position == last:
            yield positions, block
            positions, block = [], []


def _compute(plan: Plan, trunk: Trunk, block: list[Sample | DataError]) -> tuple[np.ndarray, np.ndarray]:
    split, (p, q) = plan.split, plan.grid
    outputs = np.full((len(block), plan.task.columns), np.nan, np.float32)
    cells = np.zeros((len(block), p * q, split.shape[0]), np.float16)
    good = [(row, sample.tensor) for row, sample in enumerate(block) if isinstance(sample, Sample)]
    if good:
        rows = [row for row, _ in good]
        images = torch.stack([tensor for _, tensor in good]).to(split.example)
        with torch.no_grad():
            activations, few = trunk(images), split.together(BATCH)
            found = [
                summary(split.head(a, own), split.link).float().cpu()
                for a, own in zip(activations.split(few), images.split(few), strict=True)
            ]
            outputs[rows] = torch.cat(found).numpy()
            cells[rows] = pooled_cells(activations, plan.side).half().cpu().numpy()
        if np.isnan(outputs[rows]).any():
            raise ModelError(
                "the model's output is not a number for an image of the pool; do its weights hold NaN?"
            )
    return outputs, cells


def _rows(plan: Plan, folder: Path) -> tuple[Rows, Rows]:
    """Files of the cells and of the outputs."""
    p, q = plan.grid
    cells = Rows(folder / "cells.f16", (p * q, plan.split.shape[0]), "<f2", plan.key)
    name = "scores.f32" if plan.task.dense else "logits.f32"
    return cells, Rows(folder / name, (plan.task.columns,), "<f4", plan.key)


def load(store: Store, plan: Plan) -> Index:
    """The finished index of a plan; one that is not there, or damaged, is a ``StoreError``."""
    folder = store.index(plan.key)
    meta = stores.read_meta(folder)
    if meta is None or stores.key_of(**stores.facts_of(meta)) != plan.key or "skipped" not in meta:
        raise StoreError(f"{folder} is damaged")
    cells, outputs = _rows(plan, folder)
    total = len(plan.pool.items)
    if outputs.wrong(total) is not None:
        raise StoreError(f"{outputs.path} is damaged")
    skipped = {int(position): reason for position, reason in meta["skipped"].items()}
    ranges = ValueRanges.of(meta.get("ranges"))
    return Index(
        plan.pool.items, outputs.read(total), cells.read(total), plan.grid, skipped, plan.task, ranges
    )


def _tell_what_changed(store: Store, plan: Plan, progress: Progress) -> None:
    """Where the store holds an index of something else, say by name why it is not used."""
    for folder, other in stores.other_indexes(store, plan.key):
        if other.get("layer") != plan.split.layer:
            continue
        changed = [
            name for name, fact in sorted(plan.facts.items()) if other.get(name) != fact and name != "pool"
        ]
        files = []
        if not known_items.is_of(plan.pool, file := folder / known_items.FILE):
            now = {item.path: item.digest for item in plan.pool.items}
            before = known_items.kept(file) or dict(other.get("items", []))  # as of before
            files = sorted(path for path in set(before) | set(now) if before.get(path) != now.get(path))
        if files:
            changed.append(f"{len(files)} images, such as {files[0]}")
        what = ", ".join(changed) or "the order of the images"
        progress.note(f"an index in {store.folder} is not used, since these changed: {what}")
